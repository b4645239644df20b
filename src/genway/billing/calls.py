"""Relayed calls on record: looked up, and their cost explained. All functions work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import Connection, select

from genway.billing import prices
from genway.billing.prices import Index, Price
from genway.billing.tokens import Line, Used
from genway.billing.usage import Span, within
from genway.db import tables
from genway.errors import NotFound

LATE_SECONDS = 3.0
"""A server notices a new price within a second; a call is charged by those that it found when it began."""

LOCAL = "local"
IN_BATCHES = ("batches", "message_batches")


class Call(msgspec.Struct, frozen=True):
    """One call as it is on record. cost: millionths of the account's currency. used: JSON of `tokens.Used`."""

    id: str
    created_at: float
    account_id: str
    key_id: str
    mode: str
    kind: str
    model: str
    vendor_model: str
    channel_id: str
    lease_id: str | None
    status: int
    outcome: str
    attempts: int
    milliseconds: int
    input_tokens: int
    output_tokens: int
    used: str
    estimated: bool
    cost: int
    request_id: str


class Explanation(msgspec.Struct, frozen=True):
    """Why a call cost what it did.

    prices: those that counted then, none where it was free. lines: what was used at these prices. exact: whether the lines add
    up to what was charged; they cannot where the price came from a list that has since changed, and then they are a guess.
    """

    prices: tuple[Price, ...]
    lines: tuple[Line, ...]
    exact: bool


def listing(
    connection: Connection, span: Span, *, outcome: str = "", estimated: bool | None = None, limit: int = 50
) -> list[Call]:
    """Calls, the newest first."""
    table = tables.calls
    query = select(table).where(*within(table, span)).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if not span.account_id:
        # Ids grow with time, and only an account's calls have an index by time.
        query = query.order_by(None).order_by(table.c.id.desc())
    if outcome:
        query = query.where(table.c.outcome == outcome)
    if estimated is not None:
        query = query.where(table.c.estimated.is_(estimated))
    return [msgspec.convert(row, Call, from_attributes=True) for row in connection.execute(query)]


def get(connection: Connection, id_or_request: str) -> list[Call]:
    """The call of this id, or the calls of a request of this id. Raises NotFound."""
    table = tables.calls
    rows = connection.execute(select(table).where(table.c.id == id_or_request)).all()
    rows = rows or connection.execute(select(table).where(table.c.request_id == id_or_request).order_by(table.c.id)).all()
    if not rows:
        raise NotFound(f"there is no call {id_or_request}; `genway call list` lists them")
    return [msgspec.convert(row, Call, from_attributes=True) for row in rows]


def explain(connection: Connection, call: Call, providers: Sequence[str]) -> Explanation:
    """Find the prices by which a call was charged. providers: those it may have gone to, the likeliest first."""
    used = msgspec.json.decode(call.used, type=Used)
    guess: Explanation | None = None
    began = call.created_at - call.milliseconds / 1000
    for book in prices.books(connection, began - LATE_SECONDS, call.created_at):
        index = Index(book)
        for names, kind in _sold_as(call, providers):
            found = prices.chosen(_of_batches(call, index.among(names)), names, kind)
            if not found:
                continue
            card = prices.card_of(found)
            if card.cost(used) == call.cost:
                return Explanation(found, card.lines(used), True)
            guess = guess or Explanation(found, card.lines(used), False)
    if not call.cost:
        return Explanation((), (), True)
    return guess or Explanation((), (), False)


def _of_batches(call: Call, near: list[Price]) -> list[Price]:
    """Of a call in a batch a price for batches goes before all others."""
    if call.kind not in IN_BATCHES:
        return near
    return [price for price in near if price.operation in IN_BATCHES] or near


def _sold_as(call: Call, providers: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names and kinds by which its price may have been looked up."""
    kinds = (call.kind, *IN_BATCHES, "chat", "messages", "responses", "embeddings") if call.kind in IN_BATCHES else (call.kind,)
    for kind in kinds:
        for provider in providers:
            if provider == LOCAL:
                own = prices.names_of(LOCAL, f"{LOCAL}/{kind}", f"{LOCAL}-{kind}")
                as_named = prices.names_of(LOCAL, call.model, f"{LOCAL}-{kind}")
                yield from (((as_named, kind), (own, kind)) if call.mode == "test" else ((own, kind), (as_named, kind)))
            else:
                yield prices.names_of(provider, call.model, call.vendor_model), kind
