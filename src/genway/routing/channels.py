"""Configured providers, as stored. All functions work inside the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update
from uuid_utils import uuid7

from genway.db.tables import channels, tasks
from genway.errors import Conflict, InvalidRequest, NotFound
from genway.providers import discover
from genway.vault import Vault

LOCAL = "local"
POLLS_PER_SECOND = "polls_per_second"


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider.

    models: our qualified name → the vendor's own, on top of what the provider knows by itself. options: the provider's
    own, and `polls_per_second`, how often its vendor is asked how its work goes, all tasks together. priority: higher goes
    first; among equals work is shared by weight. concurrency: tasks at once, 0 without limit. version grows with
    every change. timeout: seconds one call may take; 0 for what is usual for the provider.
    """

    id: str
    name: str
    provider: str
    base_url: str = ""
    secret: bytes = b""
    models: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    priority: int = 0
    weight: int = 1
    concurrency: int = 0
    timeout: float = 60
    created_at: float = 0
    disabled_at: float | None = None
    version: int = 1


def add_channel(connection: Connection, vault: Vault, channel: Channel, secret: str, now: float) -> Channel:
    """Raises InvalidRequest for an unknown provider or a name that cannot be, Conflict where the name is taken."""
    if not channel.name.isprintable() or re.search(r"[\s/]", channel.name):
        raise InvalidRequest(
            f"without spaces and slashes, since clients write it before a model, got {channel.name!r}", field="name"
        )
    if channel.name == LOCAL or connection.execute(select(channels.c.id).where(channels.c.name == channel.name)).first():
        raise Conflict(f"there is a channel named {channel.name} already")
    usual_timeout = _check(channel)
    values = msgspec.structs.asdict(channel) | {
        "id": f"chn_{uuid7().hex}",
        "secret": vault.encrypt(secret),
        "models": msgspec.json.encode(channel.models).decode(),
        "options": msgspec.json.encode(channel.options).decode(),
        "timeout": channel.timeout or usual_timeout,
        "created_at": now,
    }
    connection.execute(insert(channels), values)
    return get_channel(connection, values["id"])


def change_channel(connection: Connection, vault: Vault, channel: Channel, secret: str | None = None) -> Channel:
    """Store a channel as it is now, with a new secret where one is given; every server makes it anew within a second.

    Work under way goes on. Raises InvalidRequest.
    """
    usual_timeout = _check(channel)
    values = {
        "base_url": channel.base_url,
        "models": msgspec.json.encode(channel.models).decode(),
        "options": msgspec.json.encode(channel.options).decode(),
        "priority": channel.priority,
        "weight": channel.weight,
        "concurrency": channel.concurrency,
        "timeout": channel.timeout or usual_timeout,
        "version": channels.c.version + 1,
    }
    if secret is not None:
        values["secret"] = vault.encrypt(secret)
    connection.execute(update(channels).where(channels.c.id == channel.id).values(values))
    return get_channel(connection, channel.id)


def _check(channel: Channel) -> float:
    """The provider's usual timeout. Raises InvalidRequest for what no channel can be."""
    providers = discover()
    if channel.provider not in providers or channel.provider == LOCAL:
        known = ", ".join(sorted(name for name in providers if name != LOCAL))
        raise InvalidRequest(f"one of {known}, got {channel.provider}", field="provider")
    if not (channel.base_url or providers[channel.provider].base_url):
        raise InvalidRequest(f"{channel.provider} has no address of its own: say where it is", field="base_url")
    pace = channel.options.get(POLLS_PER_SECOND, "0")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", pace):
        raise InvalidRequest(f"a number of polls a second, or 0 for no limit, got {pace}", field=POLLS_PER_SECOND)
    return providers[channel.provider].timeout


def get_channel(connection: Connection, id_or_name: str) -> Channel:
    """Raises NotFound."""
    row = connection.execute(
        select(channels).where(or_(channels.c.id == id_or_name, channels.c.name == id_or_name))
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no channel {id_or_name}; `genway channel list` lists them")
    return _channel(row)


def list_channels(connection: Connection) -> list[Channel]:
    return [_channel(row) for row in connection.execute(select(channels).order_by(channels.c.created_at))]


def set_enabled(connection: Connection, channel_id: str, enabled: bool, now: float) -> None:
    """A disabled channel gets no new work; what it has is seen through."""
    connection.execute(
        update(channels)
        .where(channels.c.id == channel_id)
        .values(disabled_at=None if enabled else now, version=channels.c.version + 1)
    )


def renew_channel(connection: Connection, channel_id: str) -> None:
    """Let every server make the channel anew within a second, without what it remembers of the channel's troubles."""
    connection.execute(update(channels).where(channels.c.id == channel_id).values(version=channels.c.version + 1))


def remove_channel(connection: Connection, channel_id: str) -> None:
    """Raises Conflict while the channel still has work."""
    busy = select(tasks.c.id).where(tasks.c.channel_id == channel_id, tasks.c.finished_at.is_(None)).limit(1)
    if connection.execute(busy).first():
        raise Conflict("this channel still has work; disable it and wait for its tasks to end")
    connection.execute(delete(channels).where(channels.c.id == channel_id))


def _channel(row: Row[tuple[object, ...]]) -> Channel:
    values = dict(row._mapping)
    values["models"] = msgspec.json.decode(values["models"])
    values["options"] = msgspec.json.decode(values["options"])
    return Channel(**values)
