"""Puts the parts together: what answers every request of one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol
from litestar.types import Receive, Scope, Send

from genway import health
from genway.access import store as access
from genway.callbacks import outbox
from genway.callbacks.delivery import Deliverer, Rendered
from genway.config import Config
from genway.db import Database, checkpoints
from genway.db.checkpoints import Checkpoint
from genway.dialects import base as dialects
from genway.dialects.genway import vendor_calls
from genway.edge import Edge
from genway.errors import GenwayError, InvalidRequest, NotFound
from genway.gateway import Gateway
from genway.media.address import AddressPolicy, guarded_session
from genway.media.fetch import Fetcher, fetching_timeout
from genway.media.library import Library
from genway.media.links import LinkSigner
from genway.media.routes import stored_media
from genway.media.store import Store
from genway.relay import batches, expiry, files, kept, realtime, unserved
from genway.relay.administration import Administration
from genway.relay.callers import Callers
from genway.relay.catalogue import Catalogue
from genway.relay.client_secrets import ClientSecrets
from genway.relay.desk import Desk
from genway.relay.endings import Endings
from genway.relay.journal import Journal
from genway.relay.keeper import Keeper
from genway.relay.kinds import ROUTES
from genway.relay.meter import Meter
from genway.relay.quota import Quota
from genway.relay.realtime import Realtime
from genway.relay.relay import Relay
from genway.relay.seats import Board
from genway.relay.sending import Sender
from genway.relay.straight import Straight
from genway.routing.channels import LOCAL, Channel
from genway.routing.choose import Router
from genway.tasks.model import State, Task
from genway.tasks.runner import Runner
from genway.tasks.store import TaskStore
from genway.vault import open_vault
from genway.wire import asgi
from genway.wire.exchange import Exchange
from genway.wire.pool import Pool

log = structlog.get_logger(__name__)

LOCAL_AT_ONCE = 32
HOUSEKEEPING_SECONDS = 600
ABANDONED_SECONDS = 24 * 3600
FORGOTTEN_AT_ONCE = 1000
IDEMPOTENCY_SECONDS = 7 * 24 * 3600


class Web(Litestar):
    """The web framework without its plugins for libraries that we do not use: importing pydantic alone takes half a second."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return plugins


