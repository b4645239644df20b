"""A stand-in for MiniMax's API, and for a gateway in its format, on one real socket.

Tasks advance one step with each poll. Everything is answered with HTTP 200 and a code in `base_resp`, as the original does, but
for the second format, whose statuses are true.
Faults are ordered with `fault`, or by a word in the prompt, `vendor:lost`.

    PYTHONPATH=tests python -m standins.minimax_vendor --port 0      # prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import time
import wave
from collections import Counter
from functools import cache
from itertools import count
from typing import Any, Self

import msgspec
from aiohttp import web

from standins import minimax_second, samples

KEY = "sk-api-good"
FIRST_ID = 115_334_141_465_231_360  # beyond what a double can hold
VIDEO_MODELS = {
    "MiniMax-Hailuo-2.3", "MiniMax-Hailuo-2.3-Fast", "MiniMax-Hailuo-02", "T2V-01-Director", "T2V-01", "I2V-01-Director",
    "I2V-01-live", "I2V-01", "S2V-01", "video-01", "video-01-live2d",
}  # fmt: skip
LENGTHS = {"512P": (6, 10), "720P": (6,), "768P": (6, 10), "1080P": (6,)}

# Refused: nothing is started. The code and the words of the original's table.
REFUSALS = {
    "throttled": (1002, "rate limit"),
    "tokens": (1039, "token limit"),
    "growing": (2045, "rate growth limit"),
    "bad_key": (2049, "invalid api key"),
    "not_in_plan": (2061, "your current token plan not support model"),
    "out_of_credit": (1008, "insufficient balance"),
    "window_used": (2056, "usage limit exceeded"),
    "moderated": (1026, "input new_sensitive"),
    "invalid": (2013, "invalid params"),
}
# The vendor does not say whether it has started anything.
UNCLEAR = {"unknown": (1000, "unknown error"), "timeout": (1001, "request timeout"), "system": (1033, "system error")}
SUBMIT_FAULTS = {*REFUSALS, *UNCLEAR, "http_error", "http_throttled", "dropped", "lost", "late", "garbage", "no_id", "bare"}
TASK_FAULTS = {"fail", "fail_moderation", "fail_silent", "no_file"}
POLL_FAULTS = {"poll_error", "poll_throttled", "poll_garbage", "poll_lost", "poll_missing", "poll_odd", "poll_moderated"}
KINDS = SUBMIT_FAULTS | TASK_FAULTS | POLL_FAULTS
WORD = re.compile(r"vendor:([a-z_]+)")


class Submit(msgspec.Struct):
    """A submit as it was seen. accepted: whether work was started, under `task_id`."""

    path: str
    body: Any
    accepted: bool = False
    task_id: str = ""


class Task(msgspec.Struct):
    id: str
    kind: str
    body: Any
    faults: set[str]
    polls: int = 0


class Drop(Exception):
    """Close the connection without an answer."""


class MiniMaxVendor:
    """The vendor, in this process: `async with MiniMaxVendor() as vendor: vendor.url`.

    steps: the states of a task, in order. envelope: answer as the family of gateways does that wraps a task. echo_key: whether
    refusals repeat the caller's key. retry_after: what `http_throttled` says.
    """

    def __init__(self, *, key: str = KEY, host: str = "127.0.0.1", port: int = 0) -> None:
        self.key = key
        self.steps: tuple[str, ...] = ("Preparing", "Queueing", "Processing", "Success")
        self.envelope = False
        self.echo_key = False
        self.retry_after = "42"
        self.submits: list[Submit] = []
        self.tasks: dict[str, Task] = {}
        self.uploads: list[tuple[str, bytes]] = []
        self.voices: list[str] = []
        self.deleted: list[str] = []
        self.polls: Counter[str] = Counter()
        self.url = ""
        self._host, self._port = host, port
        self._ids = count(FIRST_ID)
        self._links = count(1)
        self._faults: list[str] = []
        self._released = asyncio.Event()
        app = web.Application(middlewares=[_dropping], client_max_size=64 * 1024 * 1024)
        for prefix in ("", "/minimax"):
            app.add_routes(
                [
                    web.post(f"{prefix}/v1/video_generation", self._video),
                    web.post(f"{prefix}/v1/video_template_generation", self._template),
                    web.post(f"{prefix}/v1/t2a_async_v2", self._long_speech),
                    web.post(f"{prefix}/v1/image_generation", self._image),
                    web.post(f"{prefix}/v1/t2a_v2", self._sound),
                    web.post(f"{prefix}/v1/music_generation", self._sound),
                    web.post(f"{prefix}/v1/lyrics_generation", self._lyrics),
                    web.post(f"{prefix}/v1/files/upload", self._upload),
                    web.post(f"{prefix}/v1/voice_clone", self._clone),
                    web.post(f"{prefix}/v1/voice_design", self._design),
                    web.post(f"{prefix}/v1/get_voice", self._voices),
                    web.post(f"{prefix}/v1/delete_voice", self._delete_voice),
                    web.get(f"{prefix}/v1/query/{{name}}", self._query),
                    web.get(f"{prefix}/v1/files/retrieve", self._retrieve),
                    web.post(f"{prefix}/v2/video_generation", self._second),
                    web.delete(f"{prefix}/v2/video_generation/{{id}}", self._second_delete),
                    web.get(f"{prefix}/v2/query/video_generation/{{id}}", self._second_query),
                ]
            )
        app.router.add_get("/files/{name}", self._file)
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

    def fault(self, kind: str, times: int = 1) -> None:
        """Order a fault for the next so many calls that it concerns."""
        if kind not in KINDS:
            raise ValueError(f"{kind}: no such fault; there are {', '.join(sorted(KINDS))}")
        self._faults += [kind] * times

    def release(self) -> None:
        """End every wait that a fault has begun, and every later one."""
        self._released.set()

    async def _video(self, request: web.Request) -> web.StreamResponse:
        return await self._begin(request, "video", _check_video)

    async def _second(self, request: web.Request) -> web.StreamResponse:
        return await self._begin(request, "second", minimax_second.wrong)

    async def _second_query(self, request: web.Request) -> web.StreamResponse:
        task, problem = self._asked_for(request, request.match_info["id"])
        if problem is not None:
            return problem
        if task is None:
            answer = minimax_second.refusal(2013, "invalid params, task_id")
            answer.set_status(404)
            return answer
        status = self._step(task)
        failed = status == "Success" and any(fault.startswith("fail") for fault in task.faults)
        url = "" if "no_file" in task.faults else self._address(request, "video.mp4")
        return web.json_response(minimax_second.told(task.id, task.body, status, url, _reason(task) if failed else None))

    async def _second_delete(self, request: web.Request) -> web.StreamResponse:
        task = self.tasks.get(request.match_info["id"])
        if task is None or minimax_second.STATUS[self.steps[min(task.polls, len(self.steps) - 1)]] == "running":
            return minimax_second.refusal(2013, "invalid params, task status")
        self.deleted.append(task.id)
        return web.json_response({})

    async def _template(self, request: web.Request) -> web.StreamResponse:
        return await self._begin(request, "template", lambda body: None if body.get("template_id") else "template_id")

    async def _long_speech(self, request: web.Request) -> web.StreamResponse:
        return await self._begin(request, "speech", _check_speech)

    async def _begin(self, request: web.Request, kind: str, check: Any) -> web.StreamResponse:
        submit, refused = await self._received(request, check)
        if refused is not None:
            return refused
        task = Task(str(next(self._ids)), kind, submit.body, self._lasting(submit.body))
        self.tasks[task.id] = task
        submit.task_id = task.id
        content: dict[str, Any] = {"task_id": int(task.id) if kind == "speech" else task.id}
        return await self._accepted(submit, content)

    async def _image(self, request: web.Request) -> web.StreamResponse:
        submit, refused = await self._received(request, lambda body: None if body.get("prompt") else "prompt")
        if refused is not None:
            return refused
        held_back = "fail_moderation" in self._lasting(submit.body)
        number = 0 if held_back else int(submit.body.get("n", 1))
        content = {
            "id": "03ff3cd0",
            "data": {"image_urls": [self._address(request, f"{index}.png") for index in range(number)]},
            "metadata": {"success_count": number, "failed_count": int(submit.body.get("n", 1)) - number},
        }
        return await self._accepted(submit, content)

    async def _sound(self, request: web.Request) -> web.StreamResponse:
        check = _check_speech if request.path.endswith("t2a_v2") else _check_music
        submit, refused = await self._received(request, check)
        if refused is not None:
            return refused
        kind = submit.body["audio_setting"]["format"]
        audio = self._address(request, f"sound.{kind}") if submit.body.get("output_format") == "url" else sound().hex()
        return await self._accepted(submit, {"data": {"audio": audio, "status": 2}, "trace_id": "01b8bf9b"})

    async def _lyrics(self, request: web.Request) -> web.StreamResponse:
        modes = {"write_full_song", "edit"}
        submit, refused = await self._received(request, lambda body: None if body.get("mode") in modes else "mode")
        if refused is not None:
            return refused
        told = {"song_title": submit.body.get("title", "Summer"), "style_tags": "pop, calm", "lyrics": "[Verse]\nla la"}
        return await self._accepted(submit, told)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _coded(*REFUSALS["bad_key"])
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        self.uploads.append((str(form["purpose"]), file.file.read()))
        return _answer({"file": {"file_id": 7000 + len(self.uploads), "bytes": 1, "purpose": form["purpose"]}})

    async def _clone(self, request: web.Request) -> web.StreamResponse:
        def check(body: Any) -> str | None:
            return None if body.get("file_id") in range(7001, 7001 + len(self.uploads)) else "file_id"

        submit, refused = await self._received(request, check)
        if refused is not None:
            return refused
        self.voices.append(submit.body["voice_id"])
        sample = self._address(request, "sound.wav") if submit.body.get("text") else ""
        return await self._accepted(submit, {"input_sensitive": False, "demo_audio": sample})

    async def _design(self, request: web.Request) -> web.StreamResponse:
        submit, refused = await self._received(request, lambda body: None if body.get("preview_text") else "preview_text")
        if refused is not None:
            return refused
        self.voices.append(submit.body["voice_id"])
        return await self._accepted(submit, {"voice_id": submit.body["voice_id"], "trial_audio": sound().hex()})

    async def _voices(self, request: web.Request) -> web.StreamResponse:
        system = [{"voice_id": "male-qn-qingse", "voice_name": "Qingse"}]
        return _answer({"system_voice": system, "voice_cloning": [{"voice_id": name} for name in self.voices]})

    async def _delete_voice(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["voice_id"]
        if name not in self.voices:
            return _coded(2013, "invalid params, voice_id")
        self.voices.remove(name)
        return _answer({"voice_id": name})

    async def _received(self, request: web.Request, check: Any) -> tuple[Submit, web.StreamResponse | None]:
        body = await request.json()
        submit = Submit(request.path, body)
        self.submits.append(submit)
        coded = minimax_second.refusal if "/v2/" in request.path else _coded
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return submit, coded(*REFUSALS["bad_key"])
        kind = self._due({*REFUSALS, *UNCLEAR, "http_error", "http_throttled", "dropped"}, body)
        if kind == "dropped":
            raise Drop
        if kind == "http_error":
            return submit, web.json_response({"base_resp": {"status_code": 1033, "status_msg": "system error"}}, status=500)
        if kind == "http_throttled":
            return submit, web.json_response(None, status=429, headers={"Retry-After": self.retry_after})
        if kind:
            code, said = (REFUSALS | UNCLEAR)[kind]
            return submit, coded(code, f"{said} {request.headers['Authorization']}" if self.echo_key else said)
        if (field := check(body)) is not None:
            return submit, coded(2013, f"invalid params, {field}")
        return submit, None

    async def _accepted(self, submit: Submit, content: dict[str, Any]) -> web.StreamResponse:
        submit.accepted = True
        match self._due({"lost", "late", "garbage", "no_id", "bare"}, submit.body):
            case "lost":
                raise Drop
            case "late":
                await self._wait()
            case "garbage":
                return web.Response(text="<html>welcome</html>", content_type="text/html")
            case "no_id":
                content = dict.fromkeys(content, "")
            case "bare":
                return web.json_response(content)
        return web.json_response(content) if "/v2/" in submit.path else _answer(content)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        task, problem = self._asked_for(request, request.query.get("task_id", ""))
        if problem is not None:
            return problem
        if task is None:
            return _coded(2013, "invalid params, task_id")
        return self._told(request, task, self._step(task))

    def _asked_for(self, request: web.Request, task_id: str) -> tuple[Task | None, web.StreamResponse | None]:
        """The task, or the answer where something is wrong with the question or is to go wrong."""
        coded = minimax_second.refusal if "/v2/" in request.path else _coded
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return None, coded(*REFUSALS["bad_key"])
        task = self.tasks.get(task_id)
        match self._due(POLL_FAULTS, task.body if task else {}):
            case "poll_error":
                return None, coded(1013, "internal service error")
            case "poll_throttled":
                return None, coded(1002, "rate limit")
            case "poll_garbage":
                return None, web.Response(text="<html>", content_type="text/html")
            case "poll_odd":
                return None, _answer({"task_id": "1", "status": "Dreaming", "task": {"id": "1", "status": "dreaming"}})
            case "poll_moderated":
                return None, coded(1027, "output new_sensitive")
            case "poll_lost":
                raise Drop
            case "poll_missing":
                task = None
        return task, None

    def _step(self, task: Task) -> str:
        """The state of a task now, by the first format's words; it goes on with each question."""
        self.polls[task.id] += 1
        status = self.steps[min(task.polls, len(self.steps) - 1)]
        task.polls += 1
        return status

    def _told(self, request: web.Request, task: Task, status: str) -> web.StreamResponse:
        failed = status == "Success" and any(fault.startswith("fail") for fault in task.faults)
        content: dict[str, Any] = {"task_id": task.id, "status": "Fail" if failed else status, "file_id": ""}
        code, said = 0, "success"
        if failed:
            code, said = _reason(task)
        elif status == "Success" and task.kind == "template":
            content["video_url"] = self._address(request, "video.mp4")
        elif status == "Success" and "no_file" not in task.faults:
            content |= {"file_id": f"2{task.id}", "video_width": 1366, "video_height": 768}
        if not self.envelope:
            return _answer(content, code, said)
        if content["file_id"]:
            content["file"] = {"file_id": int(content["file_id"]), "download_url": self._address(request, "video.mp4")}
        outer = {"Success": "FAILURE" if failed else "SUCCESS", "Processing": "IN_PROGRESS"}.get(status, "QUEUED")
        row: dict[str, Any] = {"task_id": task.id, "action": "video_generation", "status": outer, "progress": "0%"}
        row["fail_reason"] = said if failed else content["file_id"]
        row["data"] = None if failed else content | {"base_resp": {"status_code": 0, "status_msg": "success"}}
        return web.json_response({"code": "success", "message": "", "data": row})

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        file_id = request.query.get("file_id", "")
        task = self.tasks.get(file_id.removeprefix("2"))
        if task is None:
            return _coded(2013, "invalid params, file_id")
        name = "sound.mp3" if task.kind == "speech" else "video.mp4"
        file = {"file_id": int(file_id), "bytes": 0, "created_at": int(time.time()), "filename": "output.mp4"}
        file |= {"purpose": "video_generation", "download_url": self._address(request, name)}
        return _answer({"file": file})

    def _address(self, request: web.Request, name: str) -> str:
        return f"{request.scheme}://{request.host}/files/{name}?Expires={next(self._links)}"

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name.endswith(".mp4"):
            return web.Response(body=samples.clip(), content_type="video/mp4")
        if name.endswith(".png"):
            return web.Response(body=samples.picture(), content_type="image/png")
        return web.Response(body=sound(), content_type="audio/wav")

    def _due(self, kinds: set[str], body: Any) -> str | None:
        for kind in self._faults:
            if kind in kinds:
                self._faults.remove(kind)
                return kind
        return next((kind for kind in WORD.findall(_prompt(body)) if kind in kinds), None)

    def _lasting(self, body: Any) -> set[str]:
        found = set()
        while kind := self._due(TASK_FAULTS - found, body):
            found.add(kind)
        return found

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._released.wait(), 30)
        except TimeoutError:
            return


