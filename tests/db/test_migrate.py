from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from genway.db import Database
from genway.db.migrate import _upgrade, head, migrate
from genway.db.tables import metadata


@pytest.fixture
def empty(database_url: str) -> Database:
    return Database(database_url)


def test_an_empty_database_gets_the_newest_schema(empty: Database) -> None:
    migrate(empty.engine)
    with empty.engine.begin() as connection:
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == head()
    migrate(empty.engine)
    empty.close()


def test_the_migrations_arrive_at_the_same_schema(empty: Database) -> None:
    _upgrade(empty.engine)
    with empty.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == head()
    empty.close()


def test_a_database_of_a_newer_version_is_left_alone(empty: Database) -> None:
    migrate(empty.engine)
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RuntimeError, match="newer version"):
        migrate(empty.engine)
    empty.close()
