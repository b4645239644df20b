"""Every setting, typed, documented and checked: from `genway.toml`, then `GENWAY_*` variables, then the command line.

A variable is `GENWAY_`, the section and the name: `GENWAY_SERVER_PORT=8700`. Lists are separated by commas.
The docstring of a section's class documents its settings, one `name: text` a line; `genway settings` and
`docs/settings.md` are made from them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec


class ConfigError(Exception):
    """A setting is unknown or not usable; the message says which and what is allowed."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of `genway.toml`."""


class Server(Section, frozen=True):
    """host: address to listen on.
    port: port to listen on; 0 takes a free one.
    workers: processes that serve; they share the data folder or the database.
    public_url: where clients reach this server (`https://gen.example.com`), which links start with. Empty: as requested.
    max_body_bytes: the largest JSON body taken.
    max_upload_bytes: the largest uploaded file taken.
    body_seconds: how long a request's body may take to arrive in full.
    drain_seconds: how long a stopping server waits for requests and short work to finish before handing it over.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    workers: int = 1
    public_url: str = ""
    max_body_bytes: int = 32 * 1024 * 1024
    max_upload_bytes: int = 200 * 1024 * 1024
    body_seconds: float = 30
    drain_seconds: float = 10


class Database(Section, frozen=True):
    """url: `sqlite:///…` or `postgresql+psycopg://user:password@host/name`. Empty: a SQLite file in the data folder.
    group_wait_seconds: how long the writer may wait for more work to commit together; 0 commits what is there.
    readers: threads that read.
    """

    url: str = ""
    group_wait_seconds: float = 0.0
    readers: int = 4


class Storage(Section, frozen=True):
    """url: where results are kept: a folder (`file:///srv/media`) or `s3://bucket/prefix`. Empty: `media` in the data folder.
    options: further options of the object store (endpoint, region, keys), as its library names them.
    link_seconds: how long a signed link works.
    keep_days: results older than this are deleted; 0 keeps them for good.
    """

    url: str = ""
    options: dict[str, str] = {}
    link_seconds: int = 7 * 24 * 3600
    keep_days: int = 0


class Media(Section, frozen=True):
    """allow_private: private addresses that clients may name all the same: networks (`10.1.0.0/16`), addresses or host names.
    max_image_bytes: the largest picture taken.
    max_video_bytes: the largest clip taken.
    max_pixels: the most pixels a picture or a frame may have.
    max_seconds: the longest clip taken.
    fetch_seconds: how long fetching one file may take.
    max_redirects: how many redirects are followed, each checked anew.
    """

    allow_private: list[str] = []
    max_image_bytes: int = 32 * 1024 * 1024
    max_video_bytes: int = 200 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_seconds: float = 120
    fetch_seconds: float = 60
    max_redirects: int = 5


class Tasks(Section, frozen=True):
    """deadline_seconds: a task that has not ended by then expires and is given back.
    parked_seconds: how long a task whose submit has an unknown outcome is looked up before it is given back.
    lease_seconds: after this long without a sign of life another process takes over a process's tasks.
    submit_attempts: how many channels or tries a task gets before it fails.
    at_once: how many tasks one process looks after at the same time; the others wait in the queue.
    keep_days: ended tasks older than this are deleted with their callbacks (the ledger stays); 0 keeps them.
    """

    deadline_seconds: float = 3600
    parked_seconds: float = 900
    lease_seconds: float = 30
    submit_attempts: int = 5
    at_once: int = 4000
    keep_days: int = 0


class Callbacks(Section, frozen=True):
    """first_wait_seconds: the wait after the first failed try; each further wait doubles.
    longest_wait_seconds: the longest wait between two tries.
    give_up_seconds: after this long a callback goes to the dead letter, from where it can be replayed.
    timeout_seconds: how long one try may take.
    at_once: how many callbacks are under way at the same time in one process.
    per_host: how many of them at most to one host.
    keep_days: delivered callbacks older than this are deleted; 0 keeps them as long as their tasks.
    """

    first_wait_seconds: float = 5
    longest_wait_seconds: float = 3600
    give_up_seconds: float = 24 * 3600
    timeout_seconds: float = 10
    at_once: int = 32
    per_host: int = 4
    keep_days: int = 30


class Billing(Section, frozen=True):
    """currency: the currency of new accounts; amounts are kept in millionths of it.
    points_per_unit: how many points one unit of the currency is in answers that speak of points or credits.
    """

    currency: str = "USD"
    points_per_unit: int = 100


class Limits(Section, frozen=True):
    """requests_per_minute: for keys without a number of their own; 0 is without limit.
    concurrent_tasks: for keys without a number of their own; 0 is without limit.
    store: where requests are counted: `async+memory://`, each process for itself, or `async+redis://host:6379`, all together.
    """

    requests_per_minute: int = 0
    concurrent_tasks: int = 0
    store: str = "async+memory://"


class Relay(Section, frozen=True):
    """durability: `strict` puts a call on disk before its answer ends; `relaxed` into a file that outlives the process.
    relaxed_seconds: how long calls gather in the relaxed way before they are written together.
    deadline_seconds: how long a call may take until its answer begins, all channels that are tried included.
    connect_seconds: how long a connection to a channel may take.
    idle_seconds: how long a stream may be silent before it is given up.
    keep_alive_seconds: after so long without an event a stream gets a sign of life; 0 sends none.
    attempts: how many channels or keys a call is tried on.
    reserve_tokens: how many tokens of output are set aside for a call that names no smaller number.
    first_lease: the millionths of the currency that a process takes of a balance at first.
    largest_lease: the most it takes at once, after a busy while.
    lease_seconds: after so long without a sign of life of its process a lease is given back.
    idle_lease_seconds: after so long without a call a lease is given back.
    tokens_per_minute: in each process, for keys without a number of their own; 0 is without limit.
    concurrent_streams: streams at once, in each process, for keys without a number of their own; 0 is without limit.
    keep_days: stored responses, their items, containers, threads and ended batches older than this are forgotten; 0 keeps them.
    keep_file_days: files that clients handed in, older than this, are deleted, at their vendors too; 0 keeps them.
    """

    durability: Literal["strict", "relaxed"] = "strict"
    relaxed_seconds: float = 0.25
    deadline_seconds: float = 600
    connect_seconds: float = 10
    idle_seconds: float = 300
    keep_alive_seconds: float = 15
    attempts: int = 4
    reserve_tokens: int = 1024
    first_lease: int = 250_000
    largest_lease: int = 20_000_000
    lease_seconds: float = 60
    idle_lease_seconds: float = 5
    tokens_per_minute: int = 0
    concurrent_streams: int = 0
    keep_days: int = 60
    keep_file_days: int = 0


class Local(Section, frozen=True):
    """enabled: whether the built-in provider is there.
    processes: how many renderings run at once; 0 takes one for each processor core.
    """

    enabled: bool = True
    processes: int = 0


class Log(Section, frozen=True):
    """level: `debug`, `info`, `warning` or `error`.
    format: `json`, `text`, or `auto`: text on a terminal, else JSON.
    """

    level: str = "info"
    format: str = "auto"


class Security(Section, frozen=True):
    """secret_key: what keys are hashed and credentials encrypted with, 32 bytes or more. Empty: made once, in the data folder.
    bootstrap_key: a key that is made valid at start: admin, live, without limit.
    """

    secret_key: str = ""
    bootstrap_key: str = ""


class Config(Section, frozen=True):
    """All settings of a server."""

    data: str = "genway-data"
    server: Server = Server()
    database: Database = Database()
    storage: Storage = Storage()
    media: Media = Media()
    tasks: Tasks = Tasks()
    callbacks: Callbacks = Callbacks()
    billing: Billing = Billing()
    limits: Limits = Limits()
    relay: Relay = Relay()
    local: Local = Local()
    log: Log = Log()
    security: Security = Security()

    @property
    def data_dir(self) -> Path:
        return Path(self.data).expanduser().resolve()

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data_dir / 'genway.sqlite3'}"

    @property
    def storage_url(self) -> str:
        return self.storage.url or (self.data_dir / "media").as_uri()


SHORT_VARIABLES = {"GENWAY_DATA": ("data",), "GENWAY_BOOTSTRAP_KEY": ("security", "bootstrap_key")}
PREFIX = "GENWAY_"
NOT_SETTINGS = {"GENWAY_CONFIG", "GENWAY_KEY", "GENWAY_URL"}


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read the settings.

    path: a TOML file, which must exist if given. overrides: nested like the file, `{"server": {"port": 0}}`; they win.
    Raises ConfigError.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
    _merge(settings, _from_environment(environ or {}))
    _merge(settings, overrides or {})
    try:
        return msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path or 'settings'}: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        where = SHORT_VARIABLES.get(variable) or tuple(variable.removeprefix(PREFIX).lower().split("_", 1))
        section = next((f for f in msgspec.structs.fields(Config) if f.name == where[0]), None)
        if section is None or len(where) > 2:
            raise ConfigError(f"{variable}: there is no such setting; see docs/settings.md")
        if len(where) == 1:
            settings[where[0]] = text
            continue
        field = next((f for f in msgspec.structs.fields(section.type) if f.name == where[1]), None)
        if field is None:
            raise ConfigError(f"{variable}: there is no such setting; see docs/settings.md")
        value: Any = text
        if field.type == list[str]:
            value = [part.strip() for part in text.split(",") if part.strip()]
        elif field.type == dict[str, str]:
            value = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
        settings.setdefault(where[0], {})[where[1]] = value
    return settings


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(name), dict):
                into[name] = {}
            _merge(into[name], value)
        elif value is not None:
            into[name] = value