def _reason(task: Task) -> tuple[int, str]:
    if "fail_moderation" in task.faults:
        return 1027, "output new_sensitive"
    return (0, "success") if "fail_silent" in task.faults else (1033, "the model could not make anything usable")


def _check_video(body: Any) -> str | None:
    """The first field that is wrong, or None."""
    if body.get("model") not in VIDEO_MODELS:
        return "model"
    resolution, duration = body.get("resolution", "768P"), body.get("duration", 6)
    if not isinstance(duration, int) or duration not in LENGTHS.get(resolution, ()):
        return "duration"
    if not body.get("prompt") and not body.get("first_frame_image") and not body.get("last_frame_image"):
        return "prompt"
    for field in ("first_frame_image", "last_frame_image"):
        if field in body and not str(body[field]).startswith(("http://", "https://", "data:image/")):
            return field
    return None


def _check_speech(body: Any) -> str | None:
    voice = body.get("voice_setting", {})
    if not body.get("text"):
        return "text"
    return None if voice.get("voice_id") and 0.5 <= voice.get("speed", 1) <= 2 else "voice_setting"


def _check_music(body: Any) -> str | None:
    return None if body.get("lyrics") or body.get("is_instrumental") or body.get("lyrics_optimizer") else "lyrics"


def _prompt(body: Any) -> str:
    said = " ".join(str(body.get(name, "")) for name in ("prompt", "text", "lyrics"))
    return f"{said} {minimax_second.prompt(body)}".strip()


@cache
def sound() -> bytes:
    """A tenth of a second of silence as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\0\0" * 1600)
    return buffer.getvalue()


def _answer(content: dict[str, Any], code: int = 0, said: str = "success") -> web.Response:
    return web.json_response({**content, "base_resp": {"status_code": code, "status_msg": said}})


def _coded(code: int, said: str) -> web.Response:
    return _answer({}, code, said)


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
    async with MiniMaxVendor(key=options.key, port=options.port) as vendor:
        vendor.steps = tuple(options.steps.split(","))
        print(vendor.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for MiniMax's API and for a gateway in its format.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--steps", default="Preparing,Queueing,Processing,Success", help="the states of a task, one a poll")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
