"""A client of Kling, a gateway, and the stand-in vendor behind it, over sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from genway.cli.place import Place
from genway.routing.channels import Channel, add_channel
from running import Running, start_server
from standins.kling_vendor import ACCESS, SECRET, KlingVendor

PRIVATE = {"GENWAY_MEDIA_ALLOW_PRIVATE": "127.0.0.0/8"}
V1 = "/kling/v1/videos"


class Chain:
    """The three of them: the vendor, the gateway, and a client with the live key that takes callbacks."""

    def __init__(self, vendor: KlingVendor, server: Running, http: aiohttp.ClientSession) -> None:
        self.vendor, self.server, self.http = vendor, server, http

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.server.key}", "Prefer": "wait=60"}
        async with self.http.request(method, self.server.url + path, json=body, headers=headers) as response:
            return await response.json()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Chain]:
    async with KlingVendor() as vendor, aiohttp.ClientSession() as http:
        with Place(data=tmp_path).open() as opened:
            channel = Channel(id="", name="kling", provider="kling", base_url=vendor.url)
            pair = f"{ACCESS}:{SECRET}"
            opened.write(lambda connection: add_channel(connection, opened.vault, channel, pair, time.time()).name)
        starting = start_server(tmp_path, **PRIVATE)
        server = await asyncio.to_thread(starting.__enter__)
        try:
            yield Chain(vendor, server, http)
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest.fixture
async def hook() -> AsyncIterator[tuple[str, list[dict[str, Any]], asyncio.Event]]:
    """Where callbacks go: its address, what came, and an event for the last of them."""
    seen: list[dict[str, Any]] = []
    ended = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        seen.append({**await request.json(), "signed": "webhook-signature" in request.headers})
        if seen[-1]["task_status"] in {"succeed", "failed"}:
            ended.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", seen, ended
    await runner.cleanup()


async def test_a_video_is_made_told_of_and_made_longer_by_the_vendor(
    place: Chain, hook: tuple[str, list[dict[str, Any]], asyncio.Event]
) -> None:
    address, seen, ended = hook
    control = {"type": "simple", "config": {"zoom": 5}}
    body = {"prompt": "a boat", "camera_control": control, "callback_url": address, "external_task_id": "mine"}
    made = (await place.ask("POST", f"{V1}/text2video", body))["data"]
    assert made["task_status"] == "succeed", made
    path, sent = place.vendor.submits[0]
    assert (path, sent["camera_control"]["config"]["zoom"]) == ("videos/text2video", 5)
    assert sent["external_task_id"] != "mine"
    video = made["task_result"]["videos"][0]
    async with place.http.get(video["url"]) as file:
        assert b"ftyp" in (await file.read())[:16]
    async with asyncio.timeout(30):
        await ended.wait()
    assert seen[-1]["task_info"] == {"external_task_id": "mine"}
    assert seen[-1]["signed"]

    longer = (await place.ask("POST", f"{V1}/video-extend", {"video_id": video["id"], "prompt": "on"}))["data"]
    assert longer["task_status"] == "succeed", longer
    assert longer["task_info"]["parent_video"]["id"] == video["id"]
    vendors_own = next(iter(place.vendor.tasks))
    assert place.vendor.submits[1][1]["video_id"] == f"v-{vendors_own}"

    unfit = await place.ask("POST", f"{V1}/text2video", {"prompt": "a boat", "sound": "on"})
    assert (unfit["code"], unfit["message"]) == (1203, "model: no channel can do this: kling: kling-v1 makes no sound")
    assert len(place.vendor.submits) == 2
