"""Receivers that are slow or dead, and the others who must not notice."""

from __future__ import annotations

import asyncio

from aiohttp import web

from callbacks.conftest import Deliver, Receive
from callbacks.stage import Clock
from genway.config import Callbacks


class Gate:
    """Answers that wait until they are let through, one at a time."""

    def __init__(self) -> None:
        self._through = asyncio.Semaphore(0)

    async def answer(self) -> web.Response:
        await self._through.acquire()
        return web.Response()

    def let_through(self) -> None:
        self._through.release()


async def test_a_slow_receiver_holds_a_few_slots_and_starves_nobody(deliver: Deliver, receive: Receive) -> None:
    gate = Gate()
    slow = await receive(lambda number: gate.answer())
    delivery = deliver(settings=Callbacks(at_once=8))
    for _ in range(3):
        delivery.put(slow.url)
    await slow.got(3)
    for _ in range(17):
        delivery.put(slow.url)
    await slow.got(4)
    quick = [await receive() for _ in range(3)]
    for number in range(15):
        delivery.put(quick[number % 3].url)
    for receiver in quick:
        await receiver.got(5)
    await delivery.recorded(15)
    assert (slow.under_way, len(slow.received), slow.most_at_once) == (4, 4, 4)

    for _ in range(20):
        gate.let_through()
    await slow.got(20)
    assert slow.most_at_once == 4


async def test_a_freed_slot_goes_to_the_receiver_with_the_fewest_under_way(deliver: Deliver, receive: Receive) -> None:
    gates = [Gate(), Gate()]
    slow = [await receive(lambda number: gates[0].answer()), await receive(lambda number: gates[1].answer())]
    delivery = deliver(settings=Callbacks(at_once=8))
    for number in range(20):
        delivery.put(slow[number % 2].url)
    for receiver in slow:
        await receiver.got(4)
    newcomer = await receive()
    delivery.put(newcomer.url)
    gates[0].let_through()
    await newcomer.got(1)
    assert [len(receiver.received) for receiver in slow] == [4, 4]


async def test_what_failed_before_takes_half_of_the_slots_at_most(deliver: Deliver, receive: Receive, clock: Clock) -> None:
    gate = Gate()
    dead = [await receive(lambda number: 500 if number == 1 else gate.answer()) for _ in range(10)]
    delivery = deliver(settings=Callbacks(at_once=2))
    for receiver in dead:
        delivery.put(receiver.url)
    await delivery.recorded(10)
    clock.move(60)
    await delivery.trail.reached("callback.sending", 11)
    healthy = await receive()
    for _ in range(10):
        delivery.put(healthy.url)
    await healthy.got(10)
    await delivery.recorded(20)
    assert sum(receiver.under_way for receiver in dead) == 1
    for _ in dead:
        gate.let_through()
    await delivery.recorded(30)
    assert {len(receiver.received) for receiver in dead} == {2}


async def test_no_more_are_under_way_than_the_setting_says(deliver: Deliver, receive: Receive) -> None:
    gate = Gate()
    receivers = [await receive(lambda number: gate.answer()) for _ in range(6)]
    delivery = deliver(settings=Callbacks(at_once=3))
    for number in range(12):
        delivery.put(receivers[number % 6].url)
    for done in range(12):
        await delivery.trail.reached("callback.sending", min(12, done + 3))
        assert delivery.trail.count("callback.sending") - delivery.trail.count("callback.recorded") <= 3
        gate.let_through()
        await delivery.recorded(done + 1)
