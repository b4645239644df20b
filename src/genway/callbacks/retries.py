"""When a callback is tried again."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from genway.config import Callbacks

JITTER = 0.1


def wait_after(attempts: int, settings: Callbacks, *, jitter: float, asked: float | None = None) -> float:
    """Seconds from the try that just failed to the next one.

    attempts: how many tries there have been, that one included. jitter: 0…1, chosen at random, so that what failed
    together does not come back together; it moves a wait by up to a tenth either way. asked: the seconds the receiver
    asked for, which stand in for ours as far as they lie between the first and the longest wait, and are never undercut.
    """
    longest = settings.longest_wait_seconds
    if asked is not None:
        return min(max(asked, settings.first_wait_seconds), longest) * (1 + JITTER * jitter)
    doubled = settings.first_wait_seconds * 2.0 ** min(attempts - 1, 64)
    return min(doubled, longest) * (1 - JITTER + 2 * JITTER * jitter)


def asked_for(retry_after: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for, >= 0; None without one that can be read.

    RFC 9110, section 10.2.3: a number of seconds or a date.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
