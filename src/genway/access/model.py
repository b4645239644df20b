"""Who calls, and how the call was made."""

from __future__ import annotations

from typing import Literal

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a valid key. budget: the most it may ever spend, in millionths; None is without limit."""

    account_id: str
    key_id: str
    name: str
    mode: Literal["live", "test"]
    admin: bool = False
    budget: int | None = None
    requests_per_minute: int | None = None
    concurrent_tasks: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request, as far as the door needs to know it.

    base_url: what links in the answer start with. idempotency_key: empty when the client sent none; fingerprint
    binds it to route and body. dry_run: check and price the request without doing it. lenient: leave out what a provider
    cannot do, with a warning, instead of refusing. wait: for how many seconds the answer may wait for the task's end.
    """

    caller: Caller
    base_url: str = ""
    request_id: str = ""
    idempotency_key: str = ""
    fingerprint: str = ""
    dry_run: bool = False
    lenient: bool = False
    wait: float = 0
