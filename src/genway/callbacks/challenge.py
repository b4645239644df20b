"""Asking whoever is behind an address whether callbacks are wanted there, for formats that have such a handshake."""

from __future__ import annotations

import hmac
import secrets

import aiohttp
import msgspec
import structlog

from genway.errors import AddressRefused

ANSWER_BYTES = 16 * 1024

log = structlog.get_logger(__name__)


class Challenge(msgspec.Struct):
    """What is sent, and what is to come back."""

    challenge: str


async def echoes(session: aiohttp.ClientSession, url: str, *, seconds: float) -> bool:
    """Whether a POST of `{"challenge": …}` is answered 2xx with the same value, all in so many seconds.

    session: from `guarded_session`. Redirects are not followed. Raises AddressRefused for an address that may not be called.
    """
    value = secrets.token_hex(16)
    limit = aiohttp.ClientTimeout(total=seconds)
    try:
        async with session.post(
            url, json={"challenge": value}, allow_redirects=False, timeout=limit, raise_for_status=True
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > ANSWER_BYTES:
                    return False
            answer = msgspec.json.decode(content, type=Challenge)
    except AddressRefused as error:
        error.field = error.field or "callback_url"
        raise
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        log.info("callback.challenge_unanswered", why=type(error).__name__)
        return False
    return response.status < 300 and hmac.compare_digest(answer.challenge.encode(), value.encode())
