"""The whole contract between genway and those who carry out operations.

A provider is a class in one module of this package, or in somebody else's package under the entry point
group `genway.providers`. It learns of a request as an operation and never sees the client's wire format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from genway.operations import AnyOperation, DirectCall, MediaRef, Operation, VideoRequest

if TYPE_CHECKING:
    import aiohttp

Role = Literal["video", "image", "audio", "poster", "last_frame"]


class ResultFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file that came out: at `url` to be fetched, or in it as a data URI, or at `path` on this machine to be moved."""

    role: Role
    url: str | None = None
    path: str | None = None


class Submitted(msgspec.Struct, frozen=True):
    """The vendor has taken the work under this id."""

    vendor_id: str


class Running(msgspec.Struct, frozen=True):
    """Still at work. progress: 0…1 where the vendor tells."""

    progress: float | None = None


class Finished(msgspec.Struct, frozen=True):
    """Done. `details` may hold words of the vendor worth showing (a translated prompt, a seed)."""

    files: tuple[ResultFile, ...]
    details: dict[str, str] = {}


class Failed(msgspec.Struct, frozen=True):
    """The vendor's own word that the work failed. code: `moderation`, `vendor_error`, `invalid_request`."""

    code: str
    message: str


class ProviderError(Exception):
    """A call to the vendor went wrong. The class says what is known about the work."""

    code: ClassVar[str] = "vendor_error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class VendorRefused(ProviderError):
    """The vendor says the request is wrong. Nothing was started; asking again will not help."""

    code = "invalid_request"


class VendorModerated(ProviderError):
    """The vendor's moderation refuses the request. Nothing was started."""

    code = "moderation"


class VendorBusy(ProviderError):
    """Rate limited or at capacity. Nothing was started; later or elsewhere it may work."""

    code = "vendor_busy"


class VendorOutOfCredit(ProviderError):
    """The operator's account with the vendor is empty. Nothing was started; another channel may work."""

    code = "vendor_out_of_credit"


class VendorKeyRefused(ProviderError):
    """The vendor does not accept the channel's credentials. Nothing was started; another channel may work."""

    code = "vendor_key_refused"


class VendorDown(ProviderError):
    """The vendor could not be reached, or answered 5xx. On submit: it is *certain* that nothing was started."""

    code = "vendor_down"


class OutcomeUnknown(ProviderError):
    """The request was sent and no clear answer came: the vendor may or may not have started the work."""

    code = "outcome_unknown"


class VendorLost(ProviderError):
    """The vendor does not know this id (any more, or not yet)."""

    code = "vendor_lost"


class Files(Protocol):
    """How a provider gets at the files a request refers to. Raises MediaRefused or AddressRefused."""

    async def path(self, ref: MediaRef) -> Path:
        """The file on this machine: fetched (guarded), checked and kept until the task ends."""
        ...

    async def address(self, ref: MediaRef, *, inline_bytes: int, https_only: bool = False) -> str:
        """An address a vendor can read.

        A client's own public address is passed on as it is (unless `https_only` and it is not https); one of our
        files becomes a data URI if it has at most `inline_bytes` bytes, else a signed link on our public address.
        """
        ...


class Submission(msgspec.Struct, frozen=True):
    """One attempt to hand an operation to a vendor.

    reference: unique to the attempt and the same after a crash; for vendors with idempotency keys.
    model: the vendor's own name of the model, after the channel's aliases.
    callback_url: an address of ours, for vendors that call when something has changed; empty where this server has no
    public one. What comes there is only a reason to ask, so polling stays the truth.
    options: forced outcomes for the local provider, from a test key's prompt; empty otherwise.
    """

    task_id: str
    reference: str
    operation: AnyOperation
    model: str
    files: Files
    options: Mapping[str, str] = {}
    callback_url: str = ""


class Poll(msgspec.Struct, frozen=True):
    """How often `check` may be called for one task, in seconds: first wait, growth, longest wait.

    per_second: how often for all tasks of a channel together; 0 is without limit. The vendor's stated limit, or, where it
    states none, what no vendor minds. A channel's option `polls_per_second` goes before it.
    """

    first: float = 3.0
    factor: float = 1.3
    longest: float = 10.0
    per_second: float = 20.0


class ChannelSettings(msgspec.Struct, frozen=True):
    """What a provider needs to know of the channel it works for. `secret` is already decrypted."""

    name: str
    base_url: str = ""
    secret: str = ""
    options: dict[str, str] = {}
    timeout: float = 60.0


class Provider(ABC):
    """Carries out operations somewhere.

    name: as in `genway channel add --provider NAME`.
    operations: what it can do at all, whatever the model.
    models: our qualified model name → the vendor's own, `{"runway/gen4_turbo": "gen4_turbo"}`.
    repeatable: work may be submitted again after a crash because it costs nothing and gives the same result.
    timeout: how many seconds one call may take, unless the channel says otherwise.
    calls: the direct calls that it answers, `kling/voices`.
    """

    name: ClassVar[str]
    base_url: ClassVar[str] = ""
    operations: ClassVar[tuple[type[Operation], ...]] = (VideoRequest,)
    models: Mapping[str, str] = {}
    repeatable: ClassVar[bool] = False
    calls: ClassVar[tuple[str, ...]] = ()
    poll: ClassVar[Poll] = Poll()
    timeout: ClassVar[float] = 60.0

    def __init__(self, channel: ChannelSettings, http: aiohttp.ClientSession) -> None:
        self.channel = channel
        self.http = http

    def refusal(self, operation: AnyOperation) -> str | None:
        """Why this provider cannot do the operation at all, or None if it can. Asked before anything is charged."""
        if not isinstance(operation, self.operations):
            return f"{self.name} does not do {operation.kind}"
        if operation.model not in self.models:
            return f"{self.name} has no model {operation.model}"
        return None

    @abstractmethod
    async def submit(self, submission: Submission) -> Submitted | Finished:
        """Start the work. Raises ProviderError; OutcomeUnknown whenever the vendor may have started it."""

    @abstractmethod
    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        """Ask how it is going. Raises ProviderError (VendorBusy, VendorDown, VendorLost …), which changes nothing."""

    async def cancel(self, vendor_id: str) -> None:
        """Stop the work if the vendor can. Raises ProviderError."""

    async def answer(self, asked: DirectCall) -> dict[str, Any]:
        """Do one of `calls`, at once. Raises ProviderError."""
        raise VendorRefused(f"{self.name} does not answer {asked.call}")

    async def find(self, reference: str) -> Submitted | None:
        """Look up an attempt whose outcome is unknown. None where the vendor cannot say."""
        return None

    def from_callback(self, operation: AnyOperation, body: Any) -> Submitted | None:
        """The work that the vendor's call to `callback_url` tells of: for an attempt at `operation` whose answer was lost."""
        return None

    async def test(self) -> str:
        """Check credentials without spending anything; a line for the operator. Raises ProviderError."""
        return "this vendor has no free call to test with"

    async def close(self) -> None:
        """Stop what this provider keeps running."""
