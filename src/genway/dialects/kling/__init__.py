"""Kling's official API, as it was before its paths named the model, under `/kling`."""

from __future__ import annotations

from genway.dialects.base import Dialect
from genway.dialects.kling import audio, images, people, queries, videos
from genway.dialects.kling.auth import unwrap
from genway.dialects.kling.envelope import Changes, render_error, render_quote, task_data
from genway.dialects.kling.fields import FORMAT

dialect = Dialect(
    name="kling",
    routes=(*videos.route.routes, *people.route.routes, *images.route.routes, *audio.route.routes, *queries.route.routes),
    formats={f"{FORMAT}.{endpoint}": Changes(task_data, "every") for endpoint in queries.ENDPOINTS},
    prefixes=("/kling",),
    render_error=render_error,
    render_quote=render_quote,
    unwrap=unwrap,
)
