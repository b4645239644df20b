"""What was cancelled or has expired is stopped at the vendor, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from genway.access.model import Caller
from genway.billing import prices
from genway.db.tables import tasks
from genway.providers.base import OutcomeUnknown, Provider, ProviderError, Running, Submitted, VendorDown, VendorLost
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
    parked = await stage.submit(caller)
    await stage.until(caller, parked, State.PARKED)
    await stage.gateway.cancel(caller, parked.id)
    assert [row(stage, task).stop_at for task in (queued, parked)] == [None, None]


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
    assert noted(stage, task) == ["the vendor was told to stop"]


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
    assert noted(stage, task) == [said]
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
