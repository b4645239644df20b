"""Processes that end in the middle, that stop, and that work side by side."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

from callbacks.conftest import Deliver, Receive
from callbacks.stage import Clock, get
from genway.callbacks import outbox
from genway.db import Database


async def test_a_crash_between_the_answer_and_the_record_sends_it_again_under_the_same_id(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive()
    first = deliver(crash_at="callback.sent", lease_seconds=60)
    callback = first.put(receiver.url)
    await first.trail.reached("callback.sent")
    await first.crash()
    row = get(database, callback)
    assert (row.state, row.owner) == ("waiting", first.owner)

    clock.move(59)
    second = deliver()
    await second.rested()
    assert len(receiver.received) == 1

    clock.move(1)
    second.deliverer.wake()
    await second.recorded()
    assert get(database, callback).state == "delivered"
    assert [one.id for one in receiver.received] == [callback, callback]


async def test_a_crash_before_sending_loses_nothing(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive()
    first = deliver(crash_at="callback.sending", lease_seconds=60)
    callback = first.put(receiver.url)
    await first.trail.reached("callback.sending")
    await first.crash()
    clock.move(60)
    second = deliver()
    await second.recorded()
    assert get(database, callback).state == "delivered"
    assert len(receiver.received) == 1


async def test_a_crash_after_the_record_sends_nothing_again(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive()
    first = deliver(crash_at="callback.recorded")
    callback = first.put(receiver.url)
    await first.trail.reached("callback.recorded")
    await first.crash()
    clock.move(3600)
    await deliver().rested()
    assert get(database, callback).state == "delivered"
    assert len(receiver.received) == 1


async def test_a_dead_process_that_is_known_needs_no_waiting_for_its_lease(
    database: Database, deliver: Deliver, receive: Receive
) -> None:
    receiver = await receive()
    first = deliver(crash_at="callback.sending")
    first.put(receiver.url)
    await first.trail.reached("callback.sending")
    await first.crash()
    assert await database.write(lambda connection: outbox.release_owner(connection, first.owner)) == 1
    deliver()
    await receiver.got(1)


async def test_two_processes_deliver_each_callback_once(database: Database, deliver: Deliver, receive: Receive) -> None:
    receivers = [await receive() for _ in range(4)]
    other = Database(database.url)
    one, two = deliver(), deliver(on=other)
    callbacks = [one.put(receivers[number % 4].url) for number in range(60)]
    two.deliverer.wake()
    for receiver in receivers:
        await receiver.got(15)
    await one.stop(within=10)
    await two.stop(within=10)
    other.close()
    assert Counter(got.id for receiver in receivers for got in receiver.received) == Counter(callbacks)
    rows = database.read_now(outbox.listing)
    assert {(row.state, row.attempts, row.owner) for row in rows} == {("delivered", 1, None)}


async def test_a_lease_outlasts_the_longest_try(database: Database, deliver: Deliver, receive: Receive, clock: Clock) -> None:
    answer = asyncio.Event()

    async def late() -> web.Response:
        await answer.wait()
        return web.Response()

    receiver = await receive(lambda number: late())
    first = deliver(lease_seconds=1)
    callback = first.put(receiver.url)
    await receiver.got(1)
    clock.move(20)  # the body and the answer may each take the 10 s of `timeout_seconds`
    await deliver().rested()
    assert get(database, callback).owner == first.owner
    answer.set()
    await first.recorded()
    assert len(receiver.received) == 1


async def test_a_stopping_process_finishes_what_is_under_way_and_starts_nothing(
    database: Database, deliver: Deliver, receive: Receive
) -> None:
    answer = asyncio.Event()

    async def late() -> web.Response:
        await answer.wait()
        return web.Response()

    receiver = await receive(lambda number: late())
    delivery = deliver()
    under_way = delivery.put(receiver.url)
    await receiver.got(1)
    stopping = asyncio.create_task(delivery.stop(within=20))
    await asyncio.sleep(0)
    left = delivery.put(receiver.url)
    answer.set()
    await stopping
    assert get(database, under_way).state == "delivered"
    assert (get(database, left).state, get(database, left).attempts) == ("waiting", 0)
    assert len(receiver.received) == 1


async def test_a_stopping_process_gives_back_what_does_not_end_in_time(
    database: Database, deliver: Deliver, receive: Receive
) -> None:
    answer = asyncio.Event()

    async def late() -> web.Response:
        await answer.wait()
        return web.Response()

    receiver = await receive(lambda number: late())
    first = deliver()
    callback = first.put(receiver.url)
    await receiver.got(1)
    await first.stop(within=0)
    row = get(database, callback)
    assert (row.state, row.owner, row.lease_until) == ("waiting", None, None)

    answer.set()
    second = deliver()
    await second.recorded()
    assert get(database, callback).state == "delivered"
    assert [one.id for one in receiver.received] == [callback, callback]
