"""What an answer is before a server sends it, how bodies are read, and the pieces that every format is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2s
from typing import Any, TypeVar

import msgspec

from genway.errors import InvalidRequest

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
_place = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_missing = re.compile(r"Object missing required field `(\w+)`")
_Body = TypeVar("_Body")


class Whole(msgspec.Struct):
    """An answer in one piece. delay: seconds to wait before it is sent, 0…600."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = {}
    delay: float = 0


class Streamed(msgspec.Struct):
    """An answer in server-sent events, each the raw bytes of one complete event. delay: seconds before the first,
    0…600; pause: seconds between two of them, 0…60."""

    content_type: str
    events: Iterator[bytes]
    delay: float = 0
    pause: float = 0


def whole(value: Any, *, delay: float = 0) -> Whole:
    """A value as the JSON body of an answer that went well."""
    return Whole(200, JSON, msgspec.json.encode(value), {}, delay)


def data(value: Any) -> bytes:
    """An event without a name, as chat and legacy completions send them."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


def named(value: Mapping[str, Any]) -> bytes:
    """An event that is named after the value's `type`."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), msgspec.json.encode(value))


def breaking(events: Iterator[bytes], after: int | None, error: bytes) -> Iterator[bytes]:
    """The events, of which so many pass before `error` ends them. after: None for all."""
    for index, event in enumerate(events):
        if index == after:
            yield error
            return
        yield event


def identifier(prefix: str, *parts: object) -> str:
    """An id that the same parts always give: the prefix and 24 hexadecimal figures."""
    return prefix + blake2s(":".join(map(str, parts)).encode("utf-8", "replace"), digest_size=12).hexdigest()


def read(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """The body as the decoder's type. Raises InvalidRequest with the field's path (`messages[0].content`)."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise InvalidRequest("the JSON body is nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidRequest("the JSON body is not valid UTF-8") from None
    except msgspec.ValidationError as error:
        raise refused(error) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def refused(error: msgspec.ValidationError, within: str = "") -> InvalidRequest:
    """A decoder's complaint as an error that names the field. within: the path of what was decoded."""
    text = str(error)
    place = _place.search(text)
    path = place[1] if place else ""
    if missing := _missing.match(text):
        return InvalidRequest("required", field=".".join(filter(None, (within, path, missing[1]))))
    message = text[: place.start()] if place else text
    return InvalidRequest(message[:1].lower() + message[1:], field=".".join(filter(None, (within, path))) or None)


def joined(texts: Iterable[str]) -> str:
    """Texts below one another, without the empty ones."""
    return "\n".join(filter(None, texts))
