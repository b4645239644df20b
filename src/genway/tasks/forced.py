"""Outcomes that a test key's prompt forces, so that programs can rehearse what a vendor may do.

| words | effect |
|---|---|
| `genway:fail=moderation` | the task fails as refused by moderation |
| `genway:fail=vendor` | the task fails with the vendor's own error |
| `genway:fail=invalid` | the task fails because the vendor refuses the request |
| `genway:fail=balance` | the request is answered 402 |
| `genway:fail=rate` | the request is answered 429 |
| `genway:fail=expire` | the task expires at once |
| `genway:delay=8` | the task takes at least so many seconds (up to 600) |
| `genway:lose-callback=3` | the first so many tries of its callback are lost (up to 20) |
"""

from __future__ import annotations

import re

from genway.errors import InsufficientBalance, InvalidRequest, RateLimited
from genway.operations import AnyOperation

_word = re.compile(r"genway:([a-z-]+)=([A-Za-z0-9.]+)")

FAILURES = ("moderation", "vendor", "invalid", "balance", "rate", "expire")
MOST = {"delay": 600.0, "lose-callback": 20.0}


def forced(operation: AnyOperation) -> dict[str, str]:
    """The forced outcomes in an operation's prompt. Raises InvalidRequest for words that are not in the table."""
    options = dict(_word.findall(getattr(operation, "prompt", "")))
    for name, value in options.items():
        if name == "fail":
            if value not in FAILURES:
                raise InvalidRequest(f"genway:fail= one of {', '.join(FAILURES)}, got {value}", field="prompt")
        elif name in MOST:
            if not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) > MOST[name]:
                raise InvalidRequest(f"genway:{name}= a number from 0 to {MOST[name]:g}, got {value}", field="prompt")
        else:
            raise InvalidRequest(f"there is no forced outcome genway:{name}", field="prompt")
    return options


def refuse(options: dict[str, str]) -> None:
    """Raise what a forced outcome wants the request itself to be answered with."""
    if options.get("fail") == "balance":
        raise InsufficientBalance("forced by genway:fail=balance")
    if options.get("fail") == "rate":
        raise RateLimited("forced by genway:fail=rate", retry_after=1)
