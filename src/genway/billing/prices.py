"""What an operation costs: prices by model and unit, from the database, else from the list that ships."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update
from uuid_utils import uuid7

from genway.billing import money
from genway.billing.tokens import MILLION, TOKENS, Card
from genway.db.tables import prices
from genway.errors import InvalidRequest, NoChannel, NotFound
from genway.operations import AnyOperation

THINGS: Mapping[str, str] = {"call": "calls", "second": "seconds", "image": "images", "character": "characters"}
MILLIONS: Mapping[str, str] = {f"{name}_mtok": name for name in TOKENS}
UNITS = (*THINGS, "token", *MILLIONS)
"""What is counted. `…_mtok`: a million tokens of one class (`tokens.Used`); `token`: one of any class."""

LISTS = ("list_prices.toml", "text_prices.toml")

BY_TOKENS = frozenset(("call", "token", *MILLIONS))
MEASURED: Mapping[str, frozenset[str]] = {
    "image_generations": BY_TOKENS | {"image"},
    "image_edits": BY_TOKENS | {"image"},
    "image_variations": BY_TOKENS | {"image"},
    "speech": BY_TOKENS | {"character", "second"},
    "transcriptions": BY_TOKENS | {"second"},
    "translations": BY_TOKENS | {"second"},
    "realtime": BY_TOKENS | {"second"},
}
"""Units that a kind of call can be charged by; `BY_TOKENS` for those that are not here."""

_retire_same = (
    update(prices)
    .where(
        prices.c.model == bindparam("m"),
        prices.c.operation == bindparam("o"),
        prices.c.unit == bindparam("u"),
        prices.c.retired_at.is_(None),
    )
    .values(retired_at=bindparam("t"))
)


class Price(msgspec.Struct, frozen=True):
    """`amount` millionths for each `unit` of a model.

    model: a qualified name or a pattern (`runway/*`), and after an `@` the variant it is for, where it is for one alone: a
    quality or a resolution (`luma/ray-2@1080p`). operation: an operation's kind, or `*`. id: empty for list prices.
    """

    model: str
    unit: str
    amount: int
    operation: str = "*"
    id: str = ""
    created_at: float = 0

    def fits(self, operation: str, model: str, variants: Sequence[str] = ()) -> bool:
        name, _, variant = self.model.rpartition("@")
        named = _matches(model, self.model) or (variant in variants and _matches(model, name))
        return named and self.operation in {"*", operation}

    @property
    def precision(self) -> tuple[bool, bool, bool, bool, int]:
        """Sorts the price that says most about a model last."""
        return bool(self.id), "*" not in self.model, "@" in self.model, self.operation != "*", len(self.model)


class QuoteLine(msgspec.Struct, frozen=True):
    """One line of a price: `quantity` × `amount` millionths for each `unit`, rounded up to `total`."""

    unit: str
    quantity: float
    amount: int
    total: int


class Quote(msgspec.Struct, frozen=True):
    """What an operation costs. total: millionths of `currency`. served_by: `local` or the name of a provider."""

    model: str
    currency: str
    total: int
    lines: tuple[QuoteLine, ...]
    served_by: str = ""
    warnings: tuple[str, ...] = ()


@cache
def list_prices() -> tuple[Price, ...]:
    """The lists that ship. In them `model` is a name or a list of names that cost the same."""
    return tuple(
        Price(model, unit, money.parse(row[unit]), row.get("operation", "*"))
        for name in LISTS
        for row in tomllib.loads(files("genway.billing").joinpath(name).read_text("utf-8"))["price"]
        for model in ([row["model"]] if isinstance(row["model"], str) else row["model"])
        for unit in UNITS
        if unit in row
    )


def current(connection: Connection) -> tuple[Price, ...]:
    """What counts now: what was set, and the list."""
    rows = connection.execute(select(prices).where(prices.c.retired_at.is_(None)).order_by(prices.c.created_at))
    stored = [Price(row.model, row.unit, row.amount, row.operation, row.id, row.created_at) for row in rows]
    return (*stored, *list_prices())


def set_price(connection: Connection, price: Price, now: float) -> Price:
    """Make `price` the one that counts from now on; the one before stays on record. Raises InvalidRequest."""
    return set_prices(connection, [price], now)[0]


def set_prices(connection: Connection, wanted: Sequence[Price], now: float) -> list[Price]:
    """Make all of `wanted`, of which no two are for the same, count from now on. Raises InvalidRequest; then none does."""
    for price in wanted:
        if price.unit not in UNITS:
            raise InvalidRequest(f"one of {', '.join(UNITS)}, got {price.unit}", field="unit")
        if price.amount < 0:
            raise InvalidRequest("0 or more", field="amount")
    stored = [msgspec.structs.replace(price, id=f"prc_{uuid7().hex}", created_at=now) for price in wanted]
    if stored:
        connection.execute(
            _retire_same, [{"m": price.model, "o": price.operation, "u": price.unit, "t": now} for price in stored]
        )
        connection.execute(insert(prices), [msgspec.structs.asdict(price) | {"retired_at": None} for price in stored])
    return stored


def remove_price(connection: Connection, price: Price, now: float) -> None:
    """Let the list's price count again. Raises NotFound where none was set."""
    same = {"m": price.model, "o": price.operation, "u": price.unit, "t": now}
    if not connection.execute(_retire_same, same).rowcount:
        raise NotFound(f"no price was set for {price.model}, {price.operation}, by the {price.unit}")


