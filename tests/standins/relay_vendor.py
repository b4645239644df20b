"""What the stand-ins for vendors of text share: a script, a record of all that was asked, and a wire that can fail.

`async with OpenAIVendor() as vendor:` serves in the running event loop, `with OpenAIVendor() as vendor:` in a thread of
its own for tests that have none. What is to happen to the next request is put into `vendor.next(...)`.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Self

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy
from multipart import MultipartParser, parse_options_header

DEADLINE = 10.0
MEBIBYTE = 1024 * 1024


class Upload(msgspec.Struct, frozen=True):
    """A file of a form."""

    filename: str
    content_type: str
    content: bytes


class Form(msgspec.Struct, frozen=True):
    """A multipart body as it was sent: names keep their brackets, and every name has all its values in order."""

    fields: dict[str, list[str]]
    files: dict[str, list[Upload]]


LOOKED_AFTER = re.compile(r"/(batches|files|responses)/")


class Seen(msgspec.Struct, kw_only=True):
    """A request as it came, and what became of it.

    parsed: the JSON or the `Form` of the body; None where there is none. status: what was answered, 0 while nothing was.
    answered: the bytes of the answer's body that were written. events: how many events of a stream were written.
    disconnected: the client left before the answer was complete.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDictProxy[str]
    raw: bytes
    parsed: Any = None
    status: int = 0
    answered: bytes = b""
    events: int = 0
    disconnected: bool = False


class Script(msgspec.Struct, kw_only=True, frozen=True):
    """What is to happen to one request; see `RelayVendor.next`."""

    path: str | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = {}
    delay: float = 0
    raw: bytes | None = None
    content_type: str = "text/event-stream"
    chunk: int | None = None
    cut_after: int | None = None
    error_after: int | None = None
    hold_after: int | None = None
    text: str | None = None
    thinking: str | None = None
    calls: tuple[tuple[str, Any], ...] | None = None
    usage: Any = None
    finish: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


class Events(msgspec.Struct, frozen=True):
    """A stream: every event complete with its blank line."""

    events: list[bytes]


Reply = Answer | Events


class Call(msgspec.Struct, frozen=True):
    """A request that is to be answered. ids: what stands in the braces of the route's path."""

    seen: Seen
    script: Script
    ids: Mapping[str, str]

    @property
    def body(self) -> Any:
        return self.seen.parsed


Handler = Callable[[Call], Reply]


