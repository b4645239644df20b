"""Single and list queries of every endpoint, and the account's costs."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Asking, Router
from genway.dialects.body import Body, read
from genway.dialects.kling.envelope import ok, task_data
from genway.dialects.kling.fields import FORMAT, V1, by_external_id
from genway.errors import InvalidRequest, TaskNotFound
from genway.gateway import Gateway

ENDPOINTS = (
    *(f"videos/{name}" for name in ("text2video", "image2video", "multi-image2video", "omni-video", "video-extend", "effects")),
    *(f"videos/{name}" for name in ("lip-sync", "advanced-lip-sync", "avatar/image2video", "motion-control", "multi-elements")),
    *(
        f"images/{name}"
        for name in ("generations", "multi-image2image", "omni-image", "editing/expand", "kolors-virtual-try-on")
    ),
    *(f"audio/{name}" for name in ("text-to-audio", "video-to-audio", "tts")),
    *(f"general/{name}" for name in ("custom-voices", "advanced-custom-elements")),
)
# What is answered within the request and cannot be asked for again.
AT_ONCE = ("videos/image-recognize", "videos/identify-face", "videos/multi-elements/init-selection")
PACK = "genway"
FAR = 253_402_300_799_000
MILLISECONDS = 1000

T = TypeVar("T", bound=Body)

route = Router()


class Page(Body, rename="camel"):
    """Which tasks a list query tells of, newest first."""

    page_num: Annotated[int, Meta(ge=1, le=1000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=500)] = 30


class LibraryPage(Page, rename="camel"):
    """The same for voices and elements."""

    page_size: Annotated[int, Meta(ge=1, le=1000)] = 30


class Span(Body):
    """A span of time in Unix milliseconds. resource_pack_name: exactly, if given."""

    start_time: Annotated[int, Meta(ge=0, le=FAR)]
    end_time: Annotated[int, Meta(ge=0, le=FAR)]
    resource_pack_name: str = ""


@route.get(*(f"{V1}/{endpoint}/{{task_id:str}}" for endpoint in ENDPOINTS))
async def single(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a task is going, by its id or by the caller's own."""
    try:
        task = await gateway.get(asked.caller, task_id)
    except TaskNotFound:
        found = await by_external_id(gateway, asked.caller, task_id)
        if found is None:
            raise
        task = found
    return ok(task_data(task), asked.request_id, task)


@route.get(*(f"{V1}/{endpoint}" for endpoint in ENDPOINTS))
async def listing(gateway: Gateway, asked: Asked, asking: Asking, request: Request[Any, Any, Any]) -> Answer:
    """Tell of the endpoint's tasks, newest first."""
    page = query_of(LibraryPage if "/general/" in asking.path else Page, request)
    endpoint = "/".join(part for part in asking.path.removeprefix(V1).split("/") if part)
    found = await gateway.list(
        asked.caller, dialect=f"{FORMAT}.{endpoint}", limit=page.page_size, offset=(page.page_num - 1) * page.page_size
    )
    return ok([task_data(task) for task in found], asked.request_id)


@route.get("/kling/account/costs", f"{V1}/account/costs")
async def costs(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell of the account as of one resource pack: what is left, and what there was before the span of time. In units."""
    span = query_of(Span, request)
    if span.end_time < span.start_time:
        raise InvalidRequest(f"not before start_time, got {span.end_time}", field="end_time")
    view = await gateway.account(asked.caller)
    used = await gateway.usage(asked.caller, since=span.start_time / MILLISECONDS, before=span.end_time / MILLISECONDS)
    available = view.available if view.budget_left is None else min(view.available, view.budget_left)
    remaining = gateway.points(max(available, 0))
    total = remaining + gateway.points(view.held) + sum(gateway.points(row.charged) for row in used)
    pack = {
        "resource_pack_name": PACK,
        "resource_pack_id": view.id,
        "resource_pack_type": "decreasing_total",
        "total_quantity": float(total),
        "remaining_quantity": float(remaining),
        "purchase_time": span.start_time,
        "effective_time": span.start_time,
        "invalid_time": FAR,
        "status": "online" if remaining or view.unlimited else "runOut",
    }
    packs = [pack] if span.resource_pack_name in {"", PACK} else []
    return ok({"code": 0, "msg": "", "resource_pack_subscribe_infos": packs}, asked.request_id)


def query_of(type_: type[T], request: Request[Any, Any, Any]) -> T:
    """The query of an address, read as a body is. Raises InvalidRequest."""
    return read(type_, msgspec.json.encode(dict(request.query_params)))
