"""The options of a channel that calls are relayed to: which there are, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from genway.errors import InvalidRequest
from genway.providers.relaying import RelayProvider
from genway.relay.translate import traits

NUMBERS = ("requests_per_minute", "tokens_per_minute")
CHOICES: Mapping[str, tuple[str, ...]] = {"unpriced": ("free",), "stream_usage": ("yes", "no")}
SHARED = "shared"
PREFIXES = ("header.", "query.", traits.OPTION)

FRAMING = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that say where a call ends and what becomes of its connection: another value of theirs breaks it."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check(provider: type[RelayProvider], options: Mapping[str, str]) -> None:
    """Raises InvalidRequest for an option that a channel of this provider does not have, or a value that it cannot have."""
    own = provider.options
    for name, value in options.items():
        field = f"--option {name}"
        if name in NUMBERS:
            if not re.fullmatch(r"\d{1,12}", value):
                raise InvalidRequest(f"a whole number a minute, 0 for no limit, got {value}", field=field)
        elif name in CHOICES:
            if value not in CHOICES[name]:
                raise InvalidRequest(f"{' or '.join(CHOICES[name])}, got {value}", field=field)
        elif name.startswith("header."):
            _check_header(name.removeprefix("header."), value, field)
        elif name.startswith(traits.OPTION):
            _check_trait(name, value)
        elif not name.startswith("query.") and name not in (SHARED, *own):
            there = ", ".join((*NUMBERS, *CHOICES, SHARED, *own, *(f"{prefix}NAME" for prefix in PREFIXES)))
            raise InvalidRequest(f"one of {there}", field=field)


def _check_header(name: str, value: str, field: str) -> None:
    if not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
        raise InvalidRequest("a header's name and a line of ASCII", field=field)
    if name.lower() in FRAMING:
        raise InvalidRequest("this header says how a call is sent, so it cannot be set", field=field)


def _check_trait(name: str, value: str) -> None:
    try:
        traits.of("", {name: value})
    except InvalidRequest as error:
        raise InvalidRequest(error.message, field=f"--option {name}") from None
