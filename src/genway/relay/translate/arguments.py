"""A tool call's arguments: JSON text in chat completions, an object in messages."""

from __future__ import annotations

from typing import Any

import msgspec

from genway.relay.translate import reading

LOOSE = "arguments"

_any = msgspec.json.Decoder(Any)


def to_object(arguments: str | dict[str, Any] | None) -> dict[str, Any]:
    """Arguments as the object that messages demands.

    Models do write broken JSON, and a conversation that holds some has to go on: what is not an object is wrapped in
    one, as `{"arguments": …}`.
    """
    if isinstance(arguments, dict):
        return arguments
    if not arguments or none_in(arguments):
        return {}
    try:
        value = reading.decode(_any, arguments.encode())
    except (msgspec.DecodeError, RecursionError):
        return {LOOSE: arguments}
    return value if isinstance(value, dict) else {LOOSE: value}


def to_text(value: dict[str, Any] | msgspec.Raw) -> str:
    """Arguments as compact JSON text. value: an object, or its JSON, which is empty or null where there are none."""
    if isinstance(value, msgspec.Raw):
        return "{}" if absent(value) else msgspec.json.format(bytes(value), indent=-1).decode()
    return msgspec.json.encode(value).decode()


def absent(value: msgspec.Raw) -> bool:
    """Whether a member is missing or null."""
    return not value or bytes(value) == b"null"


def none_in(text: str) -> bool:
    """Whether this is how an upstream writes that a call has no arguments."""
    return text.strip() in {"", "null"}


def complete(text: str) -> bool:
    """Whether a call's text so far is all of its arguments."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
