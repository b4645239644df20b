"""Luma in two wire formats: the own one of gateways, and the official API's."""

from __future__ import annotations

from genway.dialects.base import Answer, Asking, Dialect
from genway.dialects.luma import official, own, works
from genway.dialects.luma.rendering import Told, render_quote
from genway.errors import GenwayError


def _render_error(error: GenwayError, asking: Asking) -> Answer:
    if asking.path.startswith(("/dream-machine", "/luma/dream-machine")):
        return official.render_error(error, asking)
    return own.render_error(error, asking)


dialect = Dialect(
    name="luma",
    routes=(*own.route.routes, *official.route.routes, *works.route.routes),
    formats={own.FORMAT: Told(own.render), official.FORMAT: Told(official.render)},
    prefixes=("/luma", "/dream-machine", "/vip/luma", "/pro/luma"),
    render_error=_render_error,
    render_quote=render_quote,
)
