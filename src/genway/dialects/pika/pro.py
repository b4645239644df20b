"""The page's own dialect: `/pika/pro/generate` and `/pika/feed`, an envelope with Chinese words and numbers as texts."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.billing.money import MICRO
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body, shown
from genway.dialects.genway import as_json
from genway.dialects.pika import making, mirror, models
from genway.dialects.pika.making import Options, Prompt, Wish
from genway.dialects.rendering import failure, link, provider_header
from genway.errors import GenwayError, InvalidRequest, TaskNotFound
from genway.gateway import Gateway, Quote
from genway.tasks.model import State, Task

FORMAT = "pika.pro"
SUCCESS = "成功"
USUAL_POINTS_PER_UNIT = 100
STATUS = {
    State.QUEUED: "0",
    State.SUBMITTING: "0",
    State.RUNNING: "1",
    State.STORING: "1",
    State.PARKED: "1",
    State.SUCCEEDED: "3",
    State.FAILED: "2",
    State.CANCELLED: "2",
    State.EXPIRED: "2",
}

route = Router()


class Generate(Body):
    """Text, a picture or a clip into a video.

    style: an effect's name, or words for a look. sfx: with sound. last_image, duration, resolution: where the model can.
    """

    prompt: Prompt = ""
    style: Annotated[str, Meta(max_length=100)] = ""
    ratio: str = "16:9"
    sfx: bool = False
    model: str | float = models.USUAL_MODEL
    image: str = ""
    last_image: str = ""
    video: str = ""
    duration: Literal[5, 10] = 5
    resolution: Literal["720p", "1080p"] = "720p"
    callback_url: str | None = None
    options: Options = msgspec.field(default_factory=Options)


class Feed(Body):
    """task_id: in the body, or in the query of the address."""

    task_id: str = ""


@route.submit("/pika/pro/generate", "/pika/v1/pro/generate")
async def generate(body: Generate, gateway: Gateway, asked: Asked, asking: Asking, request: Request[Any, Any, Any]) -> Answer:
    """Turn a prompt, a picture or a clip into a video."""
    wish = Wish(
        format=FORMAT,
        extra=body.extra,
        model=models.model(body.model),
        prompt=body.prompt,
        style=body.style,
        size=models.size(_ratio(body.ratio), body.resolution, "ratio"),
        seconds=body.duration,
        audio=body.sfx,
        image=body.image,
        last_image=body.last_image,
        video=body.video,
        references=(),
        options=body.options,
        prompt_field="prompt",
    )
    operation = await making.operation(wish, gateway, asked, request)
    told = {"points_per_unit": gateway.points_per_unit}
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, context=told, callback_url=body.callback_url)
    return Answer(envelope({"task_id": task.id}, asking.seconds), headers=provider_header(task))


async def feed(body: Feed, gateway: Gateway, asked: Asked, asking: Asking, request: Request[Any, Any, Any]) -> Answer:
    """Tell how a task is going; with `?id=` in the words of the web application's mirror."""
    if not body.task_id and (mirrored := request.query_params.get("id", "")):
        return await mirror.told(mirrored, gateway, asked)
    task_id = body.task_id or request.query_params.get("task_id", "")
    if not task_id:
        raise InvalidRequest("required", field="task_id")
    task = await gateway.get(asked.caller, task_id)
    content = envelope(feed_data(task), asking.seconds)
    content["ip"] = request.client.host if request.client else ""
    return Answer(content, headers=provider_header(task))


route.post("/pika/feed", "/pika/v1/feed")(feed)
route.get("/pika/feed", "/pika/v1/feed")(feed)


def _ratio(text: str) -> float:
    match = re.fullmatch(r"([1-9]\d{0,3}) ?[:：xX*/] ?([1-9]\d{0,3})", text.strip(), re.ASCII)
    if match is None:
        raise InvalidRequest(f"a proportion like 16:9, got {shown(text)}", field="ratio")
    return int(match[1]) / int(match[2])


def envelope(data: Any, seconds: float) -> dict[str, Any]:
    """A good answer. seconds: how long it took."""
    return {"code": 200, "msg": SUCCESS, "data": data, "exec_time": round(seconds, 6)}


def feed_data(task: Task) -> dict[str, Any]:
    """The `data` of a feed: first what the format has, then what only we tell."""
    per_unit = int(task.context.get("points_per_unit", USUAL_POINTS_PER_UNIT))
    amount = task.charged if task.state is State.SUCCEEDED else task.held
    poster = task.file("poster")
    status = STATUS[task.state]
    return {
        "task_id": task.id,
        "status": status,
        "prompt": getattr(task.operation, "prompt", ""),
        "video_url": link(task, "video"),
        "msg": failure(task) or None,
        "point": str(ceil(Fraction(amount * per_unit, MICRO))),
        "refund": "1" if status == "2" or task.refunded else "0",
        "create_time": str(int(task.created_at)),
        "update_time": str(int(task.updated_at)),
        "state": {"0": "queued", "1": "running"}.get(status, str(task.state)),
        "poster": poster.url if poster else "",
        "progress": 1.0 if task.state is State.SUCCEEDED else round(task.progress, 4),
        "queue_position": task.queue_position,
        "provider": "local" if task.local else task.provider,
        "warnings": list(task.warnings),
    }


def render(task: Task) -> dict[str, Any]:
    """The body of a callback: what the feed would answer. It is the same at each try, so it tells no time."""
    return envelope(feed_data(task), 0.0)


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The envelope with a code other than 200, and the `error` object that clients of such gateways read."""
    content = {
        "code": error.status,
        "msg": error.code if isinstance(error, TaskNotFound) else str(error),
        "data": None,
        "exec_time": round(asking.seconds, 6),
        "error": {"message": str(error), "type": error.type, "code": error.code, "param": error.field},
        "request_id": asking.request_id,
    }
    return Answer(content, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    gateway: Gateway | None = asking.request.app.state.gateway if asking.request else None
    points = gateway.points(quote.total) if gateway else 0
    return Answer(envelope({"dry_run": True, "point": str(points), **as_json(quote)}, asking.seconds))
