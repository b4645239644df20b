"""`/vendor/…`: where vendors call when something has changed. What they say is not believed; it makes us ask."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request

from genway.dialects.base import Answer, Router
from genway.errors import GenwayError
from genway.gateway import Gateway
from genway.vault import Vault

PREFIX = "/vendor"

route = Router()


def address(public_url: str, vault: Vault, reference: str) -> str:
    """Where a vendor may call about an attempt; empty without a public address."""
    if not public_url:
        return ""
    return f"{public_url.rstrip('/')}{PREFIX}/{quote(reference, safe='')}/{vault.sign(f'vendor:{reference}')}"


@route.post(f"{PREFIX}/{{reference:str}}/{{signature:str}}")
async def called(reference: str, signature: str, request: Request[Any, Any, Any], gateway: Gateway) -> Answer:
    """Take a vendor's call. One that asks for an echo first (MiniMax) gets it."""
    body: Any = None
    with suppress(msgspec.DecodeError, GenwayError):
        body = msgspec.json.decode(await request.body())
    challenge = body.get("challenge") if isinstance(body, dict) else None
    gateway.vendor_called(reference, signature, body if challenge is None else None)
    return Answer({"challenge": challenge} if challenge is not None else {"status": "ok"})
