"""The contract of those whom calls are relayed to: chat, embeddings and other work that is answered at once.

Such a provider says where its calls go and how they are signed; the relay does the rest. One that speaks a known
format is a class with a few constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from genway.operations import Operation
from genway.providers.base import Failed, Finished, Running, Submission, Submitted, VendorLost, VendorRefused
from genway.providers.http import HttpProvider

Wire = Literal["openai", "anthropic"]


class RelayProvider(HttpProvider):
    """wire: the format it speaks. paths: kind of call → its path after the base address.

    families: patterns of the model names it has (`gpt-*`). A channel that lists its models has those and no others; one
    with an address of its own and no list takes any name.
    """

    operations: ClassVar[tuple[type[Operation], ...]] = ()
    timeout: ClassVar[float] = 600.0
    wire: ClassVar[Wire] = "openai"
    paths: ClassVar[Mapping[str, str]] = {}
    families: ClassVar[tuple[str, ...]] = ()

    def path(self, kind: str, model: str) -> str | None:
        """Where a call goes, after the base address, with a query perhaps; None where it cannot be done."""
        return self.paths.get(kind)

    def signing(self, secret: str) -> dict[str, str]:
        """The headers that sign a call."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The channel's keys: several, separated by commas or white space, share its work."""
        return tuple(self.channel.secret.replace(",", " ").split()) or ("",)

    def headers(self) -> dict[str, str]:
        return self.signing(self.secrets[0])

    def clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***") if secret else text
        return super().clean(text)

    async def submit(self, submission: Submission) -> Submitted | Finished:
        raise VendorRefused(f"{self.name} does no tasks")

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        raise VendorLost(f"{self.name} has no tasks")

    async def test(self) -> str:
        """List the vendor's models, which is free. Raises ProviderError."""
        answer: Any = await self.call("GET", "/models")
        models = answer.get("data") if isinstance(answer, dict) else None
        return f"the key works; {len(models)} models" if isinstance(models, list) else "the key works"
