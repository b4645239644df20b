"""Bring a database to the schema of this version."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, Engine, inspect, text

from genway.db.tables import metadata


class NewerDatabase(RuntimeError):
    """The database belongs to a newer version of genway."""


def head() -> str:
    """The newest revision that this version knows."""
    versions = files("genway.db").joinpath("migrations", "versions")
    return max(item.name.split("_")[0] for item in versions.iterdir() if item.name[:4].isdigit())


def migrate(engine: Engine) -> None:
    """Create the tables of an empty database, or run the migrations that an older one lacks.

    Raises NewerDatabase.
    """
    with engine.begin() as connection:
        current = _revision(connection)
        if current == head():
            return
        if current is None and not inspect(connection).get_table_names():
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": head()})
            return
        if current is not None and current > head():
            raise NewerDatabase(f"this database belongs to a newer version (its schema is {current}, known is {head()})")
    _upgrade(engine)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(engine: Engine) -> None:
    from alembic import command  # noqa: PLC0415 - takes longer to import than everything else here
    from alembic.config import Config  # noqa: PLC0415

    settings = Config()
    settings.set_main_option("script_location", str(files("genway.db").joinpath("migrations")))
    settings.attributes["engine"] = engine
    command.upgrade(settings, "head")
