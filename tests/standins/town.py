"""Every stand-in vendor and a receiver of callbacks, in one process: each on a socket of its own.

What is to go wrong is said in the prompt, in the same words to all of them: `throttled` and `moderated` (the submit is
refused), `lost` (it is taken and not answered), `late` (it is taken and answered when nobody listens any more), `poll_error`
(the first polls are answered 5xx), `fail` (the work fails), `fail_moderation` (its result is held back), `slow` (it takes as
many polls more as `SLOW_POLLS`), `endless` (it is at work until it is cancelled). MiniMax refuses what is `throttled` under
HTTP 200 and names no time; its `http_throttled` is what the others do. A callback belongs to the work that its address ends in.

    PYTHONPATH=tests python -m standins.town --steps 2      # prints the addresses as JSON
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import cached_property
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import ClientSession, web

from standins import kling_vendor, minimax_vendor, pika_vendor
from standins.kling_vendor import KlingVendor
from standins.luma_vendor import LumaVendor
from standins.minimax_vendor import MiniMaxVendor
from standins.pika_vendor import PikaVendor
from standins.runway_vendor import Fault, RunwayVendor, Settings

WORD = re.compile(r"vendor:([a-z_]+)(?:=(\d+))?")
RETRY_AFTER = "1"
SLOW_POLLS = 6
LATE_SECONDS = 30
POLICY = "content_policy_violation"
UNMADE = "The model could not make anything usable."
HELD_BACK = "The result was flagged by the content moderation."


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
    """What a vendor has been asked for, by prompt: `seen` all submits, `taken` those that it has started work for, and
    `cancelled` those that it was told to stop.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()


def _is_slow(prompt: str, polls: int) -> bool:
    return "vendor:endless" in prompt or ("vendor:slow" in prompt and polls <= SLOW_POLLS)


class Calls:
    """A vendor's calls about works whose submits it does not answer, or too late, to where it was told to call."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, prompt: str, address: str | None, *bodies: dict[str, Any] | Callable[[], dict[str, Any] | None]) -> None:
        """Call with one body after the other; a body that is not known yet is waited for."""
        if address and re.search("vendor:(lost|late)", prompt):
            self._under_way.add(asyncio.create_task(self._call(address, bodies)))

    def close(self) -> None:
        for call in self._under_way:
            call.cancel()

    @staticmethod
    async def _call(address: str, bodies: Iterable[dict[str, Any] | Callable[[], dict[str, Any] | None]]) -> None:
        async with ClientSession() as http:
            for body in bodies:
                while (told := body() if callable(body) else body) is None:
                    await asyncio.sleep(0.01)
                async with http.post(address, json=told) as answer:
                    answer.raise_for_status()


def _unmade(prompt: str) -> str:
    """Why there will be no result; empty where there will be one."""
    return HELD_BACK if "vendor:fail_moderation" in prompt else UNMADE if "vendor:fail" in prompt else ""


class _Stepwise(RunwayVendor):
    retry_after = RETRY_AFTER

    def _due(self, kinds: set[str], prompt: str) -> Fault | None:
        fault = super()._due(kinds, prompt)
        if fault:
            fault.retry_after = self.retry_after
        return fault

    def _stopped(self, task_id: str) -> None:
        """Note whose work a vendor is told to stop."""
        if task := self.tasks.get(task_id):
            self._cancelled[task.prompt] += 1

    @cached_property
    def _cancelled(self) -> Counter[str]:
        return Counter()

    def _state(self, task: Any) -> str:
        return "RUNNING" if _is_slow(task.prompt, task.polls) else super()._state(task)

    def works(self) -> Works:
        works = Works()
        works.seen.update(submit.prompt for submit in self.submits)
        works.taken.update(submit.prompt for submit in self.accepted)
        works.cancelled.update(self._cancelled)
        return works


class Runway(_Stepwise):
    """Runway with the town's words."""

    async def _official_cancel(self, request: web.Request) -> web.StreamResponse:
        self._stopped(request.match_info["id"])
        return await super()._official_cancel(request)


