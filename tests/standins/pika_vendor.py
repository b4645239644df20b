"""A vendor with a will of its own: Pika at fal.ai's queue, and a gateway of Pika's two dialects, on one real socket.

A task advances one step with each poll, queued, at work, done, or has only the last of these `steps`. Every submit is kept.
What is to go wrong is put into `refuse` (the answer to the next submit), `lose` (the next submit is taken and not answered)
and `end` (how tasks end).
"""

from __future__ import annotations

import uuid
from typing import Any, Self

import msgspec
from aiohttp import web

from standins import samples

KEY = "key_good"
APPLICATION = "fal-ai/pika"
ROUTES = {"v2.2": {"text-to-video", "image-to-video", "pikascenes", "pikaframes"}, "v1.5": {"pikaffects"}}
NEEDED = {
    "text-to-video": {"prompt"},
    "image-to-video": {"prompt", "image_url"},
    "pikascenes": {"prompt", "images"},
    "pikaframes": {"image_urls"},
    "pikaffects": {"image_url", "pikaffect"},
}
ALLOWED = {
    "text-to-video": {"negative_prompt", "aspect_ratio", "resolution", "duration", "seed"},
    "image-to-video": {"negative_prompt", "resolution", "duration", "seed"},
    "pikascenes": {"negative_prompt", "resolution", "duration", "seed", "aspect_ratio"},
    "pikaframes": {"prompt", "transitions", "negative_prompt", "resolution", "seed"},
    "pikaffects": {"prompt", "negative_prompt", "seed"},
}


class Submit(msgspec.Struct):
    """A submit that was taken, under `task_id`."""

    path: str
    body: Any
    task_id: str


class PikaVendor:
    """The vendor, in this process: `async with PikaVendor() as vendor: vendor.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.accepted: list[Submit] = []
        self.polls: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.refuse: tuple[int, Any] | None = None
        self.lose = False
        self.steps = 3
        self.end: Any = None
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post(f"/{APPLICATION}/{{version}}/{{route}}", self._queue),
                web.get(f"/{APPLICATION}/requests/{{id}}/status", self._status),
                web.get(f"/{APPLICATION}/requests/{{id}}", self._result),
                web.put(f"/{APPLICATION}/requests/{{id}}/cancel", self._cancel),
                web.post("/pika/pro/generate", self._page),
                web.post("/pika/feed", self._page_feed),
                web.post("/pika/generate", self._mirror),
                web.get("/pika/feed/{id}", self._mirror_feed),
                web.get("/files/{name}", self._file),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _taken(self, request: web.Request, scheme: str) -> Submit | web.Response:
        """What every submit goes through: the key, what is to go wrong, and the record."""
        if request.headers.get("Authorization") != f"{scheme} {KEY}":
            return web.json_response({"detail": "Invalid key"}, status=401)
        if self.refuse is not None:
            status, said = self.refuse
            self.refuse = None
            return web.json_response(said, status=status, headers={"Retry-After": "7"} if status == 429 else {})
        taken = Submit(request.path, await request.json(), str(uuid.uuid4()))
        self.accepted.append(taken)
        self.polls[taken.task_id] = 0
        if self.lose and request.transport is not None:
            request.transport.close()
        return taken

    def _step(self, task_id: str) -> int | None:
        """0 queued, 1 at work, 2 done; None for an unknown task."""
        if task_id not in self.polls:
            return None
        self.polls[task_id] += 1
        return min(self.polls[task_id] - 1 + 3 - self.steps, 2)

    def _ending(self, task_id: str) -> Any:
        """What is wrong with the end of a task, in the shape of the format that it was asked for in; None where nothing is."""
        return self.end

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        version, route = request.match_info["version"], request.match_info["route"]
        if route not in ROUTES.get(version, ()):
            return web.json_response({"detail": f"Path /{version}/{route} not found"}, status=404)
        taken = await self._taken(request, "Key")
        if isinstance(taken, web.Response):
            return taken
        wrong = sorted(NEEDED[route] - set(taken.body)) or sorted(set(taken.body) - NEEDED[route] - ALLOWED[route])
        if wrong:
            self.accepted.remove(taken)
            detail = [{"loc": ["body", name], "msg": "field required or not known", "type": "value_error"} for name in wrong]
            return web.json_response({"detail": detail}, status=422)
        place = f"{self.url}/{APPLICATION}/requests/{taken.task_id}"
        answer = {"request_id": taken.task_id, "status": "IN_QUEUE", "queue_position": 0, "response_url": place}
        return web.json_response(answer | {"status_url": f"{place}/status", "cancel_url": f"{place}/cancel"})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Key {KEY}":
            return web.json_response({"detail": "Invalid key"}, status=401)
        step = self._step(request.match_info["id"])
        if step is None:
            return web.json_response({"detail": "Request not found"}, status=404)
        answer: dict[str, Any] = {"status": ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")[step], "logs": None, "queue_position": 0}
        end = self._ending(request.match_info["id"])
        if step == 2 and isinstance(end, dict):
            answer |= end
        return web.json_response(answer)

    async def _result(self, request: web.Request) -> web.StreamResponse:
        if isinstance(self.end, tuple):
            status, said = self.end
            return web.json_response(said, status=status)
        file = {"url": f"{self.url}/files/video.mp4", "content_type": "video/mp4", "file_name": "video.mp4"}
        return web.json_response({"video": file | {"file_size": len(samples.clip())}})

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self.cancelled.append(request.match_info["id"])
        return web.json_response({"success": True})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        taken = await self._taken(request, "Bearer")
        return taken if isinstance(taken, web.Response) else self._enveloped({"task_id": taken.task_id})

    async def _page_feed(self, request: web.Request) -> web.StreamResponse:
        task_id = (await request.json()).get("task_id", "")
        step = self._step(task_id)
        if step is None:
            return web.json_response({"code": 404, "msg": "task_not_exist", "data": None}, status=404)
        end = self._ending(task_id)
        failed = step == 2 and end is not None
        row = {"task_id": task_id, "status": "2" if failed else "013"[step], "msg": end if failed else None}
        row |= {"video_url": f"{self.url}/files/video.mp4" if step == 2 and not failed else "", "prompt": "", "point": "50"}
        return self._enveloped(row)

    async def _mirror(self, request: web.Request) -> web.StreamResponse:
        taken = await self._taken(request, "Bearer")
        return taken if isinstance(taken, web.Response) else web.json_response({"id": taken.task_id})

    async def _mirror_feed(self, request: web.Request) -> web.StreamResponse:
        task_id = request.match_info["id"]
        step = self._step(task_id)
        if step is None:
            return web.json_response({"error": {"message": "no such task", "code": "not_found"}}, status=404)
        if step == 0:
            return web.json_response({"id": task_id, "promptText": ""})
        end = self._ending(task_id)
        failed = step == 2 and end is not None
        video = {"id": task_id, "status": "error" if failed else ("queued", "pending", "finished")[step]}
        video |= {"progress": (0, 45, 100)[step], "seed": 7, "error": end if failed else "", "duration": 5}
        if step == 2 and not failed:
            video |= {"resultUrl": f"{self.url}/files/video.mp4", "videoPoster": f"{self.url}/files/poster.png"}
        return web.json_response({"id": task_id, "promptText": "", "videos": [video]})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "poster.png":
            return web.Response(body=samples.picture(), content_type="image/png")
        return web.Response(body=samples.clip(), content_type="video/mp4")

    @staticmethod
    def _enveloped(data: Any) -> web.Response:
        return web.json_response({"code": 200, "msg": "成功", "data": data, "exec_time": 0.1})
