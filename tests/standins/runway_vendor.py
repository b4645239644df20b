"""A vendor with a will of its own: Runway's official API and a gateway of the page's dialect, on one real socket.

Tasks advance one step with each poll, or with time. Every submit is kept and told at `/_admin/submits`. Faults
are ordered at `/_admin/faults`, or by a word in the prompt, `vendor:lost` or `vendor:throttled=2` (how often).

    PYTHONPATH=tests python -m standins.runway_vendor --port 0      # prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
import uuid
from collections import Counter
from typing import Any, Literal, Self

import msgspec
from aiohttp import web

from standins import samples
from standins.runway_bodies import Refused, check_official, check_page

VERSION = "2024-11-06"
KEY = "key_good"
OFFICIAL_ROUTES = (
    "image_to_video",
    "text_to_video",
    "video_to_video",
    "text_to_image",
    "video_upscale",
    "character_performance",
)
FEED_STATUS = {"PENDING": "0", "THROTTLED": "0", "RUNNING": "1", "FAILED": "2", "CANCELLED": "2", "SUCCEEDED": "3"}
ROW_STATUS = {
    "PENDING": "QUEUED",
    "THROTTLED": "QUEUED",
    "RUNNING": "IN_PROGRESS",
    "FAILED": "FAILURE",
    "CANCELLED": "FAILURE",
    "SUCCEEDED": "SUCCESS",
}

# Refused: nothing is started. Status and what is said.
REFUSALS = {
    "throttled": (429, "Too many requests"),
    "shedding": (503, "Service overloaded"),
    "bad_gateway": (502, "Bad gateway"),
    "error": (500, "Internal server error"),
    "moderated": (400, "SAFETY.INPUT.TEXT: the prompt was rejected by the content moderation"),
    "out_of_credit": (400, "You do not have enough credits to run this task."),
    "bad_key": (401, "Unauthorized"),
    "forbidden": (403, "Forbidden"),
}
# Started, and the answer is not what it should be.
MISANSWERS = {"accepted_error": 500, "accepted_timeout": 504}
SUBMIT_FAULTS = {*REFUSALS, *MISANSWERS, "dropped", "lost", "late", "garbage", "no_id"}
TASK_FAULTS = {"fail_moderation", "fail_output", "fail_cancelled", "expired_links", "slow_result", "wrong_type", "truncated"}
POLL_FAULTS = {
    "poll_error", "poll_shedding", "poll_throttled", "poll_garbage", "poll_lost", "poll_missing", "poll_late", "poll_odd",
}  # fmt: skip
KINDS = SUBMIT_FAULTS | TASK_FAULTS | POLL_FAULTS
WORD = re.compile(r"vendor:([a-z_]+)(?:=(\d+))?")


class Fault(msgspec.Struct):
    """Something to go wrong. times: how often; −1 always. match: only where the prompt has these words.

    seconds: the longest that `late`, `poll_late` and `slow_result` wait; a release ends them sooner.
    """

    kind: str
    times: int = 1
    match: str = ""
    seconds: float = 30.0
    retry_after: str = "7"


class Settings(msgspec.Struct):
    """steps: the states of a task, in order. step_seconds: the time of each; None to advance with each poll.

    variant: the shape in which the page's dialect answers. echo_key: whether errors repeat the caller's key.
    """

    steps: tuple[str, ...] = ("PENDING", "RUNNING", "SUCCEEDED")
    step_seconds: float | None = None
    variant: Literal["wrapped", "full", "row"] = "wrapped"
    echo_key: bool = False
    credits: int = 1000


class Submit(msgspec.Struct):
    """A submit as it was seen. accepted: whether work was started, under `task_id`."""

    at: float
    path: str
    body: Any
    prompt: str
    accepted: bool = False
    task_id: str | None = None


class Task(msgspec.Struct):
    id: str
    route: str
    prompt: str
    created: float
    faults: dict[str, int]
    polls: int = 0
    links: int = 0
    cancelled: bool = False


class Drop(Exception):
    """Close the connection without an answer."""


class RunwayVendor:
    """The vendor, in this process: `async with RunwayVendor() as vendor: vendor.url`."""

    def __init__(self, *, key: str = KEY, host: str = "127.0.0.1", port: int = 0, settings: Settings | None = None) -> None:
        self.key = key
        self.settings = settings or Settings()
        self.submits: list[Submit] = []
        self.tasks: dict[str, Task] = {}
        self.polls: Counter[str] = Counter()
        self.url = ""
        self._host, self._port = host, port
        self._faults: list[Fault] = []
        self._used: Counter[tuple[str, str]] = Counter()
        self._released = asyncio.Event()
        self.waiting = asyncio.Event()
        app = web.Application(middlewares=[_dropping], client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                *(web.post(f"/v1/{route}", self._official_submit) for route in OFFICIAL_ROUTES),
                web.get("/v1/tasks/{id}", self._official_task),
                web.delete("/v1/tasks/{id}", self._official_cancel),
                web.get("/v1/organization", self._organization),
                web.post("/runway/pro/{route:generate|video2video|act_one}", self._page_submit),
                web.post("/runway/feed", self._page_feed),
                web.get("/files/{id}/{name}", self._file),
                web.get("/_admin/submits", self._admin_submits),
                web.post("/_admin/faults", self._admin_fault),
                web.delete("/_admin/faults", self._admin_clear),
                web.post("/_admin/settings", self._admin_settings),
                web.post("/_admin/release", self._admin_release),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self._runner.cleanup()

    @property
    def accepted(self) -> list[Submit]:
        """The submits that started work, which is what a vendor is paid for."""
        return [submit for submit in self.submits if submit.accepted]

    def fault(self, kind: str, **options: Any) -> None:
        """Order a fault. See `Fault`."""
        if kind not in KINDS:
            raise ValueError(f"{kind}: no such fault; there are {', '.join(sorted(KINDS))}")
        self._faults.append(Fault(kind, **options))

    def release(self) -> None:
        """End every wait that a fault has begun, and every later one."""
        self._released.set()

    async def _official_submit(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._official_key(request)) is not None:
            return refused
        return await self._submit(request, request.path.removeprefix("/v1/"), check_official, "promptText", _official_error)

    async def _page_submit(self, request: web.Request) -> web.StreamResponse:
        if not self._page_key(request):
            return _page_error(401, "Unauthorized")
        return await self._submit(request, request.match_info["route"], check_page, "prompt", _page_error)

    async def _submit(self, request: web.Request, route: str, check: Any, prompt_field: str, error: Any) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError:
            return error(400, "body: not valid JSON")
        prompt = str(body.get(prompt_field, "")) if isinstance(body, dict) else ""
        submit = Submit(time.time(), request.path, body, prompt)
        self.submits.append(submit)
        fault = self._due(SUBMIT_FAULTS, prompt)
        if fault and fault.kind in REFUSALS:
            status, said = REFUSALS[fault.kind]
            return self._refuse(request, error, status, said, fault)
        if fault and fault.kind == "dropped":
            raise Drop
        try:
            check(route, body)
        except Refused as reason:
            return error(400, str(reason))
        task = Task(str(uuid.uuid4()), route, prompt, time.monotonic(), self._lasting(prompt))
        self.tasks[task.id] = task
        submit.accepted, submit.task_id = True, task.id
        match fault:
            case Fault(kind="lost"):
                raise Drop
            case Fault(kind="late"):
                await self._wait(fault.seconds)
            case Fault(kind="garbage"):
                return web.Response(text="<html>welcome</html>", content_type="text/html")
            case Fault(kind="no_id"):
                return web.json_response({"code": 200, "msg": "成功", "data": {}} if error is _page_error else {})
            case Fault(kind=kind):
                return error(MISANSWERS[kind], "Something went wrong")
        if error is _official_error:
            return web.json_response({"id": task.id, "estimatedCost": {"credits": 25}})
        match self.settings.variant:
            case "full":
                return _page(self._feed_object(request, task, "PENDING") | {"prompt": "", "poster": None})
            case "row":
                return web.json_response({"code": "success", "message": "", "data": task.id})
        return _page({"task_id": task.id})

    async def _official_task(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._official_key(request)) is not None:
            return refused
        task, answer = await self._polled(request, request.match_info["id"], _official_error)
        if task is None:
            return answer or _official_error(404, "An entity with that ID could not be found.")
        state = self._state(task)
        body: dict[str, Any] = {"id": task.id, "status": state, "createdAt": "2025-06-27T19:49:32.334Z"}
        match state:
            case "PENDING" | "THROTTLED":
                body["estimatedCost"] = {"credits": 25}
            case "RUNNING":
                body["progress"] = 0.5
            case "SUCCEEDED":
                names = ["video.mp4"]
                if task.route == "text_to_image":
                    count = next(s.body.get("outputCount", 1) for s in self.submits if s.task_id == task.id)
                    names = [f"picture-{number}.png" for number in range(count)]
                body |= {"output": [self._link(request, task, name) for name in names], "cost": {"credits": 25}}
            case "FAILED":
                body |= dict(zip(("failure", "failureCode"), _failure(task), strict=True))
        return web.json_response(body)

    async def _official_cancel(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._official_key(request)) is not None:
            return refused
        task = self.tasks.pop(request.match_info["id"], None)
        if task is None:
            return _official_error(404, "An entity with that ID could not be found.")
        task.cancelled = True
        return web.Response(status=204)

    async def _organization(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._official_key(request)) is not None:
            return refused
        tier = {"maxMonthlyCreditSpend": 9000, "models": {"gen4_turbo": {"maxConcurrentGenerations": 3}}}
        return web.json_response({"creditBalance": self.settings.credits, "tier": tier, "usage": {"models": {}}})

    async def _page_feed(self, request: web.Request) -> web.StreamResponse:
        if not self._page_key(request):
            return _page_error(401, "Unauthorized")
        task_id = str((await request.json()).get("task_id", ""))
        task, answer = await self._polled(request, task_id, _page_error)
        if task is None:
            return answer or _page_error(404, "task_not_exist")
        state = self._state(task)
        feed = self._feed_object(request, task, state)
        if self.settings.variant != "row":
            return _page(feed)
        row = {
            "task_id": task.id,
            "action": "IMAGE_TO_VIDEO",
            "status": ROW_STATUS[state],
            "fail_reason": feed["msg"] or "",
            "submit_time": int(time.time()),
            "start_time": 0,
            "finish_time": 0,
            "progress": {"RUNNING": "45%", "SUCCEEDED": "100%"}.get(state, "0%"),
            "data": {"id": task.id, "status": state, "createdAt": "2025-06-27T19:49:32.334Z"},
        }
        if state == "SUCCEEDED":
            row["data"]["output"] = [feed["video_url"]]
        return web.json_response({"code": "success", "message": "", "data": row})

    def _feed_object(self, request: web.Request, task: Task, state: str) -> dict[str, Any]:
        done = state == "SUCCEEDED"
        now = str(int(time.time()))
        return {
            "task_id": task.id,
            "status": FEED_STATUS[state],
            "state": "succeeded" if done else "",
            "prompt": task.prompt,
            "prompt_en": f"in English: {task.prompt}" if done else "",
            "video_url": self._link(request, task, "video.mp4") if done else "",
            "poster": self._link(request, task, "poster.png") if done else "",
            "last_frame": self._link(request, task, "last_frame.png") if done else "",
            "msg": _failure(task)[0] if state in ("FAILED", "CANCELLED") else None,
            "point": "200",
            "refund": "1" if state == "FAILED" else "0",
            "create_time": now,
            "update_time": now,
        }

    async def _polled(self, request: web.Request, task_id: str, error: Any) -> tuple[Task | None, web.StreamResponse | None]:
        self.polls[task_id] += 1
        task = self.tasks.get(task_id)
        fault = self._due(POLL_FAULTS, task.prompt if task else "")
        match fault:
            case Fault(kind="poll_error"):
                return None, error(500, "Internal server error")
            case Fault(kind="poll_shedding"):
                return None, self._refuse(request, error, 503, "Service overloaded", fault)
            case Fault(kind="poll_throttled"):
                return None, self._refuse(request, error, 429, "Too many requests", fault)
            case Fault(kind="poll_garbage"):
                return None, web.Response(text="<html>", content_type="text/html")
            case Fault(kind="poll_odd"):
                odd = {"status": "DREAMING", "task_id": task_id}
                return None, _page(odd) if error is _page_error else web.json_response(odd)
            case Fault(kind="poll_lost"):
                raise Drop
            case Fault(kind="poll_late"):
                await self._wait(fault.seconds)
            case Fault(kind="poll_missing"):
                return None, None
        if task is not None:
            task.polls += 1
        return task, None

    def _state(self, task: Task) -> str:
        steps, seconds = self.settings.steps, self.settings.step_seconds
        passed = task.polls - 1 if seconds is None else int((time.monotonic() - task.created) / seconds)
        state = steps[min(passed, len(steps) - 1)]
        if state == "SUCCEEDED":
            if "fail_cancelled" in task.faults:
                return "CANCELLED"
            if any(kind.startswith("fail_") for kind in task.faults):
                return "FAILED"
            task.links += 1
        return state

    def _link(self, request: web.Request, task: Task, name: str) -> str:
        return f"{request.scheme}://{request.host}/files/{task.id}/{name}?_jwt={task.links}"

    async def _file(self, request: web.Request) -> web.StreamResponse:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            return web.Response(status=404)
        if "expired_links" in task.faults and request.query.get("_jwt") == "1":
            return web.Response(status=403, text="Request has expired")
        name = request.match_info["name"]
        kind = "video/mp4" if name.endswith(".mp4") else "image/png"
        content = samples.clip() if name.endswith(".mp4") else samples.picture(23 if name.startswith("last") else 0)
        if "wrong_type" in task.faults:
            content = b"<html><body>Please log in</body></html>"
        if not {"truncated", "slow_result"} & task.faults.keys():
            return web.Response(body=content, content_type=kind)
        response = web.StreamResponse(headers={"Content-Type": kind, "Content-Length": str(len(content))})
        await response.prepare(request)
        half = len(content) // 2
        await response.write(content[:half])
        if "truncated" in task.faults:
            raise Drop
        await self._wait(30)
        await response.write(content[half:])
        return response

    def _due(self, kinds: set[str], prompt: str) -> Fault | None:
        """The next fault of these kinds, counted as used."""
        for fault in self._faults:
            if fault.kind in kinds and fault.times and fault.match in prompt:
                fault.times -= 1 if fault.times > 0 else 0
                return fault
        for kind, times in WORD.findall(prompt):
            if kind in kinds and self._used[kind, prompt] < int(times or 1):
                self._used[kind, prompt] += 1
                return Fault(kind)
        return None

    def _lasting(self, prompt: str) -> dict[str, int]:
        found = {}
        while fault := self._due(TASK_FAULTS - found.keys(), prompt):
            found[fault.kind] = 1
        return found

    async def _wait(self, seconds: float) -> None:
        self.waiting.set()
        try:
            await asyncio.wait_for(self._released.wait(), seconds)
        except TimeoutError:
            return

    def _refuse(self, request: web.Request, error: Any, status: int, said: str, fault: Fault) -> web.StreamResponse:
        if self.settings.echo_key:
            said = f"{said} (authorization: {request.headers.get('Authorization')})"
        response = error(status, said)
        if status in (429, 503):
            response.headers["Retry-After"] = fault.retry_after
        return response

    def _official_key(self, request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _official_error(401, "Unauthorized")
        if request.headers.get("X-Runway-Version") != VERSION:
            return _official_error(400, f"X-Runway-Version: expected {VERSION}")
        return None

    def _page_key(self, request: web.Request) -> bool:
        return request.headers.get("Authorization", "").removeprefix("Bearer ") == self.key

    async def _admin_submits(self, request: web.Request) -> web.StreamResponse:
        prompt = request.query.get("prompt", "")
        found = [submit for submit in self.submits if prompt in submit.prompt]
        return _json({"submits": found, "accepted": sum(submit.accepted for submit in found), "polls": self.polls})

    async def _admin_fault(self, request: web.Request) -> web.StreamResponse:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
            self.fault(**msgspec.structs.asdict(fault))
        except (msgspec.DecodeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return _json(fault)

    async def _admin_clear(self, _: web.Request) -> web.StreamResponse:
        self._faults.clear()
        return web.Response(status=204)

    async def _admin_settings(self, request: web.Request) -> web.StreamResponse:
        changes = await request.json()
        try:
            self.settings = msgspec.convert(msgspec.structs.asdict(self.settings) | changes, Settings)
        except msgspec.ValidationError as error:
            return web.json_response({"error": str(error)}, status=400)
        return _json(self.settings)

    async def _admin_release(self, _: web.Request) -> web.StreamResponse:
        self.release()
        return web.Response(status=204)


def _failure(task: Task) -> tuple[str, str]:
    if "fail_moderation" in task.faults:
        return "The output was rejected by the content moderation.", "SAFETY.OUTPUT.VIDEO"
    if "fail_cancelled" in task.faults:
        return "Cancelled.", ""
    return "The model could not make anything usable.", "INTERNAL.BAD_OUTPUT.CODE01"


def _official_error(status: int, said: str) -> web.Response:
    return web.json_response({"error": said}, status=status)


def _page(data: Any) -> web.Response:
    return web.json_response({"code": 200, "msg": "成功", "data": data, "exec_time": 0.028943, "ip": "171.214.61.54"})


def _page_error(status: int, said: str) -> web.Response:
    body = {"code": status, "msg": said, "data": None, "exec_time": 0.001}
    code = "task_not_exist" if said == "task_not_exist" else "bad_request"
    return web.json_response(body | {"error": {"message": said, "type": "error", "code": code}}, status=status)


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@web.middleware
async def _dropping(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except Drop:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    return response


async def _serve(options: argparse.Namespace) -> None:
    settings = Settings(step_seconds=options.step_seconds, variant=options.variant)
    async with RunwayVendor(key=options.key, port=options.port, settings=settings) as vendor:
        print(vendor.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Runway's API and for a gateway of the page's dialect.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--step-seconds", type=float, default=None, help="the time of each state; without it, one poll each")
    parser.add_argument("--variant", choices=("wrapped", "full", "row"), default="wrapped")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
