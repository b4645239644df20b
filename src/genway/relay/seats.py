"""The channels that calls can go to, which of them has a model, and which of them are well."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import urlencode

import aiohttp
import structlog

from genway import providers
from genway.access.buckets import Bucket
from genway.config import ConfigError
from genway.db import Database
from genway.errors import NoChannel, RateLimited, Unavailable
from genway.providers.base import ChannelSettings
from genway.providers.relaying import SHORTEST_SECRET, RelayProvider, fingerprint
from genway.relay.kinds import KINDS
from genway.routing.channels import Channel, list_channels
from genway.vault import Vault
from genway.wire.exchange import lines
from genway.wire.pool import Origin, Pool

log = structlog.get_logger(__name__)

LISTED, KNOWN, ANY = 3, 2, 1
FAILURES = 3  # in a row, before a channel's model is left alone
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
KEY_PAUSE = 600.0
MOST_REMEMBERED = 20_000
MOST_HEADS = 100  # of one key of a channel; clients differ in little


class Credential:
    """One key of a channel. aside_until: it was refused, or is out of credit, until then it is not used.

    secret: what must never leave the house; nothing for one too short to be told from any other text.
    """

    __slots__ = ("_heads", "aside_until", "head", "name", "secret", "why")

    def __init__(self, seat: Seat, secret: str) -> None:
        self.name = fingerprint(secret)
        self.secret = secret.encode() if len(secret) >= SHORTEST_SECRET else b""
        self.aside_until = 0.0
        self.why = ""
        signed = {"host": seat.origin.authority, "accept-encoding": "identity", "user-agent": "genway"}
        signed |= seat.provider.signing(secret)
        self.head = {name.encode(): value.encode() for name, value in signed.items()} | seat.overrides
        self._heads: dict[tuple[bytes, bytes], bytes] = {}

    def usual_head(self, target: bytes, content_type: bytes) -> bytes:
        """Request line and headers of a call with nothing of the client's but its type, up to the length of the body."""
        known = self._heads.get((target, content_type))
        if known is None:
            if len(self._heads) > MOST_HEADS:
                self._heads.clear()
            head = lines((self.head | {b"content-type": content_type}).items())
            known = self._heads[target, content_type] = b"POST %b HTTP/1.1\r\n%bcontent-length: " % (target, head)
        return known


class Health:
    """How one model of a channel fares: a circuit breaker."""

    __slots__ = ("breaks", "failures", "pause", "probing", "until", "why")

    def __init__(self) -> None:
        self.failures = 0
        self.breaks = 0
        self.pause = FIRST_PAUSE
        self.until = 0.0
        self.probing = False
        self.why = ""

    def well(self, now: float) -> bool:
        """Whether calls may go there. After a pause one call at a time finds out."""
        return self.until == 0.0 or (now >= self.until and not self.probing)


