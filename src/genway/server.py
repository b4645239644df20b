"""Runs the application: in this process, or in several that share a port."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from sqlalchemy import Connection, select

# What counts (Prometheus) must not be imported here: it looks at the environment once, and `_serve_many` sets that.
from genway import logs
from genway.config import Config, ConfigError
from genway.db import Database
from genway.db.migrate import migrate
from genway.db.tables import tasks
from genway.errors import Conflict, NotFound
from genway.vault import open_vault

log = structlog.get_logger(__name__)

LOCK_FILE = "serve.lock"
LOCK_SECONDS = 15.0
BOOTSTRAP = "bootstrap"
RESTART_SECONDS = 1.0
GARBAGE = (10_000, 20, 20)  # calls make many short-lived things; the usual thresholds look for cycles every few calls


def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError when the data folder is in use or not usable."""
    logs.configure(config.log)
    gc.disable()  # nothing of what is imported and built from here on is garbage; `_run` turns it on again
    if config.server.workers > 1:
        _serve_many(config)
    else:
        _serve_one(config, lambda port: None)


@contextlib.contextmanager
def locked(config: Config) -> Iterator[None]:
    """Keep a second server away from this data folder, for as long as any process of ours lives."""
    import fcntl  # noqa: PLC0415 - not on every system

    config.data_dir.mkdir(parents=True, exist_ok=True)
    with (config.data_dir / LOCK_FILE).open("w") as file:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(f"{config.data_dir} is in use by another genway; stop it or use --data") from None
                time.sleep(0.1)
        yield


def prepare(config: Config) -> None:
    """Bring the database up to date, make the bootstrap key, and let go of what a dead process held."""
    database = Database(config.database_url, readers=1)
    try:
        migrate(database.engine)
        database.write_now(lambda connection: _prepare(connection, config))
        _recover(database, config, None)
    finally:
        database.close()


def _prepare(connection: Connection, config: Config) -> None:
    from genway.callbacks import outbox  # noqa: PLC0415

    now = time.time()
    if not config.database.url:
        _free(connection, config, None, now)
        outbox.release_all(connection)
    _sweep(connection, config.data_dir)
    if config.security.bootstrap_key:
        _bootstrap(connection, config, now)


def _recover(database: Database, config: Config, owner: str | None) -> None:
    from genway.relay.recovery import recover  # noqa: PLC0415

    recover(database, config.data_dir, time.time(), owner=owner, alone=owner is None and not config.database.url)


def _free(connection: Connection, config: Config, owner: str | None, now: float) -> None:
    from genway.tasks.store import TaskStore  # noqa: PLC0415

    TaskStore(config.callbacks, lambda dialect, state: False).free(connection, owner, now)


def _sweep(connection: Connection, folder: Path) -> None:
    """Remove what killed processes were rendering. What is rendered and not yet stored stays."""
    stored = select(tasks.c.vendor_files).where(tasks.c.finished_at.is_(None), tasks.c.vendor_files.is_not(None))
    needed = " ".join(connection.execute(stored).scalars())
    for left in folder.glob("work/*"):
        if left.name not in needed:
            shutil.rmtree(left, ignore_errors=True)


def _bootstrap(connection: Connection, config: Config, now: float) -> None:
    from genway.access import store as access  # noqa: PLC0415

    vault = open_vault(config)
    try:
        account = access.get_account(connection, BOOTSTRAP)
    except NotFound:
        account = access.create_account(
            connection, vault, BOOTSTRAP, currency=config.billing.currency, credit_limit=None, now=now
        )
    with contextlib.suppress(Conflict):
        access.create_key(
            connection,
            vault,
            account.id,
            name=BOOTSTRAP,
            admin=True,
            requests_per_minute=0,
            concurrent_tasks=0,
            secret=config.security.bootstrap_key,
            now=now,
        )


