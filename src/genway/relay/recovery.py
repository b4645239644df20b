"""What is owed for a process that died: its calls put on record, its money given back."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy import Connection

from genway.billing import leases
from genway.db import Database
from genway.relay.journal import left_behind

log = structlog.get_logger(__name__)


def recover(database: Database, folder: Path, now: float, *, owner: str | None = None, alone: bool = False) -> None:
    """Replay the journals in the data folder, of one dead process or of all, and close its leases.

    alone: no other process lives that uses this database, so all leases are closed; otherwise those of others run out.
    """
    journals = left_behind(folder, owner)

    def write(connection: Connection) -> int:
        found = sum(leases.record_missing(connection, rows, now) for _, rows in journals)
        if owner is not None or alone:
            leases.close_all(connection, now, owner=owner)
        return found

    found = database.write_now(write)
    for path, _ in journals:
        path.unlink(missing_ok=True)
    if found:
        log.info("relay.recovered", calls=found)
