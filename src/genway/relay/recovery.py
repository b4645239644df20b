"""What is owed for a process that died: its calls put on record, its money given back."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from genway.billing import leases
from genway.billing.leases import CallRow
from genway.db import Database
from genway.relay.journal import left_behind

log = structlog.get_logger(__name__)


def recover(database: Database, folder: Path, now: float, *, owner: str | None = None, alone: bool = False) -> None:
    """Replay the journals in the data folder, of one dead process or of all, and close its leases.

    alone: no other process lives that uses this database, so all leases are closed; otherwise those of others run out.
    Raises Unavailable; nothing is lost then.
    """
    journals = left_behind(folder, owner)

    def write(connection: Connection) -> None:
        for _, rows in journals:
            _replay(connection, rows, now)
        if owner is not None or alone:
            leases.close_all(connection, now, owner=owner)

    database.write_now(write)
    for path, _ in journals:
        path.unlink(missing_ok=True)
    if journals:
        log.info("relay.replayed", calls=sum(len(rows) for _, rows in journals))


def _replay(connection: Connection, rows: list[CallRow], now: float) -> None:
    try:
        with connection.begin_nested():
            leases.record_missing(connection, rows, now)
    except OperationalError:
        raise
    except Exception as error:
        log.error("calls.refused", calls=len(rows), why=str(error))
        leases.record_apart(connection, rows, now)
