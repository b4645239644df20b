"""What the tests of durability play with: a site that outlives its processes, a vendor, and a receiver of callbacks."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import requests
from sqlalchemy import Connection, Row, select
from standardwebhooks import Webhook

from durability.crashing_server import Kill, Process
from genway import config, server
from genway.access import store as access
from genway.billing import ledger
from genway.callbacks import outbox
from genway.db import Database
from genway.db.tables import task_events, tasks
from genway.routing.channels import Channel, add_channel
from genway.vault import open_vault

TESTS = Path(__file__).parents[1]
DEADLINE = 60.0
LIVE, TEST = "gw_live_durability", "gw_test_durability"
FUNDS = 1_000_000_000
VENDOR_KEY = "key_good"

# msgspec learns a type when it first meets it, and crashes when several threads, one for each story, teach it the same one.
config.load(environ={})


class Work(NamedTuple):
    """One request in the page's dialect; `prompt` is its own in the whole session. key: the one it is sent with."""

    prompt: str
    model: str
    ratio: str = "16:9"
    seconds: int = 5
    key: str = LIVE

    @property
    def body(self) -> dict[str, Any]:
        options = {"seconds": self.seconds}
        return {"model": self.model, "prompt": self.prompt, "ratio": self.ratio, "options": options}


def local_work(prompt: str, **changes: Any) -> Work:
    """A clip of one second and 128x128 pixels, of which each takes the built-in renderer well under a second."""
    return Work(prompt, "seedance2", "128:128", 1)._replace(**changes)


def official_work(prompt: str) -> Work:
    """What the official API can do and the page's dialect upstream cannot."""
    return Work(prompt, "gen4.5")


def page_work(prompt: str) -> Work:
    """What a gateway of the page's dialect can do and the official API cannot."""
    return Work(prompt, "gen2")


