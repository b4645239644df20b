"""The ids of tool calls, which a client sends back and both sides have to recognise.

The messages format allows letters, digits, `_` and `-`; upstreams that speak chat completions also make ids such as
`functions.weather:0`, and some read them again. Such an id travels as text in the allowed letters and is turned back.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from uuid import uuid4

ALLOWED = re.compile(r"[A-Za-z0-9_-]+")
WRAPPED = "wrapped_"


def to_messages(identity: str) -> str:
    """`identity` in letters that the messages format allows; most ids stay as they are."""
    if ALLOWED.fullmatch(identity) and not identity.startswith(WRAPPED):
        return identity
    return WRAPPED + base64.urlsafe_b64encode(identity.encode()).decode().rstrip("=")


def to_chat(identity: str) -> str:
    """What `to_messages` was given."""
    if not identity.startswith(WRAPPED):
        return identity
    text = identity.removeprefix(WRAPPED)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return identity


def within(identity: str, longest: int) -> str:
    """`identity` in at most so many letters, always the same ones; 0: it may have any number."""
    if not longest or len(identity) <= longest:
        return identity
    return f"call_{sha256(identity.encode()).hexdigest()[:32]}"[:longest]


def invented() -> str:
    """An id for a call whose upstream gave it none."""
    return f"toolu_{uuid4().hex[:24]}"
