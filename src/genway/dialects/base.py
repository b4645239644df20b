"""What every dialect shares: how a route is declared, how a request is read and how an error leaves.

A dialect is a module of this package, or one under the entry point group `genway.dialects`, with one value of
type `Dialect`. Its handlers are plain functions whose parameters say what they want:

    @route.post("/runway/pro/generate", "/runway/v1/pro/generate")
    async def generate(body: Generate, gateway: Gateway, asked: Asked) -> Answer: ...

`body` is read into its declared type (see `body.py`); path parameters come by their names; `asked` authenticates.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import re
import time
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, get_type_hints

import msgspec
from litestar import Request, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from genway.access.model import Asked, Caller
from genway.dialects.body import read
from genway.errors import GenwayError, InvalidRequest, Unauthenticated
from genway.gateway import Gateway, Quote
from genway.media import provisional
from genway.tasks.model import State, Task

ENTRY_POINTS = "genway.dialects"
JSON = "application/json"
LONGEST_WAIT = 60.0

_PARAMETER_TYPE = re.compile(r":\w+(?=})")

Handler = Callable[..., Awaitable["Answer | ASGIResponse"]]


class Answer(msgspec.Struct, frozen=True):
    """What goes back to the client: a status, a body that becomes JSON (None: empty), and headers."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}


class Format(msgspec.Struct, frozen=True):
    """How tasks that were asked for in one wire format are told of.

    render: the body that the format's own query would answer. callback_on: `ended` tells the end, `every` each change.
    """

    render: Callable[[Task], Any]
    callback_on: Literal["ended", "every"] = "ended"

    def tells(self, state: State) -> bool:
        return state.ended or self.callback_on == "every"


class Asking(msgspec.Struct, frozen=True):
    """What an error or a quote is rendered for: the route's path, when the request came (a monotonic clock), itself."""

    path: str
    started: float
    request_id: str
    request: Request[Any, Any, Any] | None = None

    @property
    def seconds(self) -> float:
        """How long the request has taken so far."""
        return time.perf_counter() - self.started

    def header(self, name: str) -> str | None:
        """A header of the request, if it was sent."""
        return self.request.headers.get(name) if self.request else None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One system's wire formats.

    formats: by the name stored with each task. render_error and render_quote turn an error, or the answer to a dry
    run, into this system's own shape. prefixes: the paths for which unknown routes are answered in that shape.
    key_headers: where clients of this system put their key, besides `Authorization`. unwrap: the key in a token of this
    system's own making that came in its place; raises Unauthenticated.
    """

    name: str
    routes: Sequence[Route]
    formats: Mapping[str, Format]
    prefixes: Sequence[str]
    render_error: Callable[[GenwayError, Asking], Answer]
    render_quote: Callable[[Quote, Asking], Answer]
    key_headers: Sequence[str] = ()
    unwrap: Callable[[str], str] | None = None


class Route(msgspec.Struct, frozen=True):
    """One handler and the places where it answers. submits: it begins a task, so it can be priced."""

    method: str
    paths: tuple[str, ...]
    handler: Handler
    submits: bool = False


class Router:
    """Collects the routes of a dialect: `route = Router()`, then `@route.get(...)`."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def on(self, method: str, *paths: str, submits: bool = False) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method, paths, handler, submits))
            return handler

        return register

    def submit(self, *paths: str) -> Callable[[Handler], Handler]:
        """A POST that begins a task."""
        return self.on("POST", *paths, submits=True)

    def get(self, *paths: str) -> Callable[[Handler], Handler]:
        return self.on("GET", *paths)

    def post(self, *paths: str) -> Callable[[Handler], Handler]:
        return self.on("POST", *paths)

    def delete(self, *paths: str) -> Callable[[Handler], Handler]:
        return self.on("DELETE", *paths)

    def put(self, *paths: str) -> Callable[[Handler], Handler]:
        return self.on("PUT", *paths)


@cache
def discover() -> dict[str, Dialect]:
    """Every dialect by name."""
    package = importlib.import_module("genway.dialects")
    found: dict[str, Dialect] = {}
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"genway.dialects.{module.name}")
        found |= {value.name: value for value in vars(loaded).values() if isinstance(value, Dialect)}
    for entry in entry_points(group=ENTRY_POINTS):
        dialect = entry.load()
        found[dialect.name] = dialect
    return found


def handler(dialect: Dialect) -> HTTPRouteHandler:
    """All routes of the dialect, as one handler for the web framework, which prepares each that it is given at length."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in dialect.routes:
        for path in route.paths:
            by_path.setdefault(path, {})[route.method] = route
    methods = {route.method for route in dialect.routes} | {"OPTIONS"}
    untyped = {_PARAMETER_TYPE.sub("", path): routes for path, routes in by_path.items()}

    async def endpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
        routes = untyped[request.scope["path_template"]]
        if request.method in routes:
            return await _answer(dialect, routes[request.method], request)
        if request.method == "OPTIONS":
            return Response(b"", status_code=204, headers={"Allow": ", ".join(sorted({*routes, "OPTIONS"}))})
        raise MethodNotAllowedException

    return HTTPRouteHandler(list(by_path), http_method=typing.cast(Any, methods), media_type=JSON, status_code=200)(endpoint)


async def _answer(dialect: Dialect, route: Route, request: Request[Any, Any, Any]) -> Response[bytes]:
    asking = Asking(request.scope["path"], time.perf_counter(), str(request.scope["state"].get("request_id", "")), request)
    try:
        # Who asks is looked at before what is asked: a stranger's body is not even read.
        caller = await _caller(request, dialect) if "asked" in wants(route) else None
        raw = await request.body() if _is_read(route, request) else b""
        async with provisional.request():
            answer = await call(route, request, raw, asking, _asked(request, caller, raw) if caller else None)
    except Quoted as quoted:
        answer = dialect.render_quote(quoted.quote, asking)
    except GenwayError as error:
        answer = error_answer(dialect, error, asking)
    return respond(answer)


@cache
def wants(route: Route) -> Mapping[str, Any]:
    """The parameters of a route's handler, by name, with their types."""
    hints = get_type_hints(route.handler)
    return {name: hints.get(name, str) for name in inspect.signature(route.handler).parameters}