class Refused(Exception):
    """The vendor says no. code: a word or an error type; param: what was wrong; details: more, for programs."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, details: Any = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.details = status, message, code, param, details


class RelayVendor(ABC):
    """A vendor's API on a real socket at `url`. requests: all that was asked, in order, refused or not."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Seen] = []
        self._scripts: list[Script] = []
        self._changed = threading.Condition()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def routes(self) -> dict[tuple[str, str], Handler]:
        """What answers to a method and a path."""

    @abstractmethod
    def authenticate(self, seen: Seen) -> None:
        """Raises Refused for a wrong key."""

    @abstractmethod
    def error_body(self, refused: Refused, seen: Seen) -> Any:
        """A refusal in the vendor's shape."""

    @abstractmethod
    def error_event(self, seen: Seen) -> bytes:
        """How the vendor says in the middle of a stream that it failed."""

    @abstractmethod
    def answer_headers(self, seen: Seen) -> dict[str, str]:
        """The headers of every answer."""

    def websockets(self) -> dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]:
        """What answers to a WebSocket at a path."""
        return {}

    def next(self, times: int = 1, **what: Any) -> None:
        """Say what is to happen to the next request, or so many of them, not yet spoken for.

        path: only a request of exactly this path counts; without it any but a GET. status, body, headers: answer with this
        (an error without a body says so in the vendor's shape; headers alone go with the usual answer). delay: seconds
        before the first byte. raw, content_type: these bytes are the body. chunk: write so many bytes at a time.
        cut_after: close the socket after so many events of a stream (0: before the first; of a whole answer: in its middle).
        error_after: after so many events comes the vendor's error event. hold_after: after so many events wait for
        `release()`. text, thinking, calls, usage, finish: what the model answers, in place of doing as it is told; usage
        and finish in the vendor's own words.
        """
        self._scripts += [Script(**what)] * times

    def release(self) -> None:
        """Let held streams go on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_until(self, found: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Return when `found`. Raises AssertionError after so many seconds. Only for other threads than the vendor's."""
        with self._changed:
            assert self._changed.wait_for(found, seconds), f"not within {seconds} s; seen: {self.requests}"

    def asked(self, path: str) -> list[Seen]:
        """The requests with that path."""
        return [seen for seen in self.requests if seen.path == path]

    @property
    def work(self) -> list[Seen]:
        """The requests but for questions about batches and responses of before, which a gateway asks of itself at any time."""
        return [seen for seen in self.requests if seen.method != "GET" or not LOOKED_AFTER.search(seen.path)]

    def forget(self) -> None:
        """Forget requests and scripts, and hold again what is to be held."""
        assert self._loop is not None
        self.requests.clear()
        self._scripts.clear()
        self._loop.call_soon_threadsafe(self._released.clear)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=600 * MEBIBYTE)
        for (method, path), handler in self.routes().items():
            app.router.add_route(method, path, self._serving(handler))
        for path, connected in self.websockets().items():
            app.router.add_get(path, connected)
        app.router.add_route("*", "/{path:.*}", self._serving(self._unknown))
        # Only with this does a handler hear at once that its client has gone.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(DEADLINE)

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self.__aexit__(), self._loop).result(DEADLINE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    def _unknown(self, call: Call) -> NoReturn:
        raise Refused(404, f"Unknown request URL: {call.seen.method} {call.seen.path}.", code="unknown_url")

    def _serving(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            query = dict(request.query)
            seen = Seen(method=request.method, path=request.path, query=query, headers=request.headers, raw=raw)
            with self._changed:
                self.requests.append(seen)
                script = self._script_for(seen)
                self._changed.notify_all()
            try:
                await asyncio.sleep(script.delay)
                return await self._write(request, seen, script, self._reply(handler, seen, script, request.match_info))
            except (asyncio.CancelledError, ConnectionError):
                seen.disconnected = True
                raise
            finally:
                with self._changed:
                    self._changed.notify_all()

        return serve

    def _script_for(self, seen: Seen) -> Script:
        for script in self._scripts:
            if script.path == seen.path or (script.path is None and seen.method != "GET"):
                self._scripts.remove(script)
                return script
        return Script()

    def _reply(self, handler: Handler, seen: Seen, script: Script, ids: Mapping[str, str]) -> Reply:
        try:
            self.authenticate(seen)
            seen.parsed = parsed(seen)
            if script.raw is not None:
                return Answer(script.raw, script.status or 200, script.content_type, script.headers)
            if script.body is not None:
                body = script.body if isinstance(script.body, bytes) else msgspec.json.encode(script.body)
                return Answer(body, script.status or 200, headers=script.headers)
            if script.status is not None and script.status >= 400:
                raise Refused(script.status, f"The stand-in was told to answer {script.status}.")
            return handler(Call(seen, script, ids))
        except Refused as refused:
            return Answer(msgspec.json.encode(self.error_body(refused, seen)), refused.status, headers=script.headers)

    async def _write(self, request: web.Request, seen: Seen, script: Script, reply: Reply) -> web.StreamResponse:
        status = reply.status if isinstance(reply, Answer) else 200
        response = web.StreamResponse(status=status, headers=self.answer_headers(seen) | dict(script.headers))
        if isinstance(reply, Answer):
            response.headers.update(reply.headers)
            response.content_type = reply.content_type
            if script.chunk is None:
                response.content_length = len(reply.body)
            pieces = [reply.body]
            if script.cut_after is not None:
                pieces = [reply.body[: len(reply.body) // 2], reply.body[len(reply.body) // 2 :]]
        else:
            response.content_type = "text/event-stream"
            response.charset = "utf-8"
            response.headers["Cache-Control"] = "no-cache"
            pieces = list(reply.events)
            if script.error_after is not None:
                pieces[script.error_after :] = [self.error_event(seen)]
        cut_after = script.cut_after
        if cut_after is not None and isinstance(reply, Answer):
            cut_after = min(cut_after, 1)
        if cut_after == 0:
            return self._cut(request, response)
        seen.status = response.status
        await response.prepare(request)
        for number, piece in enumerate(pieces):
            if number == script.hold_after:
                await self._released.wait()
            if number == cut_after:
                return self._cut(request, response)
            step = script.chunk or max(len(piece), 1)
            for start in range(0, len(piece), step):
                await response.write(piece[start : start + step])
                seen.answered += piece[start : start + step]
                await asyncio.sleep(0)
            with self._changed:
                seen.events += isinstance(reply, Events)
                self._changed.notify_all()
        await response.write_eof()
        return response

    @staticmethod
    def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response


def parsed(seen: Seen) -> Any:
    """The JSON or the form of a body. Raises Refused (400) for what is neither."""
    if not seen.raw:
        return None
    content_type, options = parse_options_header(seen.headers.get("Content-Type", ""))
    if content_type == "multipart/form-data":
        form = Form({}, {})
        for part in MultipartParser(io.BytesIO(seen.raw), options["boundary"], memory_limit=64 * MEBIBYTE):
            if part.filename:
                form.files.setdefault(part.name, []).append(Upload(part.filename, part.content_type, part.raw))
            else:
                form.fields.setdefault(part.name, []).append(part.value)
        return form
    if content_type != "application/json":
        raise Refused(400, f"Unsupported content type: '{content_type}'. This API takes 'application/json'.")
    try:
        return msgspec.json.decode(seen.raw)
    except msgspec.DecodeError as error:
        raise Refused(400, f"We could not parse the JSON body of your request. ({error})") from error
