"""Kling's API as a stand-in on a real socket, written from its documentation and independently of the provider.

Tasks advance one step with each poll: submitted, processing, succeed. A submit's body is checked against the documented
fields. Faults are ordered with `vendor.fault(kind)`, each for one call.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Self

import jwt
import msgspec
from aiohttp import web

from standins import samples
from standins.minimax_vendor import sound

ACCESS, SECRET = "test-access-key-0123456789abcdef", "test-secret-key-0123456789abcdef"
PLAIN_KEY = "api-key-0123456789abcdef"

SHARED = "callback_url external_task_id watermark_info"
VIDEO = "model_name prompt negative_prompt cfg_scale mode duration sound multi_shot shot_type multi_prompt voice_list"
# What each route takes: what it needs, and what it takes besides.
FIELDS: dict[str, tuple[str, str]] = {
    "videos/text2video": ("", f"{VIDEO} camera_control aspect_ratio"),
    "videos/image2video": (
        "",
        f"{VIDEO} camera_control aspect_ratio image image_tail static_mask dynamic_masks element_list",
    ),
    "videos/multi-image2video": ("image_list prompt", "model_name negative_prompt mode duration aspect_ratio"),
    "videos/omni-video": (
        "",
        f"{VIDEO} aspect_ratio image_list video_list element_list",
    ),
    "videos/video-extend": ("video_id", "prompt negative_prompt cfg_scale"),
    "videos/lip-sync": ("input", ""),
    "videos/advanced-lip-sync": ("session_id face_choose", ""),
    "videos/effects": ("effect_scene input", ""),
    "videos/avatar/image2video": ("image", "audio_id sound_file prompt mode"),
    "videos/multi-elements": (
        "session_id edit_mode prompt",
        "model_name image_list negative_prompt mode duration",
    ),
    "videos/motion-control": (
        "image_url video_url character_orientation mode",
        "model_name prompt keep_original_sound element_list",
    ),
    "images/generations": (
        "prompt",
        "model_name negative_prompt image image_reference image_fidelity human_fidelity resolution n aspect_ratio element_list",
    ),
    "images/multi-image2image": ("subject_image_list", "model_name scene_image style_image prompt n aspect_ratio"),
    "images/omni-image": ("prompt", "model_name image_list element_list resolution result_type n aspect_ratio"),
    "images/editing/expand": (
        "image up_expansion_ratio down_expansion_ratio left_expansion_ratio right_expansion_ratio",
        "prompt n",
    ),
    "images/kolors-virtual-try-on": ("human_image cloth_image", "model_name"),
    "audio/text-to-audio": ("prompt duration", ""),
    "audio/video-to-audio": ("", "video_id video_url sound_effect_prompt bgm_prompt asmr_mode"),
    "audio/tts": ("text voice_id voice_language", "voice_speed"),
    "general/custom-voices": ("voice_name", "voice_url video_id"),
    "general/advanced-custom-elements": (
        "element_name element_description reference_type",
        "element_image_list element_video_list element_voice_id tag_list",
    ),
}
# Answered at once: what each needs, and what it takes besides.
SESSIONS: dict[str, tuple[str, str]] = {
    "videos/image-recognize": ("image", ""),
    "videos/identify-face": ("", "video_id video_url"),
    "videos/multi-elements/init-selection": ("", "video_id video_url"),
    "videos/multi-elements/add-selection": ("session_id frame_index points", ""),
    "videos/multi-elements/delete-selection": ("session_id frame_index points", ""),
    "videos/multi-elements/clear-selection": ("session_id", ""),
    "videos/multi-elements/preview-selection": ("session_id", ""),
    "general/delete-voices": ("voice_id", ""),
    "general/delete-elements": ("element_id", ""),
}
# Refused: nothing is started. HTTP status and service code.
REFUSALS = {
    "arrears": (429, 1101),
    "out_of_units": (429, 1102),
    "forbidden": (403, 1103),
    "invalid": (400, 1201),
    "no_model": (404, 1203),
    "moderated": (400, 1301),
    "too_fast": (429, 1302),
    "crowded": (429, 1303),
    "error": (500, 5000),
    "maintenance": (503, 5001),
    "backlog": (504, 5002),
    "coded": (200, 1303),
}
STEPS = ("submitted", "processing", "succeed")


class Task(msgspec.Struct):
    """polls: how often it was asked for. failure: why it will fail, if it will."""

    id: str
    path: str
    body: dict[str, Any]
    external_id: str
    polls: int = 0
    failure: str = ""


class KlingVendor:
    """The vendor, in this process: `async with KlingVendor() as vendor: vendor.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.submits: list[tuple[str, dict[str, Any]]] = []
        self.tasks: dict[str, Task] = {}
        self.tokens: list[str] = []
        self.asked: Counter[str] = Counter()
        self.faces: list[dict[str, Any]] = [{"face_id": "7", "face_image": "f.png", "start_time": 0, "end_time": 5200}]
        self.selection_status = 0
        self.deleted: list[str] = []
        self.next_failure = ""
        self.steps = STEPS
        self._faults: list[str] = []
        app = web.Application(middlewares=[self._guarded], client_max_size=64 * 1024 * 1024)
        routes = [web.post(f"/v1/{path}", self._submit) for path in FIELDS]
        routes += [web.get(f"/v1/{path}/{{id}}", self._query) for path in FIELDS]
        app.add_routes(
            [
                *routes,
                *(web.post(f"/v1/{path}", self._at_once) for path in SESSIONS),
                web.get("/v1/general/presets-voices", self._presets),
                web.get("/v1/general/advanced-presets-elements", self._presets),
                web.get("/account/costs", self._costs),
                web.get("/files/{name}", self._file),
            ]
        )
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def fault(self, kind: str) -> None:
        """The next call goes wrong: one of REFUSALS, `dropped`, `lost` (taken, and no answer), `garbage` or `no_id`."""
        self._faults.append(kind)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/files/"):
            return await handler(request)
        self.asked[request.path] += 1
        refused = self._refused_key(request.headers.get("Authorization", ""))
        if refused is not None:
            return refused
        fault = self._faults.pop(0) if self._faults else ""
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            return _answer(code, fault, status=status)
        if fault == "dropped":
            return _dropped(request)
        response: web.StreamResponse = await handler(request)
        if fault == "lost":
            return _dropped(request)
        if fault == "garbage":
            return web.Response(text="<html>welcome</html>", content_type="text/html")
        return _answer(0, "SUCCEED", {}) if fault == "no_id" else response

    def _refused_key(self, header: str) -> web.Response | None:
        if not header:
            return _answer(1001, "Authorization is empty", status=401)
        token = header.removeprefix("Bearer ")
        self.tokens.append(token)
        if token == PLAIN_KEY:
            return None
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        except jwt.ExpiredSignatureError:
            return _answer(1004, "token expired", status=401)
        except jwt.ImmatureSignatureError:
            return _answer(1003, "token not valid yet", status=401)
        except jwt.PyJWTError:
            return _answer(1002, f"{token} is invalid", status=401)
        if set(claims) != {"iss", "exp", "nbf"} or claims["iss"] != ACCESS:
            return _answer(1002, "claims", status=401)
        return None

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1/")
        body = await request.json()
        self.submits.append((path, body))
        wrong = _wrong(path, body)
        external_id = str(body.get("external_task_id", ""))
        if any(task.external_id == external_id for task in self.tasks.values() if external_id):
            wrong = "external_task_id: used before"
        if wrong:
            return _answer(1201, wrong, status=400)
        task = Task(f"84000000000000{len(self.tasks):04d}", path, body, external_id, failure=self.next_failure)
        self.next_failure = ""
        self.tasks[task.id] = task
        return _answer(0, "SUCCEED", self._told(task, "succeed" if path == "audio/tts" else "submitted"))

    async def _query(self, request: web.Request) -> web.StreamResponse:
        name, path = request.match_info["id"], request.path.removeprefix("/v1/").rpartition("/")[0]
        known = (task for task in self.tasks.values() if name in {task.id, task.external_id} and task.path == path)
        task = next(known, None)
        if task is None:
            return _answer(1203, "task not found", status=404)
        state = self.steps[min(task.polls, len(self.steps) - 1)]
        task.polls += 1
        return _answer(0, "SUCCEED", self._told(task, "failed" if task.failure and state == "succeed" else state))

    def _told(self, task: Task, state: str) -> dict[str, Any]:
        now = int(time.time() * 1000)
        told: dict[str, Any] = {
            "task_id": task.id,
            "task_status": state,
            "task_status_msg": task.failure if state == "failed" else "",
            "task_info": {"external_task_id": task.external_id},
            "created_at": now,
            "updated_at": now,
        }
        if state == "succeed":
            told |= {"task_result": self._results(task), "final_unit_deduction": "2"}
        return told

    def _results(self, task: Task) -> dict[str, Any]:
        if task.path == "audio/tts":
            return {"audios": [{"id": "a1", "url": f"{self.url}/files/a.mp3", "duration": "3.2"}]}
        if task.path == "audio/text-to-audio":
            sound = {"url_mp3": f"{self.url}/files/a.mp3", "url_wav": f"{self.url}/files/a.wav"}
            return {"audios": [{"id": "a1", **sound, "duration_mp3": "5.0", "duration_wav": "5.0"}]}
        if task.path == "general/custom-voices":
            name = task.body["voice_name"]
            return {"voices": [{"voice_id": f"99{task.id}", "voice_name": name, "trial_url": f"{self.url}/files/a.wav"}]}
        if task.path == "general/advanced-custom-elements":
            return {"elements": [{"element_id": int(f"77{task.id[-6:]}"), "element_name": task.body["element_name"]}]}
        if task.path.startswith("images/"):
            count = int(task.body.get("n", 1))
            return {"images": [{"index": index, "url": f"{self.url}/files/{index}.png"} for index in range(count)]}
        return {"videos": [{"id": f"v-{task.id}", "url": f"{self.url}/files/v.mp4", "duration": "5.1"}]}

    async def _at_once(self, request: web.Request) -> web.StreamResponse:
        path, body = request.path.removeprefix("/v1/"), await request.json()
        self.submits.append((path, body))
        needed, more = (set(names.split()) for names in SESSIONS[path])
        if needed - body.keys() or body.keys() - needed - more:
            return _answer(1201, f"{path} takes {sorted(needed | more)}, got {sorted(body)}", status=400)
        if path.startswith("general/delete"):
            self.deleted.append(str(body[needed.pop()]))
        return _answer(0, "SUCCEED", {"final_unit_deduction": "0.05", **self._looked(path, body)})

    def _looked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        match path.rpartition("/")[2]:
            case "identify-face":
                faces = [face | {"face_image": f"{self.url}/files/{face['face_image']}"} for face in self.faces]
                return {"session_id": "session-1", "face_data": faces}
            case "image-recognize":
                mask = {"type": "object_seg", "is_contain": True, "url": f"{self.url}/files/mask.png"}
                return {"task_result": {"images": [{"type": "head_seg", "is_contain": False, "url": ""}, mask]}}
            case "init-selection":
                normal = f"{self.url}/files/v.mp4"
                clip = {"fps": 24, "original_duration": 5000, "width": 1280, "height": 720, "total_frame": 120}
                return {"status": self.selection_status, "session_id": "session-2", "normalized_video": normal, **clip}
            case "add-selection" | "delete-selection":
                return {
                    "status": 0,
                    "session_id": "session-2",
                    "res": {"frame_index": body["frame_index"], "rle_mask_list": []},
                }
            case "preview-selection":
                return {"status": 0, "session_id": "session-2", "res": {"video": f"{self.url}/files/v.mp4"}}
        return {}

    async def _presets(self, request: web.Request) -> web.StreamResponse:
        if int(request.query["pageNum"]) > 1:
            return _answer(0, "SUCCEED", [])
        kind, item = ("voices", {"voice_id": "5001"}) if "voices" in request.path else ("elements", {"element_id": 6001})
        return _answer(0, "SUCCEED", [{"task_id": "1", "task_status": "succeed", "task_result": {kind: [item]}}])

    async def _costs(self, request: web.Request) -> web.StreamResponse:
        if not (request.query.get("start_time", "").isdigit() and request.query.get("end_time", "").isdigit()):
            return _answer(1201, "start_time, end_time", status=400)
        packs = [{"resource_pack_name": "Video", "remaining_quantity": 118.0, "status": "online"}]
        packs += [{"resource_pack_name": "Old", "remaining_quantity": 7.0, "status": "expired"}]
        return _answer(0, "SUCCEED", {"code": 0, "msg": "", "resource_pack_subscribe_infos": packs})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name.endswith(("wav", "mp3")):
            return web.Response(body=sound(), content_type="audio/wav")
        video = name.endswith("mp4")
        return web.Response(
            body=samples.clip() if video else samples.picture(), content_type="video/mp4" if video else "image/png"
        )


def _wrong(path: str, body: dict[str, Any]) -> str:
    """What is wrong with a body, or nothing."""
    needed, more = (set(names.split()) for names in FIELDS[path])
    missing, unknown = needed - body.keys(), body.keys() - needed - set(more) - set(SHARED.split())
    if missing or unknown:
        return f"missing {sorted(missing)}, unknown {sorted(unknown)}"
    if "data:" in msgspec.json.encode(body).decode():
        return "base64 has no prefix"
    if "duration" in body and path.startswith("videos/") and not isinstance(body["duration"], str):
        return "duration: a text"
    if body.get("mode", "std") not in {"std", "pro"}:
        return "mode"
    if path == "videos/text2video" and not body.get("prompt"):
        return "prompt"
    if path == "videos/image2video" and not (body.get("image") or body.get("image_tail")):
        return "image"
    control = body.get("camera_control")
    if control and control["type"] == "simple" and sum(value != 0 for value in control["config"].values()) != 1:
        return "camera_control.config"
    return ""


def _dropped(request: web.Request) -> web.Response:
    """Close the connection; what is returned goes nowhere."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _answer(code: int, message: str, data: Any = None, *, status: int = 200) -> web.Response:
    body = {"code": code, "message": message, "request_id": "req-1"}
    return web.json_response(body | ({} if data is None else {"data": data}), status=status)
