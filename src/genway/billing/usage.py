"""What an account has used: tasks and charges by day and model."""

from __future__ import annotations

import datetime

import msgspec
from sqlalchemy import Connection, func, select

from genway.db.tables import tasks

DAY = 86_400


class Usage(msgspec.Struct, frozen=True):
    """One model on one day, `2025-06-27` in UTC. charged: millionths of the account's currency."""

    day: str
    model: str
    tasks: int
    charged: int


def by_day(connection: Connection, account_id: str, mode: str, since: float, before: float) -> list[Usage]:
    """The tasks that were made from `since` up to, not including, `before` (Unix seconds), oldest day first."""
    day = (tasks.c.created_at // DAY).label("day")
    query = (
        select(day, tasks.c.model, func.count(), func.sum(tasks.c.charged))
        .where(
            tasks.c.account_id == account_id,
            tasks.c.mode == mode,
            tasks.c.created_at >= since,
            tasks.c.created_at < before,
        )
        .group_by(day, tasks.c.model)
        .order_by(day, tasks.c.model)
    )
    return [Usage(_date(number), model, count, int(charged)) for number, model, count, charged in connection.execute(query)]


def _date(number: float) -> str:
    return datetime.datetime.fromtimestamp(number * DAY, datetime.UTC).date().isoformat()
