"""Work that comes in at one door and is done by Pika: at fal.ai's stand-in, and by a second gateway in Pika's own formats."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from running import Running, start_server
from standins.pika_vendor import KEY, PikaVendor

TIMEOUT = 60
PICTURE = "https://example.com/a.jpg"


@contextmanager
def gateway(data: Path, provider: str, address: str, secret: str, *options: str) -> Iterator[Running]:
    """A gateway with one channel, which the operator added before it was started."""
    command = [sys.executable, "-m", "genway", "channel", "add", "--provider", provider, "--base-url", address]
    arguments = [*command, "--secret-env", "SECRET", *(f"--option={option}" for option in options), "--data", str(data)]
    environ = {**os.environ, "SECRET": secret}
    done = subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    with start_server(data) as running:
        yield running


def made(own: Running, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The task that a request begins, once it has ended."""
    headers = {"Authorization": f"Bearer {own.key}", "Prefer": "wait=50"}
    answer = requests.post(f"{own.url}{path}", json=body, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    content = answer.json()
    task_id = content.get("id") or content["data"]["task_id"]
    return dict(requests.get(f"{own.url}/v1/tasks/{task_id}", headers=headers, timeout=TIMEOUT).json())


async def test_every_door_leads_to_fal(tmp_path: Path) -> None:
    def work(vendor: PikaVendor) -> None:
        with gateway(tmp_path, "pika", vendor.url, KEY) as own:
            wanted = {"model": "pika/2.2", "prompt": "a wave", "seconds": 5}
            asked = [
                ("/v1/videos", wanted),
                ("/pika/pro/generate", {"prompt": "a wave", "model": 2.2}),
                ("/pika/generate", {"pikaffect": "Melt", "image": PICTURE}),
            ]
            with ThreadPoolExecutor() as pool:
                tasks = list(pool.map(lambda each: made(own, *each), asked))
            assert [(task["state"], task["provider"]) for task in tasks] == [("succeeded", "pika")] * 3
            routes = [submit.path.rpartition("/")[2] for submit in vendor.accepted]
            assert sorted(routes) == ["pikaffects", "text-to-video", "text-to-video"]
            body = {"prompt": "a wave", "model": 2.2, "sfx": True}
            refused = own.post("/pika/pro/generate", body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_channel")
            headers = {"Authorization": f"Bearer {own.key}", "X-Genway-Lenient": "1"}
            lenient = requests.post(f"{own.url}/pika/pro/generate", json=body, headers=headers, timeout=TIMEOUT)
            assert lenient.status_code == 200

    async with PikaVendor() as vendor:
        vendor.steps = 1
        await asyncio.to_thread(work, vendor)


@pytest.mark.parametrize(
    ("form", "prompt", "state", "code"),
    [("pro", "a wave", "succeeded", None), ("mirror", "genway:fail=moderation", "failed", "moderation")],
)
def test_a_second_gateway_does_the_work_in_pika_s_formats(
    form: str, prompt: str, state: str, code: str | None, tmp_path: Path, gateway_server: Any
) -> None:
    with gateway(tmp_path, "pika_compat", gateway_server.url, gateway_server.test_key, f"format={form}") as own:
        body = {"prompt": prompt, "model": 1.5, "options": {"camera": {"zoom": "in"}}}
        task = made(own, "/pika/pro/generate", body)
    assert (task["state"], task["provider"], (task["error"] or {}).get("code")) == (state, "pika_compat", code)
    assert [file["content_type"] for file in task["files"]][:1] == (["video/mp4"] if state == "succeeded" else [])
