"""Anthropic's messages."""

from __future__ import annotations

from genway.providers.base import ProviderError, VendorOutOfCredit
from genway.providers.http import Answer
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

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        # The vendor says this under a status and a type that blame the request.
        if answer.status == 400 and answer.message.startswith("Your credit balance is too low"):
            return VendorOutOfCredit
        return super().verdict(answer, submitting)

    def signing(self, secret: str) -> dict[str, str]:
        return {"x-api-key": secret, "anthropic-version": VERSION}