def quote(operation: AnyOperation, model: str, book: Sequence[Price], currency: str) -> Quote:
    """What `operation` costs when it is sold as `model`. Raises NoChannel where the model has no price.

    For each unit the most precise price counts; of two equally precise ones the one set by hand. Where a price
    for the exact model, or for the variant of it that is asked for, exists, patterns no longer count for it, whatever their
    unit.
    """
    units = operation.units()
    fitting = [price for price in book if price.unit in units and price.fits(operation.kind, model, operation.variants)]
    if not fitting:
        raise NoChannel(f"{model} has no price; set one with `genway price set`", field="model")
    best = max(price.precision[:4] for price in fitting)
    chosen = {price.unit: price for price in sorted(fitting, key=lambda price: price.precision) if price.precision[:4] == best}
    lines = tuple(
        QuoteLine(unit, units[unit], price.amount, money.times(price.amount, units[unit])) for unit, price in chosen.items()
    )
    return Quote(model, currency, sum(line.total for line in lines), lines)


def card(book: Sequence[Price], names: Sequence[str], kind: str) -> Card | None:
    """The prices of one model for one kind of call (`chat`, `speech` …), or None where it is not sold.

    names: what the model is called, the name that says most first (`openai/gpt-5.5-2026-04-23`, `openai/gpt-5.5`); the first
    that has a price counts. The most precise price decides as in `quote`, and brings the units that were priced together
    with it, no others: what is set for a model replaces all that the list says of it. Reads the whole book, so keep the card.
    """
    units = MEASURED.get(kind, BY_TOKENS)
    usable = [price for price in book if price.unit in units]
    for name in names:
        fitting = [price for price in usable if price.fits(kind, name)]
        if fitting:
            best = max(fitting, key=lambda price: (price.precision, price.created_at))
            return _card({price.unit: price.amount for price in fitting if _together(price) == _together(best)})
    return None


def _matches(model: str, name: str) -> bool:
    # Most names are no patterns, and a pattern takes a hundred times as long.
    return model == name or (any(sign in name for sign in "*?[") and fnmatchcase(model, name))


def _together(price: Price) -> tuple[bool, str, str]:
    return bool(price.id), price.model, price.operation


def _card(amounts: Mapping[str, int]) -> Card:
    each = {"input": amounts["token"] * MILLION, "output": amounts["token"] * MILLION} if "token" in amounts else {}
    classes = {**MILLIONS, **THINGS}
    return Card.of(each | {classes[unit]: amount for unit, amount in amounts.items() if unit in classes})