def until(holds: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Look again and again until `holds()` is true, and return it: what another process does wakes nobody here."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        threading.Event().wait(0.02)
    return found


class Received(NamedTuple):
    """One callback as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def task_id(self) -> str:
        return str(msgspec.json.decode(self.body)["data"]["task_id"])


class Receiver:
    """Takes callbacks of any number of sites, on a socket and threads of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received: dict[str, list[Received]] = defaultdict(list)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(204)
                self.end_headers()
                with receiver._changed:
                    one = Received(headers, body)
                    receiver._received[one.task_id].append(one)
                    receiver._changed.notify_all()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def of(self, task_id: str) -> list[Received]:
        """What came for a task so far."""
        with self._changed:
            return list(self._received[task_id])

    def wait_for(self, task_ids: Iterable[str], seconds: float = DEADLINE) -> None:
        """Wait until something came for each of the tasks."""
        wanted = set(task_ids)
        with self._changed:
            if not self._changed.wait_for(lambda: all(self._received.get(task_id) for task_id in wanted), seconds):
                missing = sorted(task_id for task_id in wanted if not self._received.get(task_id))
                raise AssertionError(f"no callback within {seconds:g} s of {', '.join(missing)}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Vendor:
    """The stand-in vendor in a process of its own, which outlives the gateway's."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "standins.runway_vendor", "--port", "0"],
            env=os.environ | {"PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def submits(self, prompt: str) -> list[dict[str, Any]]:
        """The submits that were seen whose prompt has these words."""
        answer = requests.get(f"{self.url}/_admin/submits", params={"prompt": prompt}, timeout=DEADLINE)
        found: list[dict[str, Any]] = answer.json()["submits"]
        return found

    def fault(self, kind: str, match: str, **options: Any) -> None:
        """Order a fault for the prompts that have the words `match`."""
        body = {"kind": kind, "match": match, **options}
        requests.post(f"{self.url}/_admin/faults", json=body, timeout=DEADLINE).raise_for_status()

    def settings(self, **changes: Any) -> None:
        requests.post(f"{self.url}/_admin/settings", json=changes, timeout=DEADLINE).raise_for_status()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


class Site:
    """A data folder with an account, a live and a test key, money and channels, and the processes that serve it in turn.

    channels: provider → base address. funds: what the account begins with, in millionths. settings: `GENWAY_*`
    variables without the prefix.
    """

    def __init__(
        self, folder: Path, receiver: Receiver, channels: dict[str, str], *, funds: int = FUNDS, **settings: Any
    ) -> None:
        self.folder = folder
        self.receiver = receiver
        self.funds = funds
        self.processes: list[Process] = []
        self.parents: list[subprocess.Popen[bytes]] = []
        # Bound and never listening, this keeps the port for the servers, which share it, and gets no connections.
        self._port = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self._port.setsockopt(socket.SOL_SOCKET, option, 1)
        self._port.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._port.getsockname()[1]}"
        values = {
            "data": folder / "data",
            "server_port": self._port.getsockname()[1],
            "server_drain_seconds": 5,
            "media_allow_private": "127.0.0.0/8",
            "tasks_parked_seconds": 1,
            "callbacks_first_wait_seconds": 0.5,
            "local_processes": 2,
            "log_format": "json",
            **settings,
        }
        self.variables = {f"GENWAY_{name.upper()}": str(value) for name, value in values.items()}
        self.config = config.load(environ=self.variables)
        self.config.data_dir.mkdir(parents=True, exist_ok=True)
        server.prepare(self.config)
        self.vault = open_vault(self.config)
        self.account_id = self.write(lambda connection: self._furnish(connection, channels))

    def _furnish(self, connection: Connection, channels: dict[str, str]) -> str:
        now = time.time()
        account = access.create_account(connection, self.vault, "durability", currency="USD", credit_limit=0, now=now)
        ledger.top_up(connection, account.id, "live", self.funds, "to begin with", now)
        access.create_key(connection, self.vault, account.id, name="live", secret=LIVE, now=now)
        access.create_key(connection, self.vault, account.id, name="test", mode="test", secret=TEST, now=now)
        for provider, base_url in channels.items():
            self.add_channel(connection, provider, base_url)
        return account.id

    def add_channel(self, connection: Connection, provider: str, base_url: str, secret: str = VENDOR_KEY, **more: Any) -> None:
        channel = Channel(id="", name=more.pop("name", provider), provider=provider, base_url=base_url, timeout=2, **more)
        add_channel(connection, self.vault, channel, secret, time.time())

    def start(self, kill: Kill | None = None, **settings: Any) -> Process:
        """One more process; it is starting when this returns."""
        variables = self.variables | {f"GENWAY_{name.upper()}": str(value) for name, value in settings.items()}
        process = Process(variables, self.folder / f"server-{len(self.processes)}.log", kill)
        self.processes.append(process)
        return process

    def serve(self, kill: Kill | None = None, **settings: Any) -> Process:
        """One more process, which takes requests when this returns."""
        process = self.start(kill, **settings)
        assert process.started(), (self.folder / f"server-{len(self.processes) - 1}.log").read_text()
        return process

    def start_workers(self, workers: int, **settings: Any) -> subprocess.Popen[bytes]:
        """A server of several processes, which takes requests when this returns."""
        variables = {f"GENWAY_{name.upper()}": str(value) for name, value in settings.items()}
        variables = self.variables | variables | {"GENWAY_SERVER_WORKERS": str(workers)}
        with (self.folder / f"workers-{len(self.parents)}.log").open("ab") as log:
            parent = subprocess.Popen(
                [sys.executable, "-m", "durability.crashing_server"],
                env=os.environ | variables | {"PYTHONPATH": str(TESTS)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.parents.append(parent)

        def serving() -> bool:
            assert parent.poll() is None, "it ended; its log says why"
            return len(psutil.Process(parent.pid).children()) == workers and self.ready()

        until(serving, "the workers are ready")
        return parent

    def ready(self) -> bool:
        """Whether somebody is there who can take work."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=DEADLINE).status_code == 200
        except requests.ConnectionError:
            return False

    def submit(self, work: Work, *, timeout: float = DEADLINE) -> requests.Response | None:
        """The answer, or None if the server ended before it gave one."""
        headers = {"Authorization": f"Bearer {work.key}", "Idempotency-Key": work.prompt}
        body = work.body | {"callback_url": self.receiver.url}
        try:
            return requests.post(f"{self.url}/runway/pro/generate", json=body, headers=headers, timeout=timeout)
        except requests.ConnectionError:
            return None

    def accepted(self, work: Work) -> str | None:
        """The id of the work's task, or None if the server ended before it told one."""
        answer = self.submit(work)
        if answer is None:
            return None
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["task_id"])

    def feed(self, task_id: str, key: str = LIVE) -> dict[str, Any]:
        """What the dialect's query answers."""
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.post(f"{self.url}/runway/feed", json={"task_id": task_id}, headers=headers, timeout=DEADLINE)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    @staticmethod
    def now() -> float:
        """The time by the servers' clock."""
        return time.time()

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """What the database says, asked from outside."""
        return self._database.read_now(work)

    def write(self, work: Callable[[Connection], Any]) -> Any:
        return self._database.write_now(work)

    @cached_property
    def _database(self) -> Database:
        return Database(self.config.database_url, readers=1)

    def tasks(self) -> list[Row[Any]]:
        rows: list[Row[Any]] = self.read(lambda connection: connection.execute(select(tasks)).all())
        return rows

    def passed_through(self, task_id: str) -> list[str]:
        """The states of a task, in order."""
        query = select(task_events.c.after).where(task_events.c.task_id == task_id).order_by(task_events.c.id)
        states: list[str] = self.read(lambda connection: list(connection.execute(query).scalars()))
        return states

    def wait_for_the_end(self) -> list[Row[Any]]:
        """Wait until each task has ended and told so; the tasks."""
        self.receiver.wait_for(row.id for row in self.tasks())
        return self.tasks()

    def check_money(self) -> None:
        """Nothing is held, the books are right, and the account paid for what succeeded and for nothing else."""

        def look(connection: Connection) -> None:
            assert ledger.audit(connection) == []
            rows = connection.execute(select(tasks)).all()
            for row in rows:
                assert row.charged == (row.held if row.state == "succeeded" else 0), row
            for mode in ("live", "test"):
                spent = sum(row.charged for row in rows if row.mode == mode)
                funds = self.funds if mode == "live" else 0
                assert ledger.balance(connection, self.account_id, mode) == (funds - spent, 0)
                key = access.get_key(connection, mode)
                assert (key.held, key.spent, key.active_tasks) == (0, spent, 0)

        self.read(look)

    def check_callbacks(self, rows: Iterable[Row[Any]]) -> None:
        """Each end was told with a good signature, a double under the same id, and in the words of the query."""
        secret = self.read(lambda connection: access.callback_secret(connection, self.vault, self.account_id))
        for row in rows:
            received = self.receiver.of(row.id)
            assert received, row
            assert len({one.headers["webhook-id"] for one in received}) == 1
            for one in received:
                Webhook(secret).verify(one.body, one.headers)
                assert msgspec.json.decode(one.body)["data"]["status"] == ("3" if row.state == "succeeded" else "2")

    def check_files(self, rows: Iterable[Row[Any]]) -> None:
        """What succeeded can be had, as it was stored."""
        for row in rows:
            if row.state != "succeeded":
                assert row.results is None
                continue
            files = {file["role"]: file for file in msgspec.json.decode(row.results)}
            link = self.feed(row.id, TEST if row.mode == "test" else LIVE)["video_url"]
            content = requests.get(link, timeout=DEADLINE).content
            assert hashlib.sha256(content).hexdigest() == files["video"]["sha256"]

    def check_vendor(self, vendor: Vendor, works: Sequence[Work]) -> None:
        """The vendor has seen each submit once at most, but for those that it refused itself."""
        for work in works:
            seen = vendor.submits(work.prompt)
            taken = [submit for submit in seen if submit["accepted"]]
            assert len(taken) <= 1, work
            assert len(seen) <= (2 if "vendor:throttled" in work.prompt else 1), work

    def check(self, vendor: Vendor, known: Mapping[Work, str]) -> list[Row[Any]]:
        """Wait for the end of all tasks, and check all that must hold then; the tasks."""
        rows = self.wait_for_the_end()
        assert {row.id for row in rows} == set(known.values())
        assert len(rows) == len(known)
        self.check_files(rows)
        self.check_callbacks(rows)
        self.check_vendor(vendor, list(known))
        self.check_money()
        return rows

    def callbacks(self) -> list[outbox.Callback]:
        rows: list[outbox.Callback] = self.read(lambda connection: outbox.listing(connection, limit=1000))
        return rows

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for parent in self.parents:
            parent.kill()
            parent.wait()
        self._database.close()
        self._port.close()
