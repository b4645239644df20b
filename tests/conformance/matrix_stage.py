"""What the matrix of formats and providers is played on: stand-in vendors, sites with one channel, and a receiver."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row
from standardwebhooks import Webhook

from conformance.clients import CLIENTS, Client
from durability.stage import LIVE, TEST, Receiver, Site
from genway.access import store as access
from genway.routing.channels import LOCAL
from standins.kling_vendor import ACCESS, SECRET, KlingVendor
from standins.luma_vendor import KEY as LUMA_KEY
from standins.luma_vendor import LumaVendor
from standins.minimax_vendor import KEY as MINIMAX_KEY
from standins.minimax_vendor import MiniMaxVendor
from standins.pika_vendor import KEY as PIKA_KEY
from standins.pika_vendor import PikaVendor
from standins.runway_vendor import KEY as RUNWAY_KEY
from standins.runway_vendor import RunwayVendor

DEADLINE = 60.0
SECOND_GENWAY = "second genway"


class Upstream(NamedTuple):
    """A provider as it is connected here.

    vendor: who stands in for it, by name. model: the vendor's own name of the model that does all the work, qualified with
    the system that it belongs to. seconds: the durations that this model makes.
    """

    provider: str
    vendor: str
    secret: str
    model: str
    seconds: tuple[int, ...] = (5, 10)
    options: Mapping[str, str] = {}


UPSTREAMS = {
    "runwayml": Upstream("runwayml", "runway", RUNWAY_KEY, "gen4.5"),
    "runway_compat": Upstream("runway_compat", "runway", RUNWAY_KEY, "gen4"),
    "luma": Upstream("luma", "luma", LUMA_KEY, "ray-2", (5, 9)),
    "luma_compat": Upstream("luma_compat", "luma", LUMA_KEY, "ray-v2", (5,)),
    "kling": Upstream("kling", "kling", f"{ACCESS}:{SECRET}", "kling-v1"),
    "minimax": Upstream("minimax", "minimax", MINIMAX_KEY, "MiniMax-Hailuo-02", (6, 10)),
    "minimax_compat": Upstream("minimax_compat", "minimax", MINIMAX_KEY, "MiniMax-Hailuo-02", (6, 10)),
    "pika": Upstream("pika", "pika", PIKA_KEY, "v2.2"),
    "pika_compat": Upstream("pika_compat", "pika", PIKA_KEY, "2.2"),
    "pika_compat mirror": Upstream("pika_compat", "pika", PIKA_KEY, "2.2", options={"format": "mirror"}),
    SECOND_GENWAY: Upstream("runway_compat", SECOND_GENWAY, TEST, "gen4"),
}


# A text alone has the style `cinematic` on the page, which not every upstream has a word for; and what is said of it.
UNFIT = {("pika", "runway.pro"): "style", ("pika_compat mirror", "runway.pro"): "words for a look"}


class Vendors:
    """The stand-ins, each on its own socket, in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        kinds: dict[str, Callable[[], Any]] = {
            "runway": RunwayVendor,
            "luma": LumaVendor,
            "kling": KlingVendor,
            "minimax": MiniMaxVendor,
            "pika": PikaVendor,
        }
        self.by_name = {name: self._run(self._stack.enter_async_context(kind())) for name, kind in kinds.items()}

    def url(self, name: str) -> str:
        return str(self.by_name[name].url)

    @property
    def picture(self) -> str:
        """Where a picture is that everybody can read."""
        return f"{self.url('kling')}/files/0.png"

    def order(self, name: str, order: Callable[[Any], None]) -> None:
        """Let something go wrong at a vendor, in the vendor's own thread."""

        async def ordered() -> None:
            order(self.by_name[name])

        self._run(ordered())

    def close(self) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)


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

    def __init__(self, name: str, site: Site, hooks: Hooks, picture: str) -> None:
        self.name, self.site, self.hooks, self.picture = name, site, hooks, picture
        self.local = name == LOCAL
        self.seconds = UPSTREAMS[name].seconds if not self.local else tuple(range(1, 11))
        self.secret = site.read(lambda connection: access.callback_secret(connection, site.vault, site.account_id))

    def client(self, form: str) -> Client:
        return CLIENTS[form](self.site.url, TEST if self.local else LIVE)

    def ended(self, client: Client, task_id: str) -> tuple[str, str]:
        """How the task has ended, by the format's own words, once it has; and the result's address, or the reason."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            word, said = client.state(task_id)
            if word != "running":
                return word, said
            threading.Event().wait(0.1)
        raise AssertionError(f"{task_id} at {self.name} has not ended")

    def row(self, task_id: str) -> Row[Any]:
        """The task as it is stored."""
        [row] = [row for row in self.site.tasks() if row.id == task_id]
        return row

    def told(self, client: Client, hook: str) -> tuple[str, str]:
        """The end as the callback tells it, whose signature is good."""
        callback = self.hooks.wait_for(hook, lambda each: client.read(each.content)[0] != "running")
        Webhook(self.secret).verify(callback.body, callback.headers)
        word, said = client.read(callback.content)
        return word, said


@contextmanager
def house(name: str, folder: Path, vendors: Vendors, hooks: Hooks, receiver: Receiver) -> Iterator[House]:
    """A gateway whose one channel does every client's model with the upstream's own."""
    behind: Site | None = None
    site = Site(folder, receiver, {})
    try:
        if name != LOCAL:
            upstream = UPSTREAMS[name]
            if upstream.vendor == SECOND_GENWAY:
                (folder / "behind").mkdir()
                behind = Site(folder / "behind", receiver, {})
                behind.serve()
            url = behind.url if behind else vendors.url(upstream.vendor)
            models = {client.model: upstream.model for client in CLIENTS.values()}

            def connect(connection: Connection) -> None:
                site.add_channel(connection, upstream.provider, url, upstream.secret, models=models, options=upstream.options)

            site.write(connect)
        site.serve()
        yield House(name, site, hooks, vendors.picture)
    finally:
        site.close()
        if behind:
            behind.close()
