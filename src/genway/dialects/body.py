"""A request body into a typed struct, or an error that says which field, what is allowed and what came.

A dialect declares a struct; the checks, the words of the errors and the unknown fields follow from its annotations:

    class Options(msgspec.Struct):
        seconds: Literal[5, 10] = 10

    class Generate(Body):
        image: str
        options: Options = msgspec.field(default_factory=Options)

    read(Generate, b'{"image": "https://a.example/1.jpg", "options": {"seconds": 7}}')
    # InvalidRequest: options.seconds: 5 or 10, got 7
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from genway.errors import InvalidRequest

T = TypeVar("T")

DEEPEST = 32
SHOWN = 60
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Body(msgspec.Struct, kw_only=True):
    """A body that keeps the fields it does not declare.

    extra: the unknown fields by name. Those of a nested object stand under its name, as a nested mapping; those of
    objects in a list as a list of mappings, one for each object.
    """

    extra: dict[str, Any] = {}


def read(type_: type[T], raw: bytes) -> T:
    """The body `raw` as `type_`: a msgspec struct, best one that derives from `Body`.

    Numbers and booleans may come as texts (`"5"`, `"true"`) and whole numbers as `5.0`. Null and blank texts stand for
    a field that was left out, and an empty body for an empty object. Of a name that comes twice the last one counts.
    Raises InvalidRequest.
    """
    content = parse(raw)
    if not isinstance(content, dict):
        raise InvalidRequest(f"the body is a JSON object, got {shown(content)}")
    value, unknown = _value(_type(cast(Any, type_)), content, "")
    if unknown and isinstance(value, Body):
        value.extra = unknown
    return cast(T, value)


def parse(raw: bytes) -> Any:
    """The JSON text `raw` as Python values. Raises InvalidRequest naming line and column."""
    text = raw.removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise InvalidRequest("the JSON body is nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidRequest("the JSON body is not valid UTF-8") from None
    except msgspec.ValidationError:
        raise InvalidRequest("the JSON body holds a number that is out of range") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_where(text, str(error))}") from None
    _check_depth(value)
    return value


def _where(text: bytes, error: str) -> str:
    """The decoder's message with line and column, counted from 1, in place of its byte offset."""
    at = re.search(r" \(byte (\d+)\)$", error)
    if at is None:
        try:
            json.loads(text)
        except json.JSONDecodeError as other:
            return f"{other.msg}, line {other.lineno}, column {other.colno}"
        except (ValueError, RecursionError):
            return error
        return "half of a surrogate pair stands alone"  # what Python's own decoder lets through
    before = text[: int(at[1])].decode("utf-8", "replace")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    message = error[: at.start()].removeprefix("JSON is malformed: ")
    return f"{message}, line {line}, column {column}"


