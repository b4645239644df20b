"""Vendors that can call back are told where, and only when there is such an address."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from genway import providers
from genway.operations import EffectRequest, MediaRef, Operation, VideoRequest
from genway.providers.base import ChannelSettings, Submission, Submitted
from standins.files import FakeFiles

ADDRESS = "https://gen.example.com/vendor/t-1/abc"
ANSWERS: dict[str, Any] = {
    "luma": {"id": "x"},
    "kling": {"code": 0, "data": {"task_id": "1"}},
    "minimax": {"task_id": "1", "base_resp": {"status_code": 0}},
    "pika": {"request_id": "r-1", "status_url": "https://queue.fal.run/fal-ai/pika/requests/r-1/status"},
}
MODELS = {
    "luma": "luma/ray-2",
    "kling": "kling/kling-v1-6",
    "minimax": "minimax/MiniMax-Hailuo-02",
    "pika": "pika/2.2",
}


@pytest.mark.parametrize("callback_url", [ADDRESS, ""])
@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_the_vendor_is_told_where_to_call(name: str, callback_url: str) -> None:
    seen: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((dict(request.query), await request.json()))
        return web.json_response(ANSWERS[name])

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        kind = providers.discover()[name]
        provider = kind(ChannelSettings(name=name, base_url=str(server.make_url("")).rstrip("/"), secret="a:b"), http)
        model = MODELS[name]
        operation = VideoRequest(model=model, prompt="a cat", seconds=6 if name == "minimax" else 5)
        submission = Submission("t", "t-1", operation, provider.models[model], FakeFiles(), callback_url=callback_url)
        await provider.submit(submission)
    [(query, body)] = seen
    told = query.get("fal_webhook") if name == "pika" else body.get("callback_url")
    assert told == (callback_url or None)


def request(model: str) -> VideoRequest:
    return VideoRequest(model=model, prompt="a cat")


EFFECT = EffectRequest(model="minimax/template", effect="rings", pictures=(MediaRef(url="https://a.example/1.png"),))


@pytest.mark.parametrize(
    ("name", "operation", "body", "vendor_id"),
    [
        ("luma", request("luma/ray-2"), {"id": "x", "state": "dreaming"}, "x"),
        ("minimax", request("minimax/MiniMax-Hailuo-02"), {"task_id": "115", "status": "processing"}, "video:115"),
        ("minimax", EFFECT, {"task_id": 115, "status": "processing"}, "template:115"),
        ("minimax", request("minimax/MiniMax-H3"), {"task": {"id": "115", "status": "running"}}, "v2:115"),
        ("minimax", request("minimax/MiniMax-H3"), {"task_id": "115", "status": "running"}, "v2:115"),
        ("minimax_compat", request("minimax/MiniMax-Hailuo-02"), {"task_id": "01a2-b", "status": "success"}, "video:01a2-b"),
        ("pika", request("pika/2.2"), {"request_id": "r-1", "status": "OK", "payload": {}}, "fal-ai/pika/requests/r-1"),
        ("pika", request("pika/2.2"), {"request_id": "r-1", "status": "ERROR", "error": "x"}, "fal-ai/pika/requests/r-1"),
    ],
)
def test_a_vendors_call_names_the_work_as_its_answer_would_have(
    name: str, operation: Operation, body: Any, vendor_id: str
) -> None:
    provider = providers.discover()[name](ChannelSettings(name=name, secret="a:b"), None)  # type: ignore[arg-type]
    assert provider.from_callback(operation, body) == Submitted(vendor_id)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [None, [], "text", {}, {"challenge": "a"}, {"task_id": ""}, {"request_id": "../x", "id": 7}])
@pytest.mark.parametrize("name", ["luma", "minimax", "pika"])
def test_a_call_that_names_nothing_finds_nothing(name: str, body: Any) -> None:
    provider = providers.discover()[name](ChannelSettings(name=name, secret="a:b"), None)  # type: ignore[arg-type]
    assert provider.from_callback(request(MODELS[name]), body) is None