class Application:
    """One process of a server. `start` before the first request, `stop` after the last.

    owner: the process's name in leases. checkpoint: told each step of each task, for tests that end the process there.
    """

    def __init__(
        self,
        config: Config,
        *,
        owner: str,
        clock: Callable[[], float] = time.time,
        checkpoint: Checkpoint = checkpoints.silent,
    ) -> None:
        self.config = config
        self.owner = owner
        self._clock = clock
        self._checkpoint = checkpoint
        self._dialects = dialects.discover()
        self._formats = {name: form for dialect in self._dialects.values() for name, form in dialect.formats.items()}
        self.litestar = Web(
            [
                *(dialects.handler(dialect) for dialect in self._dialects.values()),
                stored_media,
                *health.routes,
            ],
            exception_handlers={Exception: self._failed},
            openapi_config=None,
            logging_config=None,
            request_max_body_size=None,
        )
        self.edge = Edge(self.litestar, config.server, self._dialects.values())
        self._background: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything but what is relayed, as an ASGI application."""
        await self.edge(scope, receive, send)

    def take(self, exchange: Exchange) -> bool:
        """A request that is here whole, at once, if it is a call that can be sent on straight away."""
        kind = ROUTES.get(exchange.path)
        return kind is not None and self.straight.take(exchange, kind)

    async def handle(self, exchange: Exchange) -> None:
        """One request: on the hot path where it is to be relayed, else through the web framework."""
        kind = ROUTES.get(exchange.path)
        if kind is not None and exchange.method != "OPTIONS":
            await self.relay.handle(exchange, kind)
        elif exchange.path in realtime.PATHS and exchange.method == "GET":
            await self.realtime.handle(exchange)
        elif (found := self.desk.find(exchange)) is not None:
            await self.desk.handle(exchange, *found)
        else:
            await asgi.serve(self, exchange)

    async def start(self) -> None:
        config = self.config
        config.data_dir.mkdir(parents=True, exist_ok=True)
        vault = self._vault = open_vault(config)
        policy = AddressPolicy(config.media.allow_private)
        self.database = Database(
            config.database_url, group_wait=config.database.group_wait_seconds, readers=config.database.readers
        )
        self._vendor_http = aiohttp.ClientSession(
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=200),
        )
        self._fetch_http = guarded_session(policy, timeout=fetching_timeout())
        self._callback_http = guarded_session(policy, timeout=aiohttp.ClientTimeout(total=config.callbacks.timeout_seconds))
        self.library = Library(
            self.database,
            Store(config.storage_url, config.storage.options),
            Fetcher(self._fetch_http, policy, config.media),
            LinkSigner(vault.link_key),
            config.media,
            config.data_dir / "scratch",
            self._clock,
            link_seconds=config.storage.link_seconds,
            keep_days=config.storage.keep_days,
            max_upload_bytes=config.server.max_upload_bytes,
        )
        store = TaskStore(config.callbacks, self._tells)
        self.router = Router(
            self.database,
            vault,
            self._vendor_http,
            local=self._local_channel() if config.local.enabled else None,
            clock=self._clock,
        )
        self.runner = Runner(
            self.database,
            store,
            self.router,
            self.library,
            config.tasks,
            owner=self.owner,
            clock=self._clock,
            changed=self._changed,
            checkpoint=self._checkpoint,
            vendor_callback=self._vendor_callback,
            processes=config.server.workers,
        )
        self.gateway = Gateway(
            config,
            self.database,
            vault,
            store,
            self.router,
            self.library,
            self.runner,
            clock=self._clock,
            checkpoint=self._checkpoint,
        )
        self.deliverer = Deliverer(
            self.database,
            self._callback_http,
            policy,
            config.callbacks,
            render=self._render,
            secret_of=lambda account_id: self.database.read(
                lambda connection: access.callback_secret(connection, vault, account_id)
            ),
            owner=self.owner,
            clock=self._clock,
            lease_seconds=config.tasks.lease_seconds,
            checkpoint=self._checkpoint,
        )
        self.store = store
        self._pool = Pool()
        board = Board(self.database, vault, self._vendor_http, self._pool, clock=self._clock)
        sender = Sender(self._pool, board, config.relay)
        self.relay = Relay(
            config,
            self.database,
            Callers(self.gateway.identify, self.gateway.limits, config.relay, processes=config.server.workers),
            board,
            sender,
            Meter(
                self.database,
                config.relay,
                Journal(config.data_dir, self.owner),
                owner=self.owner,
                clock=self._clock,
                checkpoint=self._checkpoint,
            ),
            clock=self._clock,
        )
        self.straight = Straight(config, self.relay, sender, self._pool)
        keeper = Keeper(config, self.database, board, self._pool, self.library.store, clock=self._clock)
        sender.keeper = self.relay.keeper = keeper
        self.relay.endings = Endings(keeper, self.relay.cards.known, self.relay.cards.batch)
        client_secrets = ClientSecrets(self.database, vault, self.relay.callers, clock=self._clock)
        self.realtime = Realtime(self.relay, self._pool, client_secrets, most=config.server.max_body_bytes, clock=self._clock)
        self.desk = Desk(
            self.relay,
            Catalogue(self.relay, self.router, local=config.local.enabled).routes,
            Quota(self.database).routes,
            Administration(self.relay, self.router, self.database).routes,
            kept.routes,
            files.routes,
            batches.routes,
            client_secrets.routes,
            unserved.routes,
        )
        await self.relay.start()
        state = self.litestar.state
        state.gateway, state.library, state.application = self.gateway, self.library, self
        state.callback_http = self._callback_http
        self._background = [
            asyncio.create_task(self.runner.run(), name="runner"),
            asyncio.create_task(self.deliverer.run(), name="callbacks"),
            asyncio.create_task(self._keep_house(), name="housekeeping"),
            asyncio.create_task(self.relay.endings.run(), name="batches"),
        ]
        for job in self._background:
            job.add_done_callback(_report)

    async def stop(self, within: float) -> None:
        """Finish what is finished in so many seconds, and hand over the rest to whoever starts next."""
        await asyncio.gather(self.runner.stop(within), self.deliverer.stop(within))
        for job in self._background:
            job.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.relay.stop()
        await self._pool.close()
        await self.router.close()
        for session in (self._vendor_http, self._fetch_http, self._callback_http):
            await session.close()
        await asyncio.to_thread(self.database.close)

    def _local_channel(self) -> Channel:
        processes = self.config.local.processes or os.cpu_count() or 1
        return Channel(
            id=LOCAL,
            name=LOCAL,
            provider=LOCAL,
            concurrency=max(LOCAL_AT_ONCE, 2 * processes),
            options={
                "processes": str(processes),
                "work_dir": str(self.config.data_dir / "work" / self.owner.replace(":", "-")),
                "max_pixels": str(self.config.media.max_pixels),
                "max_seconds": str(self.config.media.max_seconds),
            },
        )

    def _vendor_callback(self, reference: str) -> str:
        """Where a vendor may call about an attempt; nothing where nobody could reach it."""
        return vendor_calls.address(self.config.server.public_url, self._vault, reference)

    def _tells(self, dialect: str, state: State) -> bool:
        form = self._formats.get(dialect)
        return form is not None and form.tells(state)

    def _changed(self, task: Task) -> None:
        self.gateway.changed(task)
        if task.callback_url and self._tells(task.dialect, task.state):
            self.deliverer.wake()

    async def _render(self, task_id: str, event: str) -> Rendered | None:
        task = await self.gateway.show(task_id)
        if task is None or task.dialect not in self._formats:
            return None
        return Rendered(msgspec.json.encode(self._formats[task.dialect].render(task)))

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            now = self._clock()
            keep = self.config.tasks.keep_days * 86400
            try:
                await self.library.expire(now)
                await asyncio.to_thread(_sweep, self.config.data_dir / "work", now - ABANDONED_SECONDS)
                await self.database.write(partial(self.store.forget_idempotency, before=now - IDEMPOTENCY_SECONDS))
                if keep:
                    await self.database.write(partial(self.store.forget, before=now - keep))
                if self.config.callbacks.keep_days:
                    await self._forget_delivered(now - self.config.callbacks.keep_days * 86400)
                await expiry.expire(self.relay.keeper)
            except Exception as error:  # object stores have errors of their own; the next time it may go well
                log.error("housekeeping.failed", why=str(error))

    async def _forget_delivered(self, before: float) -> None:
        """A part at a time, so that nobody waits for the writer meanwhile."""
        forget = partial(outbox.forget_delivered, before=before, limit=FORGOTTEN_AT_ONCE)
        while await self.database.write(forget) == FORGOTTEN_AT_ONCE:
            pass

    def _failed(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Whatever no handler has answered, in the shape of the dialect whose path was asked for."""
        asking = dialects.Asking(request.scope["path"], time.perf_counter(), self.edge.request_id(request.scope), request)
        problem: GenwayError
        if isinstance(error, GenwayError):
            problem = error
        elif isinstance(error, HTTPException):
            problem = _http_problem(error, request)
        else:
            log.exception("request.failed", path=request.scope["path"])
            problem = GenwayError("something went wrong here; it is recorded under the request id")
        return dialects.respond(dialects.error_answer(self.edge.dialect(request.scope["path"]), problem, asking))


def _http_problem(error: HTTPException, request: Request[Any, Any, Any]) -> GenwayError:
    path, method = request.scope["path"], request.method
    if error.status_code == 404:
        return NotFound(f"there is nothing at {path}; see the documentation for what there is")
    if error.status_code == 405:
        problem: GenwayError = InvalidRequest(f"{path} is not for {method}")
        problem.status = 405  # type: ignore[misc]
        return problem
    return InvalidRequest(str(error.detail))


def _sweep(work: Path, before: float) -> None:
    """Remove the folders in which processes that are long gone had rendered."""
    for folder in work.glob("*/*"):
        if folder.stat().st_mtime < before:
            shutil.rmtree(folder, ignore_errors=True)


def _report(job: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        if error := job.exception():
            log.error("background.died", job=job.get_name(), why=repr(error))
