"""How the channels fare, for operators: which models and keys are left alone and why; and taking them back at once.

Only admin keys are answered. What is told is what the process that answers knows: of several workers each makes its own
experience.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from genway.db import Database
from genway.errors import Forbidden
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.relay import Relay
from genway.relay.seats import Credential, Health, Seat
from genway.routing.channels import Channel, get_channel, list_channels, renew_channel
from genway.routing.choose import Router, SetAside


class Administration:
    """One a process."""

    def __init__(self, relay: Relay, router: Router, database: Database) -> None:
        self._relay = relay
        self._router = router
        self._database = database
        self.routes = Routes()
        self.routes.on("GET", "/admin/channels")(self.channels)
        self.routes.on("GET", "/admin/channels/{name}")(self.channel)
        self.routes.on("POST", "/admin/channels/{name}/reset")(self.reset)

    async def channels(self, inquiry: Inquiry) -> Told:
        """Every channel, in the order in which they were added."""
        _admins_only(inquiry)
        stored = await self._database.read(list_channels)
        return Told({"object": "list", "process": os.getpid(), "data": [self._view(channel) for channel in stored]})

    async def channel(self, inquiry: Inquiry, name: str) -> Told:
        _admins_only(inquiry)
        stored = await self._database.read(lambda connection: get_channel(connection, name))
        return Told(self._view(stored))

    async def reset(self, inquiry: Inquiry, name: str) -> Told:
        """Take a channel back with all its models and keys: here at once, in other processes within a second."""
        _admins_only(inquiry)

        def write(connection: Connection) -> Channel:
            found = get_channel(connection, name)
            renew_channel(connection, found.id)
            return get_channel(connection, found.id)

        changed = await self._database.write(write)
        await self._relay.board.refresh()
        return Told(self._view(changed))

    def _view(self, channel: Channel) -> dict[str, Any]:
        seat = self._relay.board.seat(channel.id)
        told: dict[str, Any] = {"id": channel.id, "name": channel.name, "provider": channel.provider}
        aside = self._router.set_aside().get(channel.id)
        if channel.disabled_at is not None:
            return told | {"state": "disabled"}
        if seat is None:
            return told | _tasks_only(aside)
        return told | _relaying(seat, self._relay.board.now())


def _relaying(seat: Seat, now: float) -> dict[str, Any]:
    models = [_model(name, health, now) for name, health in sorted(seat.healths.items()) if health.failures or health.until]
    keys = [_key(credential, now) for credential in seat.credentials]
    alone = any(part["state"] in {"left alone", "set aside"} for part in (*models, *keys))
    usable = any(key["state"] == "well" for key in keys)
    full = (seat.concurrency and seat.busy >= seat.concurrency) or seat.room_in(now) > 0
    return {
        "state": "no usable key" if not usable else "full" if full else "partly left alone" if alone else "well",
        "busy": seat.busy,
        "concurrency": seat.concurrency or None,
        "requests_left": seat.requests.left(now) if seat.requests is not None else None,
        "tokens_left": seat.tokens.left(now) if seat.tokens is not None else None,
        "keys": keys,
        "models": models,
    }


def _model(name: str, health: Health, now: float) -> dict[str, Any]:
    """A model that failed of late. `left alone`: no call goes there; `on trial`: one call at a time finds out."""
    state = "well" if not health.until else "left alone" if health.until > now else "on trial"
    return {
        "model": name,
        "state": state,
        "failures": health.failures,
        "until": _moment(health.until) if health.until > now else None,
        "why": health.why,
    }


def _key(credential: Credential, now: float) -> dict[str, Any]:
    """One of a channel's keys, by the beginning of its SHA-256."""
    aside = credential.aside_until > now
    return {
        "key": credential.name,
        "state": "set aside" if aside else "well",
        "until": _moment(credential.aside_until) if aside else None,
        "why": credential.why if aside else "",
    }


def _tasks_only(aside: SetAside | None) -> dict[str, Any]:
    if aside is None:
        return {"state": "well"}
    return {"state": "left alone", "until": _moment(aside.until), "why": aside.why}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _admins_only(inquiry: Inquiry) -> None:
    """Raises Forbidden."""
    if not inquiry.caller.admin:
        raise Forbidden("this is for admin keys: genway key create --admin")
