"""A client of each wire format that makes videos, written from the formats' documented bodies.

A client knows six things of its format: how a video is asked for, where the answer has the task's id, how the task is
asked after, how its end is told, in which words it is told that there is no video, and how it is cancelled. `CLIENTS` has
them all.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import requests

from genway.dialects import base

TIMEOUT = 60
Word = Literal["running", "succeeded", "failed"]

# How a task ends that has no result, by genway's own words: held back before it was begun and after it was made, failed at the
# vendor, given back because nobody knows whether the vendor took it, cancelled by the client.
ENDINGS = ("moderation", "moderation of the result", "vendor_error", "outcome_unknown", "cancelled")


class Client(ABC):
    """One account's client at the gateway of that address.

    model: the qualified name of the model that it asks for. seconds: the durations that it can ask that model for.
    calls_back: whether a request may name an address for callbacks. words: the format's own for each of `ENDINGS`.
    small: what of a request is otherwise where the video is to be small.
    forgets: whether to cancel a task is to delete it.
    """

    format: ClassVar[str]
    model: ClassVar[str]
    seconds: ClassVar[tuple[int, ...]] = (5, 10)
    calls_back: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]]
    small: ClassVar[Mapping[str, Any]] = {}
    forgets: ClassVar[bool] = False

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers, self._session = url, {"Authorization": f"Bearer {key}"}, requests.Session()
        self._session.trust_env = False

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """One request; a body is sent as JSON."""
        headers = self._headers | ({"X-Runway-Version": "2024-11-06"} if path.startswith("/runwayml") else {})
        return self._session.request(method, self._url + path, json=body, headers=headers, timeout=TIMEOUT)

    def fetch(self, link: str) -> bytes:
        """The file behind a link, which needs no key."""
        answer = self._session.get(link, timeout=TIMEOUT)
        assert answer.status_code == 200, answer.text
        return answer.content

    def close(self) -> None:
        self._session.close()

    def begin(self, prompt: str, seconds: int, *, picture: str = "", hook: str = "") -> requests.Response:
        """Ask for a video. picture: the address of its first frame."""
        path, body = self.wish(prompt, seconds, picture, hook)
        return self.ask("POST", path, body)

    def begin_small(self, prompt: str, *, picture: str = "", hook: str = "") -> requests.Response:
        """Ask for the shortest and smallest video that the format has a word for, which a machine has rendered soonest."""
        path, body = self.wish(prompt, min(self.seconds), picture, hook)
        return self.ask("POST", path, merged(body, self.small))

    def answer(self, task_id: str) -> Any:
        """What the format's query answers."""
        answer = self.ask(*self.question(task_id))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self, task_id: str) -> tuple[Word, str]:
        """How the task is going, and the address of the result or the reason why there is none."""
        return self.read(self.answer(task_id))

    def cancel(self, task_id: str) -> requests.Response:
        """By the format's own call, or by the door that is there for all of them."""
        return self.ask("POST", f"/v1/tasks/{task_id}/cancel")

    def id(self, answer: Any) -> str:
        """The id in the answer to a request."""
        return str(answer["id"])

    def refusal(self, answer: Any) -> str:
        """The words in the answer to a request that was refused."""
        return str(answer["error"]["message"])

    @abstractmethod
    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        """The path and body of a request for a video."""

    @abstractmethod
    def question(self, task_id: str) -> tuple[Any, ...]:
        """Method, path and perhaps body of a question for a task."""

    @abstractmethod
    def read(self, answer: Any) -> tuple[Word, str]:
        """What an answer to the question, or a callback, says."""

    @abstractmethod
    def verdict(self, answer: Any) -> str:
        """The state and the code of an answer, or a callback, in the words of `words`."""


