"""Who calls, how much they may, and the headers that tell them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from genway.access.buckets import Bucket
from genway.access.limits import RequestLimits, too_many
from genway.access.model import Caller
from genway.config import Relay
from genway.errors import RateLimited, Unauthenticated
from genway.providers.relaying import Wire
from genway.wire.exchange import Exchange

FRESH_SECONDS = 1.0
LONGEST_RESET = (
    366 * 86400.0
)  # seconds; a vendor may say that a call has used any number of tokens, and not every time is a date
MOST_REMEMBERED = 20_000
BEARER = b"Bearer "
SCHEMES = frozenset({b"bearer", b"token", b"key"})


class Holder:
    """The holder of a key in this process: what is left of its minute, and how many streams it has open.

    alone: no other process counts for it as well, so that what is left here is all there is.
    """

    __slots__ = ("alone", "caller", "fresh_until", "most_streams", "requests", "streams", "tokens")

    def __init__(self, caller: Caller, *, alone: bool = True) -> None:
        self.alone = alone
        self.caller = caller
        self.fresh_until = 0.0
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.streams = 0
        self.most_streams = 0


class Callers:
    """Remembers for a second who a key belongs to.

    identify: looks a key up; raises Unauthenticated. processes: how many serve, each of which counts for itself.
    """

    def __init__(
        self, identify: Callable[[str], Awaitable[Caller]], limits: RequestLimits, settings: Relay, *, processes: int = 1
    ) -> None:
        self._identify = identify
        self._limits = limits
        self.shared = limits.shared  # requests are counted outside this process
        self._settings = settings
        self._alone = processes == 1 and not limits.shared
        self._by_header: dict[bytes, Holder] = {}
        self._by_key: dict[str, Holder] = {}

    async def holder(self, exchange: Exchange, secret: bytes = b"") -> Holder:
        """Who calls; counts nothing yet. Raises Unauthenticated."""
        sent = secret or credential(exchange)
        known = self._by_header.get(sent)
        if known is not None and known.fresh_until > time.monotonic():
            return known
        if not sent:
            raise Unauthenticated("send your key in the header Authorization: Bearer <key>, or in x-api-key")
        found = self.known(await self._identify(sent.decode("latin-1")))
        self._by_header[sent] = found
        return found

    def remembered(self, exchange: Exchange) -> Holder | None:
        """Who calls, where that is known without asking anybody."""
        for name, value in exchange.headers:
            if name == b"authorization":  # as most have it; the others are looked at more closely
                known = self._by_header.get(value[7:] if value[:7] == BEARER else credential(exchange))
                break
        else:
            known = self._by_header.get(credential(exchange))
        return known if known is not None and known.fresh_until > time.monotonic() else None

    def known(self, caller: Caller) -> Holder:
        """The holder of a key whose caller was just found out."""
        found = self._by_key.get(caller.key_id)
        if found is None:
            if len(self._by_key) >= MOST_REMEMBERED:
                self._by_key = {key: holder for key, holder in self._by_key.items() if holder.streams}
                self._by_header.clear()
            found = self._by_key[caller.key_id] = Holder(caller, alone=self._alone)
        self._freshen(found, caller)
        return found

    def _freshen(self, holder: Holder, caller: Caller) -> None:
        now = time.monotonic()
        holder.caller = caller
        holder.fresh_until = now + FRESH_SECONDS
        holder.requests = None if self.shared else self._limits.bucket(caller, now)
        most = self._settings.tokens_per_minute if caller.tokens_per_minute is None else caller.tokens_per_minute
        if not most:
            holder.tokens = None
        elif holder.tokens is None:
            holder.tokens = Bucket(most, now)
        elif holder.tokens.most != most:
            holder.tokens.resize(most)
        streams = caller.concurrent_streams
        holder.most_streams = self._settings.concurrent_streams if streams is None else streams

    async def count(self, holder: Holder, tokens: int, streamed: bool) -> None:
        """Count one call that may take so many tokens. Raises RateLimited; nothing is counted then."""
        if self.shared:
            _check_streams(holder, streamed)
            await self._limits.count(holder.caller)
        self.count_here(holder, tokens, streamed)

    @staticmethod
    def count_here(holder: Holder, tokens: int, streamed: bool) -> None:
        """`count`, where requests are counted in this process."""
        _check_streams(holder, streamed)
        now = time.monotonic()
        if holder.requests is not None and (wait := holder.requests.take(1, now)):
            raise too_many(holder.requests.most, wait)
        if holder.tokens is not None and (wait := holder.tokens.take(tokens, now)):
            if holder.requests is not None:
                holder.requests.correct(1)
            raise RateLimited(
                f"this key may use {holder.tokens.most} tokens a minute, and this call may take {tokens}; wait and try again",
                retry_after=wait,
            )

    @staticmethod
    def uncount(holder: Holder, tokens: int) -> None:
        """The call that was counted did not begin."""
        if holder.requests is not None:
            holder.requests.correct(1)
        if holder.tokens is not None:
            holder.tokens.correct(tokens)


def _check_streams(holder: Holder, streamed: bool) -> None:
    if streamed and holder.most_streams and holder.streams >= holder.most_streams:
        raise RateLimited(f"this key may have {holder.most_streams} streams at once and has them", retry_after=1)


def credential(exchange: Exchange) -> bytes:
    """The key a client sent, in whichever header its format has for it."""
    key = b""
    for name, value in exchange.headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            return rest.strip() if rest and scheme.lower() in SCHEMES else value.strip()
        if name in {b"x-api-key", b"api-key"}:
            key = value.strip()
    return key


def limit_headers(holder: Holder, wire: Wire) -> bytes:
    """What is left of the key's minute, in the format's own headers; nothing for a key without limits.

    Where several processes count, only the limit: each would tell of another rest, and the next answer comes from another one.
    """
    if holder.requests is None and holder.tokens is None:
        return b""
    now = time.monotonic()
    lines = b""
    for name, bucket in ((b"requests", holder.requests), (b"tokens", holder.tokens)):
        if bucket is None:
            continue
        if not holder.alone:
            form = b"anthropic-ratelimit-%b-limit: %d\r\n" if wire == "anthropic" else b"x-ratelimit-limit-%b: %d\r\n"
            lines += form % (name, bucket.most)
            continue
        left, full = bucket.left(now), min(bucket.full_in(now), LONGEST_RESET)
        if wire == "anthropic":
            reset = datetime.fromtimestamp(int(time.time() + full) + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
            prefix = b"anthropic-ratelimit-" + name
            lines += b"%b-limit: %d\r\n%b-remaining: %d\r\n%b-reset: %b\r\n" % (
                prefix,
                bucket.most,
                prefix,
                left,
                prefix,
                reset,
            )
        else:
            reset = _duration(full)
            lines += b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
                name,
                bucket.most,
                name,
                left,
                name,
                reset,
            )
    return lines


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: `12ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return b"%dms" % (seconds * 1000)
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".").encode() + b"s"
    return b"%dm%ds" % divmod(int(seconds), 60)
