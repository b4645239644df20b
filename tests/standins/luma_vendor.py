"""A stand-in for Luma's official API and for a gateway in its own format, on one real socket.

Tasks, faults and how they are ordered are those of the stand-in for Runway; the words and shapes are Luma's.

    PYTHONPATH=tests python -m standins.luma_vendor --port 0      # prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from standins.runway_vendor import (
    KEY,
    MISANSWERS,
    POLL_FAULTS,
    REFUSALS,
    SUBMIT_FAULTS,
    Drop,
    Fault,
    RunwayVendor,
    Settings,
    Submit,
    Task,
    _dropping,
)

OFFICIAL = "/dream-machine/v1"
WORDS = {"PENDING": "queued", "RUNNING": "dreaming", "SUCCEEDED": "completed", "FAILED": "failed", "CANCELLED": "failed"}
OWN_WORDS = {**WORDS, "PENDING": "pending", "RUNNING": "processing"}
ROUTES = ("video", "image", "image/reframe", "video/reframe", "video/modify")
WORKS = ("upscale", "audio")

Ratio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]
Resolution = Literal["540p", "720p", "1080p", "4k"]
Prompt = Annotated[str, Meta(min_length=3, max_length=5000)]
Url = Annotated[str, Meta(pattern="^https?://")]
Ray = Literal["ray-2", "ray-flash-2"]
Photon = Literal["photon-1", "photon-flash-1"]


class Picture(msgspec.Struct, tag_field="type", tag="image"):
    url: Url


class Earlier(msgspec.Struct, tag_field="type", tag="generation"):
    id: str


class Frames(msgspec.Struct):
    frame0: Picture | Earlier | None = None
    frame1: Picture | Earlier | None = None


class Named(msgspec.Struct):
    key: str


class Media(msgspec.Struct):
    url: Url
    weight: float | None = None


class Identity(msgspec.Struct):
    images: list[Url]


class Video(msgspec.Struct):
    model: Literal["ray-1-6", "ray-2", "ray-flash-2"]
    prompt: Prompt | None = None
    aspect_ratio: Ratio = "16:9"
    loop: bool = False
    keyframes: Frames | None = None
    resolution: Resolution | None = None
    duration: Literal["5s", "9s"] | None = None
    concepts: list[Named] = []


class Image(msgspec.Struct):
    model: Photon
    prompt: Prompt | None = None
    aspect_ratio: Ratio = "16:9"
    image_ref: Annotated[list[Media], Meta(max_length=4)] = []
    style_ref: list[Media] = []
    character_ref: dict[str, Identity] | None = None
    modify_image_ref: Media | None = None


class ReframeImage(msgspec.Struct):
    model: Photon
    media: Media
    aspect_ratio: Ratio
    generation_type: Literal["reframe_image"]


class ReframeVideo(msgspec.Struct):
    model: Ray
    media: Media
    aspect_ratio: Ratio
    generation_type: Literal["reframe_video"]
    first_frame: Media | None = None


class Modify(msgspec.Struct):
    model: Ray
    media: Media
    mode: Annotated[str, Meta(pattern="^(adhere|flex|reimagine)_[123]$")]
    generation_type: Literal["modify_video"]
    first_frame: Media | None = None


class Upscale(msgspec.Struct):
    generation_type: Literal["upscale_video"]
    resolution: Resolution


class Audio(msgspec.Struct):
    generation_type: Literal["add_audio"]
    prompt: str = ""
    negative_prompt: str = ""


class Own(msgspec.Struct):
    user_prompt: str
    aspect_ratio: Ratio
    loop: bool = False
    image_url: str = ""
    image_end_url: str = ""


class Extend(msgspec.Struct):
    user_prompt: str
    image_url: str = ""
    image_end_url: str = ""


BODIES: dict[str, Any] = {
    "video": Video,
    "image": Image,
    "image/reframe": ReframeImage,
    "video/reframe": ReframeVideo,
    "video/modify": Modify,
    "upscale": Upscale,
    "audio": Audio,
    "own": Own,
    "extend": Extend,
}


class LumaVendor(RunwayVendor):
    """Luma, in this process: `async with LumaVendor() as vendor: vendor.url`.

    reason: why generations fail that are ordered to. clean: where the own format gives the file without a watermark.
    listed: whether the own format answers a submit with a list of one. broken: what it answers under HTTP 200 instead.
    """

    def __init__(self, *, key: str = KEY, host: str = "127.0.0.1", port: int = 0, settings: Settings | None = None) -> None:
        super().__init__(key=key, host=host, port=port, settings=settings)
        self.reason = "Prompt processing failed"
        self.clean: Literal["download_url", "raw", "asked", "nowhere"] = "download_url"
        self.listed = False
        self.broken: dict[str, Any] | None = None
        app = web.Application(middlewares=[_dropping], client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                *(web.post(f"{OFFICIAL}/generations/{route}", self._official) for route in ROUTES),
                *(web.post(f"{OFFICIAL}/generations/{{id}}/{work}", self._official) for work in WORKS),
                web.get(f"{OFFICIAL}/generations/{{id}}", self._generation),
                web.delete(f"{OFFICIAL}/generations/{{id}}", self._delete),
                web.get(f"{OFFICIAL}/credits", self._credits),
                web.post("/{prefix:luma|pro/luma}/generations", self._own),
                web.post("/{prefix:luma|pro/luma}/generations/{id}/extend", self._own),
                web.get("/{prefix:luma|pro/luma}/generations/{id}", self._own_task),
                web.get("/{prefix:luma|pro/luma}/generations/{id}/download_video_url", self._download),
                web.get("/files/{id}/{name}", self._file),
                web.get("/_admin/submits", self._admin_submits),
                web.post("/_admin/faults", self._admin_fault),
                web.delete("/_admin/faults", self._admin_clear),
                web.post("/_admin/settings", self._admin_settings),
                web.post("/_admin/release", self._admin_release),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)

    async def _official(self, request: web.Request) -> web.StreamResponse:
        route = request.path.removeprefix(f"{OFFICIAL}/generations/")
        work = route.rpartition("/")[2] if route not in ROUTES else route
        task, answer = await self._taken(request, work, "prompt", _detail)
        if task is None:
            return answer or _detail(500, "unreachable")
        status = 200 if work in WORKS else 201
        return web.json_response(self._as_generation(request, task, "PENDING"), status=status)

    async def _own(self, request: web.Request) -> web.StreamResponse:
        if self.broken is not None:
            return web.json_response(self.broken)
        work = "extend" if request.path.endswith("/extend") else "own"
        task, answer = await self._taken(request, work, "user_prompt", _error)
        if task is None:
            return answer or _error(500, "unreachable")
        body = self._as_own(request, task, "PENDING")
        return web.json_response([body] if self.listed else body, status=201)

    async def _taken(
        self, request: web.Request, work: str, prompt_field: str, error: Any
    ) -> tuple[Task | None, web.StreamResponse | None]:
        """The task that was begun, or the answer where there is none or a fault says otherwise."""
        if not self._known(request):
            return None, error(401, "Invalid API key")
        body = await request.json()
        prompt = str(body.get(prompt_field, ""))
        submit = Submit(time.time(), request.path, body, prompt)
        self.submits.append(submit)
        fault = self._due(SUBMIT_FAULTS, prompt)
        if fault and fault.kind in REFUSALS:
            status, said = REFUSALS[fault.kind]
            return None, self._refuse(request, error, status, said, fault)
        if fault and fault.kind == "dropped":
            raise Drop
        earlier = request.match_info.get("id")
        if earlier is not None and earlier not in self.tasks:
            return None, error(404, "Generation not found" if error is _detail else "task_not_exist")
        try:
            msgspec.convert(body, BODIES[work])
        except msgspec.ValidationError as reason:
            return None, error(400, str(reason))
        task = Task(str(uuid.uuid4()), work, prompt, time.monotonic(), self._lasting(prompt))
        self.tasks[task.id] = task
        submit.accepted, submit.task_id = True, task.id
        match fault:
            case Fault(kind="lost"):
                raise Drop
            case Fault(kind="late"):
                await self._wait(fault.seconds)
            case Fault(kind="garbage"):
                return None, web.Response(text="<html>welcome</html>", content_type="text/html")
            case Fault(kind="no_id"):
                return None, web.json_response({"state": "queued"}, status=201)
            case Fault(kind=kind):
                return None, error(MISANSWERS[kind], "Something went wrong")
        return task, None

    async def _generation(self, request: web.Request) -> web.StreamResponse:
        task, answer = await self._asked(request, _detail, "Generation not found")
        return answer if task is None else web.json_response(self._as_generation(request, task, self._state(task)))

    async def _own_task(self, request: web.Request) -> web.StreamResponse:
        task, answer = await self._asked(request, _error, "task_not_exist")
        return answer if task is None else web.json_response(self._as_own(request, task, self._state(task)))

    async def _asked(self, request: web.Request, error: Any, missing: str) -> tuple[Task | None, web.StreamResponse]:
        if not self._known(request):
            return None, error(401, "Invalid API key")
        task_id = request.match_info["id"]
        self.polls[task_id] += 1
        task = self.tasks.get(task_id)
        fault = self._due(POLL_FAULTS, task.prompt if task else "")
        match fault:
            case Fault(kind="poll_lost"):
                raise Drop
            case Fault(kind="poll_error"):
                return None, error(500, "Internal server error")
            case Fault(kind="poll_throttled"):
                return None, self._refuse(request, error, 429, "Too many requests", fault)
            case Fault(kind="poll_garbage"):
                return None, web.Response(text="<html>", content_type="text/html")
            case Fault(kind="poll_odd"):
                return None, web.json_response({"id": task_id, "state": "musing"})
            case Fault(kind="poll_missing"):
                task = None
        if task is None:
            return None, error(404, missing)
        task.polls += 1
        return task, web.Response()

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        found = self._known(request) and self.tasks.pop(request.match_info["id"], None)
        return web.Response(status=204) if found else _detail(404, "Generation not found")

    async def _credits(self, request: web.Request) -> web.StreamResponse:
        if not self._known(request):
            return _detail(401, "Invalid API key")
        return web.json_response({"credit_balance": float(self.settings.credits)})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        task = self.tasks.get(request.match_info["id"])
        if task is None or self.clean != "asked":
            return _error(404, "task_not_exist")
        return web.json_response({"url": self._link(request, task, "clean.mp4")})

    def _known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.key}"

    def _why(self, task: Task) -> str:
        return "Frame moderation failed" if "fail_moderation" in task.faults else self.reason

    def _as_generation(self, request: web.Request, task: Task, state: str) -> dict[str, Any]:
        image = task.route.startswith("image")
        assets = None
        if state == "SUCCEEDED" and image:
            assets = {"image": self._link(request, task, "picture.png")}
        elif state == "SUCCEEDED":
            names = {"video": "video.mp4", "image": "poster.png"}
            assets = {name: self._link(request, task, file) for name, file in names.items()} | {"progress_video": None}
        return {
            "id": task.id,
            "generation_type": "image" if image else "video",
            "state": WORDS[state],
            "failure_reason": self._why(task) if WORDS[state] == "failed" else None,
            "created_at": "2025-06-01T12:00:00Z",
            "assets": assets,
            "request": next(submit.body for submit in self.submits if submit.task_id == task.id),
        }

    def _as_own(self, request: web.Request, task: Task, state: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": task.id,
            "prompt": task.prompt,
            "state": OWN_WORDS[state],
            "created_at": "2024-07-22T12:47:28.553735Z",
            **dict.fromkeys(("estimate_wait_seconds", "liked", "video", "thumbnail", "last_frame")),
        }
        if OWN_WORDS[state] == "failed":
            return found | {"failure_reason": self._why(task)}
        if state != "SUCCEEDED":
            return found
        sides = {"width": 752, "height": 1360}
        found["video"] = {"url": self._link(request, task, "watermarked.mp4"), "download_url": "", **sides}
        for name in ("thumbnail", "last_frame"):
            found[name] = {"url": self._link(request, task, f"{name}.png"), **sides}
        if self.clean == "download_url":
            found["video"]["download_url"] = self._link(request, task, "clean.mp4")
        if self.clean == "raw":
            found["video_raw"] = {"url": self._link(request, task, "clean.mp4"), **sides}
        return found


def _detail(status: int, said: str) -> web.Response:
    return web.json_response({"detail": said}, status=status)


def _error(status: int, said: str) -> web.Response:
    return web.json_response({"error": {"message": said, "type": "error", "code": "bad_request"}}, status=status)


async def _serve(options: argparse.Namespace) -> None:
    async with LumaVendor(key=options.key, port=options.port, settings=Settings(step_seconds=options.step_seconds)) as vendor:
        print(vendor.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Luma's API and for a gateway in its own format.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--step-seconds", type=float, default=None, help="the time of each state; without it, one poll each")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
