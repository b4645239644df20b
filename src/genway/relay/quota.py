"""What a key has left, in the shapes that clients made for other gateways ask for: OpenAI's old dashboard and new-api's token.

Source: one-api's and new-api's answers (`vendors/SITEMAP.md`, section 4). The amounts are those of the key, in the account's
currency: what it has used, and what it may still use, which is the least of its budget and its account's balance. Money in
open leases counts as spent only where it was.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from genway.access import store as access
from genway.access.model import Caller
from genway.billing import money, standing
from genway.db import Database
from genway.errors import GenwayError, Unauthenticated
from genway.relay.desk import Inquiry, Routes, Told

UNITS = 500_000
"""To one unit of the currency, in new-api's numbers."""

UNLIMITED = 100_000_000
"""What new-api says for no limit, in units of the currency."""


class Left(msgspec.Struct, frozen=True):
    """What a key may still use and has used, in millionths. left None: without limit. expires_at: Unix seconds, 0 never."""

    name: str
    left: int | None
    used: int
    expires_at: int

    @property
    def shown(self) -> int:
        """What is left, with a number for no limit."""
        return UNLIMITED * money.MICRO if self.left is None else self.left


def read(connection: Connection, caller: Caller) -> Left:
    """What a key has left."""
    key, account = access.get_key(connection, caller.key_id), access.get_account(connection, caller.account_id)
    spending = standing.of_key(connection, key.id)
    limits = []
    if key.budget is not None:
        limits.append(key.budget - spending.spent - spending.held)
    if caller.mode == "live" and account.credit_limit is not None:
        limits.append(standing.of_account(connection, account.id, caller.mode).available + account.credit_limit)
    left = max(min(limits), 0) if limits else None
    return Left(key.name, left, spending.spent, int(key.expires_at or 0))


def refused(error: GenwayError) -> Told:
    """Clients of the old dashboard look for `error` in an answer that went well."""
    return Told({"error": {"message": error.message, "type": error.type, "code": error.code}})


def refused_token(error: GenwayError) -> Told:
    return Told({"success": False, "message": error.message}, 401 if isinstance(error, Unauthenticated) else error.status)


class Quota:
    """One a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.routes = Routes()
        self.routes.on("GET", "/dashboard/billing/subscription", refusal=refused)(self.subscription)
        self.routes.on("GET", "/dashboard/billing/usage", refusal=refused)(self.usage)
        self.routes.on("GET", "/api/usage/token", refusal=refused_token)(self.token)

    async def subscription(self, inquiry: Inquiry) -> Told:
        """The limit is what is left and what was used together, as clients take the one from the other."""
        left = await self._left(inquiry)
        limit = (left.shown if left.left is None else left.left + left.used) / money.MICRO
        return Told(
            {
                "object": "billing_subscription",
                "has_payment_method": True,
                "soft_limit_usd": limit,
                "hard_limit_usd": limit,
                "system_hard_limit_usd": limit,
                "access_until": left.expires_at,
            }
        )

    async def usage(self, inquiry: Inquiry) -> Told:
        """In hundredths. Always all that was ever used: whatever dates a client sends, it takes the answer from the limit."""
        left = await self._left(inquiry)
        return Told({"object": "list", "total_usage": left.used * 100 / money.MICRO})

    async def token(self, inquiry: Inquiry) -> Told:
        left = await self._left(inquiry)
        available, used = _units(left.shown), -_units(-left.used)
        return Told(
            {
                "code": True,
                "message": "ok",
                "data": {
                    "object": "token_usage",
                    "name": left.name,
                    "total_granted": available + used,
                    "total_used": used,
                    "total_available": available,
                    "unlimited_quota": left.left is None,
                    "model_limits": {},
                    "model_limits_enabled": False,
                    "expires_at": left.expires_at,
                },
            }
        )

    async def _left(self, inquiry: Inquiry) -> Left:
        return await self._database.read(lambda connection: read(connection, inquiry.caller))


def _units(amount: int) -> int:
    """Millionths in new-api's units, rounded down."""
    return amount * UNITS // money.MICRO
