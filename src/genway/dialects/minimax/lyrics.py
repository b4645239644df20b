"""The words of a song in MiniMax's format, answered in one call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import ok, outcome, places
from genway.dialects.minimax.synchronous import made
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import LyricsRequest
from genway.tasks.model import Task

LYRICS = "minimax.lyrics"
SECONDS = 120.0

route = Router()


class LyricsGeneration(Body, kw_only=True):
    """A whole song from a description, or more of one. title: is kept where it is given."""

    mode: Literal["write_full_song", "edit"]
    prompt: Annotated[str, Meta(max_length=2000)] = ""
    lyrics: Annotated[str, Meta(max_length=3500)] = ""
    title: str = ""


@route.submit(*places("/v1/lyrics_generation"))
async def lyrics_generation(body: LyricsGeneration, gateway: Gateway, asked: Asked) -> Answer:
    """Write the words of a song."""
    if body.mode == "edit" and not body.lyrics:
        raise InvalidRequest("required for edit", field="lyrics")
    operation = LyricsRequest(
        model=models.SYSTEM + models.LYRICS,
        format=LYRICS,
        prompt=body.prompt,
        lyrics=body.lyrics if body.mode == "edit" else "",
        title=body.title,
        extra=body.extra,
    )
    task = await made(operation, LYRICS, gateway, asked, seconds=SECONDS)
    return ok(render(task), asked, task)


def render(task: Task) -> dict[str, Any]:
    """A task of this format. Source: platform.minimax.io/docs/api-reference/lyrics-generation."""
    told = {name: task.details.get(name, "") for name in ("song_title", "style_tags", "lyrics")}
    return {**told, "base_resp": outcome(task)}
