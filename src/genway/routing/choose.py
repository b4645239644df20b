"""Which channel does a piece of work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any

import aiohttp
import msgspec
import structlog

from genway import providers
from genway.config import ConfigError
from genway.db import Database
from genway.errors import NoChannel
from genway.operations import AnyOperation, DirectCall
from genway.providers.base import (
    ChannelSettings,
    Provider,
    ProviderError,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorOutOfCredit,
)
from genway.routing.channels import LOCAL, POLLS_PER_SECOND, Channel, list_channels
from genway.routing.lenient import lighten
from genway.vault import Vault

log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.0
SET_ASIDE_SECONDS: Mapping[type[ProviderError], float] = {
    VendorBusy: 10,
    VendorDown: 20,
    VendorOutOfCredit: 600,
    VendorKeyRefused: 600,
}
LONGEST_SET_ASIDE = 1800.0


class Seat(msgspec.Struct, frozen=True):
    """A channel with its provider at work."""

    channel: Channel
    provider: Provider

    def vendor_model(self, model: str) -> str:
        """The vendor's own name of a model."""
        return self.provider.models.get(model, model.partition("/")[2] or model)

    @property
    def polls_per_second(self) -> float:
        """How often the vendor may be asked how its work goes, all tasks together; 0 is without limit."""
        own = self.channel.options.get(POLLS_PER_SECOND)
        return self.provider.poll.per_second if own is None else float(own)


class Admission(msgspec.Struct, frozen=True):
    """Who may do a piece of work, the work as it will be done, and what was left out of it."""

    seat: Seat
    operation: AnyOperation
    warnings: tuple[str, ...] = ()


class SetAside(msgspec.Struct):
    """A channel that is left alone for a while: until when, how often in a row, and why."""

    until: float
    times: int
    why: str


