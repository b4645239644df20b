"""What the doctor looks at of relayed calls: are channels for sale, and is every millionth of a lease accounted for."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import Connection, func, select

from genway.billing import money, prices
from genway.billing.prices import Index
from genway.cli.findings import Finding
from genway.config import Config
from genway.db import Database
from genway.db.tables import calls, leases
from genway.errors import InvalidRequest
from genway.providers import discover
from genway.providers.relaying import RelayProvider
from genway.relay import options
from genway.relay.journal import left_behind
from genway.relay.kinds import KINDS
from genway.routing.channels import Channel, list_channels

EXAMPLES = 5


async def examine(config: Config, database: Database, *, serving: bool) -> AsyncIterator[Finding]:
    """serving: whether a server runs on the data folder now."""
    kinds = discover()
    index = Index(await database.read(prices.current))
    for channel in await database.read(list_channels):
        kind = kinds.get(channel.provider)
        if channel.disabled_at is None and kind is not None and issubclass(kind, RelayProvider):
            for finding in _for_sale(channel, kind, index):
                yield finding
    faults = await database.read(_inexact)
    for fault in faults[:EXAMPLES]:
        yield Finding("calls", "wrong", fault, "Keep the database as it is, and look at the calls of that lease.")
    left = [] if serving or faults else await database.read(_open)
    journals = [] if serving else [path for path, rows in left_behind(config.data_dir) if rows]
    advice = "They are put right when a server starts: `genway serve`."
    if left:
        yield Finding("calls", "warning", f"{len(left)} leases of servers that died hold {money.show(sum(left))}", advice)
    if journals:
        yield Finding("calls", "warning", f"{len(journals)} journals of servers that died are not in the database yet", advice)
    if not (faults or left or journals):
        count = await database.read(lambda connection: connection.execute(select(func.count()).select_from(calls)).scalar_one())
        yield Finding("calls", "ok", f"{count} on record, the open leases agree with them")


def _for_sale(channel: Channel, kind: type[RelayProvider], index: Index) -> list[Finding]:
    found = []
    check = f"channel {channel.name}"
    try:
        options.check(kind, channel.options)
    except InvalidRequest as error:
        found.append(Finding(check, "warning", f"{error}", "Correct it with `genway channel edit`."))
    if channel.options.get("unpriced") == "free":
        return found
    unsold = [name for name in channel.models if "*" not in name and not _has_price(channel, name, index)]
    if unsold:
        more = f" and {len(unsold) - EXAMPLES} more" if len(unsold) > EXAMPLES else ""
        message = f"no price for {', '.join(unsold[:EXAMPLES])}{more}, so calls for them are refused"
        advice = "Set prices with `genway price set`, or `genway channel edit NAME --option unpriced=free`."
        found.append(Finding(check, "warning", message, advice))
    return found


def _has_price(channel: Channel, model: str, index: Index) -> bool:
    names = prices.names_of(channel.provider, model, channel.models[model])
    near = index.among(names)
    return any(prices.chosen(near, names, kind) for kind in (*KINDS, "realtime"))


def _inexact(connection: Connection) -> list[str]:
    """Sentences on open leases whose calls on record cost other than what was counted against them."""
    charged = func.coalesce(func.sum(calls.c.cost), 0)
    query = (
        select(leases.c.id, leases.c.spent, charged.label("charged"))
        .outerjoin(
            calls,
            (calls.c.account_id == leases.c.account_id)
            & (calls.c.created_at >= leases.c.opened_at - 1)
            & (calls.c.lease_id == leases.c.id),
        )
        .where(leases.c.closed_at.is_(None))
        .group_by(leases.c.id, leases.c.spent)
        .having(charged != leases.c.spent)
    )
    return [
        f"lease {row.id} counts {money.show(row.spent)} and its calls cost {money.show(int(row.charged))}"
        for row in connection.execute(query)
    ]


def _open(connection: Connection) -> list[int]:
    return [int(amount) for amount in connection.execute(select(leases.c.amount).where(leases.c.closed_at.is_(None))).scalars()]
