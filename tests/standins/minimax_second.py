"""MiniMax's second format, `/v2/…`: what a body may be, and how tasks and errors are told of."""

from __future__ import annotations

from typing import Any

from aiohttp import web

MODELS = {"MiniMax-H3": ({"768P", "2K"}, 4), "MiniMax-H3-Max": ({"480P", "768P"}, 5)}
RATIOS = {"adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"}
FIELDS = {"model", "content", "resolution", "duration", "ratio", "callback_url", "aigc_watermark"}
ROLES = {
    "image_url": {"first_frame", "last_frame", "reference_image"},
    "video_url": {"reference_video"},
    "audio_url": {"reference_audio"},
}
MOST = {"first_frame": 1, "last_frame": 1, "reference_image": 9, "reference_video": 3, "reference_audio": 3}
STATUS = {"Preparing": "queued", "Queueing": "queued", "Processing": "running", "Success": "succeeded"}
HTTP = {1002: 429, 1004: 401, 1008: 402, 1039: 429, 2045: 429, 2049: 401, 1000: 500, 1001: 500, 1013: 500, 1033: 500}


def wrong(body: Any) -> str | None:
    """The first field that is wrong, or None."""
    if unknown := sorted(set(body) - FIELDS):
        return unknown[0]
    if body.get("model") not in MODELS:
        return "model"
    resolutions, least = MODELS[body["model"]]
    if body.get("resolution", "768P") not in resolutions:
        return "resolution"
    duration = body.get("duration", 5)
    if not isinstance(duration, int) or not least <= duration <= 15:
        return "duration"
    return _wrong_content(body)


def _wrong_content(body: Any) -> str | None:
    roles = []
    for part in body.get("content", []):
        if part["type"] == "text":
            if not isinstance(part["text"], str) or len(part["text"]) > 7000:
                return "text"
            continue
        url = part[part["type"]]["url"]
        if part.get("role") not in ROLES[part["type"]] or not url.startswith(("http://", "https://", "data:")):
            return "role"
        roles.append(part["role"])
    framed, loose = {"first_frame", "last_frame"} & set(roles), set(roles) - {"first_frame", "last_frame"}
    bad = any(roles.count(role) > most for role, most in MOST.items()) or (framed and loose) or framed == {"last_frame"}
    if bad or loose == {"reference_audio"} or not (roles or prompt(body)):
        return "content"
    ratio = body.get("ratio", "adaptive")
    return "ratio" if ratio not in RATIOS or (not roles and ratio == "adaptive") else None


def prompt(body: Any) -> str:
    """The text of a body."""
    return " ".join(str(part.get("text", "")) for part in body.get("content", ()) if part.get("type") == "text")


def refusal(code: int, said: str) -> web.Response:
    """An error, with the code at the end of its words."""
    status = HTTP.get(code, 400)
    error = {"type": "bad_request_error", "message": f"{said} ({code})", "http_code": str(status)}
    return web.json_response({"type": "error", "error": error, "request_id": "0685"}, status=status)


def told(task_id: str, body: Any, status: str, url: str, reason: tuple[int, str] | None) -> dict[str, Any]:
    """A task as a query tells it."""
    seconds = body.get("duration", 5)
    row: dict[str, Any] = {"id": task_id, "model": body["model"], "status": "failed" if reason else STATUS[status]}
    row |= {
        "resolution": body.get("resolution"),
        "duration": seconds,
        "ratio": body.get("ratio"),
        "created_at": 1,
        "updated_at": 2,
    }
    if reason:
        row["error"] = {"code": str(reason[0]), "message": reason[1]}
    elif status == "Success":
        row["content"] = {"url": url} if url else {}
        row["usage"] = {"total_seconds": seconds, "input_seconds": 0, "output_seconds": seconds}
    return {"task": row}
