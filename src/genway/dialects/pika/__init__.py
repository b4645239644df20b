"""Pika in two wire formats: the page's own, and the mirror of the web application."""

from __future__ import annotations

from genway.dialects.base import Answer, Asking, Dialect, Format
from genway.dialects.pika import mirror, pro
from genway.errors import GenwayError
from genway.gateway import Quote

MIRRORED = ("/pika/generate", "/pika/feed/", "/pro/pika")


def _render_error(error: GenwayError, asking: Asking) -> Answer:
    return mirror.render_error(error, asking) if _mirrored(asking) else pro.render_error(error, asking)


def _render_quote(quote: Quote, asking: Asking) -> Answer:
    return mirror.render_quote(quote, asking) if _mirrored(asking) else pro.render_quote(quote, asking)


def _mirrored(asking: Asking) -> bool:
    """The mirror asks with a word behind `/pika/feed/`, or with `?id=`; `/pika/feed/` alone is the page's."""
    if asking.path.rstrip("/") == "/pika/feed":
        return asking.request is not None and "id" in asking.request.query_params
    return asking.path.startswith(MIRRORED)


dialect = Dialect(
    name="pika",
    routes=(*pro.route.routes, *mirror.route.routes),
    formats={pro.FORMAT: Format(pro.render, callback_on="every"), mirror.FORMAT: Format(mirror.render)},
    prefixes=("/pika", "/pro/pika"),
    render_error=_render_error,
    render_quote=_render_quote,
)