class Seat:
    """A channel whose provider takes relayed calls."""

    __slots__ = (
        "busy",
        "channel",
        "concurrency",
        "credentials",
        "healths",
        "open",
        "origin",
        "overrides",
        "paths",
        "provider",
        "query",
        "requests",
        "shared",
        "tokens",
        "turn",
    )

    def __init__(self, channel: Channel, provider: RelayProvider, pool: Pool, now: float) -> None:
        self.channel = channel
        self.provider = provider
        self.origin: Origin = pool.origin(provider.address)
        self.overrides = {
            name.removeprefix("header.").lower().encode(): value.encode()
            for name, value in channel.options.items()
            if name.startswith("header.")
        }
        self.credentials = [Credential(self, secret) for secret in provider.secrets]
        self.turn = 0
        self.concurrency = channel.concurrency
        self.busy = 0
        # A channel with an address of its own and no list of models takes any name.
        self.open = not channel.models and bool(channel.base_url) and channel.base_url.rstrip("/") != type(provider).base_url
        self.healths: dict[str, Health] = {}
        self.paths: dict[tuple[str, str], bytes | None] = {}
        self.query = {
            name.removeprefix("query."): value for name, value in channel.options.items() if name.startswith("query.")
        }
        self.shared = channel.options.get("shared", "").replace(",", " ").split()
        self.requests = _bucket(channel.options.get("requests_per_minute"), now)
        self.tokens = _bucket(channel.options.get("tokens_per_minute"), now)

    def vendor_model(self, model: str) -> str:
        return self.channel.models.get(model, model)

    def rank(self, model: str) -> int:
        """How surely the channel has a model: LISTED there, KNOWN of the provider, ANY name is taken; 0 where it has it not."""
        if self.channel.models:
            return LISTED if model in self.channel.models or "*" in self.channel.models else 0
        if any(fnmatchcase(model, family) for family in self.provider.families):
            return KNOWN
        return ANY if self.open else 0

    def shares(self, name: str) -> bool:
        """Whether all who come through the channel may name this thing that its operator has made at the vendor."""
        return any(fnmatchcase(name, pattern) for pattern in self.shared)

    def room_in(self, now: float) -> float:
        """In how many seconds its requests and tokens a minute let another call through; 0 where they do now."""
        return max(bucket.ready_in(now) if bucket is not None else 0.0 for bucket in (self.requests, self.tokens))

    def path(self, kind: str, model: str) -> bytes | None:
        """The target of a request line, with the query; None where the provider does not do this kind."""
        known = self.paths.get((kind, model), b"?")
        if known != b"?":
            return known
        path = self.provider.path(kind, model)
        target = None
        if path is not None:
            extra = urlencode(self.query)
            joint = "&" if "?" in path else "?"
            target = f"{self.origin.path}{path}{joint + extra if extra else ''}".encode("ascii")
        if len(self.paths) > MOST_REMEMBERED:
            self.paths.clear()
        self.paths[kind, model] = target
        return target

    def health(self, model: str) -> Health:
        known = self.healths.get(model)
        if known is None:
            if len(self.healths) > MOST_REMEMBERED:
                self.healths.clear()
            known = self.healths[model] = Health()
        return known

    def credential(self, now: float, tried: set[Credential], pinned: Credential | None = None) -> Credential | None:
        """The next key in turn that is not set aside and was not tried; `pinned` or none where a call needs just that one."""
        if pinned is not None:
            return pinned if pinned.aside_until <= now and pinned not in tried else None
        for _ in self.credentials:
            self.turn = (self.turn + 1) % len(self.credentials)
            found = self.credentials[self.turn]
            if found.aside_until <= now and found not in tried:
                return found
        return None


class Choice:
    """A way a call can go: a seat, the kind of call that is made there, and the vendor's name of the model."""

    __slots__ = ("health", "kind", "seat", "target", "vendor_model")

    def __init__(self, seat: Seat, kind: str, vendor_model: str, target: bytes) -> None:
        self.seat = seat
        self.kind = kind
        self.vendor_model = vendor_model
        self.target = target
        self.health = seat.health(vendor_model)


