"""What the matrix of formats and providers is played on: stand-in vendors, sites with one channel, and a receiver."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import requests
from sqlalchemy import Connection, Row, select
from standardwebhooks import Webhook

from conformance.clients import CLIENTS, Client
from durability.stage import LIVE, TEST, TESTS, Receiver, Site, until
from genway import providers
from genway.access import store as access
from genway.db import Database
from genway.db.tables import task_events, tasks
from genway.providers.base import Provider
from genway.routing.channels import LOCAL, Channel, add_channel
from systems import SECRETS

# How long a story may take on a busy machine.
DEADLINE = 150.0
PATIENCE = 60.0
SECOND = "second genway"
# How long a channel waits for an answer, and how long a busy vendor asks to be left alone.
TIMEOUT, RETRY_AFTER = 5.0, "0.2"
# MiniMax's other way to say that it is busy comes under HTTP 200 and names no time, so that it is left alone for long.
# It knows no call that stops a work, but for one of the second format that waits.
MINIMAX: dict[str, Any] = {"throttled": "vendor:http_throttled", "stops": False}


class Upstream(NamedTuple):
    """A provider as it is connected here.

    vendor: who stands in for it, by the name of a provider in the town; `SECOND` for another genway, which is spoken to
    under `prefix`. model: the vendor's own name of the model that does all the work, qualified with the system that it
    belongs to. seconds: the durations that this model makes. throttled: what of the town's words makes it refuse with 429.
    stops: whether work of this model that has been begun can be stopped, where the provider can stop any.
    """

    provider: str
    vendor: str
    secret: str
    model: str
    seconds: tuple[int, ...] = (5, 10)
    options: Mapping[str, str] = {}
    prefix: str = ""
    throttled: str = "vendor:throttled"
    stops: bool = True

    @property
    def behind(self) -> bool:
        """Whether another genway does the work."""
        return self.vendor == SECOND

    @property
    def kind(self) -> type[Provider]:
        return providers.discover()[self.provider]

    @property
    def finds(self) -> bool:
        """Whether an attempt whose answer was lost can be found: by asking for it, or in what the vendor calls back about."""
        return self.kind.find is not Provider.find or self.kind.from_callback is not Provider.from_callback

    @property
    def cancels(self) -> bool:
        """Whether it can stop work that it has begun."""
        return self.stops and self.kind.cancel is not Provider.cancel


UPSTREAMS = {
    "runwayml": Upstream("runwayml", "runwayml", SECRETS["runwayml"], "gen4.5"),
    "runway_compat": Upstream("runway_compat", "runway_compat", SECRETS["runway_compat"], "gen4"),
    "luma": Upstream("luma", "luma", SECRETS["luma"], "ray-2", (5, 9)),
    "luma_compat": Upstream("luma_compat", "luma", SECRETS["luma"], "ray-v2", (5,)),
    "kling": Upstream("kling", "kling", SECRETS["kling"], "kling-v1"),
    "minimax": Upstream("minimax", "minimax", SECRETS["minimax"], "MiniMax-Hailuo-02", (6, 10), **MINIMAX),
    "minimax v2": Upstream("minimax", "minimax", SECRETS["minimax"], "MiniMax-H3", tuple(range(4, 16)), **MINIMAX),
    "minimax_compat": Upstream("minimax_compat", "minimax", SECRETS["minimax"], "MiniMax-Hailuo-02", (6, 10), **MINIMAX),
    "pika": Upstream("pika", "pika", SECRETS["pika"], "v2.2"),
    "pika_compat": Upstream("pika_compat", "pika", SECRETS["pika"], "2.2"),
    "pika_compat mirror": Upstream("pika_compat", "pika", SECRETS["pika"], "2.2", options={"format": "mirror"}),
}
# Another genway in each format that a provider speaks and a client of ours does.
SECOND_GENWAYS = {
    f"{SECOND} by {name}": UPSTREAMS[name]._replace(vendor=SECOND, secret=LIVE, throttled="wire:throttled", prefix=prefix)
    for name, prefix in {
        "runwayml": "/runwayml",
        "runway_compat": "",
        "luma": "",
        "luma_compat": "",
        "kling": "/kling",
        "minimax_compat": "",
        "pika_compat": "",
        "pika_compat mirror": "",
    }.items()
}
PLACES = {**UPSTREAMS, **SECOND_GENWAYS}


class Works(NamedTuple):
    """How often vendors were asked for a work, have taken it, and were told to stop it."""

    seen: int
    taken: int
    cancelled: int


class Vendors:
    """The stand-ins, each on its own socket, in a process of their own."""

    def __init__(self) -> None:
        self._process, line = _started("standins.town", "--steps", "2", "--retry-after", RETRY_AFTER)
        told = msgspec.json.decode(line)
        self._url, self.urls = told["url"], told["urls"]
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def picture(self) -> str:
        """Where a picture is that everybody can read."""
        return f"{self.urls['kling']}/files/0.png"

    def works(self, words: str) -> Works:
        """What became of the works whose prompts have these words."""
        found = self._session.get(f"{self._url}/works", params={"words": words}, timeout=DEADLINE).json()
        return Works(*(sum(found[name].values()) for name in Works._fields))

    def close(self) -> None:
        self._session.close()
        _end(self._process)


@contextmanager
def wire(to: str) -> Iterator[str]:
    """The address of a wire to a server."""
    process, url = _started("standins.wire", "--to", to)
    try:
        yield url
    finally:
        _end(process)


def _started(module: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A process that says in its first line where it is, and that line."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


class Hook(NamedTuple):
    """One callback as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return msgspec.json.decode(self.body)


