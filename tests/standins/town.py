"""Every stand-in vendor and a receiver of callbacks, in one process: each on a socket of its own.

What is to go wrong is said in the prompt, in the same words to all of them: `throttled` and `moderated` (the submit is
refused), `lost` (it is taken and not answered), `poll_error` (the first polls are answered 5xx), `fail` (the work fails),
`slow` (it takes as many polls more as `SLOW_POLLS`). A callback belongs to the work that its address ends in.

    PYTHONPATH=tests python -m standins.town --steps 2      # prints the addresses as JSON
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import web

from standins import kling_vendor, minimax_vendor, pika_vendor
from standins.kling_vendor import KlingVendor
from standins.luma_vendor import LumaVendor
from standins.minimax_vendor import MiniMaxVendor
from standins.pika_vendor import PikaVendor
from standins.runway_vendor import Fault, RunwayVendor, Settings

WORD = re.compile(r"vendor:([a-z_]+)(?:=(\d+))?")
RETRY_AFTER = "1"
SLOW_POLLS = 6
UNMADE = "The model could not make anything usable."


class Orders:
    """The faults that prompts ask for, each as often as it says."""

    def __init__(self) -> None:
        self._used: Counter[tuple[str, str]] = Counter()

    def due(self, prompt: str, *kinds: str) -> str | None:
        """The next fault of these kinds, counted as used."""
        for kind, times in WORD.findall(prompt):
            if kind in kinds and self._used[kind, prompt] < int(times or 1):
                self._used[kind, prompt] += 1
                return str(kind)
        return None


class Works:
    """What a vendor has been asked for, by prompt: `seen` all submits, `taken` those that it has started work for."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()


def _is_slow(prompt: str, polls: int) -> bool:
    return "vendor:slow" in prompt and polls <= SLOW_POLLS


class _Stepwise(RunwayVendor):
    def _due(self, kinds: set[str], prompt: str) -> Fault | None:
        fault = super()._due(kinds, prompt)
        if fault:
            fault.retry_after = RETRY_AFTER
        return fault

    def _state(self, task: Any) -> str:
        return "RUNNING" if _is_slow(task.prompt, task.polls) else super()._state(task)

    def works(self) -> Works:
        works = Works()
        works.seen.update(submit.prompt for submit in self.submits)
        works.taken.update(submit.prompt for submit in self.accepted)
        return works


class Runway(_Stepwise):
    """Runway with the town's words."""


class Luma(_Stepwise, LumaVendor):
    """Luma with the town's words."""


class Kling(KlingVendor):
    """Kling with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._first_poll = len(kling_vendor.STEPS) - steps
        self._orders = Orders()

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = str(body.get("prompt", ""))
        match self._orders.due(prompt, "throttled", "moderated", "lost"):
            case "lost":
                await super()._submit(request)
                return kling_vendor._dropped(request)
            case str(kind):
                self.submits.append((request.path.removeprefix("/v1/"), body))
                status, code = kling_vendor.REFUSALS["crowded" if kind == "throttled" else kind]
                return kling_vendor._answer(code, kind, status=status)
        known = set(self.tasks)
        answer = await super()._submit(request)
        for task_id in self.tasks.keys() - known:
            self.tasks[task_id].polls = self._first_poll
            self.tasks[task_id].failure = UNMADE if "vendor:fail" in prompt else ""
        return answer

    async def _query(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        prompt = self.tasks[name].body.get("prompt", "") if name in self.tasks else ""
        if self._orders.due(prompt, "poll_error"):
            return kling_vendor._answer(5000, "error", status=500)
        return await super()._query(request)

    def _told(self, task: kling_vendor.Task, state: str) -> dict[str, Any]:
        ended = state in {"succeed", "failed"}
        slow = ended and _is_slow(task.body.get("prompt", ""), task.polls)
        return super()._told(task, "processing" if slow else state)

    def works(self) -> Works:
        works = Works()
        works.seen.update(body.get("prompt", "") for _, body in self.submits)
        works.taken.update(task.body.get("prompt", "") for task in self.tasks.values())
        return works


class MiniMax(MiniMaxVendor):
    """MiniMax with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = (*("Processing",) * (steps - 1), "Success")
        self._orders = Orders()

    def _due(self, kinds: set[str], body: Any) -> str | None:
        return self._orders.due(minimax_vendor._prompt(body), *kinds)

    def _told(self, request: web.Request, task: minimax_vendor.Task, status: str) -> web.StreamResponse:
        slow = _is_slow(minimax_vendor._prompt(task.body), task.polls)
        return super()._told(request, task, "Processing" if slow else status)

    def works(self) -> Works:
        works = Works()
        works.seen.update(submit.body["prompt"] for submit in self.submits)
        works.taken.update(submit.body["prompt"] for submit in self.accepted)
        return works


