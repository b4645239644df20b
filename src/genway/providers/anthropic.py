"""Anthropic's messages."""

from __future__ import annotations

from genway.providers.base import ProviderError, VendorKeyRefused, VendorOutOfCredit
from genway.providers.http import Answer
from genway.providers.relaying import RelayProvider

VERSION = "2023-06-01"
OF_THE_ACCOUNT: dict[str, type[ProviderError]] = {
    "Your credit balance is too low": VendorOutOfCredit,
    "You have reached your specified API usage limits": VendorOutOfCredit,
    "This organization has been disabled": VendorKeyRefused,
}
"""How messages begin that speak of the operator's account, under a status and a type that blame the request."""


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
        for beginning, error in OF_THE_ACCOUNT.items() if answer.status == 400 else ():
            if answer.message.startswith(beginning):
                return error
        return super().verdict(answer, submitting)

    def signing(self, secret: str) -> dict[str, str]:
        return {"x-api-key": secret, "anthropic-version": VERSION}
