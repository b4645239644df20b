"""A gateway that keeps its tasks in memory, for tests of what a dialect reads and answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from genway.access.model import Asked, Caller
from genway.billing.prices import Quote, QuoteLine
from genway.billing.usage import Usage
from genway.dialects.base import Dialect, handler
from genway.errors import (
    AddressRefused,
    InsufficientBalance,
    MediaRefused,
    NoChannel,
    RateLimited,
    TaskNotFound,
    Unauthenticated,
)
from genway.gateway import AccountView, Gateway, Told
from genway.operations import AnyOperation, DirectCall, MediaRef, PerformanceRequest
from genway.tasks.model import File, State, Task

KEY = "sk-live"
OTHER_KEY = "sk-other"
NOW = 1_724_313_052.25
CALLERS = {
    KEY: Caller(account_id="acc_1", key_id="key_1", name="live", mode="live"),
    OTHER_KEY: Caller(account_id="acc_2", key_id="key_2", name="other", mode="live", concurrent_tasks=3),
}
IMAGE = File(
    role="image", media_id="med_i", content_type="image/png", bytes=5, sha256="i", url="http://gen.test/media/med_i.png"
)
FILES = (
    File(
        role="video",
        media_id="med_v",
        content_type="video/mp4",
        bytes=123,
        sha256="v",
        extension="mp4",
        width=1280,
        height=768,
        seconds=10,
        url="http://gen.test/media/med_v.mp4?signature=v",
    ),
    File(
        role="poster", media_id="med_p", content_type="image/jpeg", bytes=7, sha256="p", url="http://gen.test/media/med_p.jpg"
    ),
    File(
        role="last_frame",
        media_id="med_l",
        content_type="image/jpeg",
        bytes=8,
        sha256="l",
        url="http://gen.test/media/med_l.jpg",
    ),
)


class FakeGateway(Gateway):
    """Accepts everything, but for what a test tells it to refuse."""

    def __init__(self) -> None:
        self.points_per_unit = 100
        self.tasks: dict[str, Task] = {}
        self.callback_urls: list[str | None] = []
        self.media: list[tuple[str, str, tuple[str, ...]]] = []
        self.refuse: Exception | None = None
        self.local = True
        self.unlimited = False
        self.budget_left: int | None = None
        self.used: list[Usage] = []
        self.on_wait: Callable[[], object] = lambda: None
        self.calls: list[DirectCall] = []
        self.answers: dict[str, dict[str, Any]] = {}

    def base_url(self, requested: str) -> str:
        return requested.rstrip("/")

    async def authenticate(self, secret: str) -> Caller:
        if secret == "sk-busy":
            raise RateLimited("too many requests", retry_after=7.4)
        if secret not in CALLERS:
            raise Unauthenticated("unknown key")
        return CALLERS[secret]

    async def account(self, caller: Caller) -> AccountView:
        return AccountView(caller.account_id, "USD", 12_345_678, 0, self.budget_left, self.unlimited)

    async def usage(self, caller: Caller, *, since: float, before: float) -> Sequence[Usage]:
        return self.used

    async def accept_media(self, caller: Caller, value: str, *, field: str, kinds: tuple[str, ...]) -> MediaRef:
        self.media.append((field, value, kinds))
        if value.startswith("http://10."):
            raise AddressRefused("a private address", field=field)
        if value.startswith(("http://", "https://")):
            return MediaRef(url=value)
        if value.startswith("broken"):
            raise MediaRefused("not a picture", field=field)
        return MediaRef(media_id="med_" + value[-4:])

    async def quote(self, operation: AnyOperation, asked: Asked, *, callback_url: str | None = None) -> Quote:
        return Quote(operation.model, "USD", 500_000, (QuoteLine("second", 10, 50_000, 500_000),), "local", ("a warning",))

    async def submit(
        self,
        operation: AnyOperation,
        asked: Asked,
        *,
        dialect: str,
        context: dict[str, Any] | None = None,
        callback_url: str | None = None,
    ) -> Task:
        if isinstance(operation, PerformanceRequest) and operation.model == "runway/act_one":
            raise NoChannel("no channel can do performance with runway/act_one")
        if operation.model == "runway/gen2" and getattr(operation, "prompt", "") == "poor":
            raise InsufficientBalance("the price is 0.50 USD and the balance is 0.10 USD")
        if self.refuse is not None:
            raise self.refuse
        task = Task(
            id=f"0198f2c0-0000-7000-8000-{len(self.tasks):012d}",
            account_id=asked.caller.account_id,
            key_id=asked.caller.key_id,
            mode=asked.caller.mode,
            dialect=dialect,
            operation=operation,
            # Through JSON and back, as the database has it.
            context=msgspec.json.decode(msgspec.json.encode(context or {})),
            base_url=asked.base_url,
            request_id=asked.request_id,
            callback_url=callback_url,
            state=State.QUEUED,
            progress=0.0,
            local=self.local,
            provider="local" if self.local else None,
            channel_id=None,
            vendor_id=None,
            attempt=0,
            details={},
            warnings=("the built-in provider did the work",) if self.local else (),
            quote={},
            held=500_000,
            charged=0,
            error_code=None,
            error_message=None,
            deadline_at=NOW + 3600,
            created_at=NOW,
            updated_at=NOW,
            started_at=None,
            finished_at=None,
        )
        self.tasks[task.id] = task
        self.callback_urls.append(callback_url)
        return task

    async def ask(self, asked: Asked, call: DirectCall) -> Told:
        if self.refuse is not None:
            raise self.refuse
        self.calls.append(call)
        return Told(self.answers.get(call.call, {}), self.local)

    async def cancel(self, caller: Caller, task_id: str) -> Task:
        return self.fail(State.CANCELLED, "cancelled", None)

    async def get(self, caller: Caller, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        if task is None or task.account_id != caller.account_id:
            raise TaskNotFound(f"there is no task {task_id}")
        return task

    async def list(
        self,
        caller: Caller,
        *,
        states: Collection[State] = (),
        before: float | None = None,
        limit: int = 50,
        offset: int = 0,
        dialect: str = "",
        context: Mapping[str, str] | None = None,
    ) -> list[Task]:
        found = [
            task
            for task in reversed(self.tasks.values())
            if task.account_id == caller.account_id
            and dialect in {"", task.dialect}
            and (context or {}).items() <= task.context.items()
            and (not states or task.state in states)
            and (before is None or task.created_at < before)
        ]
        return found[offset : offset + limit]

    async def wait(self, caller: Caller, task_id: str, seconds: float) -> Task:
        """Nothing works here while somebody waits: the task as `on_wait` leaves it."""
        await self.get(caller, task_id)
        self.on_wait()
        return await self.get(caller, task_id)

    async def delete(self, caller: Caller, task_id: str) -> None:
        await self.get(caller, task_id)
        del self.tasks[task_id]

    @property
    def last(self) -> Task:
        """The newest task."""
        return list(self.tasks.values())[-1]

    def change(self, **changes: Any) -> Task:
        """Move the newest task on."""
        task = msgspec.structs.replace(self.last, **changes)
        self.tasks[task.id] = task
        return task

    def succeed(self, **changes: Any) -> Task:
        return self.change(
            state=State.SUCCEEDED,
            progress=1.0,
            files=FILES,
            charged=500_000,
            updated_at=NOW + 291,
            finished_at=NOW + 291,
            **changes,
        )

    def fail(
        self, state: State = State.FAILED, code: str = "vendor_error", message: str | None = "the vendor is on fire"
    ) -> Task:
        return self.change(state=state, error_code=code, error_message=message, updated_at=NOW + 9, finished_at=NOW + 9)


def client_of(dialect: Dialect) -> TestClient[Litestar]:
    """A client of an application that has this dialect alone; it sends the live key. Its state has no gateway yet."""
    app = Litestar([handler(dialect)], openapi_config=None, request_max_body_size=None)
    client = TestClient(app, base_url="http://gen.test")
    client.headers["Authorization"] = f"Bearer {KEY}"
    return client
