"""How clients of the video systems speak to a gateway: one plain text-to-video of each, its query, its link, its callback."""

from __future__ import annotations

from typing import Any, NamedTuple

from standins import kling_vendor, luma_vendor, minimax_vendor, pika_vendor, runway_vendor

SECRETS = {
    "runwayml": runway_vendor.KEY,
    "runway_compat": runway_vendor.KEY,
    "luma": luma_vendor.KEY,
    "kling": f"{kling_vendor.ACCESS}:{kling_vendor.SECRET}",
    "minimax": minimax_vendor.KEY,
    "pika": pika_vendor.KEY,
}
WORKING = frozenset({"0", "1", "queued", "dreaming", "pending", "processing", "submitted", "in_progress", "preparing"})
SUCCEEDED = frozenset({"3", "completed", "succeed", "success"})
FAILED = frozenset({"2", "failed", "fail"})

Keys = tuple[str | int, ...]


class System(NamedTuple):
    """One wire format and who does its work.

    provider: whose model `body` names. prompt: the field that has it. task_id, status: where an answer to a submit, and a
    query, have them; told: where a callback has the status, if elsewhere. calls_back: whether the format knows callbacks.
    way: requests from the task's id to the file, each an address with the last value, and where its answer has the next; the
    first is the query.
    """

    name: str
    provider: str
    path: str
    body: dict[str, Any]
    prompt: str
    task_id: Keys
    status: Keys
    way: tuple[tuple[str, Keys], ...]
    told: Keys = ()
    calls_back: bool = True

    def request(self, prompt: str, callback_url: str) -> dict[str, Any]:
        """The body of a submit."""
        told = {"callback_url": callback_url} if self.calls_back else {}
        return {**self.body, self.prompt: prompt, **told}

    def outcome(self, callback: Any) -> bool | None:
        """Whether the task that a callback tells of has succeeded; None while it has not ended."""
        word = str(at(callback, self.told or self.status)).lower()
        assert word in WORKING | SUCCEEDED | FAILED, f"{self.name} has no status {word}"
        return None if word in WORKING else word in SUCCEEDED


def at(value: Any, keys: Keys) -> Any:
    """What is found by these keys, one after the other."""
    for key in keys:
        value = value[key]
    return value


PAGE_TASK, PAGE_STATUS, PAGE_VIDEO = ("data", "task_id"), ("data", "status"), ("data", "video_url")

SYSTEMS = {
    system.name: system
    for system in (
        System(
            *("runway", "runway_compat", "/runway/pro/generate"),
            {"model": "gen2", "ratio": "16:9", "options": {"seconds": 5}},
            *("prompt", PAGE_TASK, PAGE_STATUS),
            (("/runway/feed?task_id={}", PAGE_VIDEO),),
        ),
        System(
            *("runway.official", "runwayml", "/runway/pro/generate"),
            {"model": "gen4.5", "ratio": "16:9", "options": {"seconds": 5}},
            *("prompt", PAGE_TASK, PAGE_STATUS),
            (("/runway/feed?task_id={}", PAGE_VIDEO),),
        ),
        System(
            *("luma", "luma", "/luma/generations"),
            {"aspect_ratio": "16:9", "model": "ray-2"},
            *("user_prompt", ("id",), ("state",)),
            (("/luma/generations/{}", ("video", "download_url")),),
        ),
        System(
            *("luma.official", "luma", "/dream-machine/v1/generations/video"),
            {"model": "ray-2", "resolution": "720p", "duration": "5s"},
            *("prompt", ("id",), ("state",)),
            (("/dream-machine/v1/generations/{}", ("assets", "video")),),
        ),
        System(
            *("kling", "kling", "/kling/v1/videos/text2video"),
            {"model_name": "kling-v2-master", "duration": "5"},
            *("prompt", PAGE_TASK, ("data", "task_status")),
            (("/kling/v1/videos/text2video/{}", ("data", "task_result", "videos", 0, "url")),),
            ("task_status",),
        ),
        System(
            *("minimax", "minimax", "/v1/video_generation"),
            {"model": "MiniMax-Hailuo-02", "duration": 6, "resolution": "768P"},
            *("prompt", ("task_id",), ("status",)),
            (
                ("/v1/query/video_generation?task_id={}", ("file_id",)),
                ("/v1/files/retrieve?file_id={}", ("file", "download_url")),
            ),
        ),
        System(
            *("pika", "pika", "/pika/pro/generate"),
            {"model": "2.2"},
            *("prompt", PAGE_TASK, PAGE_STATUS),
            (("/pika/feed?task_id={}", PAGE_VIDEO),),
        ),
        System(
            *("openai", "luma", "/v1/videos"),
            {"model": "luma/ray-2"},
            *("prompt", ("id",), ("status",)),
            (("/v1/videos/{}", ("id",)), ("/v1/videos/{}/content", ())),
        ),
    )
}