async def call(
    route: Route, request: Request[Any, Any, Any], raw: bytes, asking: Asking, asked: Asked | None
) -> Answer | ASGIResponse:
    """Run a route's handler with what its parameters ask for. Raises what the handler raises."""
    given: dict[str, Any] = {}
    for name, type_ in wants(route).items():
        if name == "gateway":
            given[name] = request.app.state.gateway
        elif name == "asked":
            given[name] = asked
        elif name == "request":
            given[name] = request
        elif name == "asking":
            given[name] = asking
        elif name == "body":
            given[name] = raw if type_ is bytes else read(type_, raw)
        else:
            given[name] = request.path_params[name]
    return await route.handler(**given)


class Quoted(Exception):
    """A dry run has come to its end; carries the price."""

    def __init__(self, quote: Quote) -> None:
        super().__init__("dry run")
        self.quote = quote


async def submit(gateway: Gateway, asked: Asked, **arguments: Any) -> Task:
    """`gateway.submit`, or for a dry run the quote, which leaves in the dialect's shape without the handler's help."""
    if asked.dry_run:
        raise Quoted(await gateway.quote(arguments["operation"], asked, callback_url=arguments.get("callback_url")))
    task = await gateway.submit(asked=asked, **arguments)
    return await gateway.wait(asked.caller, task.id, asked.wait) if asked.wait else task


def error_answer(dialect: Dialect, error: GenwayError, asking: Asking) -> Answer:
    """The error in the dialect's shape, with `Retry-After` where waiting helps."""
    answer = dialect.render_error(error, asking)
    if error.retry_after is None:
        return answer
    return msgspec.structs.replace(answer, headers={**answer.headers, "Retry-After": str(max(1, round(error.retry_after)))})


class Ready(Response[bytes]):
    """An answer that is made already, like a stored file or a stream of events."""

    def __init__(self, made: ASGIResponse) -> None:
        super().__init__(b"")
        self._made = made

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return self._made


def respond(answer: Answer | ASGIResponse) -> Response[bytes]:
    if isinstance(answer, ASGIResponse):
        return Ready(answer)
    content = b"" if answer.body is None else msgspec.json.encode(answer.body)
    return Response(content, status_code=answer.status, headers=dict(answer.headers), media_type=JSON if content else None)


def credentials(request: Request[Any, Any, Any], dialect: Dialect) -> str:
    """The key the client sent: `Authorization` with or without `Bearer `, else the system's own header."""
    value = request.headers.get("authorization", "").strip()
    scheme, _, rest = value.partition(" ")
    if rest and scheme.lower() in {"bearer", "token", "key"}:
        return rest.strip()
    if value:
        return value
    return next((request.headers[name] for name in dialect.key_headers if name in request.headers), "")


async def _caller(request: Request[Any, Any, Any], dialect: Dialect) -> Caller:
    secret = credentials(request, dialect)
    if not secret:
        raise Unauthenticated("send your key in the header Authorization: Bearer <key>")
    gateway: Gateway = request.app.state.gateway
    return await gateway.authenticate(dialect.unwrap(secret) if dialect.unwrap else secret)


def _asked(request: Request[Any, Any, Any], caller: Caller, raw: bytes) -> Asked:
    gateway: Gateway = request.app.state.gateway
    token = request.headers.get("idempotency-key", "").strip()
    if len(token) > 255:
        raise InvalidRequest("at most 255 characters", field="Idempotency-Key")
    fingerprint = ""
    if token:
        fingerprint = hashlib.sha256(f"{request.method} {request.scope['path']}\n".encode() + raw).hexdigest()
    return Asked(
        caller=caller,
        base_url=gateway.base_url(str(request.base_url)),
        request_id=str(request.scope["state"].get("request_id", "")),
        idempotency_key=token,
        fingerprint=fingerprint,
        dry_run=_said(request, "x-genway-dry-run"),
        lenient=_said(request, "x-genway-lenient"),
        wait=_preferred_wait(request.headers.get("prefer", "")),
    )


def is_form(request: Request[Any, Any, Any]) -> bool:
    """Whether the body is a form, with files perhaps."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def _is_read(route: Route, request: Request[Any, Any, Any]) -> bool:
    """Whether the body is read before the handler is called: not a form for a handler that takes it as it arrives."""
    body = wants(route).get("body")
    return body is not None and not (body is bytes and is_form(request))


def _said(request: Request[Any, Any, Any], header: str) -> bool:
    return request.headers.get(header, "").lower() in {"1", "true", "yes"}


def _preferred_wait(prefer: str) -> float:
    """The seconds of `Prefer: wait=30` (RFC 7240), at most a minute; `wait` alone is a minute."""
    for preference in prefer.split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait":
            return min(float(value), LONGEST_WAIT) if value.strip().isdigit() else LONGEST_WAIT
    return 0
