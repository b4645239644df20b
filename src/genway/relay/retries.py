"""What an upstream's refusal means: try elsewhere, leave a key alone, or tell the client."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from genway.providers.base import VendorBusy, VendorDown, VendorKeyRefused, VendorLost, VendorOutOfCredit
from genway.providers.http import Answer, error_words, retry_after_seconds
from genway.providers.relaying import SHORTEST_SECRET, RelayProvider

Verdict = Literal["client", "busy", "fault", "refused", "out of credit", "not there", "not allowed"]
LONGEST_ERROR = 1024 * 1024


class Head(Protocol):
    """Of an answer, what is judged beside its body: `wire.upstream.Reply`, or an upgrade that was refused."""

    @property
    def status(self) -> int: ...

    def header(self, name: bytes) -> bytes: ...


class Refusal(msgspec.Struct):
    """An upstream's answer other than 2xx. body: as it came, without the channel's secrets."""

    status: int
    body: bytes
    verdict: Verdict
    retry_after: float | None
    message: str


def judge(provider: RelayProvider, reply: Head, body: bytes) -> Refusal:
    """`client`: the request is at fault, and no other channel would do better.

    `not there`: the channel has no such model or path. `not allowed`: its key may not use them, and is good for others.
    """
    try:
        code, message = error_words(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        code, message = "", ""
    retry_after = _wait(reply)
    kind = provider.verdict(Answer(reply.status, None, code, message, retry_after), submitting=False)
    verdict: Verdict = "client"
    if kind is VendorOutOfCredit:
        verdict = "out of credit"
    elif kind is VendorKeyRefused:
        verdict = "refused"
    elif kind is VendorBusy:
        verdict = "busy"
    elif kind is VendorDown:
        verdict = "fault"
    elif kind is VendorLost:
        verdict = "not there" if reply.status == 404 else "not allowed"
    for secret in provider.secrets:
        if len(secret) >= SHORTEST_SECRET:
            body = body.replace(secret.encode(), b"***")
    return Refusal(reply.status, body, verdict, retry_after, provider.clean(message or code))


def _wait(reply: Head) -> float | None:
    """The seconds that an upstream asks for. What it says in milliseconds is the more exact, and counts first."""
    try:
        seconds = str(float(reply.header(b"retry-after-ms")) / 1000)
    except ValueError:
        seconds = reply.header(b"retry-after").decode("latin-1")
    return retry_after_seconds(seconds)
