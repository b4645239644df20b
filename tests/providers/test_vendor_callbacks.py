"""Vendors that can call back are told where, and only when there is such an address."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from genway import providers
from genway.operations import VideoRequest
from genway.providers.base import ChannelSettings, Submission
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
