"""Runway in three wire formats: the page's own, the official API's, and the older mirror of the web application."""

from __future__ import annotations

from types import ModuleType
from typing import cast

from genway.dialects.base import Answer, Asking, Dialect, Format
from genway.dialects.runway import account, official, pro, uploads, web
from genway.errors import GenwayError
from genway.gateway import Quote


def _render_error(error: GenwayError, asking: Asking) -> Answer:
    return cast(Answer, _format(asking.path).render_error(error, asking))


def _render_quote(quote: Quote, asking: Asking) -> Answer:
    return cast(Answer, _format(asking.path).render_quote(quote, asking))


def _format(path: str) -> ModuleType:
    """The module of the format that a path belongs to; what is unknown under `/runway` is the page's."""
    if path.startswith(official.PREFIX):
        return official
    return web if path.startswith(web.PREFIXES) else pro


dialect = Dialect(
    name="runway",
    routes=(*pro.route.routes, *official.route.routes, *account.route.routes, *web.route.routes, *uploads.route.routes),
    formats={pro.FORMAT: Format(pro.render), official.FORMAT: Format(official.render), web.FORMAT: Format(web.render)},
    prefixes=(official.PREFIX, "/runway"),
    render_error=_render_error,
    render_quote=_render_quote,
)