def free_port(host: str, port: int = 0) -> int:
    """A port nobody listens on: `port` itself, or any for 0. Raises ConfigError where it cannot be had."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror}; use --port or --host") from error
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def held_port(host: str, port: int) -> Iterator[int]:
    """Keep `port`, or for 0 a free one, from other servers while ours run on it. Raises ConfigError.

    The sockets that serve share their port, and would share it with a server of anybody else as silently. This one only
    occupies it: it never listens, so nothing ever comes to it.
    """
    number = free_port(host, port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as guard:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with contextlib.suppress(OSError):  # what is left of another program's connections passes with time
            guard.bind((host, number))
        yield number


def _serve_one(config: Config, started: Callable[[int], None]) -> None:
    with locked(config), held_port(config.server.host, config.server.port) as port:
        prepare(config)
        run(config, port, started)


def run(config: Config, port: int, started: Callable[[int], None], *, owner: str = "", **arguments: object) -> None:
    """Serve in this process, on an event loop of its own. `started` is told the port once requests are taken.

    owner: this process's name in leases, which no other has or had.
    """
    try:
        import uvloop  # noqa: PLC0415 - not on every system

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        runner.run(_run(config, port, started, owner or _new_owner(), **arguments))


def _new_owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"


async def _run(config: Config, port: int, started: Callable[[int], None], owner: str, **arguments: object) -> None:
    from genway.app import Application  # noqa: PLC0415 - only a serving process needs these
    from genway.wire.server import Server  # noqa: PLC0415

    application = Application(config, owner=owner, **arguments)  # type: ignore[arg-type]
    server = Server(application.handle, take=application.take, head_seconds=config.server.body_seconds)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await application.start()
    gc.freeze()  # without looking through it first: that takes longer than the little it would find is worth
    gc.set_threshold(*GARBAGE)
    gc.enable()
    try:
        await server.listen(config.server.host, port)
    except OSError as error:
        raise ConfigError(f"{config.server.host}:{port} cannot be listened on: {error.strerror}; use --port") from error
    log.info("server.started", address=f"http://{config.server.host}:{port}", data=str(config.data_dir), pid=os.getpid())
    started(port)
    await stopping.wait()
    log.info("server.stopping")
    until = time.monotonic() + config.server.drain_seconds
    await server.close(config.server.drain_seconds)
    await application.stop(max(until - time.monotonic(), 0))
    log.info("server.stopped")


def _serve_many(config: Config) -> None:
    """One process for each worker; one that dies is replaced, and the others go on with its work at once."""
    with locked(config), held_port(config.server.host, config.server.port) as port:
        counts = config.data_dir / "metrics"
        shutil.rmtree(counts, ignore_errors=True)
        counts.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)
        prepare(config)
        workers: dict[int, str] = {}
        stopping = False

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)

        def begin() -> None:
            owner = f"{_new_owner()}:{len(workers)}"
            workers[_fork(config, port, owner)] = owner
            if stopping:
                stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        while len(workers) < config.server.workers and not stopping:
            begin()
        while workers:
            gone, status = os.wait()
            owner = workers.pop(gone, "")
            if owner and not stopping:
                log.error("server.worker_died", pid=gone, exit_code=os.waitstatus_to_exitcode(status))
                _release(config, owner)
                time.sleep(RESTART_SECONDS)
                if not stopping:
                    begin()


def _release(config: Config, owner: str) -> None:
    """Let go of what a dead worker held; where that fails, its leases end in time."""
    from genway.callbacks import outbox  # noqa: PLC0415

    def write(connection: Connection) -> None:
        _free(connection, config, owner, time.time())
        outbox.release_owner(connection, owner)

    try:
        database = Database(config.database_url, readers=1)
        try:
            database.write_now(write)
            _recover(database, config, owner)
        finally:
            database.close()
    except Exception:
        log.exception("server.not_released", owner=owner)


def _fork(config: Config, port: int, owner: str) -> int:
    parent = os.getpid()
    # A signal to the new process must not meet the handler that is its parent's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    worker = os.fork()
    if worker:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return worker
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end when the parent does
    code = 1
    try:
        if os.getppid() == parent:
            run(config, port, lambda _: None, owner=owner)
            code = 0
    except BaseException:
        log.exception("server.worker_failed")
    finally:
        os._exit(code)
