"""What the commands have in common: how they read amounts of money, durations and pairs, and how help shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter, Token

from genway.billing import money
from genway.errors import InvalidRequest

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _worth_showing(default: Any) -> str | None:
    return None if default in (False, 0, "", None) else str(default)


MANNER = Parameter(negative="", show_default=_worth_showing)


def group(name: str, help: str) -> App:
    """A group of commands, `genway NAME …`."""
    return App(name=name, help=help, help_format="markdown", default_parameter=MANNER)


def _amount(_: Any, tokens: Sequence[Token]) -> int:
    return money.parse(tokens[0].value)


def _duration(_: Any, tokens: Sequence[Token]) -> float:
    found = re.fullmatch(r"(\d+)([smhdw])", tokens[0].value.strip())
    if found is None:
        raise ValueError(f"a number and one of s, m, h, d, w, like 30d, got {tokens[0].value!r}")
    return float(int(found[1]) * SECONDS[found[2]])


Amount = Annotated[int, Parameter(converter=_amount, allow_leading_hyphen=True, n_tokens=1, metavar="AMOUNT")]
Duration = Annotated[float, Parameter(converter=_duration, n_tokens=1, metavar="DURATION")]


def pairs(values: Sequence[str], *, field: str) -> dict[str, str]:
    """`["a=1", "b=2"]` → `{"a": "1", "b": "2"}`. Raises InvalidRequest naming `field`."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"NAME=VALUE, got {value}", field=field)
        found[name] = text
    return found
