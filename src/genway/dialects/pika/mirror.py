"""The mirror of Pika's web application: `/pika/generate` and `/pika/feed/{id}`, as its front ends poll it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body, one_of, shown
from genway.dialects.genway import as_json
from genway.dialects.pika import making, models
from genway.dialects.pika.making import Options, Prompt, Wish
from genway.dialects.rendering import failure, link, provider_header
from genway.errors import GenwayError, InvalidRequest
from genway.gateway import Gateway, Quote
from genway.tasks.model import State, Task

FORMAT = "pika.web"
USUAL_RATIO = 16 / 9
STATUS = {
    State.QUEUED: "queued",
    State.SUBMITTING: "queued",
    State.RUNNING: "pending",
    State.STORING: "pending",
    State.PARKED: "pending",
    State.SUCCEEDED: "finished",
    State.FAILED: "error",
    State.CANCELLED: "error",
    State.EXPIRED: "error",
}

route = Router()


class NewVideo(Body, rename="camel"):
    """A video of the web application. pikaffect: an effect on the picture. model_version: another name of model."""

    prompt_text: Prompt = ""
    model: str | float = ""
    model_version: str | float = ""
    pikaffect: Annotated[str, Meta(max_length=100)] = ""
    image: str = ""
    video: str = ""
    sfx: bool = False
    duration: Literal[5, 10] = 5
    resolution: Literal["720p", "1080p"] = "720p"
    ingredients: Annotated[list[str], Meta(max_length=5)] = []
    options: Options = msgspec.field(default_factory=Options)


@route.submit("/pika/generate", "/pro/pika/generate")
async def generate(body: NewVideo, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Begin a video; the answer is its id."""
    if body.pikaffect and models.effect(body.pikaffect) is None:
        raise InvalidRequest(f"{one_of(models.EFFECTS)}, got {shown(body.pikaffect)}", field="pikaffect")
    ratio = body.options.aspect_ratio or USUAL_RATIO
    wish = Wish(
        format=FORMAT,
        extra=body.extra,
        model=models.model(body.model or body.model_version or models.USUAL_MODEL),
        prompt=body.prompt_text,
        style=body.pikaffect,
        size=models.size(ratio, body.resolution, "options.aspectRatio"),
        seconds=body.duration,
        audio=body.sfx,
        image=body.image,
        last_image="",
        video=body.video,
        references=tuple(body.ingredients),
        options=body.options,
        prompt_field="promptText",
    )
    operation = await making.operation(wish, gateway, asked, request)
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT)
    return Answer(render(task), headers=provider_header(task))


@route.get("/pika/feed/{task_id:str}", "/pro/pika/feed/{task_id:str}")
async def feed(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a video is going."""
    return await told(task_id, gateway, asked)


async def told(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """The account's task as this format tells of it. Raises TaskNotFound."""
    task = await gateway.get(asked.caller, task_id)
    return Answer(render(task), headers=provider_header(task))


def render(task: Task) -> dict[str, Any]:
    """The video as the web application tells of it. There is always an entry in `videos`: clients skip an answer without."""
    made = task.file("video")
    link_to_video, poster = link(task, "video"), link(task, "poster")
    video = {
        "id": task.id,
        "status": STATUS[task.state],
        "progress": 100 if task.state is State.SUCCEEDED else int(task.progress * 100),
        "seed": getattr(task.operation, "seed", None),
        "resultUrl": link_to_video,
        "sharingUrl": link_to_video,
        "videoPoster": poster,
        "imageThumb": poster,
        "duration": made.seconds if made and made.seconds else getattr(task.operation, "seconds", 0),
        "error": failure(task),
    }
    return {
        "id": task.id,
        "promptText": getattr(task.operation, "prompt", ""),
        "videos": [video],
        "provider": "local" if task.local else task.provider,
        "warnings": list(task.warnings),
    }


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The object whose `error.message` the clients show."""
    told = {"message": str(error), "type": error.type, "code": error.code, "param": error.field}
    return Answer({"error": told, "code": error.code, "request_id": asking.request_id}, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    return Answer({"dryRun": True, "quote": as_json(quote)})
