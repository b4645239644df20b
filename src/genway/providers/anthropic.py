"""Anthropic's messages."""

from __future__ import annotations

from genway.providers.relaying import RelayProvider

VERSION = "2023-06-01"


class Anthropic(RelayProvider):
    """Source: the vendor's reference and the types of its SDK 2.12. The vendor takes either header and prefers `x-api-key`."""

    name = "anthropic"
    base_url = "https://api.anthropic.com/v1"
    wire = "anthropic"
    families = ("claude-*",)
    paths = {
        "messages": "/messages",
        "count_tokens": "/messages/count_tokens",
        "message_batches": "/messages/batches",
        "files": "/files",
    }

    def signing(self, secret: str) -> dict[str, str]:
        return {"x-api-key": secret, "anthropic-version": VERSION}
