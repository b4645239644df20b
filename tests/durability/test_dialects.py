"""`kill -9` at every step of a task of every video format, asked for in its own words and done by its own vendor.

In each story one task of each format comes to the step, waits there until those of the others have, and then the process is
killed. What must hold in the end is what holds for the first format: every work is one task that has ended, no vendor was asked
twice, money is exact, callbacks arrive with a good signature and files can be had.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import genway
from durability.crashing_server import Kill
from durability.stage import Receiver, until
from durability.town import FORMATS, Door, Town
from genway.db.checkpoints import POINTS
from systems import System

STORIES_AT_ONCE = 4
NAMES = ("luma", "luma.official", "kling", "minimax", "pika", "pika.web", "openai")
LOST, THROTTLED = "vendor:lost", "vendor:throttled"
# Kling and MiniMax know no way to stop work.
STOPPABLE, UNSTOPPABLE = ("runway.official", "luma", "pika"), ("kling",)
# How often a vendor may be told to stop, at the least and the most, where that is not once: it is told again after a crash
# between its answer and the record. Once a cancel is committed the process may come so far before the others are at the step.
TOLD = {"stopping.told": (2, 2), "ending.committed": (1, 2)}

# Nobody can know whether the vendor has it. Where it has been asked already, and took it:
UNKNOWN = {
    *("submitting.committed", "vendor.calling", "vendor.answered", "running.ready", "running.before_commit"),
    *("queued.ready", "queued.before_commit", "parked.ready", "parked.before_commit"),
}
TAKEN = {"vendor.answered", "running.ready", "running.before_commit"}

# The state in which a task is found, who is at the step and is killed there. Callbacks may be on their way in any.
STATES = {
    "submitting": {"queued"},
    "vendor": {"submitting"},
    "running": {"submitting"},
    "queued": {"submitting"},
    "parked": {"submitting"},
    "storing": {"running"},
    "ending": {"storing"},
}
COMMITTED = {
    "accepting": {"queued"},
    "submitting": {"submitting"},
    "running": {"running"},
    "queued": {"queued"},
    "parked": {"parked"},
    "storing": {"storing"},
    "ending": {"succeeded"},
}


class Story(NamedTuple):
    """point: where the process ends. words: of the prompts, for the vendors."""

    point: str
    words: str = ""

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.point, self.words.removeprefix("vendor:")) if part)

    @property
    def formats(self) -> list[str]:
        """Those whose tasks come to this step."""
        return [name for name in NAMES if FORMATS[name].calls_back or not self.point.startswith("callback.")]

    @property
    def states(self) -> set[str]:
        """In which the tasks must be found."""
        step, _, part = self.point.partition(".")
        if self.words == LOST and step == "ending":
            return {"failed", "succeeded"} if part == "committed" else {"parked", "storing"}
        return (COMMITTED if part in {"committed", "checked", "stored"} else STATES).get(step, set())


def _words(point: str) -> str:
    return {"queued": THROTTLED, "parked": LOST}.get(point.partition(".")[0], "")


STORIES = [
    *(Story(point, _words(point)) for point in POINTS if not point.startswith("stopping.")),
    *(Story(f"ending.{part}", LOST) for part in ("before_commit", "committed")),
]
CANCELS = [point for point in POINTS if point.startswith("stopping.")] + [
    "ending.ready",
    "ending.before_commit",
    "ending.committed",
]


def test_every_step_there_is_has_its_story() -> None:
    assert {story.point for story in STORIES} | set(CANCELS) == set(POINTS)
    assert steps_in_the_source() == set(POINTS)


def steps_in_the_source() -> set[str]:
    """What the code of tasks tells, by its words."""
    found: set[str] = set()
    root = Path(genway.__path__[0])
    for path in [*root.glob("tasks/*.py"), *root.glob("callbacks/*.py"), root / "gateway.py"]:
        text = path.read_text("utf-8")
        found |= set(re.findall(r'(?:reach|checkpoint)\(\s*(?:self\._checkpoint,\s*)?"(\w+\.\w+)"', text))
        steps = re.findall(r'commit\([^"()]*"(\w+)"', text)
        if "commit(str(after)" in text:
            steps += [state.lower() for state in re.findall(r"_move\(\s*State\.(\w+)", text)]
        found |= {f"{step}.{part}" for step in steps for part in ("ready", "before_commit", "committed")}
    return found


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    town = Town()
    yield town
    town.close()


@pytest.fixture(scope="module")
def telling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, town: Town
) -> Iterator[Callable[[object], Future[None]]]:
    """Begins the chosen stories, a few at once; gives each one's outcome."""
    items = [item for item in request.session.items if item.path == Path(__file__) and hasattr(item, "callspec")]
    wanted = [item.callspec.params["chosen"] for item in items]
    with ThreadPoolExecutor(STORIES_AT_ONCE) as pool:
        outcomes: dict[object, Future[None]] = {}
        for chosen in wanted:
            tell = _tell if isinstance(chosen, Story) else _tell_of_a_cancel
            outcomes[chosen] = pool.submit(tell, chosen, tmp_path_factory.mktemp("story"), town, receiver)
        yield outcomes.__getitem__
        pool.shutdown(cancel_futures=True)


