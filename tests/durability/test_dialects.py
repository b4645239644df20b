"""`kill -9` at the steps of a task of each video system, asked for in its own words and done by its own vendor.

In each story one more work is asked for with each process that is going to be killed, so that every step is come to. What
must hold in the end is what holds for the first dialect: every work is one task that has ended, no vendor was asked twice,
money is exact, callbacks arrive with a good signature and files can be had.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import requests
from sqlalchemy import Row
from standardwebhooks import Webhook

from durability.crashing_server import Kill
from durability.stage import DEADLINE, LIVE, TESTS, Receiver, Site, until
from genway.access import store as access
from systems import SECRETS, SYSTEMS, System, at

UNKNOWN = {"submitting.committed", "vendor.calling", "vendor.answered", "running.before_commit"}
STORIES_AT_ONCE = 4
BEGINNING = ("accepting.committed", "vendor.calling", "vendor.answered", "running.committed")
END = ("storing.committed", "storing.stored", "ending.before_commit", "callback.sent")
NAMES = ("luma", "kling", "minimax", "pika", "openai")


class Story(NamedTuple):
    """system: by its name. points: where each process ends but the last."""

    system: str
    points: tuple[str, ...]

    @property
    def name(self) -> str:
        return "-".join((self.system, *self.points))


STORIES = [Story(name, points) for name in NAMES for points in (BEGINNING, END)]


class Town:
    """All vendors and a receiver, in a process of their own, which outlives the gateway's."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "standins.town"]
        self._process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = msgspec.json.decode(self._process.stdout.readline())
        self.url, self.hook, self.urls = told["url"], told["hook"], told["urls"]

    def received(self, name: str) -> list[dict[str, Any]]:
        """The callbacks that came for a work."""
        found: list[dict[str, Any]] = requests.get(f"{self.url}/received/{name}", timeout=DEADLINE).json()
        return found

    def works(self, prompt: str) -> tuple[int, int]:
        """How often a vendor was asked for this, and how often it has taken it."""
        works = requests.get(f"{self.url}/works", timeout=DEADLINE).json()
        return works["seen"].get(prompt, 0), works["taken"].get(prompt, 0)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


class Door(Site):
    """A site with one vendor, to which works go in the words of one system. A work is named after its prompt."""

    def __init__(self, folder: Path, receiver: Receiver, town: Town, system: System) -> None:
        super().__init__(folder, receiver, {})
        self.town, self.system = town, system
        provider = system.provider
        self.write(lambda connection: self.add_channel(connection, provider, town.urls[provider], SECRETS[provider]))

    def ask(self, prompt: str) -> str | None:
        """The id of the work's task, or None if the server ended before it told one."""
        headers = {"Authorization": f"Bearer {LIVE}", "Idempotency-Key": prompt}
        body = self.system.request(prompt, f"{self.town.hook}/{prompt}")
        try:
            answer = requests.post(f"{self.url}{self.system.path}", json=body, headers=headers, timeout=DEADLINE)
        except requests.ConnectionError:
            return None
        assert answer.status_code in {200, 201}, answer.text
        return str(at(answer.json(), self.system.task_id))

    def ended(self, known: dict[str, str]) -> dict[str, Row[Any]]:
        """Wait until each task has ended and all callbacks are delivered; the tasks, by prompt."""
        until(lambda: all(row.finished_at for row in self.tasks()), "the end of all tasks")
        until(lambda: all(callback.state == "delivered" for callback in self.callbacks()), "all callbacks")
        rows = {row.id: row for row in self.tasks()}
        assert len(rows) == len(known)
        return {prompt: rows[task_id] for prompt, task_id in known.items()}

    def check_callback(self, prompt: str, row: Row[Any]) -> None:
        """The end was told, all that was told had a good signature, and nothing was untrue.

        A callback tells how it is when it is sent, so an earlier one that was late may tell of the end as well.
        """
        secret = self.read(lambda connection: access.callback_secret(connection, self.vault, self.account_id))
        [end] = [callback for callback in self.callbacks() if (callback.task_id, callback.event) == (row.id, row.state)]
        received = self.town.received(prompt)
        assert end.id in {one["headers"]["webhook-id"] for one in received}
        for one in received:
            Webhook(secret).verify(one["body"], one["headers"])
            outcome = self.system.outcome(msgspec.json.decode(one["body"]))
            assert outcome is (row.state == "succeeded") or (outcome is None and one["headers"]["webhook-id"] != end.id)

    def check_file(self, row: Row[Any]) -> None:
        """The way from the task's id leads to what was stored, if and only if it succeeded."""
        if row.state != "succeeded":
            assert row.results is None
            return
        sizes = [file["bytes"] for file in msgspec.json.decode(row.results) if file["role"] == "video"]
        found: Any = row.id
        headers = {"Authorization": f"Bearer {LIVE}"}
        for path, keys in self.system.way:
            answer = requests.get(self.url + path.format(found), headers=headers, timeout=DEADLINE)
            assert answer.status_code == 200, answer.text
            found = at(answer.json(), keys) if keys else answer.url
        content = requests.get(found, headers=headers, timeout=DEADLINE).content
        assert [len(content)] == sizes


