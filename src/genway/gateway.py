"""The one door between outside and inside: submit, quote, get, list, cancel, delete and wait."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, insert, select, update
from uuid_utils import uuid7

from genway.access import store as access
from genway.access.limits import RequestLimits
from genway.access.model import Asked, Caller
from genway.billing import ledger, money, prices, standing, usage
from genway.billing.prices import Price, Quote, QuoteLine
from genway.config import Config
from genway.db import Database, checkpoints
from genway.db.checkpoints import Checkpoint
from genway.db.tables import idempotency, tasks
from genway.errors import (
    Conflict,
    GenwayError,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    RateLimited,
    TaskNotFound,
    Unavailable,
)
from genway.media import provisional
from genway.media.address import AddressPolicy, check_text
from genway.media.library import Library
from genway.operations import AnyOperation, DirectCall, KeptRequest, MediaRef, Operation, Parent, to_json
from genway.providers.base import ProviderError, VendorBusy, VendorLost, VendorModerated, VendorRefused
from genway.routing.channels import LOCAL
from genway.routing.choose import Admission, Router
from genway.tasks.forced import forced, refuse
from genway.tasks.metrics import ACCEPTED
from genway.tasks.model import UNDER_WAY, File, State, Task
from genway.tasks.runner import Runner
from genway.tasks.store import TaskStore
from genway.vault import Vault

__all__ = ["AccountView", "Gateway", "Quote", "QuoteLine", "Told"]

KEY_FRESH_SECONDS = 1.0
PRICES_FRESH_SECONDS = 1.0
TASK_ID = re.compile(r"[0-9a-f-]{1,64}")
MOST_KEYS_REMEMBERED = 10_000
LOCAL_WARNING = (
    "no channel is configured for this, so the built-in provider did the work: it moves the picture, it is not a vendor's model"
)


class AccountView(msgspec.Struct, frozen=True):
    """What the holder of a key may see of the account. Amounts are millionths; None: without limit."""

    id: str
    currency: str
    available: int
    held: int
    budget_left: int | None
    unlimited: bool


class Event(msgspec.Struct, frozen=True):
    """A task went from one state to another, at a time in Unix seconds; or something was noted while it stayed."""

    at: float
    before: State | None
    after: State


class Told(msgspec.Struct, frozen=True):
    """What a vendor answered to a direct call, and whether that was the built-in provider."""

    data: dict[str, Any]
    local: bool


Asking = TypeVar("Asking", bound=Operation)


class Gateway:
    """Made once a process; all methods are safe to call at the same time."""

    def __init__(
        self,
        config: Config,
        database: Database,
        vault: Vault,
        store: TaskStore,
        router: Router,
        library: Library,
        runner: Runner,
        *,
        clock: Callable[[], float],
        checkpoint: Checkpoint = checkpoints.silent,
    ) -> None:
        self.points_per_unit = config.billing.points_per_unit
        self._config = config
        self._database = database
        self._vault = vault
        self._store = store
        self._router = router
        self._library = library
        self._runner = runner
        self._clock = clock
        self._checkpoint = checkpoint
        self._policy = AddressPolicy(config.media.allow_private)
        self.limits = RequestLimits(config.limits.store, config.limits.requests_per_minute)
        self._callers: dict[str, tuple[float, Caller]] = {}
        self._prices: tuple[float, tuple[Price, ...]] = (float("-inf"), ())
        self._currencies: dict[str, str] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def base_url(self, requested: str) -> str:
        """What links start with: the configured public address, else the one the client asked at."""
        return (self._config.server.public_url or requested).rstrip("/")

    async def authenticate(self, secret: str) -> Caller:
        """Who holds this key; counts one request. Raises Unauthenticated, or RateLimited with `retry_after`."""
        caller = await self.identify(secret)
        await self.limits.count(caller)
        return caller

    async def identify(self, secret: str) -> Caller:
        """Who holds this key. Raises Unauthenticated."""
        hashed, now = self._vault.hash(secret), self._clock()
        known = self._callers.get(hashed)
        if known is None or now - known[0] > KEY_FRESH_SECONDS:
            caller = await self._database.read(lambda connection: access.authenticate(connection, hashed, now))
            if len(self._callers) >= MOST_KEYS_REMEMBERED:
                self._callers.clear()
            known = self._callers[hashed] = (now, caller)
        return known[1]

    async def account(self, caller: Caller) -> AccountView:
        """What the key may spend."""

        def read(connection: Connection) -> AccountView:
            account = access.get_account(connection, caller.account_id)
            key = access.get_key(connection, caller.key_id)
            purse, spending = standing.of_account(connection, account.id, caller.mode), standing.of_key(connection, key.id)
            left = None if key.budget is None else max(key.budget - spending.held - spending.spent, 0)
            unlimited = caller.mode == "test" or account.credit_limit is None
            return AccountView(account.id, account.currency, purse.available, purse.held, left, unlimited)

        return await self._database.read(read)

    async def accept_media(self, caller: Caller, value: str, *, field: str, kinds: tuple[str, ...]) -> MediaRef:
        """A client's value of a media field. Raises AddressRefused or MediaRefused naming `field`.

        A file that came inline is gone again when the request ends without having begun a task.
        """
        ref = await self._library.accept(caller.account_id, value, field=field, kinds=kinds)
        if ref.media_id and ref.media_id not in value:
            provisional.came(partial(self._discard, ref.media_id))
        return ref

    async def quote(self, operation: AnyOperation, asked: Asked, *, callback_url: str | None = None) -> Quote:
        """Check a request and price it, without doing it. Raises what `submit` would, but for balance and limits."""
        try:
            admission = await self._check(operation, asked, callback_url)
            return await self._price(admission, asked.caller)
        finally:
            await self._discard_all(operation)

    async def submit(
        self,
        operation: AnyOperation,
        asked: Asked,
        *,
        dialect: str,
        context: dict[str, Any] | None = None,
        callback_url: str | None = None,
    ) -> Task:
        """Accept a piece of work: when this returns, the task, its hold and its idempotency key are on disk.

        dialect: the wire format, by whose rendering the task is told of; context: what that needs to remember.
        Raises InvalidRequest, NoChannel, InsufficientBalance, BudgetExceeded, RateLimited, IdempotencyMismatch,
        Unauthenticated (a key that was revoked this instant) or Unavailable. Nothing is charged then.
        """
        task = None
        try:
            task, fresh = await self._submit(operation, asked, dialect, context or {}, callback_url)
        finally:
            if task is None or not fresh:
                await self._discard_all(operation)
        if fresh:
            provisional.used()
        return task if fresh else await self._view(task)

    async def _submit(
        self, operation: AnyOperation, asked: Asked, dialect: str, context: dict[str, Any], callback_url: str | None
    ) -> tuple[Task, bool]:
        """The task, and whether it is new."""
        caller, now, task_id = asked.caller, self._clock(), str(uuid7())
        if asked.idempotency_key:
            before = await self._database.read(lambda connection: self._same_request(connection, asked))
            if before is not None:
                return before, False
        admission = await self._check(operation, asked, callback_url)
        operation = admission.operation
        quote = await self._price(admission, caller)
        local = admission.seat is self._router.local
        deadline_at = now + self._config.tasks.deadline_seconds
        values = {
            "id": task_id,
            "account_id": caller.account_id,
            "key_id": caller.key_id,
            "mode": caller.mode,
            "dialect": dialect,
            "operation": operation.kind,
            "model": quote.model,
            "request": to_json(operation).decode(),
            "context": msgspec.json.encode(context).decode(),
            "base_url": asked.base_url,
            "request_id": asked.request_id,
            "callback_url": callback_url,
            "state": State.QUEUED,
            "local": local,
            "provider": LOCAL if local else None,
            "warnings": msgspec.json.encode(quote.warnings).decode(),
            "quote": msgspec.json.encode(quote).decode(),
            "held": quote.total,
            "next_at": now,
            "deadline_at": deadline_at,
            "created_at": now,
            "updated_at": now,
        }
        most = self._config.limits.concurrent_tasks if caller.concurrent_tasks is None else caller.concurrent_tasks

        def write(connection: Connection) -> Task | None:
            if asked.idempotency_key:
                same = self._same_request(connection, asked)
                if same is not None:
                    return same
                connection.execute(
                    insert(idempotency),
                    {
                        "key_id": caller.key_id,
                        "token": asked.idempotency_key,
                        "fingerprint": asked.fingerprint,
                        "task_id": task_id,
                        "created_at": now,
                    },
                )
            access.admit(connection, caller, quote.total, most, now)
            ledger.hold(connection, caller.account_id, caller.mode, task_id, quote.total, now, operation.kind)
            self._store.insert(connection, values)
            self._checkpoint("accepting.before_commit", task_id)
            return None

        await checkpoints.reach(self._checkpoint, "accepting.ready", task_id)
        same = await self._database.write(write)
        if same is not None:
            return same, False
        await checkpoints.reach(self._checkpoint, "accepting.committed", task_id)
        ACCEPTED.labels(caller.mode, operation.kind, quote.model).inc()
        self._runner.wake()
        accepted = Task(
            id=task_id,
            account_id=caller.account_id,
            key_id=caller.key_id,
            mode=caller.mode,
            dialect=dialect,
            operation=operation,
            context=context,
            base_url=asked.base_url,
            request_id=asked.request_id,
            callback_url=callback_url,
            state=State.QUEUED,
            progress=0.0,
            local=local,
            provider=LOCAL if local else None,
            channel_id=None,
            vendor_id=None,
            attempt=0,
            details={},
            warnings=quote.warnings,
            quote=msgspec.to_builtins(quote),
            held=quote.total,
            charged=0,
            error_code=None,
            error_message=None,
            deadline_at=deadline_at,
            created_at=now,
            updated_at=now,
            started_at=None,
            finished_at=None,
        )
        return accepted, True

    async def ask(self, asked: Asked, call: DirectCall) -> Told:
        """Have a vendor do something small at once, for nothing.

        Raises NoChannel, TaskNotFound and Conflict for what it names, InvalidRequest for what the vendor refuses, RateLimited,
        NotFound or Unavailable.
        """
        call = await self._resolved(call, asked.caller)
        try:
            seat, data = await self._router.ask(call, test=asked.caller.mode == "test")
        except ProviderError as error:
            raise _as_ours(error) from None
        return Told(data, seat is self._router.local)

    async def get(self, caller: Caller, task_id: str) -> Task:
        """A task of the caller's account and mode, with fresh links. Raises TaskNotFound, also for a foreign one."""
        return await self._view(await self._own(caller, task_id))

    async def show(self, task_id: str) -> Task | None:
        """A task whoever owns it, also a deleted one: for callbacks and the operator."""
        task = await self._database.read(lambda connection: self._store.get(connection, task_id, deleted=True))
        return await self._view(task) if task else None

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
        kinds: Collection[str] = (),
        past: str = "",
        oldest_first: bool = False,
    ) -> list[Task]:
        """The account's tasks, newest first; only those of one wire format, or those that remember these words of it.

        kinds: only those of such operations. past: only what comes after this task in the list. Raises TaskNotFound for it.
        """
        cursor = await self._own(caller, past) if past else None
        found = await self._database.read(
            lambda connection: self._store.listing(
                connection,
                account_id=caller.account_id,
                states=states,
                before=before,
                limit=limit,
                offset=offset,
                mode=caller.mode,
                dialect=dialect,
                context=context or {},
                kinds=kinds,
                past=cursor,
                oldest_first=oldest_first,
            )
        )
        return [await self._view(task) for task in found]

    async def usage(self, caller: Caller, *, since: float, before: float) -> Sequence[usage.Usage]:
        """What the account's tasks and calls of that time were charged, by day and model."""
        return await self._database.read(
            lambda connection: usage.by_day(connection, caller.account_id, caller.mode, since, before)
        )

    async def cancel(self, caller: Caller, task_id: str) -> Task:
        """End a task and give its money back; one that has ended is answered as it is. Raises TaskNotFound."""
        task = await self._own(caller, task_id)
        return await self._view(await self.end(task) or await self._own(caller, task_id))

    async def end(self, task: Task) -> Task | None:
        """Cancel whoever's task; None where it has ended already."""
        now = self._clock()

        def write(connection: Connection) -> Task | None:
            return self._store.end(
                connection, task.id, (State.QUEUED, *UNDER_WAY), State.CANCELLED, now, "cancelled", error_code="cancelled"
            )

        ended = await checkpoints.commit(self._database, self._checkpoint, "ending", task.id, write)
        self._runner.attend(task.id)
        if ended is not None:
            self.changed(ended)
        return ended

    async def delete(self, caller: Caller, task_id: str) -> None:
        """Cancel a task that is under way, forget one that has ended; afterwards it cannot be found."""
        task = await self._own(caller, task_id)
        if not task.state.ended:
            await self.end(task)
        now = self._clock()
        await self._database.write(
            lambda connection: connection.execute(update(tasks).where(tasks.c.id == task.id).values(deleted_at=now)).rowcount
        )

    async def wait(self, caller: Caller, task_id: str, seconds: float) -> Task:
        """The task as soon as it has ended, or as it is after `seconds`."""
        return await self._until(caller, task_id, seconds, lambda task: task.state.ended)

    async def change(self, caller: Caller, seen: Task, seconds: float) -> Task:
        """The task as soon as its state or progress differs from what was `seen`, or as it is after `seconds`."""
        before = (seen.state, seen.progress)
        return await self._until(caller, seen.id, seconds, lambda task: (task.state, task.progress) != before)

    async def history(self, caller: Caller, task_id: str) -> tuple[Task, Sequence[Event]]:
        """A task and what has happened to it so far, oldest first. Raises TaskNotFound."""
        task = await self.get(caller, task_id)
        events = await self._database.read(lambda connection: self._store.events(connection, task_id))
        return task, [Event(row["at"], row["before"], row["after"]) for row in events]

    async def _until(self, caller: Caller, task_id: str, seconds: float, met: Callable[[Task], bool]) -> Task:
        event = asyncio.Event()
        self._waiting.setdefault(task_id, set()).add(event)
        until = self._clock() + seconds
        try:
            while True:
                task = await self._own(caller, task_id)
                left = until - self._clock()
                if met(task) or left <= 0:
                    return await self._view(task)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, 1.0))
                event.clear()
        finally:
            self._waiting[task_id].discard(event)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    def vendor_called(self, reference: str, signature: str, body: Any) -> None:
        """A vendor calls about an attempt. Raises NotFound where the address is not one that we gave out."""
        if not self._vault.signed(f"vendor:{reference}", signature):
            raise NotFound("there is nothing here")
        self._runner.vendor_called(reference.rpartition("-")[0], body)

    def changed(self, task: Task) -> None:
        """Tell those who wait for a task that it moved."""
        for event in self._waiting.get(task.id, ()):
            event.set()

    def points(self, amount: int) -> int:
        """Millionths of a currency unit in points, rounded up."""
        return -(-amount * self.points_per_unit // money.MICRO)

    async def _discard_all(self, operation: AnyOperation) -> None:
        """Delete the files that came inside a request which began no task; nobody else knows their ids."""
        for ref in operation.media():
            if ref.media_id:
                await self._discard(ref.media_id)

    async def _discard(self, media_id: str) -> None:
        stored = await self._library.get(media_id)
        if stored is not None and stored.role == "input":
            await self._library.remove(stored.id)

    async def _check(self, operation: AnyOperation, asked: Asked, callback_url: str | None) -> Admission:
        if callback_url:
            check_text(callback_url, self._policy, field="callback_url")
        test = asked.caller.mode == "test"
        if test:
            refuse(forced(operation))
        operation = await self._resolved(operation, asked.caller)
        return await self._router.admit(operation, test=test, lenient=asked.lenient)

    async def _resolved(self, operation: Asking, caller: Caller) -> Asking:
        """The operation with what is known of the earlier tasks that it names. Raises TaskNotFound, Conflict."""
        if operation.continues:
            operation = msgspec.structs.replace(operation, parent=await self._resolve(operation.continues, caller))
        if operation.uses:
            uses = tuple([await self._resolve(used, caller) for used in operation.uses])
            operation = msgspec.structs.replace(operation, uses=uses)
            if {parent.channel_id for parent in uses if parent.channel_id} - {operation.holder}:
                raise Conflict("what is named here is kept by different channels, so no one of them can use all of it")
        return operation

    async def _resolve(self, parent: Parent, caller: Caller) -> Parent:
        """Fill in what is known of an earlier task. Raises TaskNotFound, Conflict."""
        task = await self._own(caller, parent.task_id)
        made = [file for file in task.files if file.role in {"video", "image", "audio"}]
        kept = isinstance(task.operation, KeptRequest)
        if task.state != State.SUCCEEDED or (parent.clip >= len(made) and not kept):
            raise Conflict(f"task {task.id} has no result to go on from: it is {task.state}")
        return msgspec.structs.replace(
            parent,
            channel_id=task.channel_id or "",
            vendor_id=task.vendor_id or "",
            result=None if kept else MediaRef(media_id=made[parent.clip].media_id),
            kind=task.operation.kind,
            kept=task.details.get("kept", ""),
        )

    async def _price(self, admission: Admission, caller: Caller) -> Quote:
        operation, seat = admission.operation, admission.seat
        local = seat is self._router.local
        named_local = operation.model.startswith(f"{LOCAL}/")
        model = operation.model if named_local or not local or caller.mode == "test" else f"{LOCAL}/{operation.kind}"
        now = self._clock()
        if now - self._prices[0] > PRICES_FRESH_SECONDS:
            self._prices = (now, await self._database.read(prices.current))
        currency = self._currencies.get(caller.account_id)
        if currency is None:
            account = await self._database.read(lambda connection: access.get_account(connection, caller.account_id))
            currency = self._currencies[caller.account_id] = account.currency
        warnings = (LOCAL_WARNING,) if local and not named_local and caller.mode == "live" else ()
        quote = prices.quote(operation, model, self._prices[1], currency)
        return msgspec.structs.replace(quote, served_by=seat.provider.name, warnings=warnings + admission.warnings)

    def _same_request(self, connection: Connection, asked: Asked) -> Task | None:
        row = connection.execute(
            select(idempotency).where(idempotency.c.key_id == asked.caller.key_id, idempotency.c.token == asked.idempotency_key)
        ).one_or_none()
        if row is None:
            return None
        if row.fingerprint != asked.fingerprint:
            raise IdempotencyMismatch(
                "this Idempotency-Key was used before with another request; use a new one", field="Idempotency-Key"
            )
        task = self._store.get(connection, row.task_id)
        if task is None:
            raise TaskNotFound("the task of this Idempotency-Key was deleted")
        return task

    async def _own(self, caller: Caller, task_id: str) -> Task:
        task = None
        if TASK_ID.fullmatch(task_id):
            task = await self._database.read(
                lambda connection: self._store.get(connection, task_id, account_id=caller.account_id)
            )
        if task is None or task.mode != caller.mode:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return task

    async def _view(self, task: Task) -> Task:
        position = None
        if task.state == State.QUEUED:
            position = await self._database.read(lambda connection: self._store.queue_position(connection, task))
        files = tuple(self._link(task, file) for file in task.files)
        return msgspec.structs.replace(task, files=files, queue_position=position)

    def _link(self, task: Task, file: File) -> File:
        expires_at = int(self._clock()) + self._config.storage.link_seconds
        url = self._library.link(
            task.base_url, file.media_id, file.extension, account_id=task.account_id, expires_at=expires_at
        )
        return msgspec.structs.replace(file, url=url)

    async def ready(self) -> None:
        """Raises Unavailable where no work could be taken right now."""
        await asyncio.wait_for(self._database.write(lambda connection: None), 5)
        if not await self._router.seats() and self._router.local is None:
            raise Unavailable("no channel is configured and the built-in provider is switched off")


def _as_ours(error: ProviderError) -> GenwayError:
    """A vendor's refusal of a direct call, as the client is told of it."""
    match error:
        case VendorRefused() | VendorModerated():
            return InvalidRequest(error.message)
        case VendorLost():
            return NotFound(error.message)
        case VendorBusy():
            return RateLimited(error.message, retry_after=error.retry_after)
    return Unavailable("the channel that would do this cannot be used right now")
