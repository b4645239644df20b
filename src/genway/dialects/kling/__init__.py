"""Kling's official API, as it was before its paths named the model, under `/kling`."""

from __future__ import annotations

from genway.dialects.base import Dialect
from genway.dialects.kling import audio, images, library, people, queries, sessions, videos
from genway.dialects.kling.auth import unwrap
from genway.dialects.kling.envelope import Changes, render_error, render_quote, task_data
from genway.dialects.kling.fields import FORMAT

dialect = Dialect(
    name="kling",
    routes=tuple(
        route for module in (videos, people, sessions, images, audio, library, queries) for route in module.route.routes
    ),
    formats={f"{FORMAT}.{endpoint}": Changes(task_data, "every") for endpoint in (*queries.ENDPOINTS, *queries.AT_ONCE)},
    prefixes=("/kling",),
    render_error=render_error,
    render_quote=render_quote,
    unwrap=unwrap,
)
