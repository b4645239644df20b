"""OpenAI's wire formats: videos, the one door to every video system."""

from __future__ import annotations

from genway.dialects.base import Dialect, Format
from genway.dialects.openai import videos

dialect = Dialect(
    name="openai",
    routes=videos.route.routes,
    formats={videos.FORMAT: Format(videos.render)},
    prefixes=(videos.PREFIX,),
    render_error=videos.render_error,
    render_quote=videos.render_quote,
)
