"""Batches whose making has an unknown outcome: their process died, or their answer was lost, after the vendor was asked.

Before the vendor is asked, a thing of the sort `unmade` is on record with the deposit. OpenAI's batches are listed by their
vendor with the file they are made of. That file is the account's own, so a batch of it which is not on record here is the
one that was lost. Anthropic's list has nothing that tells whose a batch is: there the deposit is given back in the end.
"""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import structlog

from genway.errors import GenwayError
from genway.relay import forward, objects
from genway.relay.errors import Passed
from genway.relay.keeper import Keeper
from genway.relay.objects import Kept

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
"""After so long a batch that is still on its way is looked for."""

UNMADE_SECONDS = 1800.0
"""After so long one that the vendor does not have is given up, and its deposit given back."""

DOUBT_SECONDS = 300.0
"""The same where the vendor is not at work on the request any more."""

LOST_SECONDS = 24 * 3600.0
"""The same where the vendor cannot be asked."""

ASK_SECONDS = 30.0
SKEW_SECONDS = 120.0  # by which the vendor's clock may be behind
PAGE = 100
MOST_PAGES = 50


class Batch(msgspec.Struct):
    """What a vendor's list tells of a batch."""

    id: str = ""
    input_file_id: str = ""
    created_at: float = 0


class Page(msgspec.Struct):
    data: list[msgspec.Raw] = []
    has_more: bool = False


def first_turn(kept: Kept) -> float:
    """When a batch is first looked for, or, where that cannot be, given up."""
    return kept.created_at + (LOOK_SECONDS if kept.details.file else UNMADE_SECONDS)


async def look(keeper: Keeper, kept: Kept) -> bytes | None:
    """Look for an unmade batch at its vendor; returns it as the vendor tells it, once it is on record. It is given up when its
    time is over.

    Raises GenwayError where the vendor could not be asked and there is time left.
    """
    now = keeper.clock()
    until = kept.details.until or kept.created_at + UNMADE_SECONDS
    found = None
    try:
        found = await _find(keeper, kept) if kept.details.file else None
    except GenwayError:
        if now < kept.created_at + LOST_SECONDS:
            raise
    if found is not None:
        name, body = found
        made = msgspec.structs.replace(kept, id=name, kind="batches", body=body.decode(), next_at=now + objects.FIRST_WAIT)
        if await keeper.database.write(lambda connection: objects.replace(connection, kept, made)):
            log.info("batch.found", id=name, reference=kept.id, channel=kept.channel_id)
            return body
    elif now >= until:
        log.error("batch.outcome_unknown", reference=kept.id, channel=kept.channel_id, account=kept.account_id)
        await keeper.database.write(lambda connection: objects.give_up(connection, kept, now))
    return None


async def _find(keeper: Keeper, kept: Kept) -> tuple[str, bytes] | None:
    """The batch of its file that is not on record here: its id, and as it is told. Raises GenwayError."""
    place = keeper.place(kept)
    since = kept.created_at - SKEW_SECONDS
    after = ""
    for _ in range(MOST_PAGES):
        query = {"limit": str(PAGE)} | ({"after": after} if after else {})
        where = forward.target(place.seat, "batches", "", urlencode(query))
        try:
            answer = await forward.whole(await forward.ask(keeper.pool, place, "GET", where, seconds=ASK_SECONDS))
            page = msgspec.json.decode(answer, type=Page)
            listed = [(msgspec.json.decode(raw, type=Batch), bytes(raw)) for raw in page.data]
        except (Passed, msgspec.DecodeError, UnicodeDecodeError):  # a vendor without such a list
            return None
        fitting = {
            batch.id: raw
            for batch, raw in listed
            if batch.id and batch.input_file_id == kept.details.file and batch.created_at >= since
        }
        if fitting:
            names = list(fitting)
            known = await keeper.database.read(
                lambda connection, names=names: objects.known(connection, kept.account_id, kept.mode, names)  # type: ignore[misc]
            )
            for name, raw in fitting.items():
                if name not in known:
                    return name, raw
        if not page.has_more or not listed or listed[-1][0].id in {"", after}:
            return None
        if listed[-1][0].created_at < min(since, listed[0][0].created_at):  # the newest come first, and these are older
            return None
        after = listed[-1][0].id
    return None