class Luma(_Stepwise, LumaVendor):
    """Luma with the town's words. What it was asked for in vain is called back about, where there is an address for that."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings=settings)
        self._calls = Calls()

    async def __aexit__(self, *_: object) -> None:
        self._calls.close()
        await super().__aexit__()

    async def _official(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = str(body.get("prompt", ""))
        known = len(self.accepted)

        def update() -> dict[str, Any] | None:
            taken = next((submit for submit in self.accepted[known:] if submit.prompt == prompt), None)
            return {"id": taken.task_id, "state": "dreaming"} if taken else None

        self._calls.begin(prompt, body.get("callback_url"), update)
        return await super()._official(request)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self._stopped(request.match_info["id"])
        return await super()._delete(request)


class Kling(KlingVendor):
    """Kling with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.retry_after = RETRY_AFTER
        self._first_poll = len(kling_vendor.STEPS) - steps
        self._orders = Orders()
        self._released = asyncio.Event()

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await super().__aexit__()

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = str(body.get("prompt", ""))
        fault = self._orders.due(prompt, "throttled", "moderated", "lost", "late")
        if fault in {"throttled", "moderated"}:
            self.submits.append((request.path.removeprefix("/v1/"), body))
            status, code = kling_vendor.REFUSALS["crowded" if fault == "throttled" else fault]
            refusal = kling_vendor._answer(code, fault, status=status)
            if status == 429:
                refusal.headers["Retry-After"] = self.retry_after
            return refusal
        known = set(self.tasks)
        answer = await super()._submit(request)
        for task_id in self.tasks.keys() - known:
            self.tasks[task_id].polls = self._first_poll
            self.tasks[task_id].failure = _unmade(prompt)
        if fault == "late":
            await _until(self._released)
        return kling_vendor._dropped(request) if fault == "lost" else answer

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


async def _until(released: asyncio.Event) -> None:
    """Keep an answer back for longer than anybody waits for it."""
    with suppress(TimeoutError):
        await asyncio.wait_for(released.wait(), LATE_SECONDS)


class MiniMax(MiniMaxVendor):
    """MiniMax with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = (*("Processing",) * (steps - 1), "Success")
        self._orders = Orders()
        self._calls = Calls()

    def _due(self, kinds: set[str], body: Any) -> str | None:
        return self._orders.due(minimax_vendor._prompt(body), *kinds)

    async def __aexit__(self, *_: object) -> None:
        self._calls.close()
        await super().__aexit__()

    async def _accepted(self, submit: minimax_vendor.Submit, content: dict[str, Any]) -> web.StreamResponse:
        update: dict[str, Any] = {"task_id": submit.task_id, "status": "processing", "base_resp": {"status_code": 0}}
        if "/v2/" in submit.path:
            update = {"task": {"id": submit.task_id, "status": "running"}}
        prompt, address = minimax_vendor._prompt(submit.body), submit.body.get("callback_url")
        self._calls.begin(prompt, address, {"challenge": "a1b2c3"}, update)
        return await super()._accepted(submit, content)

    def _step(self, task: minimax_vendor.Task) -> str:
        status = super()._step(task)
        return "Processing" if _is_slow(minimax_vendor._prompt(task.body), task.polls) else status

    def works(self) -> Works:
        works = Works()
        works.seen.update(minimax_vendor._prompt(submit.body) for submit in self.submits)
        works.taken.update(minimax_vendor._prompt(submit.body) for submit in self.accepted)
        return works


class Pika(PikaVendor):
    """Pika at fal.ai, and a gateway of its dialects, with the town's words. steps: how many polls a task takes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.retry_after = RETRY_AFTER
        self._orders = Orders()
        self._released = asyncio.Event()
        self._calls = Calls()
        self._seen: Counter[str] = Counter()
        self._works: dict[str, pika_vendor.Submit] = {}

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        self._calls.close()
        await super().__aexit__()

    async def _taken(self, request: web.Request, scheme: str) -> pika_vendor.Submit | web.Response:
        prompt = _prompt(await request.json())
        self._seen[prompt] += 1
        fault = self._orders.due(prompt, "throttled", "moderated", "lost", "late")
        if fault in {"throttled", "moderated"}:
            return self._refusal(fault, by_fal=scheme == "Key")
        taken = await super()._taken(request, scheme)
        if isinstance(taken, pika_vendor.Submit):
            self._works[taken.task_id] = taken
            finished = {"request_id": taken.task_id, "gateway_request_id": taken.task_id, "status": "OK", "payload": None}
            self._calls.begin(prompt, request.query.get("fal_webhook"), finished)
        if fault == "late":
            await _until(self._released)
        if fault == "lost" and request.transport is not None:
            request.transport.abort()
        return taken

    def _refusal(self, fault: str, *, by_fal: bool) -> web.Response:
        said = "Too many requests" if fault == "throttled" else "flagged by a content checker"
        status = 429 if fault == "throttled" else 422 if by_fal else 400
        content: dict[str, Any] = {"detail": said} if by_fal else {"code": status, "msg": said, "error": {"message": said}}
        if by_fal and fault == "moderated":
            content = {"detail": [{"loc": ["body", "prompt"], "msg": said, "type": POLICY}]}
        headers = {"Retry-After": self.retry_after} if status == 429 else {}
        return web.json_response(content, status=status, headers=headers)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if self._orders.due(self._prompt_of(request.match_info["id"]), "poll_error"):
            return web.json_response({"detail": "Internal server error"}, status=500)
        return await super()._status(request)

    def _step(self, task_id: str) -> int | None:
        step = super()._step(task_id)
        return min(step, 1) if step is not None and _is_slow(self._prompt_of(task_id), self.polls[task_id]) else step

    def _ending(self, task_id: str) -> Any:
        words = _unmade(self._prompt_of(task_id))
        if words and not self._works[task_id].path.startswith("/pika/"):
            return {"error": words, "error_type": POLICY if words == HELD_BACK else "bad_output"}
        return words or super()._ending(task_id)

    def _prompt_of(self, task_id: str) -> str:
        return _prompt(self._works[task_id].body) if task_id in self._works else ""

    def works(self) -> Works:
        works = Works()
        works.seen.update(self._seen)
        works.taken.update(_prompt(submit.body) for submit in self.accepted)
        works.cancelled.update(map(self._prompt_of, self.cancelled))
        return works


