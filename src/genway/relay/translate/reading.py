"""A client's body as a typed struct, and the words for one that is not."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from genway.errors import InvalidRequest

T = TypeVar("T")

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<field>[^`]*)`)?$", re.DOTALL)


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises InvalidRequest naming the field by its path in the body."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        what, field = (found["what"], found["field"]) if found else (str(error), None)
        raise InvalidRequest(what[:1].lower() + what[1:].replace("`", ""), field=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the JSON body is nested too deeply") from None


def one_of(value: str, allowed: tuple[str, ...], field: str) -> str:
    """`value`, where it is allowed. Raises InvalidRequest."""
    if value not in allowed:
        choices = " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
        raise InvalidRequest(f"{choices}, got {value[:60]}", field=field)
    return value
