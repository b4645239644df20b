"""Requests per minute of a key, counted in memory, or in Valkey/Redis where several machines serve."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter
from limits.storage import storage_from_string

from genway.access.model import Caller
from genway.errors import RateLimited


class RequestLimits:
    """store: an address as the library `limits` names them: `async+memory://`, `async+redis://host:6379`."""

    def __init__(self, store: str, per_minute: int) -> None:
        storage = storage_from_string(store)
        assert isinstance(storage, Storage)
        self._limiter: RateLimiter = MovingWindowRateLimiter(storage)
        self._per_minute = per_minute

    async def count(self, caller: Caller) -> None:
        """Count one request. Raises RateLimited with the seconds until the next one is allowed."""
        most = self._per_minute if caller.requests_per_minute is None else caller.requests_per_minute
        if not most:
            return
        limit = RateLimitItemPerMinute(most)
        if not await self._limiter.hit(limit, caller.key_id):
            window = await self._limiter.get_window_stats(limit, caller.key_id)
            raise RateLimited(
                f"this key may make {most} requests a minute; wait and try again",
                retry_after=max(window.reset_time - time.time(), 1),
            )
