"""Requests per minute of a key, counted in memory, or in Valkey/Redis where several machines serve."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from genway.access.buckets import Bucket
from genway.access.model import Caller
from genway.errors import RateLimited

if TYPE_CHECKING:
    from limits.aio.strategies import RateLimiter

MOST_KEYS = 100_000


class RequestLimits:
    """store: an address as the library `limits` names them: `async+memory://`, `async+redis://host:6379`."""

    def __init__(self, store: str, per_minute: int) -> None:
        self._store = store
        self._per_minute = per_minute
        self._buckets: dict[str, Bucket] = {}

    @property
    def shared(self) -> bool:
        """Whether the count is kept outside this process."""
        return "memory" not in self._store

    def bucket(self, caller: Caller, now: float) -> Bucket | None:
        """What counts a key's requests in this process, now in seconds of a clock that never goes back; None without limit."""
        most = self._per_minute if caller.requests_per_minute is None else caller.requests_per_minute
        if not most:
            return None
        known = self._buckets.get(caller.key_id)
        if known is None:
            if len(self._buckets) > MOST_KEYS:
                self._buckets.clear()
            known = self._buckets[caller.key_id] = Bucket(most, now)
        elif known.most != most:
            known.resize(most)
        return known

    @cached_property
    def _limiter(self) -> RateLimiter:
        from limits.aio.storage import Storage  # noqa: PLC0415 - slow to import, and many servers have no limits
        from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415
        from limits.storage import storage_from_string  # noqa: PLC0415

        storage = storage_from_string(self._store)
        assert isinstance(storage, Storage)
        return MovingWindowRateLimiter(storage)

    async def count(self, caller: Caller) -> None:
        """Count one request. Raises RateLimited with the seconds until the next one is allowed."""
        most = self._per_minute if caller.requests_per_minute is None else caller.requests_per_minute
        if not most:
            return
        if not self.shared:
            now = time.monotonic()
            bucket = self.bucket(caller, now)
            if bucket is not None and (wait := bucket.take(1, now)):
                raise too_many(most, max(wait, 1))
            return
        from limits import RateLimitItemPerMinute  # noqa: PLC0415

        limit = RateLimitItemPerMinute(most)
        if not await self._limiter.hit(limit, caller.key_id):
            window = await self._limiter.get_window_stats(limit, caller.key_id)
            raise too_many(most, max(window.reset_time - time.time(), 1))


def too_many(most: int, wait: float) -> RateLimited:
    """The error for a key that has made its requests of this minute."""
    return RateLimited(f"this key may make {most} requests a minute; wait and try again", retry_after=wait)
