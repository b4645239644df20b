"""What an operation costs: prices by model and unit, from the database, else from the list that ships."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec
from sqlalchemy import Connection, insert, select, update
from uuid_utils import uuid7

from genway.billing import money
from genway.db.tables import prices
from genway.errors import InvalidRequest, NoChannel, NotFound
from genway.operations import AnyOperation

UNITS = ("call", "second", "image", "character", "token")


class Price(msgspec.Struct, frozen=True):
    """`amount` millionths for each `unit` of a model.

    model: a qualified name or a pattern (`runway/*`). operation: an operation's kind, or `*`. id: empty for list prices.
    """

    model: str
    unit: str
    amount: int
    operation: str = "*"
    id: str = ""
    created_at: float = 0

    def fits(self, operation: str, model: str) -> bool:
        return self.operation in {"*", operation} and fnmatchcase(model, self.model)

    @property
    def precision(self) -> tuple[bool, bool, bool, int]:
        """Sorts the price that says most about a model last."""
        return bool(self.id), "*" not in self.model, self.operation != "*", len(self.model)


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
    """The list that ships."""
    table = tomllib.loads(files("genway.billing").joinpath("list_prices.toml").read_text("utf-8"))
    return tuple(
        Price(row["model"], unit, money.parse(row[unit]), row.get("operation", "*"))
        for row in table["price"]
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
    if price.unit not in UNITS:
        raise InvalidRequest(f"one of {', '.join(UNITS)}, got {price.unit}", field="unit")
    if price.amount < 0:
        raise InvalidRequest("0 or more", field="amount")
    _retire(connection, price, now)
    stored = msgspec.structs.replace(price, id=f"prc_{uuid7().hex}", created_at=now)
    connection.execute(insert(prices), msgspec.structs.asdict(stored) | {"retired_at": None})
    return stored


def remove_price(connection: Connection, price: Price, now: float) -> None:
    """Let the list's price count again. Raises NotFound where none was set."""
    if not _retire(connection, price, now):
        raise NotFound(f"no price was set for {price.model}, {price.operation}, by the {price.unit}")


def quote(operation: AnyOperation, model: str, book: Sequence[Price], currency: str) -> Quote:
    """What `operation` costs when it is sold as `model`. Raises NoChannel where the model has no price.

    For each unit the most precise price counts; of two equally precise ones the one set by hand. Where a price
    for the exact model exists, patterns no longer count for it, whatever their unit.
    """
    units = operation.units()
    fitting = [price for price in book if price.fits(operation.kind, model)]
    if not any(price.unit in units for price in fitting):
        raise NoChannel(f"{model} has no price; set one with `genway price set`", field="model")
    best = max(price.precision[:3] for price in fitting if price.unit in units)
    chosen = {
        price.unit: price
        for price in sorted(fitting, key=lambda price: price.precision)
        if price.precision[:3] == best and price.unit in units
    }
    lines = tuple(
        QuoteLine(unit, units[unit], price.amount, money.times(price.amount, units[unit])) for unit, price in chosen.items()
    )
    return Quote(model, currency, sum(line.total for line in lines), lines)


def _retire(connection: Connection, price: Price, now: float) -> int:
    same = (prices.c.model == price.model, prices.c.operation == price.operation, prices.c.unit == price.unit)
    return connection.execute(update(prices).where(*same, prices.c.retired_at.is_(None)).values(retired_at=now)).rowcount
