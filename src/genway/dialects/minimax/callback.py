"""The handshake before MiniMax's callbacks: whoever is to get them has to answer a challenge when the task is made."""

from __future__ import annotations

from typing import Any

from litestar import Request

from genway.access.model import Asked
from genway.callbacks.challenge import echoes

SECONDS = 3.0
NOT_ECHOED = "callback_url did not answer the challenge within 3 s with the same value, so nothing will be sent to it"


async def verified(callback_url: str | None, asked: Asked, request: Request[Any, Any, Any]) -> tuple[str | None, str]:
    """The address if it may be sent updates, else None, and a warning for the client (empty: none).

    Nothing is sent on a dry run. Raises AddressRefused for a private address.
    """
    if callback_url is None or asked.dry_run:
        return callback_url, ""
    if await echoes(request.app.state.callback_http, callback_url, seconds=SECONDS):
        return callback_url, ""
    return None, NOT_ECHOED
