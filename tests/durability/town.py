"""All video vendors at once, and a site to which works go in the words of every system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import requests
from sqlalchemy import Row
from standardwebhooks import Webhook

from durability.stage import DEADLINE, LIVE, TESTS, Receiver, Site, until
from genway.access import store as access
from systems import SECRETS, SYSTEMS, System, at

MIRROR = System(
    *("pika.web", "pika", "/pika/generate"),
    {"model": "2.2"},
    *("promptText", ("id",), ("videos", 0, "status")),
    (("/pika/feed/{}", ("videos", 0, "resultUrl")),),
    calls_back=False,
)
FORMATS = SYSTEMS | {MIRROR.name: MIRROR}


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

    def stops(self, vendor_id: str) -> int:
        """How often a vendor was told to stop this."""
        paths: list[str] = requests.get(f"{self.url}/stopped", timeout=DEADLINE).json()
        own = vendor_id.rpartition(":")[2]
        return sum(own in path for path in paths)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


class Door(Site):
    """A site with a channel to each vendor; one work goes in through each of the formats `names`.

    title: what the works are named after. words: what their prompts order from the vendors. channel: values of each channel.
    """

    def __init__(
        self,
        folder: Path,
        receiver: Receiver,
        town: Town,
        names: Iterable[str],
        *,
        title: str,
        words: str = "",
        channel: dict[str, Any] | None = None,
    ) -> None:
        # All tasks are at one step together: in one transaction, and as callbacks to one receiver.
        super().__init__(folder, receiver, {}, database_group_wait_seconds=0.05, callbacks_per_host=32)
        self.town, self.title, self.words = town, title, words
        self.systems = {name: FORMATS[name] for name in names}
        for provider in sorted({system.provider for system in self.systems.values()}):
            self.write(
                lambda c, name=provider: self.add_channel(c, name, town.urls[name], SECRETS[name], **(channel or {}))  # type: ignore[misc]
            )

    def name(self, system: System) -> str:
        return f"{self.title}-{system.name}"

    def prompt(self, system: System) -> str:
        return f"{self.name(system)} {self.words}".strip()

    def ask_all(self) -> dict[str, str]:
        """Submit all works at the same time; the ids of those that the server told before it ended, by system."""
        with ThreadPoolExecutor(len(self.systems)) as pool:
            told = pool.map(self._ask, self.systems.values())
        return {name: task_id for name, task_id in zip(self.systems, told, strict=True) if task_id is not None}

    def cancel_all(self, known: dict[str, str]) -> None:
        """Cancel all tasks at the same time; the server may end before it answers."""
        with ThreadPoolExecutor(len(known)) as pool:
            list(pool.map(self._cancel, known.values()))

    def _ask(self, system: System) -> str | None:
        headers = {"Authorization": f"Bearer {LIVE}", "Idempotency-Key": self.name(system)}
        body = system.request(self.prompt(system), f"{self.town.hook}/{self.name(system)}")
        try:
            answer = requests.post(f"{self.url}{system.path}", json=body, headers=headers, timeout=DEADLINE)
        except requests.ConnectionError:
            return None
        assert answer.status_code in {200, 201}, answer.text
        return str(at(answer.json(), system.task_id))

    def _cancel(self, task_id: str) -> None:
        headers = {"Authorization": f"Bearer {LIVE}"}
        try:
            answer = requests.post(f"{self.url}/v1/tasks/{task_id}/cancel", headers=headers, timeout=DEADLINE)
        except requests.ConnectionError:
            return
        assert answer.status_code == 200, answer.text

    def ended(self, known: dict[str, str]) -> dict[str, Row[Any]]:
        """Wait until each task has ended, all callbacks are delivered and all vendors told; the tasks, by system."""
        until(lambda: all(row.finished_at and row.stop_at is None for row in self.tasks()), "the end of all tasks")
        until(lambda: all(callback.state == "delivered" for callback in self.callbacks()), "all callbacks")
        rows = {row.id: row for row in self.tasks()}
        assert sorted(rows) == sorted(known.values())
        return {name: rows[task_id] for name, task_id in known.items()}

    def check_callback(self, system: System, row: Row[Any]) -> None:
        """The end was told, all that was told had a good signature, and nothing was untrue.

        A callback tells how it is when it is sent, so an earlier one that was late may tell of the end as well.
        """
        if not system.calls_back:
            assert [callback for callback in self.callbacks() if callback.task_id == row.id] == []
            return
        secret = self.read(lambda connection: access.callback_secret(connection, self.vault, self.account_id))
        [end] = [callback for callback in self.callbacks() if (callback.task_id, callback.event) == (row.id, row.state)]
        received = self.town.received(self.name(system))
        assert end.id in {one["headers"]["webhook-id"] for one in received}
        for one in received:
            Webhook(secret).verify(one["body"], one["headers"])
            outcome = system.outcome(msgspec.json.decode(one["body"]))
            assert outcome is (row.state == "succeeded") or (outcome is None and one["headers"]["webhook-id"] != end.id)

    def check_file(self, system: System, row: Row[Any]) -> None:
        """The way from the task's id leads to what was stored, if and only if it succeeded."""
        if row.state != "succeeded":
            assert row.results is None
            return
        sizes = [file["bytes"] for file in msgspec.json.decode(row.results) if file["role"] == "video"]
        found: Any = row.id
        headers = {"Authorization": f"Bearer {LIVE}"}
        for path, keys in system.way:
            answer = requests.get(self.url + path.format(found), headers=headers, timeout=DEADLINE)
            assert answer.status_code == 200, answer.text
            found = at(answer.json(), keys) if keys else answer.url
        content = requests.get(found, headers=headers, timeout=DEADLINE).content
        assert [len(content)] == sizes