def _prompt(body: Any) -> str:
    """A prompt by fal's name for it and the page's, or by the mirror's."""
    return str(body.get("prompt") or body.get("promptText") or "")


class Received(NamedTuple):
    """A callback as it came: headers with names in lower case, and the body as text."""

    headers: dict[str, str]
    body: str


class Town:
    """All of them: `async with Town() as town: town.urls["kling"]`.

    urls: by the name of the provider. steps: how many polls a task takes. retry_after: for how many seconds a vendor that is
    busy asks to be left alone. hook: callbacks go to `{hook}/{name of the work}`.
    asked: requests that the vendors got, by `submit`, `query` and `file`. stopped: the paths of those that
    stop work. received: the callbacks, by the name of the work.
    """

    def __init__(self, steps: int = 2, retry_after: str = RETRY_AFTER) -> None:
        settings = Settings(steps=("PENDING", "RUNNING", "SUCCEEDED")[-steps:])
        runway = Runway(settings=settings)
        self._vendors: list[Any] = [runway, Luma(settings), Kling(steps), MiniMax(steps), Pika(steps)]
        for vendor in self._vendors:
            vendor.retry_after = retry_after
        self._names = (("runwayml", "runway_compat"), ("luma",), ("kling",), ("minimax",), ("pika",))
        self.urls: dict[str, str] = {}
        self.hook = ""
        self.asked: Counter[str] = Counter()
        self.stopped: list[str] = []
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
                web.get("/stopped", self._stopped),
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
            all_works.cancelled += works.cancelled
        return all_works

    @web.middleware
    async def _counted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "DELETE" or request.path.endswith("/cancel"):
            self.stopped.append(request.path)
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

    async def _stopped(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.stopped)

    async def _works(self, request: web.Request) -> web.StreamResponse:
        """Of all works, or of those whose prompt has the words that are asked for."""
        words, works = request.query.get("words", ""), self.works()
        found = {
            name: {prompt: count for prompt, count in counts.items() if words in prompt} for name, counts in vars(works).items()
        }
        return web.Response(body=msgspec.json.encode(found))


async def _serve(steps: int, retry_after: str) -> None:
    async with Town(steps, retry_after) as town:
        print(msgspec.json.encode({"url": town.url, "hook": town.hook, "urls": town.urls}).decode(), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Every stand-in vendor and a receiver of callbacks.")
    parser.add_argument("--steps", type=int, default=2, choices=(1, 2, 3), help="how many polls a task takes")
    parser.add_argument("--retry-after", default=RETRY_AFTER, help="for how many seconds a busy vendor asks to be left alone")
    options = parser.parse_args()
    asyncio.run(_serve(options.steps, options.retry_after))


if __name__ == "__main__":
    main()
