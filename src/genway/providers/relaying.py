"""The contract of those whom calls are relayed to: chat, embeddings and other work that is answered at once.

Such a provider says where its calls go and how they are signed; the relay does the rest. One that speaks a known
format is a class with a few constants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

import msgspec

from genway.operations import Operation
from genway.providers.base import (
    Failed,
    Finished,
    ProviderError,
    Running,
    Submission,
    Submitted,
    VendorDown,
    VendorLost,
    VendorRefused,
)
from genway.providers.http import Answer, HttpProvider

Wire = Literal["openai", "anthropic"]
SHORTEST_SECRET = 8  # a server that wants no key is often given a word, which is to be seen in other texts as well
# Refusals of these statuses may repeat what the client wrote, so their message says nothing of the channel's account.
ABOUT_THE_REQUEST = frozenset({400, 404, 409, 413, 415, 422})
# A key, or its project, may be kept from a model or from one kind of call, and is good for all others.
KEPT_FROM = re.compile(r"\bmodel_not_found\b|\bmissing_scope\b|\bmissing scopes\b", re.IGNORECASE)


class RelayProvider(HttpProvider):
    """wire: the format it speaks. paths: kind of call → its path after the base address.

    families: patterns of the model names it has (`gpt-*`). A channel that lists its models has those and no others; one
    with an address of its own and no list takes any name. options: the channel options that only this provider has.
    ending: how addresses of its format mostly end.
    """

    operations: ClassVar[tuple[type[Operation], ...]] = ()
    timeout: ClassVar[float] = 600.0
    wire: ClassVar[Wire] = "openai"
    paths: ClassVar[Mapping[str, str]] = {}
    families: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()
    ending: ClassVar[str] = "/v1"

    _trying = ""

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
        return self.signing(self._trying or self.secrets[0]) | self.added("header.")

    def added(self, prefix: str) -> dict[str, str]:
        """What the channel's options add to every call: with `header.` or `query.`."""
        return {name.removeprefix(prefix): value for name, value in self.channel.options.items() if name.startswith(prefix)}

    def listing(self) -> str:
        """Where the vendor lists its models, after the base address."""
        return "/models"

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        if answer.status in ABOUT_THE_REQUEST:
            answer = msgspec.structs.replace(answer, message="")
        elif answer.status in {401, 403} and KEPT_FROM.search(f"{answer.code} {answer.message}"):
            return VendorLost
        return super().verdict(answer, submitting)

    def clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
        return super().clean(text)

    async def submit(self, submission: Submission) -> Submitted | Finished:
        raise VendorRefused(f"{self.name} does no tasks")

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        raise VendorLost(f"{self.name} has no tasks")

    async def test(self) -> str:
        """List the vendor's models with each of the channel's keys, which is free. Raises ProviderError."""
        query = urlencode(self.added("query."))
        path = self.listing()
        path += ("&" if "?" in path else "?") + query if query else ""
        told = []
        for secret in self.secrets:
            self._trying = secret
            try:
                answer: Any = await self.call("GET", path)
            except ProviderError as error:
                which = f"the key {fingerprint(secret)}: " if len(self.secrets) > 1 else ""
                hint = ""
                if isinstance(error, VendorLost | VendorDown) and not self.address.endswith(self.ending):
                    hint = f"; is {self.address} right? Addresses of this format mostly end in {self.ending}"
                raise type(error)(f"{which}{error.message}{hint}", retry_after=error.retry_after) from None
            finally:
                self._trying = ""
            models = answer.get("data") if isinstance(answer, dict) else None
            told.append(f"; {len(models)} models" if isinstance(models, list) else "")
        return ("the key works" if len(told) == 1 else f"all {len(told)} keys work") + told[0]


def fingerprint(secret: str) -> str:
    """What one of a channel's keys is called where it must not be shown: the start of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]
