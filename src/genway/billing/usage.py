"""What was used and charged: tasks and relayed calls, summed by day, model, key or channel."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import ColumnElement, Connection, Integer, Table, cast, func, select

from genway.db.tables import accounts, calls, tasks

DAY = 86_400

By = Literal["day", "model", "key", "channel", "account", "kind"]
BY: tuple[By, ...] = get_args(By)


class Usage(msgspec.Struct, frozen=True):
    """One model on one day, `2025-06-27` in UTC. charged: millionths of the account's currency, for tasks and calls."""

    day: str
    model: str
    tasks: int
    charged: int
    calls: int = 0


class Sum(msgspec.Struct, frozen=True):
    """What tasks and calls with the same `group` (a day, a model's name, an id …) come to, in one currency and mode.

    charged: millionths. input, output: tokens of the calls. estimated: calls whose usage was counted here.
    """

    group: tuple[str, ...]
    currency: str
    mode: str
    tasks: int = 0
    calls: int = 0
    estimated: int = 0
    input: int = 0
    output: int = 0
    charged: int = 0


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks and calls are meant. since, before: Unix seconds, the end not included; the rest: ids, a model's name."""

    since: float = 0
    before: float = float("inf")
    account_id: str = ""
    key_id: str = ""
    channel_id: str = ""
    model: str = ""
    mode: str = ""


def by_day(connection: Connection, account_id: str, mode: str, since: float, before: float) -> list[Usage]:
    """What was made from `since` up to, not including, `before` (Unix seconds), oldest day first.

    A task counts on the day it was asked for, a call on the day it ended.
    """
    span = Span(since=since, before=before, account_id=account_id, mode=mode)
    return [
        Usage(one.group[0], one.group[1], one.tasks, one.charged, one.calls) for one in sums(connection, ("day", "model"), span)
    ]


def sums(connection: Connection, by: Sequence[By], span: Span) -> list[Sum]:
    """Tasks and calls added up by some of `BY`, ordered by them. Tasks that run are counted and not charged yet."""
    found: dict[tuple[str, ...], list[Sum]] = defaultdict(list)
    nothing = cast(0, Integer)
    for table, columns in (
        (tasks, (func.count(), nothing, nothing, nothing, nothing, func.sum(tasks.c.charged))),
        (
            calls,
            (
                nothing,
                func.count(),
                func.sum(cast(calls.c.estimated, Integer)),
                func.sum(calls.c.input_tokens),
                func.sum(calls.c.output_tokens),
                func.sum(calls.c.cost),
            ),
        ),
    ):
        groups = [_group(table, one).label(one) for one in by]
        query = (
            select(*groups, func.coalesce(accounts.c.currency, ""), table.c.mode, *columns)
            .outerjoin(accounts, accounts.c.id == table.c.account_id)
            .where(*within(table, span))
            .group_by(*groups, accounts.c.currency, table.c.mode)
        )
        for row in connection.execute(query):
            group = tuple(_date(value) if name == "day" else str(value or "") for name, value in zip(by, row, strict=False))
            currency, mode, *counts = row[len(by) :]
            found[*group, currency, mode].append(Sum(group, currency, mode, *map(int, counts)))
    return [_together(found[key]) for key in sorted(found)]


def _together(parts: Sequence[Sum]) -> Sum:
    first = parts[0]
    counts = ("tasks", "calls", "estimated", "input", "output", "charged")
    return Sum(first.group, first.currency, first.mode, *(sum(getattr(part, name) for part in parts) for name in counts))


def _group(table: Table, by: By) -> ColumnElement[Any]:
    match by:
        case "day":
            return cast(func.floor(table.c.created_at / DAY), Integer)
        case "kind":
            return table.c.operation if table is tasks else table.c.kind
        case "model":
            return table.c.model
    return {"key": table.c.key_id, "channel": table.c.channel_id, "account": table.c.account_id}[by]


def within(table: Table, span: Span) -> list[ColumnElement[bool]]:
    """The conditions by which rows of `tasks` or `calls` are among those meant."""
    where = [
        column == value
        for column, value in (
            (table.c.account_id, span.account_id),
            (table.c.key_id, span.key_id),
            (table.c.channel_id, span.channel_id),
            (table.c.model, span.model),
            (table.c.mode, span.mode),
        )
        if value
    ]
    if span.since:
        where.append(table.c.created_at >= span.since)
    if span.before != float("inf"):
        where.append(table.c.created_at < span.before)
    return where


def _date(number: int) -> str:
    return datetime.datetime.fromtimestamp(number * DAY, datetime.UTC).date().isoformat()
