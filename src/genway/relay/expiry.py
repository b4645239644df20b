"""What is on record of things that vendors keep goes again after a time: `relay.keep_days` and `relay.keep_file_days`.

Responses, their items, threads, containers, audio and batches that have ended are forgotten here; their vendors forget them by
themselves. A file is deleted at its vendor first, which would keep it for good. Work that goes on or is not paid for yet stays
however old it is, with the files that it needs.
"""

from __future__ import annotations

from typing import Final

import structlog

from genway.errors import GenwayError
from genway.relay import forward, objects, offline
from genway.relay.errors import Passed
from genway.relay.keeper import Keeper
from genway.relay.objects import Kept, Sort
from genway.routing.channels import LOCAL

log = structlog.get_logger(__name__)

DAY = 86_400
AT_ONCE = 500
ASK_SECONDS = 30.0
FORGOTTEN: Final[tuple[Sort, ...]] = (
    "responses", "items", "threads", "batches", "message_batches", "containers", "message_containers", "audio",
)  # fmt: skip


async def expire(keeper: Keeper) -> int:
    """Let go of all that is older than the settings have it; returns how many things that were. Raises Unavailable."""
    now, settings = keeper.clock(), keeper.settings
    gone = 0
    if settings.keep_days:
        gone += await _forget(keeper, now - settings.keep_days * DAY)
    if settings.keep_file_days:
        gone += await _delete_files(keeper, now - settings.keep_file_days * DAY)
    return gone


async def _forget(keeper: Keeper, before: float) -> int:
    gone = 0
    while True:
        found = await keeper.database.read(lambda connection: objects.old(connection, FORGOTTEN, before, AT_ONCE))
        for kept in found:
            if kept.channel_id == LOCAL and kept.kind == "message_batches":
                await keeper.store.delete(offline.content_key(kept))
        await keeper.database.write(lambda connection, rows=found: objects.forget(connection, rows))  # type: ignore[misc]
        gone += len(found)
        if len(found) < AT_ONCE:
            return gone


async def _delete_files(keeper: Keeper, before: float) -> int:
    gone = kept_on = 0
    silent: set[str] = set()
    while True:
        found, needed = await keeper.database.read(
            lambda connection, past=kept_on: (  # type: ignore[misc]
                objects.old_files(connection, before, AT_ONCE, past),
                objects.needed(connection),
            )
        )
        rows = [kept for kept in found if not (needed & {kept.id, kept.details.batch}) and await _deleted(keeper, kept, silent)]
        await keeper.database.write(lambda connection, rows=rows: objects.forget(connection, rows))  # type: ignore[misc]
        gone += len(rows)
        kept_on += len(found) - len(rows)
        if len(found) < AT_ONCE:
            return gone


async def _deleted(keeper: Keeper, kept: Kept, silent: set[str]) -> bool:
    """Whether its content is gone now. silent: channels that do not answer, which are not asked any more this time."""
    if kept.channel_id == LOCAL:
        await keeper.store.delete(offline.content_key(kept))
        return True
    if kept.channel_id in silent:
        return False
    try:
        place = keeper.place(kept)
        where = forward.target(place.seat, forward.PATHS[kept.kind], f"/{kept.id}")
        await forward.whole(await forward.ask(keeper.pool, place, "DELETE", where, seconds=ASK_SECONDS))
    except Passed as refused:
        if refused.status != 404:
            log.warning("file.not_deleted", id=kept.id, channel=kept.channel_id, status=refused.status)
            return False
    except GenwayError as error:
        silent.add(kept.channel_id)
        log.warning("file.not_deleted", id=kept.id, channel=kept.channel_id, why=str(error))
        return False
    return True
