"""Whoever wants to ask a vendor waits for a turn; time is simulated, and jumps to whatever is due next."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections import defaultdict
from itertools import count, pairwise
from pathlib import Path

import pytest

from genway.access.model import Caller
from genway.billing import prices
from genway.db import Database
from genway.errors import InvalidRequest
from genway.providers import discover
from genway.providers.base import Finished, Running, VendorBusy
from genway.routing.channels import LOCAL, Channel, add_channel, get_channel
from genway.tasks.model import State
from genway.tasks.pace import LONGEST_HOLD, Paces
from stage import VAULT, Scripted, Stage

DOCS = Path(__file__).parents[2] / "docs"
STEPS_TO_SETTLE = 8


@pytest.fixture
def caller(stage: Stage) -> Caller:
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 10_000), 1.0))
    stage.clock.now += 2
    return stage.account()


class Simulation:
    """A clock whose sleepers are woken one after the other, as soon as nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._numbers = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), waking))
        await waking

    async def settle(self) -> None:
        for _ in range(STEPS_TO_SETTLE):
            await asyncio.sleep(0)

    async def run(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await self.settle()
        self.now = end


class Asking:
    """Tasks that ask again and again, `wait` seconds after each answer; what they asked, and when."""

    def __init__(self, time: Simulation, paces: Paces) -> None:
        self.time = time
        self.paces = paces
        self.asked: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._jobs: list[asyncio.Task[None]] = []

    def begin(self, channel: str, tasks: int, *, limit: float, wait: float) -> None:
        self._jobs += [asyncio.create_task(self._ask(channel, number, limit, wait)) for number in range(tasks)]

    async def _ask(self, channel: str, number: int, limit: float, wait: float) -> None:
        while True:
            await self.paces.turn(channel, limit)
            self.asked[channel][number].append(self.time())
            await self.time.sleep(wait)

    def times(self, channel: str) -> list[float]:
        return sorted(time for each in self.asked[channel].values() for time in each)

    async def end(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.paces.close()


async def test_two_thousand_tasks_keep_to_the_limit_and_each_gets_its_turn() -> None:
    time = Simulation()
    asking = Asking(time, Paces(time, time.sleep))
    asking.begin("crowded", 2000, limit=20, wait=10)
    asking.begin("quiet", 1, limit=20, wait=10)
    await time.run(250)
    await asking.end()

    crowded = asking.times("crowded")
    assert len(crowded) == pytest.approx(250 * 20, abs=2)
    assert min(later - time for time, later in zip(crowded, crowded[20:], strict=False)) >= 1 - 1e-6
    assert len(asking.asked["crowded"]) == 2000
    assert {len(times) for times in asking.asked["crowded"].values()} == {2, 3}
    gaps = [later - time for each in asking.asked["crowded"].values() for time, later in pairwise(each)]
    assert max(gaps) <= 2000 / 20 + 10

    quiet = asking.times("quiet")
    assert [later - time for time, later in pairwise(quiet)] == pytest.approx([10] * (len(quiet) - 1))
    assert len(quiet) == 26


async def test_a_busy_vendor_is_left_alone_and_then_asked_at_half_the_pace_that_comes_back() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep)
    asking = Asking(time, paces)
    asking.begin("channel", 100, limit=10, wait=0)
    await time.run(5)
    told_at, before = time(), len(asking.times("channel"))
    for _ in range(5):
        paces.busy("channel", retry_after=30)
    await time.run(29.9)
    assert len(asking.times("channel")) == before

    await time.run(20.1)
    after = [at for at in asking.times("channel") if at > told_at]
    assert after[0] - told_at == pytest.approx(30)
    assert len(after) == pytest.approx(20 * 5, abs=2)
    for _ in range(16):
        paces.answered("channel")
    before = len(asking.times("channel"))
    await time.run(10)
    await asking.end()
    assert len(asking.times("channel")) - before == pytest.approx(10 * 10, abs=2)


async def test_complaints_in_a_row_make_the_wait_longer_up_to_a_minute() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep)
    waits = []
    for _ in range(9):
        paces.busy("channel")
        turn = paces.turn("channel", 1000)
        began = time()
        while not turn.done():
            await time.run(0.5)
        waits.append(time() - began)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, LONGEST_HOLD, LONGEST_HOLD, LONGEST_HOLD], abs=0.51)
    await paces.close()


async def test_a_complaint_at_one_channel_is_nothing_to_another() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep)
    paces.busy("one", retry_after=60)
    assert paces.turn("two", 1).done()
    assert not paces.turn("one", 1).done()
    await paces.close()


