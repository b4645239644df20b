"""`POST /v1/quote`: what any request would cost."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request

from genway.access.model import Asked
from genway.billing import money
from genway.dialects import base
from genway.dialects.base import Answer, Asking, Quoted, Router
from genway.dialects.body import Body
from genway.errors import InvalidRequest
from genway.gateway import Quote

route = Router()


class QuoteRequest(Body, kw_only=True):
    """Which request is to be priced: its path and its body, as they would be sent."""

    path: str
    body: dict[str, Any]


@route.post("/v1/quote")
async def quote(body: QuoteRequest, request: Request[Any, Any, Any], asking: Asking, asked: Asked) -> Answer:
    """Check a request and price it without doing it."""
    routes = (candidate for dialect in base.discover().values() for candidate in dialect.routes if candidate.submits)
    found = next((candidate for candidate in routes if body.path in candidate.paths), None)
    if found is None:
        raise InvalidRequest(f"a path that takes work, like /runway/pro/generate, got {body.path}", field="path")

    rehearsing = msgspec.structs.replace(asked, dry_run=True)
    try:
        await base.call(found, request, msgspec.json.encode(body.body), asking, rehearsing)
    except Quoted as quoted:
        return Answer(as_json(quoted.quote))
    raise AssertionError(f"{body.path} has begun a task on a dry run")


def as_json(quote: Quote) -> dict[str, Any]:
    """A price, for programs: amounts are decimal strings in the currency."""
    return {
        "object": "quote",
        "model": quote.model,
        "served_by": quote.served_by,
        "currency": quote.currency,
        "total": money.show(quote.total),
        "lines": [
            {
                "unit": line.unit,
                "quantity": line.quantity,
                "unit_price": money.show(line.amount),
                "total": money.show(line.total),
            }
            for line in quote.lines
        ],
        "warnings": list(quote.warnings),
    }
