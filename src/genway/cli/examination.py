"""What the doctor looks at: each check yields findings, and one that cannot be made is itself a finding."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils import uuid7

import genway
from genway.billing import ledger
from genway.cli import demo, relayed
from genway.cli.channel import ask, seated
from genway.cli.findings import Finding
from genway.cli.place import open_database, shown
from genway.config import Config, ConfigError
from genway.db import Database
from genway.db.migrate import head
from genway.db.tables import callbacks, metadata, task_events, tasks, transfers
from genway.errors import GenwayError, Unavailable
from genway.health import LEAST_FREE_BYTES
from genway.media.store import Store
from genway.operations import Camera, MediaRef, Size, VideoRequest
from genway.providers import discover
from genway.providers.base import ChannelSettings, Failed, Finished, ProviderError, Running, Submission, Submitted
from genway.routing.channels import LOCAL, list_channels
from genway.server import LOCK_FILE
from genway.tasks.model import State
from genway.vault import KEY_FILE, open_vault

MIB = 1024 * 1024
SCARCE_BYTES = 10 * LEAST_FREE_BYTES
OWN_TOLERANCE = 5.0
OTHERS_TOLERANCE = 60.0
STUCK_SECONDS = 120.0
RENDER_SECONDS = 60.0
CLOCK_ADVICE = "Set the clock (NTP): signatures, links and deadlines depend on it."

Findings = AsyncIterator[Finding]


class Machine(msgspec.Struct, frozen=True):
    """What is asked of the machine: the time in Unix seconds, and how many bytes are free where a folder lies."""

    clock: Callable[[], float] = time.time
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free


class Reading(msgspec.Struct, frozen=True):
    """Another clock: how many seconds it is ahead of ours (negative: behind), and how many may be."""

    whose: str
    ahead: float
    tolerance: float = OTHERS_TOLERANCE
    behind_counts: bool = True


async def examine(config: Config, machine: Machine) -> Findings:
    """Look at everything, one finding after the other."""
    readings: list[Reading] = []
    yield Finding("settings", "ok", f"data in {config.data_dir}, database {shown(config.database_url)}")
    async for finding in _careful(
        "data folder", _folder(config, machine, readings), "Make the folder writable, or use --data."
    ):
        yield finding
    async for finding in _careful("disk", _disk(config, machine), ""):
        yield finding
    async for finding in _careful(
        "secret key", _secret(config), "Restore secret.key from a backup; keys and channels need it."
    ):
        yield finding
    async for finding in _careful("database", _stored(config, machine, readings), "Restore it from a backup, or use --data."):
        yield finding
    for reading in readings:
        if abs(reading.ahead) > reading.tolerance and (reading.behind_counts or reading.ahead > 0):
            way = "ahead of" if reading.ahead > 0 else "behind"
            message = f"{reading.whose} is {abs(reading.ahead):.0f} s {way} this machine's clock"
            yield Finding("clock", "wrong", message, CLOCK_ADVICE)
            break
    else:
        others = dict.fromkeys(reading.whose for reading in readings)
        yield Finding("clock", "ok", f"agrees with {', '.join(others) or 'nothing to compare'}")
    async for finding in _careful("object store", _objects(config), "Check storage.url and storage.options."):
        yield finding
    async for finding in _careful("renderer", _renderer(config), "Install genway anew: `uv sync` or `pip install genway`."):
        yield finding


async def _careful(check: str, findings: Findings, advice: str) -> Findings:
    try:
        async for finding in findings:
            yield finding
    except (OSError, ConfigError, GenwayError, SQLAlchemyError, ProviderError, ImportError) as error:
        yield Finding(check, "wrong", (str(error) or type(error).__name__).splitlines()[0], advice)


async def _folder(config: Config, machine: Machine, readings: list[Reading]) -> Findings:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    before = machine.clock()
    with tempfile.NamedTemporaryFile(dir=config.data_dir, prefix=".doctor-") as file:
        file.write(b"genway")
        file.flush()
        os.fsync(file.fileno())
        readings.append(Reading("the file system", os.fstat(file.fileno()).st_mtime - before, OWN_TOLERANCE))
    installed = os.stat(genway.__file__).st_mtime
    readings.append(Reading("the day genway was installed", installed - machine.clock(), behind_counts=False))
    yield Finding("data folder", "ok", f"{config.data_dir} can be written")


async def _disk(config: Config, machine: Machine) -> Findings:
    free = machine.free_bytes(config.data_dir)
    message = f"{free // MIB} MiB free where {config.data_dir} lies"
    advice = "Free some space, move the data folder, or let results go with storage.keep_days."
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", "wrong", f"{message}; at least {LEAST_FREE_BYTES // MIB} are needed", advice)
    else:
        yield Finding("disk", "warning" if free < SCARCE_BYTES else "ok", message, advice)


async def _secret(config: Config) -> Findings:
    open_vault(config)
    if config.security.secret_key:
        yield Finding("secret key", "ok", "from the settings")
        return
    path = config.data_dir / KEY_FILE
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding("secret key", "wrong", f"{path} can be read by others (mode {mode:03o})", f"chmod 600 {path}")
    else:
        yield Finding("secret key", "ok", f"{path} belongs to its owner alone; keep a copy with your backups")


async def _stored(config: Config, machine: Machine, readings: list[Reading]) -> Findings:
    with open_database(config) as database:
        async for finding in _database(database):
            yield finding
        readings += await database.read(lambda connection: _stored_times(connection, machine))
        async for finding in _careful("ledger", _ledger(database), ""):
            yield finding
        async for finding in _careful("tasks", _tasks(config, database, machine), ""):
            yield finding
        async for finding in _careful("callbacks", _callbacks(database), ""):
            yield finding
        async for finding in _careful("channels", _channels(config, database, machine, readings), ""):
            yield finding
        relayed_calls = relayed.examine(config, database, serving=_serving(config))
        async for finding in _careful("calls", relayed_calls, ""):
            yield finding


async def _database(database: Database) -> Findings:
    advice = "Stop the server and restore the database from a backup."
    if database.sqlite:
        faults = await database.read(lambda connection: list(connection.execute(text("PRAGMA quick_check")).scalars()))
        if faults != ["ok"]:
            yield Finding("database", "wrong", f"the file is damaged: {faults[0]}", advice)
            return
    there = await database.read(lambda connection: set(inspect(connection).get_table_names()))
    if missing := sorted(set(metadata.tables) - there):
        yield Finding("database", "wrong", f"tables are missing: {', '.join(missing)}", advice)
        return
    await database.write(lambda connection: None)
    yield Finding("database", "ok", f"whole, can be written, schema {head()}")


def _stored_times(connection: Connection, machine: Machine) -> list[Reading]:
    columns = (tasks.c.created_at, task_events.c.at, transfers.c.created_at)
    newest = [value for column in columns if (value := connection.execute(select(func.max(column))).scalar()) is not None]
    if not newest:
        return []
    return [Reading("the newest record", max(newest) - machine.clock(), behind_counts=False)]


async def _ledger(database: Database) -> Findings:
    faults = await database.read(ledger.audit)
    advice = "Nothing here repairs a ledger: keep the database as it is, stop taking work, and look at these entries."
    for fault in faults[:5]:
        yield Finding("ledger", "wrong", fault, advice)
    if not faults:
        count = await database.read(
            lambda connection: connection.execute(select(func.count()).select_from(transfers)).scalar_one()
        )
        yield Finding("ledger", "ok", f"{count} movements sum to zero")


async def _tasks(config: Config, database: Database, machine: Machine) -> Findings:
    unfinished = tasks.c.finished_at.is_(None)

    def count(*where: Any) -> int:
        query = select(func.count()).select_from(tasks).where(unfinished, *where)
        return int(database.read_now(lambda connection: connection.execute(query).scalar_one()))

    now, settled = machine.clock(), True
    if parked := count(tasks.c.state == State.PARKED):
        settled = False
        advice = (
            "Nobody knows whether the vendor took them; they are looked up, and given back after "
            f"{config.tasks.parked_seconds:g} s. See `genway task list --state parked`."
        )
        yield Finding("tasks", "warning", f"{parked} parked", advice)
    if waiting := count(tasks.c.next_at < now - STUCK_SECONDS, tasks.c.owner.is_(None)):
        settled = False
        advice = "Start one with `genway serve`." if not _serving(config) else "See the server's log."
        yield Finding("tasks", "warning", f"{waiting} wait and no server works on them", advice)
    if settled:
        yield Finding("tasks", "ok", f"{count()} under way, none stuck")


def _serving(config: Config) -> bool:
    import fcntl  # noqa: PLC0415 - not on every system

    path = config.data_dir / LOCK_FILE
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _callbacks(database: Database) -> Findings:
    query = select(callbacks.c.state, func.count()).group_by(callbacks.c.state)
    counts = {row.state: row[1] for row in await database.read(lambda connection: connection.execute(query).all())}
    message = f"{counts.get('delivered', 0)} delivered, {counts.get('waiting', 0)} waiting, {counts.get('dead', 0)} given up"
    advice = "`genway callback list --state dead` says why; `genway callback replay --dead` sends them again."
    yield Finding("callbacks", "warning" if counts.get("dead") else "ok", message, advice)


async def _channels(config: Config, database: Database, machine: Machine, readings: list[Reading]) -> Findings:
    stored = await database.read(list_channels)
    if not stored:
        yield Finding("channels", "ok", "none; the built-in renderer does the work")
        return

    async def read_clock(_: object, __: SimpleNamespace, call: aiohttp.TraceRequestEndParams) -> None:
        try:
            theirs = parsedate_to_datetime(call.response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return
        readings.append(Reading(str(call.url.host), theirs - machine.clock()))

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(read_clock)
    async with seated(database, open_vault(config), tracing=[tracing]) as seats:
        for channel in stored:
            check = f"channel {channel.name}"
            if channel.disabled_at is not None:
                yield Finding(check, "ok", "disabled")
                continue
            if channel.id not in seats:
                advice = "Remove it and add it again: its secret cannot be decrypted, or its provider is not installed."
                yield Finding(check, "wrong", "not usable", advice)
                continue
            try:
                yield Finding(check, "ok", await ask(seats[channel.id]))
            except Unavailable as error:
                advice = f"Check its address and secret; `genway channel disable {channel.name}` keeps work away from it."
                yield Finding(check, "wrong", error.message, advice)


async def _objects(config: Config) -> Findings:
    store, key, content = Store(config.storage_url, config.storage.options), f"doctor/{uuid7().hex}.txt", b"genway"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        await store.put(path, key, "text/plain")
    try:
        back = b"".join([chunk async for chunk in await store.open(key, 0, len(content))])
    finally:
        await store.delete(key)
    if back != content:
        raise Unavailable("a file came back other than it was stored")
    yield Finding("object store", "ok", f"{config.storage_url} stores, answers and deletes")


async def _renderer(config: Config) -> Findings:
    if not config.local.enabled:
        yield Finding("renderer", "ok", "switched off by local.enabled")
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="genway-doctor-") as folder:
        outcome = await _render(Path(folder))
    if not isinstance(outcome, Finished):
        raise Unavailable(outcome.message)
    yield Finding("renderer", "ok", f"rendered a second of video in {time.monotonic() - began:.1f} s")
    if _mask_network():
        yield Finding("subject mask", "ok", "the network and its weights are there")
    else:
        message = "the network is not there, so subjects are found by a simpler way"
        yield Finding("subject mask", "warning", message, "It comes with Python 3.11 and 3.12.")


class _Sample:
    """The one picture that a rendering to try things out refers to."""

    async def path(self, ref: MediaRef) -> Path:
        return demo.sample()

    async def address(self, ref: MediaRef, *, inline_bytes: int, https_only: bool = False) -> str:
        raise Unavailable("this picture is only here")


async def _render(folder: Path) -> Finished | Failed:
    operation = VideoRequest(
        model="local/animate",
        first_frame=MediaRef(media_id="sample"),
        seconds=1,
        size=Size(320, 192),
        camera=Camera(zoom=2),
        seed=1,
    )
    async with aiohttp.ClientSession() as http:
        provider = discover()[LOCAL](ChannelSettings(name=LOCAL, options={"work_dir": str(folder)}), http)
        submission = Submission(task_id="doctor", reference="doctor", operation=operation, model="animate", files=_Sample())
        try:
            answer: Submitted | Running | Finished | Failed = await provider.submit(submission)
            async with asyncio.timeout(RENDER_SECONDS):
                while isinstance(answer, Submitted | Running):
                    await asyncio.sleep(provider.poll.first)
                    answer = await provider.check("doctor")
        except TimeoutError as error:
            raise Unavailable(f"a second of video took longer than {RENDER_SECONDS:g} s") from error
        finally:
            await provider.close()
    return answer


def _mask_network() -> bool:
    from genway.providers.local.mask import weights  # noqa: PLC0415 - loads the picture libraries

    return weights() is not None and find_spec("onnxruntime") is not None
