"""The stand-in vendor itself: what other tests order from it must really happen."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest

from standins import samples
from standins.runway_vendor import KEY, KINDS, RunwayVendor, Settings

HEADERS = {"Authorization": f"Bearer {KEY}", "X-Runway-Version": "2024-11-06"}
BODY = {"model": "gen4_turbo", "promptImage": "https://example.com/a.jpg", "promptText": "a cat", "ratio": "1280:720"}


@pytest.fixture
async def vendor() -> AsyncIterator[RunwayVendor]:
    async with RunwayVendor(settings=Settings(steps=("SUCCEEDED",))) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def result(vendor: RunwayVendor, http: aiohttp.ClientSession) -> str:
    """The address of a finished task's video."""
    async with http.post(f"{vendor.url}/v1/image_to_video", json=BODY, headers=HEADERS) as response:
        task = (await response.json())["id"]
    async with http.get(f"{vendor.url}/v1/tasks/{task}", headers=HEADERS) as response:
        return str((await response.json())["output"][0])


async def test_a_result_is_a_video_that_plays(vendor: RunwayVendor, http: aiohttp.ClientSession) -> None:
    async with http.get(await result(vendor, http)) as response:
        assert response.content_type == "video/mp4"
        content = await response.read()
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == samples.FRAMES
    assert content.index(b"moov") < content.index(b"mdat"), "faststart"


async def test_a_result_may_break_off(vendor: RunwayVendor, http: aiohttp.ClientSession) -> None:
    vendor.fault("truncated")
    async with http.get(await result(vendor, http)) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_result_may_be_something_else(vendor: RunwayVendor, http: aiohttp.ClientSession) -> None:
    vendor.fault("wrong_type")
    async with http.get(await result(vendor, http)) as response:
        assert (await response.read()).startswith(b"<html>")


async def test_a_slow_result_comes_in_the_end(vendor: RunwayVendor, http: aiohttp.ClientSession) -> None:
    vendor.fault("slow_result")
    async with http.get(await result(vendor, http)) as response:
        await asyncio.wait_for(vendor.waiting.wait(), 5)
        vendor.release()
        assert await response.read() == samples.clip()


@pytest.mark.parametrize(
    ("headers", "changes", "status", "said"),
    [
        ({"Authorization": "Bearer key_bad"}, {}, 401, "Unauthorized"),
        ({"X-Runway-Version": "2023-01-01"}, {}, 400, "X-Runway-Version"),
        ({}, {"ratio": "16:9"}, 400, "ratio"),
        ({}, {"duration": 11}, 400, "duration"),
        ({}, {"promptImage": "http://example.com/a.jpg"}, 400, "HTTPS"),
        ({}, {"promptImage": [{"uri": "https://example.com/a.jpg", "position": "last"}]}, 400, "position"),
        ({}, {"promptText": ""}, 400, "promptText"),
        ({}, {"bogus": 1}, 400, "bogus"),
        ({}, {"model": "upscale_v1"}, 400, "model"),
    ],
)
async def test_the_official_api_is_strict(
    headers: dict[str, str], changes: dict[str, Any], status: int, said: str, vendor: RunwayVendor, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{vendor.url}/v1/image_to_video", json=BODY | changes, headers=HEADERS | headers) as response:
        assert response.status == status
        assert said in (await response.json())["error"]
    assert vendor.accepted == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "x", "ratio": "1:1"}, "16:9 and 9:16 only"),
        ({"prompt": "x", "options": {"seconds": 7}}, "seconds"),
        (
            {"prompt": "x", "options": {"motion_vector": {"x": 11, "y": 0, "z": 0, "r": 0, "bg_x_pan": 0, "bg_y_pan": 0}}},
            "motion_vector",
        ),
        ({}, "prompt"),
    ],
)
async def test_the_pages_dialect_checks_what_the_page_says(
    body: dict[str, Any], said: str, vendor: RunwayVendor, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{vendor.url}/runway/pro/generate", json=body, headers={"Authorization": KEY}) as response:
        answer = await response.json()
    assert (response.status, answer["code"], answer["data"]) == (400, 400, None)
    assert said in answer["msg"]


async def test_tasks_advance_with_time_where_that_is_asked_for(vendor: RunwayVendor, http: aiohttp.ClientSession) -> None:
    vendor.settings = Settings(steps=("PENDING", "SUCCEEDED"), step_seconds=1000)
    async with http.post(f"{vendor.url}/v1/image_to_video", json=BODY, headers=HEADERS) as response:
        task = (await response.json())["id"]
    states = []
    for age in (0, 0, 1000):
        vendor.tasks[task].created -= age
        async with http.get(f"{vendor.url}/v1/tasks/{task}", headers=HEADERS) as response:
            states.append((await response.json())["status"])
    assert states == ["PENDING", "PENDING", "SUCCEEDED"]


async def test_as_a_process_of_its_own_it_takes_orders_over_http(http: aiohttp.ClientSession) -> None:
    tests = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "standins.runway_vendor", "--key", "key_other"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tests)},
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        orders = [("faults", {"kind": "lost", "match": "cat"}), ("settings", {"steps": ["RUNNING"], "credits": 3})]
        for path, body in orders:
            async with http.post(f"{url}/_admin/{path}", json=body) as response:
                assert response.status == 200
        async with http.post(f"{url}/_admin/faults", json={"kind": "earthquake"}) as response:
            assert response.status == 400
        headers = HEADERS | {"Authorization": "Bearer key_other"}
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.post(f"{url}/v1/image_to_video", json=BODY, headers=headers)
        async with http.post(f"{url}/v1/image_to_video", json=BODY | {"promptText": "vendor:throttled"}, headers=headers) as r:
            assert (r.status, r.headers["Retry-After"]) == (429, "7")
        async with http.get(f"{url}/_admin/submits", params={"prompt": "cat"}) as response:
            seen = await response.json()
        assert (len(seen["submits"]), seen["accepted"]) == (1, 1)
        assert seen["submits"][0]["body"] == BODY
    finally:
        process.terminate()
        await process.wait()


def test_a_fault_that_does_not_exist_cannot_be_ordered() -> None:
    with pytest.raises(ValueError, match="earthquake"):
        RunwayVendor().fault("earthquake")
    assert "lost" in KINDS
