"""Signatures after Standard Webhooks (https://www.standardwebhooks.com), which receivers have libraries for."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh secret, `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, message_id: str, at: float, body: bytes) -> dict[str, str]:
    """The three headers that prove who sent this body and when.

    secret: `whsec_…`. message_id: the same for every try of one message. at: Unix seconds; receivers refuse what is more
    than five minutes off their own clock. body: the exact bytes that are sent, UTF-8.
    """
    moment = datetime.fromtimestamp(int(at), tz=UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body.decode()),
    }