class Router:
    """Knows the channels, makes their providers and remembers which of them are unwell.

    kinds: the provider classes by name; those that are found by looking unless given.
    Channels that were changed elsewhere (on the command line, by another process) are noticed within a second.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        http: aiohttp.ClientSession,
        *,
        local: Channel | None,
        clock: Callable[[], float],
        kinds: Mapping[str, type[Provider]] | None = None,
    ) -> None:
        self._kinds = providers.discover() if kinds is None else kinds
        self._database = database
        self._vault = vault
        self._http = http
        self._clock = clock
        self._seats: dict[str, Seat] = {}
        self._retired: dict[str, Seat] = {}
        self._loaded_at = float("-inf")
        self._loading = asyncio.Lock()
        self._aside: dict[str, SetAside] = {}
        self._local = self._make(local, "") if local else None

    @property
    def local(self) -> Seat | None:
        """The built-in provider, unless the operator switched it off."""
        return self._local

    async def seats(self) -> list[Seat]:
        """All channels but the local one, disabled ones included."""
        await self._refresh()
        return list(self._seats.values())

    async def seat(self, channel_id: str) -> Seat | None:
        """The channel that holds a task, also when it is disabled by now."""
        if channel_id == LOCAL:
            return self._local
        await self._refresh()
        return self._seats.get(channel_id) or self._retired.get(channel_id)

    async def admit(self, operation: AnyOperation, *, test: bool, lenient: bool = False) -> Admission:
        """Who would do this work, before anything is charged. Raises NoChannel saying why nobody can.

        A test key's work is done by the local provider. So is a live key's as long as no channel of the operator
        does that kind of operation at all; from then on never silently. Work on an earlier task, or with what one made,
        goes to the channel that holds it. lenient: what nobody can do is left out where that helps; what the format
        assumed without the client's word is left out in any case.
        """
        holder = operation.holder
        if test or operation.model.startswith(f"{LOCAL}/") or holder == LOCAL:
            return self._local_or_refuse(operation, lenient)
        able = [seat for seat in await self.seats() if isinstance(operation, seat.provider.operations)]
        if holder:
            able = [seat for seat in able if seat.channel.id == holder]
            if not able:
                raise NoChannel("no channel can do this: the one that holds the earlier task cannot, or is gone")
        if not able:
            return self._local_or_refuse(operation, lenient)
        reasons = {seat.channel.name: self._refusal(seat, operation) for seat in able}
        fit = [seat for seat in able if reasons[seat.channel.name] is None]
        if fit:
            return Admission(max(fit, key=lambda seat: (self._well(seat), seat.channel.priority)), operation)
        for seat in able:
            if seat.channel.disabled_at is None and (light := lighten(seat.provider, operation, lenient=lenient)):
                return Admission(seat, *light)
        told = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise NoChannel(f"no channel can do this: {told}", field="model")

    async def candidates(self, operation: AnyOperation, *, local: bool, tried: Collection[str], seed: str) -> list[Seat]:
        """The channels that may do this work now, best first; `tried` ones come last, unwell ones not at all."""
        if local:
            return [self._local] if self._local else []
        fit = [seat for seat in await self.seats() if self._refusal(seat, operation) is None and self._well(seat)]
        if operation.holder:
            fit = [seat for seat in fit if seat.channel.id == operation.holder]
        chance = random.Random(seed)  # noqa: S311
        order = {seat.channel.id: chance.random() ** (1 / max(seat.channel.weight, 1)) for seat in fit}
        return sorted(
            fit,
            key=lambda seat: (seat.channel.id in tried, -seat.channel.priority, -order[seat.channel.id]),
        )

    async def ask(self, asked: DirectCall, *, test: bool) -> tuple[Seat, dict[str, Any]]:
        """Have a direct call answered: by the channel that holds what it names, else by the best one that is well.

        The built-in provider answers test keys, and live ones while no channel can. Raises NoChannel, ProviderError.
        """
        seats = [] if test or asked.holder == LOCAL else await self.seats()
        able = [seat for seat in seats if asked.call in seat.provider.calls and seat.channel.disabled_at is None]
        if asked.holder not in {"", LOCAL}:
            able = [seat for seat in able if seat.channel.id == asked.holder]
        elif not able and self._local is not None and asked.call in self._local.provider.calls:
            able = [self._local]
        if not able:
            raise NoChannel(f"no channel can do this: none answers {asked.call}")
        seat = max(able, key=lambda seat: (self._well(seat), seat.channel.priority))
        try:
            answer = await seat.provider.answer(asked)
        except ProviderError as error:
            self.trouble(seat, error)
            raise
        return seat, answer

    def trouble(self, seat: Seat, error: ProviderError) -> None:
        """A channel answered an error that says something of the channel: leave it alone for a while."""
        base = next((seconds for kind, seconds in SET_ASIDE_SECONDS.items() if isinstance(error, kind)), None)
        if base is None:
            return
        before = self._aside.get(seat.channel.id)
        # Refusals of what was under way already when the channel was set aside say nothing new of it.
        times = before.times + (before.until <= self._clock()) if before else 1
        wait = error.retry_after if error.retry_after is not None else min(base * 2 ** (times - 1), LONGEST_SET_ASIDE)
        self._aside[seat.channel.id] = SetAside(self._clock() + wait, times, f"{error.code}: {error.message}")
        log.warning("channel.set_aside", channel=seat.channel.name, seconds=wait, why=error.code)

    def recovered(self, seat: Seat) -> None:
        """A channel did its work."""
        self._aside.pop(seat.channel.id, None)

    def soonest(self) -> float:
        """In how many seconds a channel that is left alone is asked again; some seconds where there is none."""
        now = self._clock()
        return min(max(min((aside.until - now for aside in self._aside.values()), default=5.0), 0.2), 30.0)

    def set_aside(self) -> dict[str, SetAside]:
        """The channels that are left alone now, by id."""
        now = self._clock()
        return {channel_id: aside for channel_id, aside in self._aside.items() if aside.until > now}

    async def close(self) -> None:
        for seat in [*self._seats.values(), *self._retired.values(), *([self._local] if self._local else [])]:
            await seat.provider.close()

    def _local_or_refuse(self, operation: AnyOperation, lenient: bool) -> Admission:
        if self._local is None:
            raise NoChannel("no channel can do this: none is configured and the built-in provider is switched off")
        reason = self._local.provider.refusal(operation)
        if reason is None:
            return Admission(self._local, operation)
        if light := lighten(self._local.provider, operation, lenient=lenient):
            return Admission(self._local, *light)
        raise NoChannel(f"no channel can do this: {reason}")

    def _refusal(self, seat: Seat, operation: AnyOperation) -> str | None:
        if seat.channel.disabled_at is not None:
            return "disabled by the operator"
        return seat.provider.refusal(operation)

    def _well(self, seat: Seat) -> bool:
        aside = self._aside.get(seat.channel.id)
        return aside is None or aside.until <= self._clock()

    async def _refresh(self) -> None:
        if self._clock() - self._loaded_at < FRESH_SECONDS:
            return
        async with self._loading:
            if self._clock() - self._loaded_at < FRESH_SECONDS:
                return
            stored = {channel.id: channel for channel in await self._database.read(list_channels)}
            for channel_id, seat in list(self._seats.items()):
                if stored.get(channel_id) != seat.channel:
                    self._retired[channel_id] = self._seats.pop(channel_id)
            for channel_id, channel in stored.items():
                if channel_id not in self._seats:
                    try:
                        self._seats[channel_id] = self._make(channel, self._vault.decrypt(channel.secret))
                    except (ConfigError, KeyError) as error:
                        log.error("channel.unusable", channel=channel.name, why=str(error))
                        continue
                    self._retired.pop(channel_id, None)
                    self._aside.pop(channel_id, None)
            self._loaded_at = self._clock()

    def _make(self, channel: Channel, secret: str) -> Seat:
        kind = self._kinds[channel.provider]
        provider = kind(
            ChannelSettings(
                name=channel.name,
                base_url=(channel.base_url or kind.base_url).rstrip("/"),
                secret=secret,
                options=dict(channel.options),
                timeout=channel.timeout,
            ),
            self._http,
        )
        if channel.models:
            provider.models = {**provider.models, **channel.models}
        return Seat(channel, provider)
