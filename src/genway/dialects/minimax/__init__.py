"""MiniMax (Hailuo): videos, pictures, speech, voices, music and lyrics, at the original's own paths and under `/minimax`."""

from __future__ import annotations

from typing import Any

from genway.dialects.base import Dialect, Format
from genway.dialects.minimax import files, image, lyrics, music, speech, video, video_v2, voices
from genway.dialects.minimax.answers import PREFIXES, outcome, render_error, render_quote
from genway.tasks.model import Task

_routes = tuple(
    route for module in (video, video_v2, files, image, speech, music, lyrics, voices) for route in module.route.routes
)


def _picture(task: Task) -> dict[str, Any]:
    return {**image.render(task), "base_resp": outcome(task)}


dialect = Dialect(
    name="minimax",
    routes=_routes,
    formats={
        **video.formats,
        **video_v2.formats,
        image.IMAGE: Format(_picture),
        speech.SPEECH: Format(speech.render),
        speech.LONG_SPEECH: Format(speech.render_long),
        music.MUSIC: Format(music.render),
        lyrics.LYRICS: Format(lyrics.render),
        voices.CLONE: Format(voices.render_clone),
        voices.DESIGN: Format(voices.render_design),
    },
    # Beside the prefixes only the exact paths: `/v1` belongs to others too.
    prefixes=(*PREFIXES, *(route.paths[0] for route in _routes)),
    render_error=render_error,
    render_quote=render_quote,
)