class Board:
    """All seats. `refresh` reads the channels anew; what is known of the health of those that stayed is kept."""

    def __init__(
        self, database: Database, vault: Vault, http: aiohttp.ClientSession, pool: Pool, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._vault = vault
        self._http = http
        self._pool = pool
        self._clock = clock
        self._kinds = providers.discover()
        self._seats: dict[str, Seat] = {}
        self._stored: Mapping[str, Channel] = {}
        self._refreshing = asyncio.Lock()
        self._choices: dict[tuple[str, str], list[Choice]] = {}

    def now(self) -> float:
        """The clock by which everything here is timed, in Unix seconds."""
        return self._clock()

    @property
    def seats(self) -> list[Seat]:
        return list(self._seats.values())

    def seat(self, channel_id: str) -> Seat | None:
        return self._seats.get(channel_id)

    async def refresh(self) -> None:
        async with self._refreshing:  # what was read first must not be put in place last
            stored = {channel.id: channel for channel in await self._database.read(list_channels)}
            if stored != self._stored:
                self._put(stored)

    def _put(self, stored: dict[str, Channel]) -> None:
        now = self._clock()
        seats: dict[str, Seat] = {}
        for channel_id, channel in stored.items():
            kind = self._kinds.get(channel.provider)
            if kind is None or not issubclass(kind, RelayProvider) or channel.disabled_at is not None:
                continue
            if self._stored.get(channel_id) == channel and channel_id in self._seats:
                seats[channel_id] = self._seats[channel_id]
                continue
            try:
                seats[channel_id] = self._make(kind, channel, now)
            except (ConfigError, ValueError) as error:
                log.error("channel.unusable", channel=channel.name, why=str(error))
        self._seats, self._stored, self._choices = seats, stored, {}

    def choices(self, kind: str, model: str) -> list[Choice]:
        """Every way a call for a model can go, well or not. Raises NoChannel saying why there is none."""
        known = self._choices.get((kind, model))
        if known is None:
            known = self._find(kind, model)
            if len(self._choices) > MOST_REMEMBERED:
                self._choices.clear()
            self._choices[kind, model] = known
        return known

    def choices_at(self, seat: Seat, kind: str, model: str) -> list[Choice]:
        """How a call can go by one channel, which has what the call is about. Raises NoChannel."""
        named, _, rest = model.partition("/")
        if rest and named in {seat.channel.name, seat.provider.name}:
            model = rest
        found = self._able([seat], kind, model) if seat.rank(model) else []
        if not found:
            raise NoChannel(
                f"the channel {seat.channel.name} has what this call names, and does not have the model {model}", field="model"
            )
        return found

    def _find(self, kind: str, model: str) -> list[Choice]:
        """The seats that have the model most surely; `name/model` means a channel, or a provider, of that name."""
        seats = self.seats
        named, _, rest = model.partition("/")
        namesakes = [seat for seat in seats if rest and named in {seat.channel.name, seat.provider.name}]
        for candidates, name in ((namesakes, rest), (seats, model)):
            for rank in (LISTED, KNOWN, ANY):
                if best := self._able([seat for seat in candidates if seat.rank(name) == rank], kind, name):
                    return best
        raise NoChannel(
            f"no channel here has the model {model} for {kind}; `GET /v1/models` lists what there is", field="model"
        )

    @staticmethod
    def _able(seats: list[Seat], kind: str, model: str) -> list[Choice]:
        """Those that do this kind of call, or, where none does, those that do the same work in another format."""
        for name in (kind, KINDS[kind].translated if kind in KINDS else ""):
            found = []
            for seat in seats if name else ():
                vendor_model = seat.vendor_model(model)
                target = seat.path(name, vendor_model)
                if target is not None:
                    found.append(Choice(seat, name, vendor_model, target))
            if found:
                return found
        return []

    def order(self, choices: list[Choice], sticky: str = "") -> list[Choice]:
        """Those that are well, best first: by priority, then by weight, at random or as `sticky` has it.

        Raises RateLimited or Unavailable with the seconds until one may be well again, where none is.
        """
        now = self._clock()
        if len(choices) == 1:
            choice = choices[0]
            if _usable(choice, now):
                return choices
        well = [choice for choice in choices if _usable(choice, now)]
        if not well:
            raise self._none(choices, now)
        if len(well) == 1:
            return well
        keyed = [
            (-choice.seat.channel.priority, -(_chance(choice, sticky) ** (1 / max(choice.seat.channel.weight, 1))), number)
            for number, choice in enumerate(well)
        ]
        return [well[number] for _, _, number in sorted(keyed)]

    @staticmethod
    def _none(choices: list[Choice], now: float) -> RateLimited | Unavailable:
        waits = []
        why = "all channels for this are busy"
        limited = False
        for choice in choices:
            if not choice.health.well(now):
                waits.append(max(choice.health.until - now, 1.0))
                why = choice.health.why or why
                limited = limited or choice.health.why == BUSY
            elif all(credential.aside_until > now for credential in choice.seat.credentials):
                waits.append(min(credential.aside_until for credential in choice.seat.credentials) - now)
                if any(credential.why == BUSY for credential in choice.seat.credentials):
                    why, limited = BUSY, True
                else:
                    why = "the channel's own keys are refused or out of credit; the operator has to see to it"
            else:
                waits.append(max(choice.seat.room_in(now), 1.0))
                limited = True
        kind = RateLimited if limited else Unavailable
        return kind(f"no channel can take this now: {why}", retry_after=min(waits, default=5.0))

    def usable(self, choice: Choice) -> bool:
        """Whether a call can go there now."""
        return _usable(choice, self._clock())

    # --- what happened

    def succeeded(self, choice: Choice) -> None:
        health = choice.health
        if health.failures or health.until:
            health.failures, health.pause, health.until, health.probing, health.why = 0, FIRST_PAUSE, 0.0, False, ""

    def failed(self, choice: Choice, why: str) -> None:
        """A fault of the channel's: after some in a row its model is left alone, each time for longer."""
        health = choice.health
        health.failures += 1
        if health.until > self._clock():  # it was under way already when the pause began
            return
        health.why = why
        if health.failures >= FAILURES:
            self._pause(choice, health.pause)
            health.pause = min(health.pause * 2, LONGEST_PAUSE)

    def completed(self, choice: Choice) -> None:
        """A stream came to its end."""
        choice.health.breaks = 0

    def broke(self, choice: Choice, why: str) -> None:
        """A stream broke off after it had begun well: some of these in a row are faults as well."""
        health = choice.health
        health.breaks += 1
        if health.breaks >= FAILURES:
            health.failures = max(health.failures, FAILURES)
            self.failed(choice, why)

    def busy(self, choice: Choice, retry_after: float | None) -> None:
        """The channel said that it has too much to do."""
        choice.health.why = BUSY
        self._pause(choice, min(retry_after if retry_after is not None else FIRST_PAUSE, LONGEST_PAUSE))

    def key_busy(self, credential: Credential, seconds: float) -> None:
        """The channel said so to one of several keys."""
        credential.aside_until = self._clock() + seconds
        credential.why = BUSY

    def refused(self, choice: Choice, credential: Credential, why: Literal["refused", "out of credit"], said: str = "") -> None:
        """One of the channel's keys is of no use now. said: the vendor's words."""
        credential.aside_until = self._clock() + KEY_PAUSE
        credential.why = why
        log.error("channel.key_set_aside", channel=choice.seat.channel.name, credential=credential.name, why=why, said=said)

    def _pause(self, choice: Choice, seconds: float) -> None:
        health = choice.health
        health.until = self._clock() + seconds
        health.probing = False
        log.warning(
            "channel.set_aside",
            channel=choice.seat.channel.name,
            model=choice.vendor_model,
            seconds=round(seconds, 1),
            why=health.why,
        )

    def _make(self, kind: type[RelayProvider], channel: Channel, now: float) -> Seat:
        settings = ChannelSettings(
            name=channel.name,
            base_url=(channel.base_url or kind.base_url).rstrip("/"),
            secret=self._vault.decrypt(channel.secret),
            options=dict(channel.options),
            timeout=channel.timeout,
        )
        return Seat(channel, kind(settings, self._http), self._pool, now)


BUSY = "the vendor says that it has too much to do"


def _chance(choice: Choice, sticky: str) -> float:
    """0…1: at random, or, for the same `sticky` and channel, always the same, whatever other channels there are."""
    if not sticky:
        return random.random()  # noqa: S311 - no secret
    drawn = hashlib.blake2b(f"{sticky}\0{choice.seat.channel.id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(drawn) / 2**64


def _usable(choice: Choice, now: float) -> bool:
    seat = choice.seat
    if choice.health.until and not choice.health.well(now):
        return False
    if seat.concurrency and seat.busy >= seat.concurrency:
        return False
    if seat.requests is not None and seat.requests.left(now) < 1:
        return False
    if seat.tokens is not None and seat.tokens.left(now) < 1:
        return False
    for credential in seat.credentials:  # noqa: SIM110 - a generator costs as much again, and this runs for every call
        if credential.aside_until <= now:
            return True
    return False


def _bucket(text: str | None, now: float) -> Bucket | None:
    if not text:
        return None
    if not text.isdigit():
        raise ValueError(f"a whole number a minute, got {text!r}")
    return Bucket(int(text), now) if int(text) else None
