from __future__ import annotations

import pytest

from genway.access.limits import RequestLimits
from genway.access.model import Caller
from genway.errors import RateLimited


def caller(per_minute: int | None = None, key_id: str = "key_1") -> Caller:
    return Caller(account_id="acc_1", key_id=key_id, name="ci", mode="live", requests_per_minute=per_minute)


async def test_requests_beyond_the_limit_are_refused_with_the_seconds_to_wait() -> None:
    limits = RequestLimits("async+memory://", 3)
    for _ in range(3):
        await limits.count(caller())
    with pytest.raises(RateLimited) as refused:
        await limits.count(caller())
    assert 1 <= (refused.value.retry_after or 0) <= 61
    await limits.count(caller(key_id="key_2"))


async def test_a_keys_own_number_counts_and_zero_is_without_limit() -> None:
    limits = RequestLimits("async+memory://", 1)
    for _ in range(5):
        await limits.count(caller(per_minute=0))
    await limits.count(caller(per_minute=1, key_id="key_3"))
    with pytest.raises(RateLimited):
        await limits.count(caller(per_minute=1, key_id="key_3"))