def _tell(story: Story, folder: Path, town: Town, receiver: Receiver) -> None:
    door = Door(folder, receiver, town, NAMES, title=story.name, words=story.words)
    try:
        process = door.serve(Kill(story.point, together=len(story.formats)))
        told = door.ask_all()
        assert process.exit_code() == -signal.SIGKILL, f"they did not come to {story.point}"
        victims = _victims(process.came_to(), story.point)
        found = {row.id: row.state for row in door.tasks()}
        assert process.orphans() == []

        door.serve()
        known = door.ask_all()
        assert known.keys() == set(NAMES)
        assert told.items() <= known.items(), "the same request twice is one task"
        if story.point in {"accepting.ready", "accepting.before_commit"}:
            assert (len(victims), found) == (len(story.formats), {}), "nothing was committed, and nothing told"
        else:
            assert victims == {known[name] for name in story.formats}
            assert not story.states or {found[task_id] for task_id in victims} <= story.states
        for name, row in door.ended(known).items():
            system = FORMATS[name]
            door.check_callback(system, row)
            door.check_file(system, row)
            _check_end(story, system, door.passed_through(row.id), *town.works(door.prompt(system)))
        door.check_money()
    finally:
        door.close()


def _victims(came_to: tuple[str, str], point: str) -> set[str]:
    reached, task_ids = came_to
    assert reached == point
    return set(task_ids.split(","))


def _check_end(story: Story, system: System, states: list[str], seen: int, taken: int) -> None:
    """No vendor is asked twice but by its own wish, and only what nobody can know is given back.

    Kling can be asked for a work under our own name for it: what it has is found and finished, not given back.
    """
    parked, succeeded = "parked" in states, states[-1] == "succeeded"
    assert states[-1] in {"succeeded", "failed"}
    assert taken <= 1
    assert succeeded == (taken == 1 and (not parked or system.provider == "kling")), (states, taken)
    assert states.count("submitting") <= (2 if story.words == THROTTLED else 1)
    assert parked == (story.point in UNKNOWN or story.words == LOST), states
    if story.words == LOST:
        assert (seen, taken) == (1, 1)
    elif story.words == THROTTLED:
        assert (seen, taken) == ((1, 0) if parked else (2, 1))
    elif parked:
        assert seen == taken == (story.point in TAKEN)


def _tell_of_a_cancel(point: str, folder: Path, town: Town, receiver: Receiver) -> None:
    names = (*STOPPABLE, *UNSTOPPABLE)
    # Asked once, and for the second time by the next process.
    door = Door(folder, receiver, town, names, title=f"cancel-{point}", channel={"options": {"polls_per_second": "0.01"}})
    reaching = STOPPABLE if point in {"stopping.calling", "stopping.told"} else names
    try:
        process = door.serve(Kill(point, together=len(reaching)))
        known = door.ask_all()
        until(lambda: {row.state for row in door.tasks()} == {"running"}, "all are at their vendors")
        door.cancel_all(known)
        assert process.exit_code() == -signal.SIGKILL, f"they did not come to {point}"
        assert _victims(process.came_to(), point) == {known[name] for name in reaching}
        vendor_ids = {name: str(row.vendor_id) for name in names for row in door.tasks() if row.id == known[name]}
        if point in {"stopping.told", "stopping.recorded"}:
            assert {town.stops(vendor_ids[name]) for name in STOPPABLE} == {1}

        door.serve()
        for name, row in door.ended(known).items():
            cancelled = point not in {"ending.ready", "ending.before_commit"}
            assert row.state == ("cancelled" if cancelled else "succeeded")
            least, most = TOLD.get(point, (1, 1)) if cancelled and name in STOPPABLE else (0, 0)
            until(lambda name=name, least=least: town.stops(vendor_ids[name]) >= least, f"{name} is told to stop")  # type: ignore[misc]
            assert town.stops(vendor_ids[name]) <= most
            door.check_callback(FORMATS[name], row)
            door.check_file(FORMATS[name], row)
        door.check_money()
    finally:
        door.close()


@pytest.mark.parametrize("chosen", STORIES, ids=lambda chosen: chosen.name)
def test_a_process_that_is_killed_costs_no_systems_clients_anything(
    chosen: Story, telling: Callable[[object], Future[None]]
) -> None:
    telling(chosen).result()


@pytest.mark.parametrize("chosen", CANCELS)
def test_a_cancel_reaches_the_vendor_although_the_process_is_killed(
    chosen: str, telling: Callable[[object], Future[None]]
) -> None:
    telling(chosen).result()
