"""What was cancelled or has expired is stopped at the vendor, whatever happens in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from genway.access.model import Caller
from genway.billing import prices
from genway.db.tables import tasks
from genway.providers.base import Finished, OutcomeUnknown, Provider, ProviderError, Running, Submitted, VendorDown, VendorLost
from genway.tasks import stops
from genway.tasks.model import State, Task
from stage import Scripted, Stage


@pytest.fixture
def caller(stage: Stage) -> Caller:
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 10_000), 1.0))
    stage.clock.now += 2
    return stage.account(topup=1_000_000)


def row(stage: Stage, task: Task) -> Any:
    return stage.database.read_now(lambda c: c.execute(tasks.select().where(tasks.c.id == task.id)).one())


def noted(stage: Stage, task: Task) -> list[str]:
    """Why nothing is left to be told."""
    events = stage.database.read_now(lambda c: stage.store.events(c, task.id))
    return [event["reason"] for event in events if event["before"] == event["after"] == "cancelled"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def running(stage: Stage, caller: Caller) -> Task:
    """A task that a vendor works on and nobody here looks after."""
    task = await stage.submit(caller)
    return await stage.until(caller, task, State.RUNNING)


async def parked(stage: Stage, caller: Caller) -> Task:
    """A task of which nobody knows whether a vendor has it."""
    Scripted.scripts["vendor"]["submit"] = [OutcomeUnknown("no answer")]
    task = await stage.submit(caller)
    return await stage.until(caller, task, State.PARKED)


async def test_a_cancel_that_nobody_was_there_to_act_on_reaches_the_vendor_later(stage: Stage, caller: Caller) -> None:
    task = await running(stage, caller)
    await stage.gateway.cancel(caller, task.id)
    assert Scripted.cancelled == []
    async with stage.running():
        await until(lambda: row(stage, task).stop_at is None)
    assert Scripted.cancelled == [f"v-{task.id}"]
    assert noted(stage, task) == ["the vendor was told to stop"]


async def test_the_vendor_is_told_of_an_expired_task(stage: Stage, caller: Caller) -> None:
    task = await running(stage, caller)
    stage.clock.now = task.deadline_at
    async with stage.running():
        await until(lambda: bool(Scripted.cancelled) and row(stage, task).stop_at is None)
    assert row(stage, task).state == "expired"
    assert Scripted.cancelled == [f"v-{task.id}"]


async def test_only_work_that_a_vendor_has_is_stopped(stage: Stage, caller: Caller) -> None:
    Scripted.scripts["vendor"]["submit"] = [OutcomeUnknown("no answer")]
    queued = await stage.submit(caller)
    await stage.gateway.cancel(caller, queued.id)
    unknown = await stage.submit(caller)
    await stage.until(caller, unknown, State.PARKED)
    await stage.gateway.cancel(caller, unknown.id)
    assert [row(stage, task).stop_at for task in (queued, unknown)] == [None, None]


async def test_a_vendor_that_cannot_be_reached_is_told_again_until_it_answers(stage: Stage, caller: Caller) -> None:
    task = await running(stage, caller)
    answers = [VendorDown("502"), KeyError("a fault in the provider's own code"), None]
    told_at: list[float] = []

    async def cancel(provider: Scripted, vendor_id: str) -> None:
        told_at.append(stage.clock())
        if error := answers.pop(0):
            raise error

    Scripted.cancel, before = cancel, Scripted.cancel  # type: ignore[method-assign, assignment]
    try:
        await stage.gateway.cancel(caller, task.id)
        async with stage.running():
            await until(lambda: row(stage, task).stop_at is None)
    finally:
        Scripted.cancel = before  # type: ignore[method-assign]
    assert len(told_at) == 3
    assert min(later - time for time, later in pairwise(told_at)) >= stops.FIRST_WAIT
    assert noted(stage, task) == [
        f"{stops.UNTOLD}502",
        f"{stops.UNTOLD}KeyError in the provider's code",
        "the vendor was told to stop",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (VendorLost("404"), "the vendor has nothing to stop: 404"),
        (VendorDown("502"), "the vendor could not be told to stop"),
    ],
)
async def test_there_is_an_end_to_telling(stage: Stage, caller: Caller, error: ProviderError, said: str) -> None:
    task = await running(stage, caller)

    async def cancel(provider: Scripted, vendor_id: str) -> None:
        raise error

    stage.runner._sleep = lambda seconds: stage.clock.sleep(100 * seconds)

    Scripted.cancel, before = cancel, Scripted.cancel  # type: ignore[method-assign, assignment]
    try:
        ended = await stage.gateway.cancel(caller, task.id)
        async with stage.running():
            await until(lambda: row(stage, task).stop_at is None)
    finally:
        Scripted.cancel = before  # type: ignore[method-assign]
    *before_that, last = noted(stage, task)
    assert last == said
    assert set(before_that) <= {f"{stops.UNTOLD}502"}
    waited = stage.clock() - (ended.finished_at or 0)
    assert (waited > stops.GIVE_UP_SECONDS) is ("could not" in said)


async def test_a_vendor_that_knows_no_stopping_is_not_said_to_have_stopped(stage: Stage, caller: Caller) -> None:
    task = await running(stage, caller)
    Scripted.cancel, before = Provider.cancel, Scripted.cancel  # type: ignore[method-assign]
    try:
        await stage.gateway.cancel(caller, task.id)
        async with stage.running():
            await until(lambda: row(stage, task).stop_at is None)
    finally:
        Scripted.cancel = before  # type: ignore[method-assign]
    assert noted(stage, task) == ["this vendor cannot be told to stop"]


async def test_a_vendor_that_takes_a_task_after_its_cancel_is_told_to_stop_even_after_a_crash(
    stage: Stage, caller: Caller
) -> None:
    task = await stage.submit(caller)

    async def submit(provider: Scripted, submission: Any) -> Submitted:
        await stage.gateway.cancel(caller, submission.task_id)
        return Submitted("v-late")

    Scripted.submit, before = submit, Scripted.submit  # type: ignore[method-assign, assignment]
    try:
        # The process ends before its own loop comes to look: what is left is the row.
        stage.store.claim_stops = lambda *_: []  # type: ignore[method-assign]
        async with stage.running():
            await until(lambda: row(stage, task).stop_at is not None)
    finally:
        Scripted.submit = before  # type: ignore[method-assign]
        del stage.store.claim_stops
    assert (row(stage, task).vendor_id, Scripted.cancelled) == ("v-late", [])
    async with stage.running():
        await until(lambda: row(stage, task).stop_at is None)
    assert Scripted.cancelled == ["v-late"]


async def test_an_attempt_that_is_found_after_its_cancel_is_stopped(stage: Stage, caller: Caller) -> None:
    task = await parked(stage, caller)

    async def find(provider: Scripted, reference: str) -> Submitted:
        await stage.gateway.cancel(caller, task.id)
        return Submitted("v-found")

    Scripted.find, before = find, Scripted.find  # type: ignore[method-assign, assignment]
    try:
        async with stage.running():
            await until(lambda: bool(Scripted.cancelled) and row(stage, task).stop_at is None)
    finally:
        Scripted.find = before  # type: ignore[method-assign]
    assert Scripted.cancelled == ["v-found"]
    assert noted(stage, task) == ["the vendor was told to stop"]


async def test_a_work_that_another_process_has_found_is_not_stopped_by_the_one_that_finds_it_second(
    stage: Stage, caller: Caller
) -> None:
    task = await parked(stage, caller)

    async def find(provider: Scripted, reference: str) -> Submitted:
        stage.database.write_now(
            lambda c: stage.store.move(c, task.id, State.PARKED, State.RUNNING, stage.clock(), "found", vendor_id="v-found")
        )
        return Submitted("v-found")

    Scripted.scripts["vendor"]["check"] = [Running(0.5), Finished((stage.picture(),))]
    Scripted.find, before = find, Scripted.find  # type: ignore[method-assign, assignment]
    try:
        async with stage.running():
            await until(lambda: row(stage, task).finished_at is not None)
    finally:
        Scripted.find = before  # type: ignore[method-assign]
    assert (row(stage, task).state, Scripted.cancelled) == ("succeeded", [])


async def test_a_vendor_that_takes_longer_than_anybody_waits_for_it_is_not_told_twice_at_once(
    stage: Stage, caller: Caller
) -> None:
    task = await running(stage, caller)
    told: list[str] = []
    answers = asyncio.Event()

    async def cancel(provider: Scripted, vendor_id: str) -> None:
        told.append(vendor_id)
        await answers.wait()

    Scripted.cancel, before = cancel, Scripted.cancel  # type: ignore[method-assign, assignment]
    try:
        await stage.gateway.cancel(caller, task.id)
        async with stage.running():
            await until(lambda: bool(told))
            held_until = row(stage, task).stop_at
            stage.clock.now = held_until
            await until(lambda: row(stage, task).stop_at > held_until)  # it was claimed a second time
            answers.set()
            await until(lambda: row(stage, task).stop_at is None)
    finally:
        Scripted.cancel = before  # type: ignore[method-assign]
    assert told == [f"v-{task.id}"]


async def test_a_process_that_stops_while_it_records_that_a_vendor_was_told_leaves_nothing_to_tell(
    stage: Stage, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await running(stage, caller)
    recording, recorded, record = threading.Event(), threading.Event(), stage.store.stop_told

    def slowly(*arguments: Any, **named: Any) -> None:
        recording.set()
        assert recorded.wait(20)
        record(*arguments, **named)

    monkeypatch.setattr(stage.store, "stop_told", slowly)
    monkeypatch.setattr(stage.runner, "_sleep", lambda seconds: asyncio.sleep(3600))
    await stage.gateway.cancel(caller, task.id)
    runs = asyncio.create_task(stage.runner.run())
    await until(recording.is_set)
    stopped = asyncio.create_task(stage.runner.stop(0.01))
    await until(lambda: not stage.runner.stops._under_way)
    recorded.set()
    await asyncio.gather(stopped, runs)
    assert (row(stage, task).stop_at, Scripted.cancelled) == (None, [f"v-{task.id}"])


async def test_of_two_processes_one_tells(stage: Stage, caller: Caller) -> None:
    task = await running(stage, caller)
    await stage.gateway.cancel(caller, task.id)

    def claim() -> list[Task]:
        return stage.database.write_now(lambda c: stage.store.claim_stops(c, stage.clock(), stops.LEASE_SECONDS, 10))

    assert [one.id for one in claim()] == [task.id]
    assert claim() == []
    stage.clock.now += stops.LEASE_SECONDS
    assert [one.id for one in claim()] == [task.id]
    stage.database.write_now(lambda c: stage.store.free(c, None, stage.clock()))
    assert [one.id for one in claim()] == [task.id], "with all processes gone nobody holds it"


async def test_our_own_rendering_is_stopped_by_the_process_that_has_it(stage: Stage, caller: Caller) -> None:
    caller = stage.account(mode="test")
    Scripted.scripts["local"] = {"check": [Running(0.5)]}
    task = await stage.submit(caller)
    stage.clock.sleep = lambda seconds: asyncio.sleep(0.005)  # type: ignore[method-assign]
    stage.runner._sleep = stage.clock.sleep
    async with stage.running():
        async with asyncio.timeout(20):
            while (await stage.gateway.get(caller, task.id)).state != State.RUNNING:
                await asyncio.sleep(0.005)
        await stage.gateway.cancel(caller, task.id)
        await until(lambda: bool(Scripted.cancelled))
    assert (Scripted.cancelled, row(stage, task).stop_at) == ([f"v-{task.id}"], None)