class Pika(PikaVendor):
    """Pika at fal.ai with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self._orders = Orders()
        self._seen: Counter[str] = Counter()
        self._prompts: dict[str, str] = {}

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        prompt = str((await request.json()).get("prompt", ""))
        self._seen[prompt] += 1
        fault = self._orders.due(prompt, "throttled", "moderated", "lost")
        if fault == "throttled":
            return web.json_response({"detail": "Too many requests"}, status=429, headers={"Retry-After": RETRY_AFTER})
        if fault == "moderated":
            detail = [{"loc": ["body", "prompt"], "msg": "flagged by a content checker", "type": "content_policy_violation"}]
            return web.json_response({"detail": detail}, status=422)
        answer = await super()._queue(request)
        if fault == "lost" and request.transport is not None:
            request.transport.abort()
        return answer

    async def _taken(self, request: web.Request, scheme: str) -> pika_vendor.Submit | web.Response:
        taken = await super()._taken(request, scheme)
        if isinstance(taken, pika_vendor.Submit):
            self._prompts[taken.task_id] = str(taken.body.get("prompt", ""))
        return taken

    async def _status(self, request: web.Request) -> web.StreamResponse:
        task_id = request.match_info["id"]
        prompt = self._prompts.get(task_id, "")
        if self._orders.due(prompt, "poll_error"):
            return web.json_response({"detail": "Internal server error"}, status=500)
        if _is_slow(prompt, self.polls.get(task_id, 0) + 1):
            self.polls[task_id] += 1
            return web.json_response({"status": "IN_PROGRESS", "logs": None})
        if "vendor:fail" in prompt and self.polls.get(task_id, 0) + 1 >= self.steps:
            return web.json_response({"status": "COMPLETED", "logs": None, "error": UNMADE, "error_type": "bad_output"})
        return await super()._status(request)

    def works(self) -> Works:
        works = Works()
        works.seen.update(self._seen)
        works.taken.update(str(submit.body.get("prompt", "")) for submit in self.accepted)
        return works


class Received(NamedTuple):
    """A callback as it came: headers with names in lower case, and the body as text."""

    headers: dict[str, str]
    body: str


class Town:
    """All of them: `async with Town() as town: town.urls["kling"]`.

    urls: by the name of the provider. steps: how many polls a task takes. hook: callbacks go to `{hook}/{name of the work}`.
    asked: requests that the vendors got, by `submit`, `query` and `file`. received: the callbacks, by the name of the work.
    """

    def __init__(self, steps: int = 2) -> None:
        settings = Settings(steps=("PENDING", "RUNNING", "SUCCEEDED")[-steps:])
        runway = Runway(settings=settings)
        self._vendors = [runway, Luma(settings=settings), Kling(steps), MiniMax(steps), Pika(steps)]
        self._names = (("runwayml", "runway_compat"), ("luma",), ("kling",), ("minimax",), ("pika",))
        self.urls: dict[str, str] = {}
        self.hook = ""
        self.asked: Counter[str] = Counter()
        self.received: dict[str, list[Received]] = defaultdict(list)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for vendor, names in zip(self._vendors, self._names, strict=True):
            vendor._runner.app.middlewares.insert(0, self._counted)
            await self._stack.enter_async_context(vendor)
            self.urls |= dict.fromkeys(names, vendor.url)
        app = web.Application()
        app.add_routes(
            [
                web.post("/hook/{name}", self._hook),
                web.get("/received/{name}", self._of),
                web.get("/works", self._works),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.hook = f"{self.url}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def works(self) -> Works:
        """What the vendors together have been asked for."""
        all_works = Works()
        for vendor in self._vendors:
            works = vendor.works()
            all_works.seen += works.seen
            all_works.taken += works.taken
        return all_works

    @web.middleware
    async def _counted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kind = "submit" if request.method == "POST" and not request.path.endswith("/feed") else "query"
        self.asked["file" if request.path.startswith("/files/") and "retrieve" not in request.path else kind] += 1
        response: web.StreamResponse = await handler(request)
        return response

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        challenge = msgspec.json.decode(body)
        if "challenge" in challenge:
            return web.json_response({"challenge": challenge["challenge"]})
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received[request.match_info["name"]].append(Received(headers, body.decode()))
        return web.Response(status=204)

    async def _of(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([one._asdict() for one in self.received.get(request.match_info["name"], ())])

    async def _works(self, request: web.Request) -> web.StreamResponse:
        works = self.works()
        return web.Response(body=msgspec.json.encode({"seen": works.seen, "taken": works.taken}))


async def _serve(steps: int) -> None:
    async with Town(steps) as town:
        print(msgspec.json.encode({"url": town.url, "hook": town.hook, "urls": town.urls}).decode(), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Every stand-in vendor and a receiver of callbacks.")
    parser.add_argument("--steps", type=int, default=2, choices=(1, 2, 3), help="how many polls a task takes")
    asyncio.run(_serve(parser.parse_args().steps))


if __name__ == "__main__":
    main()