async def test_what_is_known_to_have_changed_is_asked_about_first_and_within_the_limit() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep)
    assert paces.turn("channel", 1).done()
    waiting = [paces.turn("channel", 1) for _ in range(3)]
    changed = paces.turn("channel", 1, first=True)
    await time.run(0.9)
    assert not changed.done()
    await time.run(0.1)
    assert [turn.done() for turn in (changed, *waiting)] == [True, False, False, False]
    await time.run(1)
    assert [turn.done() for turn in waiting] == [True, False, False]
    await paces.close()


async def test_whoever_leaves_the_line_costs_nobody_a_turn() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep)
    assert paces.turn("channel", 1).done()
    left, stays = paces.turn("channel", 1), paces.turn("channel", 1)
    left.cancel()
    await time.run(1)
    assert stays.done()
    await paces.close()


async def test_without_a_limit_nobody_waits_and_a_share_is_a_part_of_the_limit() -> None:
    time = Simulation()
    paces = Paces(time, time.sleep, share=1 / 4)
    assert all(paces.turn("unlimited", 0).done() for _ in range(1000))
    turns = [paces.turn("shared", 8) for _ in range(9)]
    await time.run(3.9)
    assert sum(turn.done() for turn in turns) == 8
    await paces.close()


async def test_a_channels_own_pace_holds_for_all_of_its_tasks(stage: Stage, caller: Caller) -> None:
    stage.channel("slow", options='{"polls_per_second": "0.05"}', priority=1)
    Scripted.scripts["slow"]["check"] = [*[Running(0.1)] * 6, Finished((stage.picture(),))]
    began = stage.clock()
    tasks = [await stage.submit(caller) for _ in range(3)]
    for task in tasks:
        assert (await stage.until(caller, task)).state == State.SUCCEEDED
    assert stage.clock() - began >= (9 - 1) * 20


async def test_a_vendor_that_is_busy_for_one_task_is_not_asked_about_the_others(stage: Stage, caller: Caller) -> None:
    told: list[tuple[float, object]] = []

    class Watched(list[object]):
        def pop(self, index: object = 0) -> object:
            told.append((stage.clock(), self[0]))
            return super().pop(0)

    busy = VendorBusy("slow down", retry_after=40)
    Scripted.scripts["vendor"]["check"] = Watched([Running(0.1), busy, *[Finished((stage.picture(),))] * 4])  # type: ignore[assignment]
    tasks = [await stage.submit(caller) for _ in range(3)]
    for task in tasks:
        assert (await stage.until(caller, task)).state == State.SUCCEEDED
    complained = next(at for at, step in told if step is busy)
    assert min(at for at, step in told if at > complained) >= complained + 40


async def test_a_task_that_waits_for_its_turn_can_be_cancelled(stage: Stage, caller: Caller) -> None:
    stage.channel("slow", options='{"polls_per_second": "0.001"}', priority=1)
    tasks = [await stage.submit(caller) for _ in range(2)]

    async def forever(seconds: float) -> None:
        await asyncio.Event().wait()

    stage.runner._sleep = stage.runner.paces._sleep = forever
    async with stage.running():
        for task in tasks:
            async with asyncio.timeout(20):
                while (await stage.gateway.get(caller, task.id)).state != State.RUNNING:
                    await asyncio.sleep(0.005)
        for task in tasks:
            await stage.gateway.cancel(caller, task.id)
        async with asyncio.timeout(20):
            while stage.runner._driving or len(Scripted.cancelled) < 2:
                await asyncio.sleep(0.005)
        assert sorted(Scripted.cancelled) == sorted(f"v-{task.id}" for task in tasks)


def test_a_channels_pace_is_a_number(database: Database) -> None:
    def add(pace: str) -> Channel:
        channel = Channel(id="", name="main", provider="luma", options={"polls_per_second": pace})
        return database.write_now(lambda c: add_channel(c, VAULT, channel, "secret", 1.0))

    for wrong in ("fast", "-1", "1e3", "nan", ""):
        with pytest.raises(InvalidRequest, match="polls a second"):
            add(wrong)
    add("0.5")
    assert database.read_now(lambda c: get_channel(c, "main")).options == {"polls_per_second": "0.5"}


@pytest.mark.parametrize("guide", [DOCS / "tasks.md", DOCS / "zh" / "tasks.md"], ids=["en", "zh"])
def test_the_guide_tells_the_pace_of_every_vendor_of_tasks(guide: Path) -> None:
    told: dict[str, tuple[float, float, float]] = {}
    for names, first, longest, per_second in re.findall(
        r"^\| (`.*`) \| (\d+) … (\d+) \S+ \| (\d+) \|$", guide.read_text("utf-8"), re.MULTILINE
    ):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), (float(first), float(longest), float(per_second)))
    paces = {
        name: (kind.poll.first, kind.poll.longest, kind.poll.per_second)
        for name, kind in discover().items()
        if kind.operations and name != LOCAL
    }
    assert told == paces
