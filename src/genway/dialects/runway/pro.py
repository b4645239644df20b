"""The page's own dialect: `/runway/pro/*` and `/runway/feed`, an envelope with Chinese words and numbers as texts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body
from genway.dialects.genway import as_json
from genway.dialects.rendering import failure, link, provider_header
from genway.dialects.runway import models, ratios
from genway.dialects.runway.rendering import Points, context, points_of, provider, quoted_points
from genway.errors import GenwayError, InvalidRequest, TaskNotFound
from genway.gateway import Gateway, Quote
from genway.operations import AnyOperation, Camera, MediaRef, PerformanceRequest, RestyleRequest, Size, VideoRequest
from genway.tasks.model import State, Task

FORMAT = "runway.pro"
SUCCESS = "成功"
USUAL_SECONDS = 10
USUAL_STYLE = "cinematic"

route = Router()

Motion = Annotated[float, Meta(ge=-10, le=10)]
Prompt = Annotated[str, Meta(max_length=5000)]
Name = Annotated[str, Meta(max_length=100)]

# status 2 is "failed, and always given back"; there is no word of its own for cancelled and expired.
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
WORDS = {"0": "queued", "1": "running"}


class MotionVector(msgspec.Struct):
    """Camera motion, each −10…10, 0 for none.

    x: camera right. y: camera up. z: camera in. r: picture clockwise. bg_x_pan, bg_y_pan: background right, up.
    """

    x: Motion = 0
    y: Motion = 0
    z: Motion = 0
    r: Motion = 0
    bg_x_pan: Motion = 0
    bg_y_pan: Motion = 0

    def camera(self) -> Camera:
        return Camera(
            horizontal=self.x,
            vertical=self.y,
            zoom=self.z,
            roll=self.r,
            background_pan_x=self.bg_x_pan,
            background_pan_y=self.bg_y_pan,
        )


class GenerateOptions(msgspec.Struct):
    """seconds: 5 or 10, or what an official model can do. flip: portrait instead of landscape."""

    seconds: int | None = None
    motion_vector: MotionVector = msgspec.field(default_factory=MotionVector)
    image_as_end_frame: bool = False
    flip: bool = False
    last_image: str = ""


class Generate(Body):
    """Text, or pictures, into a video. style: `cinematic` unless a picture is given."""

    callback_url: str | None = None
    image: str = ""
    last_image: str = ""
    ratio: str = "16:9"
    style: Name = ""
    model: str = "gen3"
    prompt: Prompt = ""
    options: GenerateOptions = msgspec.field(default_factory=GenerateOptions)

    def size(self, model: str, takes: models.Video) -> Size:
        """The size in pixels, after `flip`."""
        size = ratios.fit(self.ratio, takes.ratios, model, "ratio")
        if not self.options.flip or size.portrait:
            return size
        return ratios.fit_pair((size.height, size.width), takes.ratios, model, "options.flip")

    def end(self) -> tuple[str, str]:
        """The last picture, and the field that it stands in."""
        top, inner = self.last_image, self.options.last_image
        if top and inner and top != inner:
            raise InvalidRequest("differs from `last_image`; give one of them", field="options.last_image")
        if self.options.image_as_end_frame:
            if not self.image:
                raise InvalidRequest("needs `image`", field="options.image_as_end_frame")
            if top or inner:
                field = "last_image" if top else "options.last_image"
                raise InvalidRequest(
                    "conflicts with `options.image_as_end_frame`, which makes `image` the last one", field=field
                )
            return self.image, "image"
        return top or inner, "last_image" if top else "options.last_image"


class Video2VideoOptions(msgspec.Struct):
    """structure_transformation: low keeps the structure of the source, high is freer. flip: portrait."""

    structure_transformation: Annotated[float, Meta(ge=0, le=1)] = 0.5
    seconds: int | None = None
    flip: bool = False


class Video2Video(Body):
    """A video into the same video in another look. The default of 10 seconds takes as much as the original does."""

    video: str
    prompt: Prompt
    callback_url: str | None = None
    ratio: str = "16:9"
    style: Name = ""
    model: str = "gen3"
    options: Video2VideoOptions = msgspec.field(default_factory=Video2VideoOptions)


class ActOneOptions(msgspec.Struct):
    """motion_multiplier: how strong the acting is; its range is not known. flip: portrait."""

    motion_multiplier: Annotated[int, Meta(ge=0, le=100)] | None = None
    flip: bool = False


class ActOne(Body):
    """The acting in `video` transferred to the character in `image`."""

    video: str
    image: str
    callback_url: str | None = None
    options: ActOneOptions = msgspec.field(default_factory=ActOneOptions)


class Feed(Body):
    """task_id: in the body, or in the query of the address."""

    task_id: str = ""


@route.submit("/runway/pro/generate", "/runway/v1/pro/generate")
async def generate(body: Generate, gateway: Gateway, asked: Asked, asking: Asking) -> Answer:
    """Turn a prompt, or a reference image, into a video."""
    model, takes = models.named(models.PAGE_VIDEO, body.model)
    end, end_field = body.end()
    if not (body.prompt or body.image or end):
        raise InvalidRequest("required", field="prompt or image")
    size = body.size(model, takes)
    seconds = models.duration(takes, body.options.seconds, "options.seconds", usual=USUAL_SECONDS)
    picture = body.image if not body.options.image_as_end_frame else ""
    assumed = () if body.style or body.image or end else ("style",)
    operation = VideoRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra=body.extra,
        prompt=body.prompt,
        first_frame=await _media(gateway, asked.caller, picture, "image", "image"),
        last_frame=await _media(gateway, asked.caller, end, end_field, "image"),
        seconds=seconds,
        size=size,
        camera=body.options.motion_vector.camera(),
        style=USUAL_STYLE if assumed else body.style,
        assumed=assumed,
    )
    return await _submitted(operation, body.callback_url, gateway, asked, asking)


@route.submit("/runway/pro/video2video", "/runway/v1/pro/video2video")
async def video2video(body: Video2Video, gateway: Gateway, asked: Asked, asking: Asking) -> Answer:
    """Give a video another look."""
    model, takes = models.named(models.PAGE_RESTYLE, body.model)
    seconds = models.duration(takes, body.options.seconds, "options.seconds", usual=USUAL_SECONDS)
    size = ratios.fit(body.ratio, takes.ratios, model, "ratio")
    operation = RestyleRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra=body.extra,
        video=await gateway.accept_media(asked.caller, body.video, field="video", kinds=("video",)),
        prompt=body.prompt,
        seconds=seconds,
        size=size.flipped() if body.options.flip and not size.portrait else size,
        strength=body.options.structure_transformation,
        style=body.style,
    )
    return await _submitted(operation, body.callback_url, gateway, asked, asking)


@route.submit("/runway/pro/act_one", "/runway/v1/pro/act_one")
async def act_one(body: ActOne, gateway: Gateway, asked: Asked, asking: Asking) -> Answer:
    """Transfer a performance to a character."""
    size = Size(1280, 768)
    operation = PerformanceRequest(
        model=f"{models.SYSTEM}act_one",
        format=FORMAT,
        extra=body.extra,
        performance=await gateway.accept_media(asked.caller, body.video, field="video", kinds=("video",)),
        character=await gateway.accept_media(asked.caller, body.image, field="image", kinds=("image",)),
        size=size.flipped() if body.options.flip else size,
        intensity=body.options.motion_multiplier,
    )
    return await _submitted(operation, body.callback_url, gateway, asked, asking)


async def feed(body: Feed, gateway: Gateway, asked: Asked, asking: Asking, request: Request[Any, Any, Any]) -> Answer:
    """Tell how a task is going."""
    task_id = body.task_id or request.query_params.get("task_id", "")
    if not task_id:
        raise InvalidRequest("required", field="task_id")
    task = await gateway.get(asked.caller, task_id)
    content = envelope(feed_data(task, gateway.points), asking.seconds)
    content["ip"] = request.client.host if request.client else ""
    return Answer(content, headers=provider_header(task))


route.post("/runway/feed", "/runway/v1/feed")(feed)
route.get("/runway/feed", "/runway/v1/feed")(feed)


async def _media(gateway: Gateway, caller: Caller, value: str, field: str, kind: str) -> MediaRef | None:
    return await gateway.accept_media(caller, value, field=field, kinds=(kind,)) if value else None


async def _submitted(
    operation: AnyOperation, callback_url: str | None, gateway: Gateway, asked: Asked, asking: Asking
) -> Answer:
    task = await submit(
        gateway, asked, operation=operation, dialect=FORMAT, context=context(gateway), callback_url=callback_url
    )
    return Answer(envelope({"task_id": task.id}, asking.seconds), headers=provider_header(task))


def envelope(data: Any, seconds: float) -> dict[str, Any]:
    """A good answer, with its members in the order of the original. seconds: how long it took."""
    return {"code": 200, "msg": SUCCESS, "data": data, "exec_time": round(seconds, 6)}


def feed_data(task: Task, points: Points) -> dict[str, Any]:
    """The `data` of a feed: first the original's fields as it types them, then what only we tell."""
    operation = task.operation
    video = link(task, "video")
    return {
        "task_id": task.id,
        "status": STATUS[task.state],
        "prompt": getattr(operation, "prompt", ""),
        "prompt_en": task.details.get("prompt_en", ""),
        "video_url": video,
        "poster": link(task, "poster"),
        "last_frame": link(task, "last_frame"),
        "msg": failure(task) or None,
        "point": str(points(task.charged if task.state is State.SUCCEEDED else task.held)),
        "refund": "1" if STATUS[task.state] == "2" or task.refunded else "0",
        "create_time": str(int(task.created_at)),
        "update_time": str(int(task.updated_at)),
        "state": WORDS.get(STATUS[task.state], task.state.value),
        "raw_video_url": video,
        "progress": 1.0 if task.state is State.SUCCEEDED else round(task.progress, 4),
        "queue_position": task.queue_position,
        "provider": provider(task),
        "warnings": list(task.warnings),
    }


def render(task: Task) -> dict[str, Any]:
    """The body of a callback: what the feed would answer. It is the same at each try, so it tells no time."""
    return envelope(feed_data(task, points_of(task)), 0.0)


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The envelope with a code other than 200, and the `error` object that clients of such gateways read."""
    word = error.code if isinstance(error, TaskNotFound) else str(error)
    content = {
        "code": error.status,
        "msg": word,
        "data": None,
        "exec_time": round(asking.seconds, 6),
        "error": {"message": str(error), "type": error.type, "code": error.code, "param": error.field},
        "request_id": asking.request_id,
    }
    return Answer(content, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    data = {"dry_run": True, "point": str(quoted_points(quote, asking)), **as_json(quote)}
    return Answer(envelope(data, asking.seconds))