class RunwayPro(Client):
    format, model, seconds = "runway.pro", "runway/gen4.5", tuple(range(2, 11))
    words = dict.fromkeys(ENDINGS, "2, refund 1")
    small = {"model": "seedance2", "ratio": "128:128", "options": {"seconds": 1}}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": "gen4.5", "prompt": prompt, "ratio": "16:9", "options": {"seconds": seconds}}
        return "/runway/pro/generate", body | given(callback_url=hook, image=picture)

    def id(self, answer: Any) -> str:
        return str(answer["data"]["task_id"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "POST", "/runway/feed", {"task_id": task_id}

    def read(self, answer: Any) -> tuple[Word, str]:
        data = answer["data"]
        return told(data["status"], "01", "3", data["video_url"], data["msg"])

    def verdict(self, answer: Any) -> str:
        return f"{answer['data']['status']}, refund {answer['data']['refund']}"


class RunwayOfficial(Client):
    format, model, calls_back = "runwayml", "runway/gen4.5", False
    seconds = tuple(range(2, 11))
    words = {
        "moderation": "FAILED SAFETY.INPUT.TEXT",
        "moderation of the result": "FAILED SAFETY.INPUT.TEXT",
        "vendor_error": "FAILED INTERNAL.VENDOR_ERROR",
        "outcome_unknown": "FAILED INTERNAL.OUTCOME_UNKNOWN",
        "cancelled": "CANCELLED",
    }
    small = {"model": "seedance2", "ratio": "128:128", "duration": 1}
    forgets = True

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model": "gen4.5", "promptText": prompt, "ratio": "1280:720", "duration": seconds}
        path = "image_to_video" if picture else "text_to_video"
        return f"/runwayml/v1/{path}", body | given(promptImage=picture)

    def refusal(self, answer: Any) -> str:
        return str(answer["error"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/runwayml/v1/tasks/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        waiting = ("PENDING", "THROTTLED", "RUNNING")
        return told(answer["status"], waiting, "SUCCEEDED", (answer.get("output") or [""])[0], answer.get("failure"))

    def verdict(self, answer: Any) -> str:
        return f"{answer['status']} {answer.get('failureCode', '')}".strip()

    def cancel(self, task_id: str) -> requests.Response:
        return self.ask("DELETE", f"/runwayml/v1/tasks/{task_id}")


class RunwayWeb(Client):
    format, model, calls_back = "runway.web", "runway/gen4", False
    words = RunwayOfficial.words | {"cancelled": "CANCELLED INTERNAL.CANCELLED"}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        options = {"text_prompt": prompt, "seconds": seconds, **given(init_image=picture)}
        return "/runway/tasks", {"taskType": "gen4", "options": options}

    def id(self, answer: Any) -> str:
        return str(answer["task"]["id"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/runway/tasks/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        task = answer["task"]
        waiting = ("PENDING", "THROTTLED", "RUNNING")
        link = task["artifacts"][0]["url"] if task["artifacts"] else ""
        return told(task["status"], waiting, "SUCCEEDED", link, task["progressText"])

    def verdict(self, answer: Any) -> str:
        return f"{answer['task']['status']} {answer['task']['error']['reason']}"


class LumaOwn(Client):
    format, model, seconds = "luma", "luma/ray-2", (5, 9)
    words = dict.fromkeys(ENDINGS, "failed")
    small = {"aspect_ratio": "1:1", "resolution": "540p"}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"user_prompt": prompt, "aspect_ratio": "16:9", "duration": f"{seconds}s"}
        return "/luma/generations", body | given(notify_hook=hook, image_url=picture)

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/luma/generations/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        link = answer["video"]["download_url"] if answer["video"] else ""
        waiting = ("pending", "processing", "queued", "dreaming")
        return told(answer["state"], waiting, "completed", link, answer.get("failure_reason"))

    def verdict(self, answer: Any) -> str:
        return str(answer["state"])


class LumaOfficial(Client):
    format, model, seconds = "luma.official", "luma/ray-2", (5, 9)
    words = dict.fromkeys(ENDINGS, "failed")
    small = {"aspect_ratio": "1:1"}
    forgets = True

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": "ray-2", "prompt": prompt, "resolution": "540p", "duration": f"{seconds}s"}
        frames = {"frame0": {"type": "image", "url": picture}} if picture else {}
        return "/dream-machine/v1/generations/video", body | given(callback_url=hook, keyframes=frames)

    def refusal(self, answer: Any) -> str:
        return str(answer["detail"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/dream-machine/v1/generations/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        link = (answer["assets"] or {}).get("video", "")
        return told(answer["state"], ("queued", "dreaming"), "completed", link, answer.get("failure_reason"))

    def verdict(self, answer: Any) -> str:
        return str(answer["state"])

    def cancel(self, task_id: str) -> requests.Response:
        return self.ask("DELETE", f"/dream-machine/v1/generations/{task_id}")


class Kling(Client):
    format, model = "kling.videos/text2video", "kling/kling-v1"
    route: ClassVar[str] = "text2video"
    words = dict.fromkeys(ENDINGS, "failed")
    small = {"model_name": "kling-v3", "duration": "3"}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model_name": "kling-v1", "prompt": prompt, "duration": str(seconds)}
        return f"/kling/v1/videos/{self.route}", body | given(callback_url=hook)

    def id(self, answer: Any) -> str:
        return str(answer["data"]["task_id"])

    def refusal(self, answer: Any) -> str:
        return str(answer["message"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/kling/v1/videos/{self.route}/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        data = answer.get("data", answer)
        link = data.get("task_result", {}).get("videos", [{}])[0].get("url", "")
        return told(data["task_status"], ("submitted", "processing"), "succeed", link, data["task_status_msg"])

    def verdict(self, answer: Any) -> str:
        return str(answer.get("data", answer)["task_status"])


class KlingPictured(Kling):
    format, model = "kling.videos/image2video", "kling/kling-v1"
    route = "image2video"

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        path, body = super().wish(prompt, seconds, picture, hook)
        return path, body | {"image": picture}


class MiniMax(Client):
    format, model, seconds = "minimax.video", "minimax/MiniMax-Hailuo-02", (6, 10)
    small = {"resolution": "512P"}
    words = {
        "moderation": "fail 1026",
        "moderation of the result": "fail 1027",
        "vendor_error": "fail 1033",
        "outcome_unknown": "fail 1033",
        "cancelled": "fail 1000",
    }

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model": "MiniMax-Hailuo-02", "prompt": prompt, "duration": seconds}
        return "/minimax/v1/video_generation", body | given(callback_url=hook, first_frame_image=picture)

    def id(self, answer: Any) -> str:
        return str(answer["task_id"])

    def refusal(self, answer: Any) -> str:
        return str(answer["base_resp"]["status_msg"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/minimax/v1/query/video_generation?task_id={task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        waiting = ("preparing", "queueing", "processing")
        status, link = answer["status"].lower(), answer["file_id"]
        if status == "success":
            found = self.ask("GET", f"/minimax/v1/files/retrieve?file_id={link}").json()
            link = found["file"]["download_url"]
        return told(status, waiting, "success", link, answer["base_resp"]["status_msg"])

    def verdict(self, answer: Any) -> str:
        """A callback says `failed` where the query says `Fail`."""
        word = "fail" if answer["status"] == "failed" else answer["status"].lower()
        return f"{word} {answer['base_resp']['status_code']}"


class MiniMaxSecond(Client):
    format, model, seconds = "minimax.video_v2", "minimax/MiniMax-H3", tuple(range(4, 16))
    small = {"ratio": "1:1"}
    words = {
        "moderation": "failed 1026",
        "moderation of the result": "failed 1027",
        "vendor_error": "failed 1033",
        "outcome_unknown": "failed 1033",
        "cancelled": "cancelled 1000",
    }

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        frame = {"type": "image_url", "image_url": {"url": picture}, "role": "first_frame"}
        content = [{"type": "text", "text": prompt}, *([frame] if picture else [])]
        body = {"model": "MiniMax-H3", "content": content, "duration": seconds, "resolution": "768P"}
        return "/minimax/v2/video_generation", body | given(callback_url=hook)

    def id(self, answer: Any) -> str:
        return str(answer["task_id"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/minimax/v2/query/video_generation/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        task = answer["task"]
        reason = task.get("error", {}).get("message")
        return told(task["status"], ("queued", "running"), "succeeded", task.get("content", {}).get("url", ""), reason)

    def verdict(self, answer: Any) -> str:
        return f"{answer['task']['status']} {answer['task']['error']['code']}"


class PikaPro(Client):
    format, model = "pika.pro", "pika/2.2"
    words = dict.fromkeys(ENDINGS, "2, refund 1")
    small = {"ratio": "1:1"}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model": 2.2, "prompt": prompt, "duration": seconds}
        return "/pika/pro/generate", body | given(callback_url=hook, image=picture)

    def id(self, answer: Any) -> str:
        return str(answer["data"]["task_id"])

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "POST", "/pika/feed", {"task_id": task_id}

    def read(self, answer: Any) -> tuple[Word, str]:
        data = answer["data"]
        return told(data["status"], "01", "3", data["video_url"], data["msg"])

    def verdict(self, answer: Any) -> str:
        return f"{answer['data']['status']}, refund {answer['data']['refund']}"


class PikaWeb(Client):
    format, model, calls_back = "pika.web", "pika/2.2", False
    words = dict.fromkeys(ENDINGS, "error")
    small = {"options": {"aspectRatio": 1}}

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model": "2.2", "promptText": prompt, "duration": seconds}
        return "/pika/generate", body | given(image=picture)

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/pika/feed/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        [video] = answer["videos"]
        return told(video["status"], ("queued", "pending"), "finished", video["resultUrl"], video["error"])

    def verdict(self, answer: Any) -> str:
        return str(answer["videos"][0]["status"])


class OpenAI(Client):
    """genway's one door; it may name any model of any system."""

    format, model = "openai.videos", "kling/kling-v2-master"
    seconds = tuple(range(1, 11))
    words = {
        "moderation": "failed moderation_blocked",
        "moderation of the result": "failed moderation_blocked",
        "vendor_error": "failed vendor_error",
        "outcome_unknown": "failed outcome_unknown",
        "cancelled": "failed cancelled",
    }
    small = {"model": "local/animate", "seconds": "1", "size": "256x144"}
    forgets = True

    def wish(self, prompt: str, seconds: int, picture: str, hook: str) -> tuple[str, dict[str, Any]]:
        body = {"model": self.model, "prompt": prompt, "seconds": str(seconds), "size": "1280x720"}
        return "/v1/videos", body | given(callback_url=hook, input_reference=picture)

    def question(self, task_id: str) -> tuple[Any, ...]:
        return "GET", f"/v1/videos/{task_id}"

    def read(self, answer: Any) -> tuple[Word, str]:
        error = (answer["error"] or {}).get("message")
        return told(answer["status"], ("queued", "in_progress"), "completed", answer["url"] or "", error)

    def verdict(self, answer: Any) -> str:
        return f"{answer['status']} {answer['error']['code']}"

    def cancel(self, task_id: str) -> requests.Response:
        return self.ask("DELETE", f"/v1/videos/{task_id}")


def given(**fields: Any) -> dict[str, Any]:
    """Those of the fields that have a value."""
    return {name: value for name, value in fields.items() if value}


def merged(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the changes, also within its members."""
    inner = {name: merged(body[name], value) for name, value in changes.items() if isinstance(body.get(name), dict)}
    return {**body, **changes, **inner}


def told(word: str, waiting: str | tuple[str, ...], good: str, link: str, reason: str | None) -> tuple[Word, str]:
    """A format's word for a state, with what belongs to it."""
    if word == good:
        return "succeeded", link
    return ("running", "") if word in waiting else ("failed", reason or "")


# Formats of work on what there is already, of other results than videos, and of a vendor's ready-made effects.
OTHER_WORK = re.compile(
    r"minimax\.(template|image|music|lyrics|voice_\w+|speech\w*)|kling\.(audio|images|general)/.*"
    r"|kling\.videos/(avatar/.*|effects|.*lip-sync|motion-control|multi-.*|omni-video|video-extend|identify-face|image-recognize)"
)


def video_formats() -> set[str]:
    """The formats in which a new video is asked for, by the names that are stored with tasks."""
    found = {name for dialect in base.discover().values() for name in dialect.formats}
    return {name for name in found if not OTHER_WORK.fullmatch(name)}


_ALL: list[type[Client]] = [*Client.__subclasses__(), KlingPictured]
CLIENTS: Mapping[str, type[Client]] = {each.format: each for each in _ALL}
