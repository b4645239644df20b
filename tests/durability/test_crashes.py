"""`kill -9` at every step of a task: nothing is lost, nothing is sent to a vendor twice, money is exact, callbacks arrive.

Each case is a story of its own, with its own data folder: processes that are killed one after another where the case
says, and a last one that is left alone. Stories are told side by side, beside other tests; each test waits for its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import pytest

from durability.crashing_server import Kill
from durability.stage import TEST, Receiver, Site, Vendor, Work, local_work, official_work, page_work

# Between the commit of the intent to submit and that of the vendor's answer, nobody can know whether the vendor has it.
UNKNOWN = ("submitting.committed", "vendor.calling", "vendor.answered", "running.before_commit")
STEPS = (
    "accepting.before_commit",
    "accepting.committed",
    "submitting.before_commit",
    *UNKNOWN,
    "running.committed",
    "running.checked",
    "storing.before_commit",
    "storing.committed",
    "storing.stored",
    "ending.before_commit",
    "ending.committed",
    "callback.sending",
    "callback.sent",
    "callback.recorded",
)


class Story(NamedTuple):
    """provider: who does the work. kills: where each process ends but the last. words: of the prompt, for the vendor."""

    provider: str
    kills: tuple[Kill, ...]
    words: str = ""

    @property
    def name(self) -> str:
        kills = ",".join(f"{kill.point}:{kill.times}" for kill in self.kills)
        return "-".join(part for part in (self.provider, kills, self.words) if part)

    def works(self) -> list[Work]:
        prompt = f"{self.name} {self.words}"
        match self.provider:
            case "local":
                refused = local_work(f"{prompt} genway:fail=vendor", key=TEST)
                return [local_work(f"{prompt} first"), refused]
            case "runwayml":
                return [official_work(f"{prompt} {number}") for number in range(3)]
            case _:
                return [page_work(f"{prompt} {number}") for number in range(3)]


def story(provider: str, *points: str, words: str = "", times: int = 1) -> Story:
    return Story(provider, tuple(Kill(point, times) for point in points), words)


STORIES = [
    *(story("runwayml", point, times=2) for point in STEPS),
    # Elsewhere the same tasks go through several of these deaths, which is quicker to tell.
    story("runway_compat", *STEPS[:3]),
    *(story("runway_compat", point, times=2) for point in UNKNOWN),
    story("runway_compat", "running.committed", "running.checked", "storing.before_commit", "storing.committed"),
    story("runway_compat", "storing.stored", "ending.before_commit", "ending.committed"),
    story("runway_compat", "callback.sending", "callback.sent", "callback.recorded"),
    # What the renderer had begun goes back to the queue.
    story("local", *STEPS[:3]),
    story("local", *UNKNOWN, "queued.before_commit", "queued.committed"),
    story("local", "running.committed", "running.checked", "storing.before_commit"),
    story("local", "storing.committed", "storing.stored", "ending.before_commit"),
    story("local", "ending.committed", "callback.sending", "callback.sent", "callback.recorded"),
    # A busy vendor is asked again.
    *(
        story(provider, f"queued.{side}", words="vendor:throttled")
        for provider in ("runwayml", "runway_compat")
        for side in ("before_commit", "committed")
    ),
    # The vendor took the work and its answer was lost: parked, and in the end given back.
    *(
        story(provider, point, words="vendor:lost")
        for provider in ("runwayml", "runway_compat")
        for point in ("parked.before_commit", "parked.committed", "ending.before_commit", "ending.committed")
    ),
    # One accident after another.
    story("runwayml", "accepting.committed", "running.checked", "storing.committed", "ending.before_commit", "callback.sent"),
    story("runway_compat", "vendor.answered", "parked.committed", "ending.before_commit", "callback.sending"),
]


def tell(story: Story, folder: Path, vendor: Vendor, receiver: Receiver) -> None:
    """Run the story to its end and check what must hold then."""
    site = Site(folder, receiver, {} if story.provider == "local" else {story.provider: vendor.url})
    works = story.works()
    known: dict[Work, str] = {}
    victims: dict[str, str] = {}
    try:
        for kill in (*story.kills, None):
            process = site.start(kill)
            if process.started():
                _submit(site, works, known)
            if kill is None:
                break
            assert process.exit_code() == -signal.SIGKILL, f"it did not come to {kill}"
            point, victim = process.came_to()
            assert point == kill.point
            victims[victim] = point
            assert process.orphans() == []
        assert known.keys() == set(works)
        site.check(vendor, known)
        for work, task_id in known.items():
            _check_end(story, work, site.passed_through(task_id), victims.get(task_id))
    finally:
        site.close()


def _submit(site: Site, works: list[Work], known: dict[Work, str]) -> None:
    """What a careful client does: everything again, under the same keys."""
    for work in works:
        task_id = site.accepted(work)
        if task_id is None:
            return
        assert known.setdefault(work, task_id) == task_id


def _check_end(story: Story, work: Work, states: list[str], killed_at: str | None) -> None:
    """Only what nobody can know is given back, and then it was sent once; all else succeeds.

    killed_at: where the task was when a process ended with it; the others may have been anywhere.
    """
    if work.key == TEST:
        assert states[-1] == "failed"
        return
    parked = "parked" in states
    assert states[-1] == ("failed" if parked else "succeeded"), states
    if story.provider == "local":
        assert not parked
    elif "vendor:lost" in story.words:
        assert parked
    elif killed_at and len(story.kills) == 1:
        assert parked == (killed_at in (*UNKNOWN, "queued.before_commit"))
    if parked:
        assert states.count("submitting") == 1


@pytest.mark.parametrize("chosen", STORIES, ids=lambda chosen: chosen.name)
def test_a_process_that_is_killed_costs_nobody_anything(chosen: Story, telling: Callable[[object], Future[None]]) -> None:
    telling(chosen).result()
