"""The parts of a server without its network: a real database, a scripted vendor, and a clock that only moves when told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image
from sqlalchemy import insert

from genway.access import store as access
from genway.access.model import Asked, Caller
from genway.billing import ledger
from genway.callbacks import outbox
from genway.config import Config, load
from genway.db import Database
from genway.db.tables import channels
from genway.gateway import Gateway
from genway.media.address import AddressPolicy, guarded_session
from genway.media.fetch import Fetcher
from genway.media.library import Library
from genway.media.links import LinkSigner
from genway.media.store import Store
from genway.operations import ImageRequest, Operation, RestyleRequest, VideoRequest
from genway.providers.base import Failed, Finished, Poll, Provider, ProviderError, ResultFile, Running, Submission, Submitted
from genway.routing.channels import LOCAL, Channel
from genway.routing.choose import Router
from genway.tasks.model import State, Task
from genway.tasks.runner import Runner
from genway.tasks.store import TaskStore
from genway.vault import Vault

VAULT = Vault(b"x" * 32)
Step = Submitted | Finished | Running | Failed | Exception


class Clock:
    """Time that passes only while somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


class Scripted(Provider):
    """A vendor that answers as its script says; the last answer of each kind is repeated."""

    name = "scripted"
    base_url = "https://vendor.example"
    operations: tuple[type[Operation], ...] = (VideoRequest, ImageRequest)
    models = {"acme/one": "one", "acme/two": "two"}
    poll = Poll(first=1, factor=1, longest=1)

    scripts: dict[str, dict[str, list[Step | None]]] = {}
    seen: dict[str, list[Submission]] = {}
    cancelled: list[str] = []

    def _next(self, call: str) -> Any:
        steps = self.scripts[self.channel.name].setdefault(call, [])
        if not steps:
            return None
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            raise step
        return step

    async def submit(self, submission: Submission) -> Submitted | Finished:
        self.seen.setdefault(self.channel.name, []).append(submission)
        return self._next("submit") or Submitted(f"v-{submission.task_id}")

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        return self._next("check") or Running(0.5)

    async def cancel(self, vendor_id: str) -> None:
        self.cancelled.append(vendor_id)

    async def find(self, reference: str) -> Submitted | None:
        found: Submitted | None = self._next("find")
        return found


class ScriptedLocal(Scripted):
    """The same in place of the built-in renderer: may be repeated, does everything but what its operations leave out."""

    name = LOCAL
    repeatable = True
    operations = (VideoRequest, ImageRequest, RestyleRequest)

    def refusal(self, operation: Any) -> str | None:
        return None if isinstance(operation, self.operations) else f"the renderer does not do {operation.kind}"


class Stage:
    """One process of a server on a database; another Stage on the same one is the process that starts after a crash."""

    def __init__(self, database: Database, folder: Path, clock: Clock, settings: dict[str, Any], *, local: bool) -> None:
        self.database = database
        self.folder = folder
        self.clock = clock
        self.config: Config = load(overrides={"data": str(folder), **settings})
        self.local = local
        self.told: list[tuple[str, str]] = []
        self.checkpoint: Callable[[str, str], None] = lambda name, task_id: self.told.append((name, task_id))

    async def build(self, owner: str = "process-1") -> None:
        config = self.config
        policy = AddressPolicy(config.media.allow_private)
        self.sessions = [aiohttp.ClientSession(), guarded_session(policy, timeout=aiohttp.ClientTimeout(total=5))]
        store = Store(config.storage_url)
        self.library = Library(
            self.database,
            store,
            Fetcher(self.sessions[1], policy, config.media),
            LinkSigner(VAULT.link_key),
            config.media,
            self.folder / "scratch",
            self.clock,
        )
        self.store = TaskStore(config.callbacks, lambda dialect, state: state.ended)
        channel = Channel(id=LOCAL, name=LOCAL, provider=LOCAL, concurrency=2)
        self.router = Router(
            self.database,
            VAULT,
            self.sessions[0],
            local=channel if self.local else None,
            clock=self.clock,
            kinds={"scripted": Scripted, LOCAL: ScriptedLocal},
        )
        self.runner = Runner(
            self.database,
            self.store,
            self.router,
            self.library,
            config.tasks,
            owner=owner,
            clock=self.clock,
            changed=lambda task: self.gateway.changed(task),
            checkpoint=lambda name, task_id: self.checkpoint(name, task_id),
            sleep=self.clock.sleep,
        )
        self.gateway = Gateway(
            config, self.database, VAULT, self.store, self.router, self.library, self.runner, clock=self.clock
        )

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()

    def account(self, *, topup: int = 0, credit_limit: int | None = None, **key: Any) -> Caller:
        """A new account with a key; without limit unless said otherwise."""

        def write(connection: Any) -> Caller:
            name = f"acme-{len(access.list_accounts(connection))}"
            account = access.create_account(
                connection, VAULT, name, currency="USD", credit_limit=credit_limit, now=self.clock()
            )
            if topup:
                ledger.top_up(connection, account.id, "live", topup, "", self.clock())
            _, secret = access.create_key(connection, VAULT, account.id, name=name, now=self.clock(), **key)
            return access.authenticate(connection, VAULT.hash(secret), self.clock())

        return self.database.write_now(write)

    def channel(self, name: str, **values: Any) -> None:
        """Add a channel of the scripted vendor."""
        Scripted.scripts.setdefault(name, {})
        row = {
            "id": f"chn_{name}",
            "name": name,
            "provider": "scripted",
            "secret": VAULT.encrypt("s3cret"),
            "created_at": self.clock(),
            **values,
        }
        self.database.write_now(lambda connection: connection.execute(insert(channels), row).rowcount)
        self.clock.now += 2

    async def submit(self, caller: Caller, operation: Any = None, **arguments: Any) -> Task:
        asked = {name: arguments.pop(name) for name in ("idempotency_key", "fingerprint") if name in arguments}
        operation = operation or VideoRequest(model="acme/one", prompt="a cat")
        return await self.gateway.submit(operation, Asked(caller=caller, **asked), dialect="test", **arguments)

    async def until(self, caller: Caller, task: Task, *states: State) -> Task:
        """Let the runner work until the task is in one of `states` (or has ended)."""
        async with self.running():
            async with asyncio.timeout(20):
                while True:
                    now = await self.gateway.get(caller, task.id)
                    if now.state.ended or now.state in states:
                        return now
                    await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.runner.run())
        try:
            yield
        finally:
            await self.runner.stop(0)
            await job
            self.runner.stopping = False

    def audit(self) -> list[str]:
        return self.database.read_now(ledger.audit)

    def balance(self, caller: Caller) -> tuple[int, int]:
        return self.database.read_now(lambda connection: ledger.balance(connection, caller.account_id, caller.mode))

    def callbacks(self) -> Sequence[outbox.Callback]:
        return self.database.read_now(outbox.listing)

    def picture(self, name: str = "out.png") -> ResultFile:
        """A finished file on this machine."""
        path = self.folder / name
        Image.new("RGB", (32, 32), "orange").save(path)
        return ResultFile("image", path=str(path))


__all__ = ["VAULT", "Clock", "ProviderError", "Scripted", "ScriptedLocal", "Stage", "State"]
