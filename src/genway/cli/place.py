"""Where a command works: the data folder and the settings, and the database behind them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Group, Parameter

from genway import config as settings
from genway.config import Config, ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.db import Database
    from genway.vault import Vault

T = TypeVar("T")

EVERYWHERE = Group("For every command", sort_key=99)


@Parameter(name="*", group=EVERYWHERE)
@dataclass(frozen=True)
class Folder:
    """Which gateway a command is about."""

    data: Annotated[Path | None, Parameter(env_var="GENWAY_DATA")] = None
    """The data folder; made if it is not there. Without it `genway-data` in this folder."""

    config: Annotated[Path | None, Parameter(env_var="GENWAY_CONFIG")] = None
    """A file of settings, like `genway.toml`."""

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Config:
        """Raises ConfigError."""
        more = dict(overrides or {})
        if self.data is not None:
            more["data"] = str(self.data)
        return settings.load(self.config, os.environ, more)


@Parameter(name="*", group=EVERYWHERE)
@dataclass(frozen=True)
class Place(Folder):
    """Which gateway a command is about, and for whom it prints."""

    json: bool = False
    """Print JSON, for scripts."""

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """The database, made or brought up to date if need be, whether or not a server runs on it. Raises ConfigError."""
        config = self.settings()
        with open_database(config) as database:
            yield Opened(config, database)


class Opened:
    """A database to work on, from the command line."""

    def __init__(self, config: Config, database: Database) -> None:
        self.config = config
        self.database = database
        self.now = time.time()

    @property
    def vault(self) -> Vault:
        """Raises ConfigError."""
        from genway.vault import open_vault  # noqa: PLC0415 - most commands need no cryptography

        return open_vault(self.config)

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` finds in what is committed."""
        return self.database.read_now(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction; a running server sees it within a second."""
        return self.database.write_now(work)


@contextmanager
def open_database(config: Config) -> Iterator[Database]:
    """Raises ConfigError with one clear line where the database cannot be used."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - `genway --help` needs no database

    from genway.db import Database  # noqa: PLC0415
    from genway.db.migrate import NewerDatabase, migrate  # noqa: PLC0415

    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
        database = Database(config.database_url, readers=1)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{shown(config.database_url)} needs {error.name}; install genway[postgresql]") from error
    except SQLAlchemyError as error:
        raise _unusable(config, error) from error
    try:
        migrate(database.engine)
        yield database
    except NewerDatabase as error:
        raise ConfigError(str(error)) from error
    except SQLAlchemyError as error:
        raise _unusable(config, error) from error
    finally:
        database.close()


def _unusable(config: Config, error: Exception) -> ConfigError:
    why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return ConfigError(f"{shown(config.database_url)} cannot be used: {why}")


def shown(url: str) -> str:
    """An address of a database without its password."""
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "database.url"


HERE = Place()
