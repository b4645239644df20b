"""What an operation costs: prices by model and unit, from the database, else from the list that ships."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, insert, or_, select, update
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
    return _in_force(connection, prices.c.retired_at.is_(None))


def books(connection: Connection, since: float, until: float) -> list[tuple[Price, ...]]:
    """What counted at any moment of a span of Unix seconds, the latest first; the list that ships as it is now."""
    changed = prices.c.created_at.between(since, until) | prices.c.retired_at.between(since, until)
    moments = {until}
    for row in connection.execute(select(prices.c.created_at, prices.c.retired_at).where(changed)):
        moments |= {moment for moment in row if moment is not None and since <= moment <= until}
    return [_at(connection, moment) for moment in (*sorted(moments, reverse=True), since)]


def _at(connection: Connection, moment: float) -> tuple[Price, ...]:
    retired = or_(prices.c.retired_at.is_(None), prices.c.retired_at > moment)
    return _in_force(connection, prices.c.created_at <= moment, retired)


def _in_force(connection: Connection, *when: ColumnElement[bool]) -> tuple[Price, ...]:
    rows = connection.execute(select(prices).where(*when).order_by(prices.c.created_at))
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
        remove_prices(connection, stored, now)
        connection.execute(insert(prices), [msgspec.structs.asdict(price) | {"retired_at": None} for price in stored])
    return stored


def remove_price(connection: Connection, price: Price, now: float) -> None:
    """Let the list's price count again. Raises NotFound where none was set."""
    if not connection.execute(_retire_same, _same(price, now)).rowcount:
        raise NotFound(f"no price was set for {price.model}, {price.operation}, by the {price.unit}")


def remove_prices(connection: Connection, unwanted: Sequence[Price], now: float) -> None:
    """Let what counts without these count again."""
    if unwanted:
        connection.execute(_retire_same, [_same(price, now) for price in unwanted])


def _same(price: Price, now: float) -> dict[str, str | float]:
    return {"m": price.model, "o": price.operation, "u": price.unit, "t": now}


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


def chosen(book: Sequence[Price], names: Sequence[str], kind: str) -> tuple[Price, ...]:
    """The prices that count for one model in one kind of call (`chat`, `speech` …); none where it is not sold.

    names: what the model is called, the name that says most first (`openai/gpt-5.5-2026-04-23`, `openai/gpt-5.5`); the first
    that has a price counts. The most precise price decides as in `quote`, and brings the units that were priced together
    with it, no others: what is set for a model replaces all that the list says of it. Reads the whole book.
    """
    units = MEASURED.get(kind, BY_TOKENS)
    usable = [price for price in book if price.unit in units]
    for name in names:
        fitting = [price for price in usable if price.fits(kind, name)]
        if fitting:
            best = max(fitting, key=lambda price: (price.precision, price.created_at))
            return tuple(price for price in fitting if _together(price) == _together(best))
    return ()


def card(book: Sequence[Price], names: Sequence[str], kind: str) -> Card | None:
    """What `chosen` comes to, or None where the model is not sold. Reads the whole book, so keep the card."""
    found = chosen(book, names, kind)
    return card_of(found) if found else None


def card_of(together: Sequence[Price]) -> Card:
    """The prices of one model as a card; a class of tokens without a price has that of its kin."""
    return _card({price.unit: price.amount for price in together})


def names_of(provider: str, model: str, vendor_model: str) -> tuple[str, ...]:
    """What a relayed model may be called where prices are, the name that says most first."""
    return (model, f"{provider}/{model}", f"{provider}/{vendor_model}", vendor_model)


class Index:
    """A book in which the few prices that may count for a name are found without reading all of it."""

    def __init__(self, book: Sequence[Price]) -> None:
        self._named: dict[str, list[Price]] = {}
        self._patterns: dict[str, dict[str, list[Price]]] = {}
        for price in book:
            if not _is_pattern(price.model):
                self._named.setdefault(price.model, []).append(price)
                if "@" in price.model:
                    self._named.setdefault(price.model.rpartition("@")[0], []).append(price)
                continue
            system, slash, _ = price.model.partition("/")
            room = system if slash and not _is_pattern(system) else ""
            self._patterns.setdefault(room, {}).setdefault(price.model, []).append(price)

    def among(self, names: Sequence[str]) -> list[Price]:
        """All prices that may count for one of the names; and those of their variants, like `luma/ray-2@1080p`."""
        found: dict[tuple[str, str, str, str], Price] = {}
        for name in dict.fromkeys(names):
            near = list(self._named.get(name, ()))
            for room in {"", name.partition("/")[0]}:
                for pattern, priced in self._patterns.get(room, {}).items():
                    if _matches(name, pattern) or ("@" in pattern and _matches(name, pattern.rpartition("@")[0])):
                        near += priced
            for price in near:
                found[price.model, price.operation, price.unit, price.id] = price
        return list(found.values())


def _matches(model: str, name: str) -> bool:
    # Most names are no patterns, and a pattern takes a hundred times as long.
    return model == name or (_is_pattern(name) and fnmatchcase(model, name))


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name or "[" in name


def _together(price: Price) -> tuple[bool, str, str]:
    return bool(price.id), price.model, price.operation


def _card(amounts: Mapping[str, int]) -> Card:
    each = {"input": amounts["token"] * MILLION, "output": amounts["token"] * MILLION} if "token" in amounts else {}
    classes = {**MILLIONS, **THINGS}
    return Card.of(each | {classes[unit]: amount for unit, amount in amounts.items() if unit in classes})
