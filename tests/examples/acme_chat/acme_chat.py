"""ACME Chat: OpenAI's format with a header of its own."""

from __future__ import annotations

from genway.providers.base import ProviderError, VendorOutOfCredit
from genway.providers.http import Answer
from genway.providers.relaying import RelayProvider


class AcmeChat(RelayProvider):
    """Source of every fact: docs.acme.example, version 1."""

    name = "acme-chat"
    base_url = "https://api.acme.example/v1"
    families = ("acme-*",)
    paths = {"chat": "/chat/completions", "embeddings": "/embeddings"}

    def signing(self, secret: str) -> dict[str, str]:
        return {"x-acme-key": secret}

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        # ACME says with a 400 that the account is empty.
        if answer.code == "no_credits":
            return VendorOutOfCredit
        return super().verdict(answer, submitting)
