"""Values that satisfy a JSON schema, always the same for the same schema."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, ClassVar

from genway.errors import InvalidRequest
from genway.providers.local.echo.patterns import NoText, text_for

FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "local@example.com",
    "idn-email": "local@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/local",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
IMPLIED = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "contains"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
MOST_VALUES = 2_000
MOST_ALTERNATIVES = 500
LONGEST_TEXT = 20_000
CANDIDATES = 100
PART = 100
"""Characters of a text that count as one more value."""


class _Impossible(Exception):
    """Nothing satisfies this part of the schema, or only something without end."""


def instance(schema: Any, *, field: str, name: str = "text") -> Any:
    """A value that satisfies the schema: every property is there, a list has one item, a free text is its property's name.

    field: where the schema stands, for errors. `not`, `if` and the `unevaluated…` words are left out of account, and what a
    schema refers to must be inside it. Raises InvalidRequest where no value is found, or only one of more than 2,000 parts.
    """
    try:
        return _Maker(schema, field).make(schema, name, 0, frozenset({"#"}))
    except _Impossible as error:
        raise InvalidRequest(f"no value can be made for this schema: {error}", field=field) from None
    except (RecursionError, InvalidOperation, OverflowError, TypeError, ValueError, AttributeError):
        raise InvalidRequest("this is not a valid JSON schema", field=field) from None


class _Maker:
    def __init__(self, root: Any, field: str) -> None:
        self._root = root
        self._field = field
        self._made = 0.0

    def make(self, schema: Any, name: str, variant: int, inside: frozenset[str]) -> Any:
        """variant: values of other variants differ where they can. inside: the references that are being followed."""
        self._spend(1)
        if schema is True or schema == {}:
            return _named(name, variant)
        if schema is False:
            raise _Impossible("a part of it allows nothing")
        if (reference := schema.get("$ref")) is not None:
            if reference in inside:
                raise _Impossible("it contains itself without end")
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return self.make(_merged([self._found(reference), rest]), name, variant, inside | {reference})
        if parts := schema.get("allOf"):
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            return self.make(_merged([rest, *map(self._resolved, parts)]), name, variant, inside)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                rest = {key: value for key, value in schema.items() if key != word}
                choices = (_merged([rest, each]) for each in schema[word])
                return self._first(choices, name, variant, inside)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chosen(schema, variant)
        types = schema.get("type") or _implied(schema)
        if isinstance(types, list):
            ordered = sorted(types, key=lambda each: each == "null")
            return self._first(({**schema, "type": each} for each in ordered), name, variant, inside)
        return self._of_type(types, schema, name, variant, inside)

    def _spend(self, parts: float) -> None:
        self._made += parts
        if self._made > MOST_VALUES:
            raise InvalidRequest(f"a value for this schema has more than {MOST_VALUES} parts", field=self._field)

    def _first(self, choices: Iterable[Any], name: str, variant: int, inside: frozenset[str]) -> Any:
        problem = _Impossible("it has no alternatives")
        for choice in choices:
            try:
                return self.make(choice, name, variant, inside)
            except _Impossible as error:
                problem = error
        raise problem

    def _of_type(self, type_: str, schema: Mapping[str, Any], name: str, variant: int, inside: frozenset[str]) -> Any:
        match type_:
            case "object":
                return self._object(schema, name, variant, inside)
            case "array":
                return self._array(schema, name, variant, inside)
            case "string":
                made = _text(schema, name, variant)
                self._spend(len(made) / PART)
                return made
            case "number" | "integer":
                return _number(schema, type_ == "integer", variant)
            case "boolean":
                return variant % 2 == 0
            case "null":
                return None
        raise _Impossible(f"there is no type {type_}")

    def _object(self, schema: Mapping[str, Any], name: str, variant: int, inside: frozenset[str]) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required: list[str] = schema.get("required") or []
        others = schema.get("additionalProperties", True)
        most = schema.get("maxProperties", math.inf)
        made: dict[str, Any] = {}
        for key in dict.fromkeys([*properties, *required]):
            if key not in required and len(made) + sum(each not in made for each in required) >= most:
                continue
            try:
                made[key] = self.make(properties.get(key, others), key, variant, inside)
            except _Impossible:
                if key in required:
                    raise
        while len(made) < schema.get("minProperties", 0):
            key = f"{name}_{len(made) + 1}"
            made[key] = self.make(others, key, variant, inside)
        return made

    def _array(self, schema: Mapping[str, Any], name: str, variant: int, inside: frozenset[str]) -> list[Any]:
        items = schema.get("items", True)
        first = schema.get("prefixItems") or (items if isinstance(items, list) else [])
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        self._spend(0 if least <= MOST_VALUES else math.inf)
        made = [self.make(each, name, variant, inside) for each in first[: int(min(most, len(first)))]]
        if "contains" in schema and len(made) < most:
            made += [
                self.make(_merged([self._resolved(rest), schema["contains"]]), name, variant + index, inside)
                for index in range(schema.get("minContains", 1))
            ]
        for index in range(len(made), max(least, 0 if made or most < 1 else 1)):
            try:
                made.append(self.make(rest, name, variant + index, inside))
            except _Impossible:
                if index < least:
                    raise
        return made

    def _chosen(self, schema: Mapping[str, Any], variant: int) -> Any:
        types = schema.get("type")
        allowed = [types] if isinstance(types, str) else types
        values = [value for value in schema["enum"] if allowed is None or any(_is(value, each) for each in allowed)]
        if not values:
            raise _Impossible("an enum allows nothing")
        return values[variant % len(values)]

    def _resolved(self, schema: Any) -> Any:
        """The schema, or what it refers to, if that is all it does: what is merged has to be at hand."""
        seen: set[str] = set()
        while isinstance(schema, dict) and (reference := schema.get("$ref")) is not None and reference not in seen:
            seen.add(reference)
            schema = _merged([self._found(reference), {key: value for key, value in schema.items() if key != "$ref"}])
        return schema

    def _found(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise _Impossible(f"{reference} is not inside it")
        place = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                place = place[int(key)] if isinstance(place, list) else place[key]
            except (KeyError, IndexError, TypeError):
                raise _Impossible(f"{reference} is not in it") from None
        return place


class _Merge:
    """How two values of one word become the value that satisfies both."""

    LARGER: ClassVar = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
    SMALLER: ClassVar = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")

    @classmethod
    def of(cls, word: str, one: Any, other: Any) -> Any:
        if word in cls.LARGER:
            return max(one, other)
        if word in cls.SMALLER:
            return min(one, other)
        if word == "required":
            return list(dict.fromkeys([*one, *other]))
        if word == "enum":
            return [value for value in one if value in other]
        if word in ("anyOf", "oneOf"):
            if len(one) * len(other) > MOST_ALTERNATIVES:
                raise _Impossible("it has too many alternatives")
            return [_merged([first, second]) for first in one for second in other]
        if word == "allOf":
            return [*one, *other]
        if word == "type":
            return cls._types(one, other)
        if word in ("properties", "$defs", "definitions"):
            both = {
                key: {"allOf": [one[key], other[key]]} if one[key] != other[key] else one[key] for key in one if key in other
            }
            return {**one, **other, **both}
        return other

    @staticmethod
    def _types(one: Any, other: Any) -> Any:
        first, second = ([each] if isinstance(each, str) else each for each in (one, other))
        if "number" in second and "integer" in first:
            second = [*second, "integer"]
        if "number" in first and "integer" in second:
            first = [*first, "integer"]
        both = [each for each in first if each in second]
        if not both:
            raise _Impossible("two of its types exclude each other")
        return both[0] if len(both) == 1 else both


def _merged(schemas: Iterable[Any]) -> Any:
    """One schema that asks for all that these ask for."""
    whole: dict[str, Any] = {}
    for schema in schemas:
        if schema is False:
            return False
        if schema is True:
            continue
        for word, value in schema.items():
            whole[word] = _Merge.of(word, whole[word], value) if word in whole and whole[word] != value else value
    return whole


def _implied(schema: Mapping[str, Any]) -> str:
    return next((type_ for type_, words in IMPLIED.items() if any(word in schema for word in words)), "string")


def _is(value: Any, type_: str) -> bool:
    kinds: Mapping[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if type_ in kinds:
        return isinstance(value, kinds[type_])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (type_ == "number" or float(value).is_integer())


def _named(name: str, variant: int) -> str:
    return f"{name} {variant + 1}" if variant else name


def _text(schema: Mapping[str, Any], name: str, variant: int) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    if least > min(most, LONGEST_TEXT):
        raise _Impossible(f"a text has at least {least} characters")
    if "pattern" in schema:
        try:
            return text_for(schema["pattern"], least, most, variant)
        except NoText as error:
            raise _Impossible(str(error)) from None
    if (made := FORMATS.get(schema.get("format", ""))) is not None and least <= len(made) <= most:
        return made
    made = _named(name, variant) or "text"
    if len(made) < least:
        made = (made * (least // len(made) + 1))[:least]
    return made[: int(min(len(made), most))]


def _number(schema: Mapping[str, Any], integer: bool, variant: int) -> int | float:
    """The smallest plain number that the bounds allow, counted on by the variant, as far as there are candidates."""
    variant %= CANDIDATES
    allowed = _Bounds(schema, integer)
    found = (each for each in allowed.candidates() if allowed.hold(each))
    # The plain numbers may come a second time on the way from the bounds.
    chosen = [*dict.fromkeys(islice(found, variant + 5))][: variant + 1]
    if not chosen:
        raise _Impossible("no number is within its bounds")
    number = chosen[-1]
    return int(number) if number == number.to_integral_value() else float(number)


class _Bounds:
    def __init__(self, schema: Mapping[str, Any], integer: bool) -> None:
        low, above = schema.get("minimum"), schema.get("exclusiveMinimum", False)
        high, below = schema.get("maximum"), schema.get("exclusiveMaximum", False)
        # In older drafts these two are booleans that sharpen `minimum` and `maximum`.
        self._low, self._above = _exact(low), _exact(low if above is True else None if above is False else above)
        self._high, self._below = _exact(high), _exact(high if below is True else None if below is False else below)
        self._step = _exact(schema.get("multipleOf"))
        if integer:
            self._step = Decimal(1) if self._step is None else self._step
        self._integer = integer

    def hold(self, value: Decimal) -> bool:
        return (
            (self._low is None or value >= self._low)
            and (self._above is None or value > self._above)
            and (self._high is None or value <= self._high)
            and (self._below is None or value < self._below)
            and (self._step is None or value % self._step == 0)
            and (not self._integer or value == value.to_integral_value())
        )

    def candidates(self) -> Iterator[Decimal]:
        """Numbers that are likely within the bounds, plain ones first; a limited number of them."""
        yield from (Decimal(1), Decimal(0))
        lows = [each for each in (self._low, self._above) if each is not None]
        highs = [each for each in (self._high, self._below) if each is not None]
        step = self._step or Decimal(1)
        if lows and highs and self._step is None:
            yield from (max(lows), (max(lows) + min(highs)) / 2)
        start = max(lows) if lows else min(highs) if highs else Decimal(0)
        way = 1 if lows or not highs else -1
        nearest = (start / step).to_integral_value() * step
        yield from (nearest + way * step * index for index in range(-1, CANDIDATES))
        if self._step is None and lows and highs:
            gap = (min(highs) - max(lows)) / CANDIDATES
            yield from (max(lows) + gap * index for index in range(1, CANDIDATES))


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))
