"""genway's own routes: what belongs to no vendor."""

from __future__ import annotations

from genway.dialects.base import Answer, Asking, Dialect
from genway.dialects.genway import quotes, tasks, vendor_calls
from genway.dialects.genway.quotes import as_json
from genway.errors import GenwayError
from genway.gateway import Quote

__all__ = ["as_json", "dialect"]


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The shape that most clients read."""
    body = {
        "error": {
            "message": str(error),
            "type": error.type,
            "code": error.code,
            "param": error.field,
            "request_id": asking.request_id,
        }
    }
    return Answer(body, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    return Answer(as_json(quote))


dialect = Dialect(
    name="genway",
    routes=(*quotes.route.routes, *tasks.route.routes, *vendor_calls.route.routes),
    formats={},
    prefixes=("",),
    render_error=render_error,
    render_quote=render_quote,
    key_headers=("x-api-key",),
)
