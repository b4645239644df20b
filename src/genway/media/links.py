"""Links to stored files that need no key, say until when they work, and cannot be made by anybody else."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from genway.errors import Forbidden

PREFIX = "/media/"


class LinkSigner:
    """Signs and checks `/media/<media id>.<extension>?expires=…&signature=…`.

    The signature is an HMAC-SHA256 over the id, the account the file belongs to, and the time: it opens one file of one
    account until then. secret: at least 32 bytes; the label below keeps this use of it apart from any other.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ValueError("the secret that links are signed with: 32 bytes or more")
        self._key = hmac.digest(secret, b"genway media links", hashlib.sha256)

    def sign(self, media_id: str, *, account_id: str, expires_at: int) -> str:
        """The query string for a file, or for an upload. expires_at: Unix seconds."""
        return f"expires={expires_at}&signature={self._signature(media_id, account_id, str(expires_at))}"

    def path(self, media_id: str, extension: str, *, account_id: str, expires_at: int) -> str:
        """The link without scheme and host. extension: without the dot; players like to see it, nothing depends on it."""
        return f"{PREFIX}{media_id}.{extension}?{self.sign(media_id, account_id=account_id, expires_at=expires_at)}"

    def genuine(self, media_id: str, query: Mapping[str, str], *, account_id: str) -> bool:
        """Whether this link was signed here for this account's file, be it still valid or not. In constant time."""
        expected = self._signature(media_id, account_id, query.get("expires", ""))
        return hmac.compare_digest(expected.encode(), query.get("signature", "").encode())

    def verify(self, media_id: str, query: Mapping[str, str], now: float, *, account_id: str) -> int:
        """When the link ends, in Unix seconds. Raises Forbidden for a link that was not signed here, or has ended."""
        if not self.genuine(media_id, query, account_id=account_id):
            raise Forbidden("this link is not valid; use it exactly as it was given")
        expires_at = int(query["expires"])
        if now >= expires_at:
            raise Forbidden("this link has expired; query the task again for a new one")
        return expires_at

    def _signature(self, media_id: str, account_id: str, expires: str) -> str:
        digest = hmac.digest(self._key, f"{media_id}\n{account_id}\n{expires}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest).rstrip(b"=").decode()
