"""Bodies and events as typed structs, and the words for a body that is not."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from genway.errors import InvalidRequest

T = TypeVar("T")

_SURROGATE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<field>[^`]*)`)?$", re.DOTALL)


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises InvalidRequest naming the field by its path in the body."""
    try:
        return decode(decoder, body)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        what, field = (found["what"], found["field"]) if found else (str(error), None)
        raise InvalidRequest(what[:1].lower() + what[1:].replace("`", ""), field=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the JSON body is nested too deeply") from None


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """As the decoder does. Half a character, which JSON can write and nobody can read, becomes U+FFFD.

    Programs that cut their texts by UTF-16 units write such halves.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        whole = whole_characters(data)
        if whole == data:
            raise
        return decoder.decode(whole)


def whole_characters(data: bytes) -> bytes:
    """JSON without halves of characters."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _SURROGATE.sub(lambda found: b"\\ufffd" if found["half"] else found[0], data)


def one_of(value: str, allowed: tuple[str, ...], field: str) -> str:
    """`value`, where it is allowed. Raises InvalidRequest."""
    if value not in allowed:
        choices = " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
        raise InvalidRequest(f"{choices}, got {value[:60]}", field=field)
    return value