def _check_depth(value: Any) -> None:
    """What decodes here has to be encoded again elsewhere, on a deeper stack."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for item in level for inner in _members(item) if isinstance(inner, dict | list)]
        if not level:
            return
    raise InvalidRequest("the JSON body is nested too deeply")


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


@lru_cache(maxsize=512)
def _type(type_: Any) -> inspect.Type:
    return inspect.type_info(type_)


def _value(info: inspect.Type, value: Any, where: str) -> tuple[Any, Any]:
    """`value` as the type that `info` describes, and the unknown fields in it (falsy: none)."""
    match info:
        case inspect.Metadata():
            return _value(info.type, value, where)
        case inspect.StructType():
            return _struct(info, value, where)
        case inspect.ListType() | inspect.VarTupleType():
            return _list(info, value, where)
        case inspect.DictType():
            if not isinstance(value, dict):
                raise _refused(info, value, where)
            return value, None
        case inspect.UnionType():
            return _union(info, value, where)
        case _:
            return _scalar(info, value, where), None


def _struct(info: inspect.StructType, value: Any, where: str) -> tuple[Any, dict[str, Any]]:
    if not isinstance(value, dict):
        raise _refused(info, value, where)
    given: dict[str, Any] = {}
    unknown = dict(value)
    for field in info.fields:
        if field.name == "extra" and issubclass(info.cls, Body):
            continue
        name = field.encode_name
        at = f"{where}.{name}" if where else name
        member = unknown.pop(name, None)
        if member is None or (isinstance(member, str) and not member.strip()):
            if field.required:
                raise InvalidRequest("required", field=at)
            continue
        given[field.name], inner = _value(field.type, member, at)
        if inner:
            unknown[name] = inner
    return info.cls(**given), unknown


def _list(info: inspect.ListType | inspect.VarTupleType, value: Any, where: str) -> tuple[Any, list[Any]]:
    if not isinstance(value, list) or not _fits(len(value), info.min_length, info.max_length):
        raise _refused(info, value, where)
    items = [_value(info.item_type, item, f"{where}[{index}]") for index, item in enumerate(value)]
    made = [item for item, _ in items]
    unknown = [inner or {} for _, inner in items] if any(inner for _, inner in items) else []
    return (tuple(made) if isinstance(info, inspect.VarTupleType) else made), unknown


def _union(info: inspect.UnionType, value: Any, where: str) -> tuple[Any, Any]:
    """A union holds at most one object and one list, so the kind of the value says which member is meant."""
    kinds: tuple[type[inspect.Type], ...] = ()
    if isinstance(value, dict):
        kinds = (inspect.StructType, inspect.DictType)
    elif isinstance(value, list):
        kinds = (inspect.ListType, inspect.VarTupleType)
    for member in info.types:
        if isinstance(member, kinds):
            return _value(member, value, where)
    for member in info.types:
        if not isinstance(member, COMPOUND):
            try:
                return _scalar(member, value, where), None
            except InvalidRequest:
                continue
    raise _refused(info, value, where)


COMPOUND = (inspect.StructType, inspect.DictType, inspect.ListType, inspect.VarTupleType)


def _scalar(info: inspect.Type, value: Any, where: str) -> Any:
    read_as = SCALARS.get(type(info))
    if read_as is None:
        raise TypeError(f"{where}: a body cannot hold {info}")
    found, made = read_as(info, value)
    if not found:
        raise _refused(info, value, where)
    return made


def _boolean(info: Any, value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool):
        return True, value
    word = value.strip().lower() if isinstance(value, str) else value
    return (True, True) if word in ("true", 1, "1") else (word in ("false", 0, "0"), False)


def _number(value: Any) -> int | float | None:
    """A JSON number, also one written as a text."""
    if isinstance(value, str) and len(value) < SHOWN:
        try:
            value = msgspec.json.decode(value.strip().encode())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(info: Any, value: Any) -> tuple[bool, Any]:
    number = _number(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    return isinstance(number, int) and _within(info, number), number


def _real(info: Any, value: Any) -> tuple[bool, Any]:
    number = _number(value)
    try:
        return number is not None and _within(info, number), float(number or 0)
    except OverflowError:
        return False, None


def _within(info: Any, number: float) -> bool:
    return (
        (info.ge is None or number >= info.ge)
        and (info.gt is None or number > info.gt)
        and (info.le is None or number <= info.le)
        and (info.lt is None or number < info.lt)
        and (info.multiple_of is None or number % info.multiple_of == 0)
    )


def _text(info: Any, value: Any) -> tuple[bool, Any]:
    if not isinstance(value, str) or "\0" in value:
        return False, None
    matches = info.pattern is None or re.search(info.pattern, value) is not None
    return matches and _fits(len(value), info.min_length, info.max_length), value


def _literal(info: Any, value: Any) -> tuple[bool, Any]:
    if isinstance(value, str) and value in info.values:
        return True, value
    number = _number(value)
    return next(((True, choice) for choice in info.values if choice == number and not isinstance(choice, bool)), (False, None))


SCALARS: Mapping[type[inspect.Type], Callable[[Any, Any], tuple[bool, Any]]] = {
    inspect.AnyType: lambda info, value: (True, value),
    inspect.NoneType: lambda info, value: (value is None, None),
    inspect.BoolType: _boolean,
    inspect.IntType: _integer,
    inspect.FloatType: _real,
    inspect.StrType: _text,
    inspect.LiteralType: _literal,
}


def _fits(length: int, least: int | None, most: int | None) -> bool:
    return (least is None or length >= least) and (most is None or length <= most)


def _refused(info: inspect.Type, value: Any, where: str) -> InvalidRequest:
    return InvalidRequest(f"{words(info)}, got {_got(info, value)}", field=where or None)


def one_of(values: Sequence[Any]) -> str:
    """`gen2, gen3 or gen4`."""
    *most, last = [str(value) for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def words(info: inspect.Type) -> str:
    """What a value of this type may be: `5 or 10`, `a number from -10 to 10`, `a list of at most 3`."""
    match info:
        case inspect.Metadata():
            return words(info.type)
        case inspect.LiteralType():
            return one_of(info.values)
        case inspect.UnionType():
            return one_of([words(member) for member in info.types if not isinstance(member, inspect.NoneType)])
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(info.ge, info.le)
        case inspect.FloatType():
            return "a number" + _range(info.ge, info.le)
        case inspect.StrType():
            pattern = f" of the form {info.pattern}" if info.pattern else ""
            return "a text" + _range(info.min_length, info.max_length, " characters") + pattern
        case inspect.ListType() | inspect.VarTupleType():
            return "a list" + _range(info.min_length, info.max_length, " items")
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case _:
            return "another value"


def _range(least: float | None, most: float | None, unit: str = "") -> str:
    if least is not None and most is not None:
        text = f"{least:.15g} to {most:.15g}{unit}"
        return f" of {text}" if unit else f" from {text}"
    if most is not None:
        return f" of at most {most:.15g}{unit}"
    return f" of at least {least:.15g}{unit}" if least is not None else ""


def _got(info: inspect.Type, value: Any) -> str:
    if isinstance(info, inspect.StrType) and isinstance(value, str) and not _fits(len(value), info.min_length, info.max_length):
        return str(len(value))
    return shown(value)


def shown(value: Any) -> str:
    """A client's value for an error message: as JSON, cut where it is long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return json.dumps(value[:SHOWN] + "…" if len(value) > SHOWN else value, ensure_ascii=False)
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
