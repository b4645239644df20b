"""What MiniMax's dialect needs of a server beside its gateway: listings, files' bytes, and a receiver of callbacks."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import aiohttp
import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import NOW, FakeGateway, client_of
from genway.access.model import Caller
from genway.dialects.minimax import dialect
from genway.media.address import AddressPolicy, guarded_session
from genway.tasks.model import File, State, Task

Client = TestClient[Litestar]


def sound(extension: str = "mp3", **values: Any) -> File:
    return File(
        role="audio",
        media_id="med_a",
        content_type="audio/mpeg",
        bytes=6,
        sha256="a",
        extension=extension,
        seconds=9.9,
        url="http://gen.test/media/med_a.mp3?signature=a",
        **values,
    )


class Working(FakeGateway):
    """A gateway that does what is waited for.

    does: what becomes of the newest task when somebody waits for it; by itself nothing does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.does: Callable[[], object] = lambda: None
        self.waited: list[float] = []

    async def wait(self, caller: Caller, task_id: str, seconds: float) -> Task:
        self.waited.append(seconds)
        self.does()
        return await self.get(caller, task_id)

    def makes(self, *files: File) -> None:
        """Let the newest task succeed with these files as soon as somebody waits."""
        self.does = lambda: self.change(state=State.SUCCEEDED, files=files, finished_at=NOW + 3)


class Stored(msgspec.Struct):
    key: str
    bytes: int


class Files:
    """A library that holds the same few bytes under every id, and to which nothing was sent."""

    def __init__(self, content: bytes = b"ID3abc") -> None:
        self.content = content

    async def get(self, media_id: str) -> Stored:
        return Stored(media_id, len(self.content))

    async def uploaded(self, account_id: str, role: str, limit: int, *, since: float = 0) -> list[Any]:
        return []

    async def open(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            yield self.content[start:2]
            yield self.content[2:end]

        return chunks()


class Receiver:
    """Whoever is behind a callback's address: notes what comes, and answers a challenge as `answer` makes of it."""

    def __init__(self, answer: Callable[[str], Any] = lambda challenge: {"challenge": challenge}) -> None:
        self.seen: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.seen.append(body)
                content = msgspec.json.encode(answer(body["challenge"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/told"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving() -> Iterator[Client]:
    """A client of an application with MiniMax's dialect alone, which may call 127.0.0.0/8 and nothing else that is private."""

    async def make() -> aiohttp.ClientSession:
        return guarded_session(AddressPolicy(["127.0.0.0/8"]), timeout=aiohttp.ClientTimeout(total=5))

    with client_of(dialect) as client:
        session = client.blocking_portal.call(make)
        client.app.state.callback_http = session
        yield client
        client.blocking_portal.call(session.close)


def events(text: str) -> Sequence[Any]:
    """The objects of a stream of events."""
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in text.split("\n\n") if line]