class Hooks:
    """Takes callbacks, each task's at an address of its own, and answers challenges."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received: dict[str, list[Hook]] = defaultdict(list)
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                challenge = msgspec.json.decode(body).get("challenge")
                answer = msgspec.json.encode({"challenge": challenge} if challenge else {})
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                if challenge is None:
                    with hooks._changed:
                        headers = {name.lower(): value for name, value in self.headers.items()}
                        hooks._received[self.path].append(Hook(headers, body))
                        hooks._changed.notify_all()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self) -> str:
        """An address that nobody has been told yet."""
        return f"http://127.0.0.1:{self._server.server_port}/{uuid.uuid4().hex}"

    def wait_for(self, address: str, holds: Callable[[Hook], bool]) -> Hook:
        """The first callback at the address of which that is true."""
        path = f"/{address.rpartition('/')[2]}"

        def found() -> Hook | None:
            return next((hook for hook in self._received[path] if holds(hook)), None)

        with self._changed:
            hook = self._changed.wait_for(found, DEADLINE)
        assert hook is not None, f"no such callback among {self._received[path]}"
        return hook

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class House:
    """A running gateway before one upstream, or before none: then the built-in provider does the work of a test key."""

    def __init__(self, name: str, site: Site, database: Database, hooks: Hooks, vendors: Vendors, behind: House | None) -> None:
        self.name, self.site, self.hooks, self.vendors, self.behind = name, site, hooks, vendors, behind
        self.local = name == LOCAL
        self._database = database
        self.secret = self.read(lambda connection: access.callback_secret(connection, site.vault, site.account_id))

    @property
    def upstream(self) -> Upstream:
        return PLACES[self.name]

    def client(self, form: str) -> Client:
        return CLIENTS[form](self.site.url, TEST if self.local else LIVE)

    def ended(self, client: Client, task_id: str, hook: str = "") -> Any:
        """The answer to the format's query once the task has ended, by its own words. hook: where that is told."""
        if hook:
            self.hooks.wait_for(hook, lambda each: client.read(each.content)[0] != "running")
        end = time.monotonic() + DEADLINE
        while client.read(answer := client.answer(task_id))[0] == "running":
            assert time.monotonic() < end, f"{task_id} at {self.name} has not ended"
            threading.Event().wait(0.2)
        return answer

    def told(self, client: Client, hook: str) -> Any:
        """The end as the callback tells it, whose signature is good."""
        callback = self.hooks.wait_for(hook, lambda each: client.read(each.content)[0] != "running")
        Webhook(self.secret).verify(callback.body, callback.headers)
        return callback.content

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """What the database says."""
        return self._database.read_now(work)

    def row(self, task_id: str) -> Row[Any]:
        """The task as it is stored."""
        row: Row[Any] = self.read(lambda connection: connection.execute(select(tasks).where(tasks.c.id == task_id)).one())
        return row

    def rows(self, words: str) -> list[Row[Any]]:
        """The tasks that were asked for in these words."""
        query = select(tasks).where(tasks.c.request.contains(words))
        rows: list[Row[Any]] = self.read(lambda connection: connection.execute(query).all())
        return rows

    def passed_through(self, task_id: str) -> list[str]:
        """The states of a task, in order."""
        query = select(task_events.c.after).where(task_events.c.task_id == task_id).order_by(task_events.c.id)
        states: list[str] = self.read(lambda connection: list(connection.execute(query).scalars()))
        return states

    def notes(self, task_id: str) -> list[str]:
        """Why a task has become what it is, in order."""
        query = select(task_events.c.reason).where(task_events.c.task_id == task_id).order_by(task_events.c.id)
        reasons: list[str] = self.read(lambda connection: list(connection.execute(query).scalars()))
        return reasons

    def reaches(self, task_id: str, state: str) -> Row[Any]:
        """The task once it is stored in that state."""
        until(lambda: self.row(task_id).state == state, f"{task_id} at {self.name} is {state}")
        return self.row(task_id)


@contextmanager
def house(
    name: str, folder: Path, vendors: Vendors, hooks: Hooks, receiver: Receiver, behind: House | None = None
) -> Iterator[House]:
    """A gateway whose one channel does every client's model with the upstream's own. behind: the genway that `SECOND` is."""
    with ExitStack() as stack:
        # What can be found is waited for, however busy the machine is; all else is to be given back soon.
        patience = {"tasks_parked_seconds": PATIENCE} if name in PLACES and PLACES[name].finds else {}
        site = stack.enter_context(closing(Site(folder, receiver, {}, **patience)))
        if name != LOCAL:
            upstream = PLACES[name]
            url = stack.enter_context(wire(behind.site.url)) if behind else vendors.urls[upstream.vendor]
            # The page's gen4, which a genway that is spoken to in that format is asked for, as well.
            models = {client.model: upstream.model for client in CLIENTS.values()} | {"runway/gen4": upstream.model}
            channel = Channel(
                id="",
                name=upstream.provider,
                provider=upstream.provider,
                base_url=url + upstream.prefix,
                timeout=TIMEOUT,
                models=models,
                options=upstream.options,
            )
            site.write(lambda connection: add_channel(connection, site.vault, channel, upstream.secret, time.time()))
        site.serve(server_public_url=site.url)
        database = stack.enter_context(closing(Database(site.config.database_url, readers=4)))
        yield House(name, site, database, hooks, vendors, behind)
