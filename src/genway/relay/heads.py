"""The lines at the head of an answer: the few of the upstream's that are passed on, and ours."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from genway.billing import money
from genway.relay.callers import limit_headers
from genway.relay.ongoing import Ongoing
from genway.wire.exchange import Headers

CORS = b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n"
EVENT_STREAM = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
FORWARDED = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})
LISTS = frozenset({b"anthropic-beta", b"openai-beta"})
PASSED_ON = frozenset({b"openai-processing-ms", b"openai-version", b"openai-model", b"content-disposition"})


def forwarded(headers: Headers, names: Collection[bytes] = FORWARDED) -> dict[bytes, bytes]:
    """The lines of the client's that the vendor should see. Of a name that comes twice the first counts, as it does here; what
    is a list goes on."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in names:
            if name not in found:
                found[name] = value
            elif name in LISTS:
                found[name] += b"," + value
    return found


def head(ongoing: Ongoing, headers: Headers) -> bytes:
    """The lines of an answer that goes well: the upstream's type and a few words of its own, and ours."""
    passed = b"".join(
        [b"%b: %b\r\n" % (name, value) for name, value in headers if name == b"content-type" or name in PASSED_ON]
    )
    if ongoing.flow is None and ongoing.used is not None:
        return passed + common(ongoing) + _cost(ongoing.cost)
    return passed + common(ongoing) + (EVENT_STREAM if ongoing.streamed else b"")


@lru_cache(maxsize=4096)
def _cost(cost: int) -> bytes:
    return b"x-genway-cost: %b\r\n" % money.show(cost).encode()


def common(ongoing: Ongoing) -> bytes:
    """The lines of every answer."""
    number = ongoing.request_id.encode()
    lines = b"x-request-id: %b\r\nx-genway-attempts: %d\r\n%b" % (number, len(ongoing.attempts), CORS)
    if ongoing.channel:
        lines += b"x-genway-channel: %b\r\n" % ongoing.channel.encode("ascii", "replace")
    wire = ongoing.kind.wire
    if wire == "anthropic":
        lines += b"request-id: %b\r\n" % number
    if ongoing.holder is not None:
        lines += limit_headers(ongoing.holder, wire)
    return lines