@pytest.fixture(scope="module")
def telling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[Callable[[object], Future[None]]]:
    """Begins the chosen stories, a few at once; gives each one's outcome."""
    town = Town()
    wanted = [item.callspec.params["chosen"] for item in request.session.items if item.path == Path(__file__)]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(STORIES_AT_ONCE) as pool:
        folders = {chosen: tmp_path_factory.mktemp("story") for chosen in wanted}
        outcomes = {chosen: pool.submit(_tell, chosen, folders[chosen], town, receiver) for chosen in wanted}
        yield outcomes.__getitem__
        pool.shutdown(cancel_futures=True)
    town.close()


def _tell(story: Story, folder: Path, town: Town, receiver: Receiver) -> None:
    system = SYSTEMS[story.system]
    door = Door(folder, receiver, town, system)
    prompts = [f"{story.name}-{number}" for number in range(len(story.points))]
    known: dict[str, str] = {}
    victims: dict[str, str] = {}
    try:
        for number, point in enumerate((*story.points, None)):
            process = door.start(Kill(point) if point else None)
            # What a careful client does: everything again, under the same keys.
            for prompt in prompts[: number + 1] if process.started() else ():
                task_id = door.ask(prompt)
                if task_id is None:
                    break
                assert known.setdefault(prompt, task_id) == task_id
            if point:
                assert process.exit_code() == -signal.SIGKILL, f"it did not come to {point}"
                reached, victim = process.came_to()
                assert reached == point
                victims[victim] = point
                assert process.orphans() == []
        assert known.keys() == set(prompts)
        for prompt, row in door.ended(known).items():
            door.check_callback(prompt, row)
            door.check_file(row)
            _check_end(system, door.passed_through(row.id), victims.get(row.id), *town.works(prompt))
        door.check_money()
    finally:
        door.close()


def _check_end(system: System, states: list[str], killed_at: str | None, seen: int, taken: int) -> None:
    """No vendor is asked twice, and only what nobody can know is given back.

    Kling can be asked for a work under our own name for it: what it has is found and finished, not given back.
    """
    parked, succeeded = "parked" in states, states[-1] == "succeeded"
    assert seen <= 1
    assert succeeded == (taken == 1 and (not parked or system.provider == "kling")), (states, taken)
    assert states[-1] in {"succeeded", "failed"}
    assert states.count("submitting") == 1
    if killed_at in UNKNOWN:
        assert parked
        assert taken == (killed_at != "vendor.calling")


@pytest.mark.parametrize("chosen", STORIES, ids=lambda chosen: chosen.name)
def test_a_process_that_is_killed_costs_no_systems_clients_anything(
    chosen: Story, telling: Callable[[object], Future[None]]
) -> None:
    telling(chosen).result()
