"""The worked example of `docs/adding-a-provider.md`: the same in the text as on disk, found by its entry point, and at work."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from genway.operations import MediaRef, RestyleRequest, Size, VideoRequest
from genway.providers import ENTRY_POINTS, discover
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    Provider,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorLost,
)
from standins.files import FakeFiles

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "acme_provider"


@pytest.mark.parametrize("page", ["docs/adding-a-provider.md", "docs/zh/adding-a-provider.md"])
@pytest.mark.parametrize(("language", "file"), [("python", "acme_provider.py"), ("toml", "pyproject.toml")])
def test_the_page_shows_the_example_as_it_is(page: str, language: str, file: str) -> None:
    [shown] = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert shown == (EXAMPLE / file).read_text("utf-8")


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Provider]]:
    """The example's class, installed as pip leaves it: the module and a dist-info with its entry points."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    installed = tmp_path / f"acme_provider-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {target}" for name, target in project["entry-points"][ENTRY_POINTS].items()]
    (installed / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *points, ""]))
    shutil.copy(EXAMPLE / "acme_provider.py", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    discover.cache_clear()
    yield discover()["acme"]
    discover.cache_clear()


class AcmeVideo:
    """The vendor."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.state: dict[str, Any] = {"state": "waiting"}
        self.status = 200

    async def create(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("X-Acme-Key"))
        if self.status == 200:
            self.jobs.append(await request.json())
        return web.json_response({"job": f"job-{len(self.jobs)}"}, status=self.status)

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(self.state, status=self.status)

    async def look_up(self, request: web.Request) -> web.Response:
        numbers = [number for number, job in enumerate(self.jobs, 1) if job["reference"] == request.query["reference"]]
        return web.json_response({"jobs": [{"job": f"job-{number}"} for number in numbers]})

    async def delete(self, _: web.Request) -> web.Response:
        self.jobs.clear()
        return web.Response(status=204)


@pytest.fixture
async def vendor() -> AsyncIterator[tuple[AcmeVideo, str]]:
    acme, app = AcmeVideo(), web.Application()
    app.add_routes(
        [
            web.post("/v1/jobs", acme.create),
            web.get("/v1/jobs", acme.look_up),
            web.get("/v1/jobs/{job}", acme.show),
            web.delete("/v1/jobs/{job}", acme.delete),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield acme, f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture
async def provider(acme: type[Provider], vendor: tuple[AcmeVideo, str]) -> AsyncIterator[Provider]:
    async with aiohttp.ClientSession() as http:
        yield acme(ChannelSettings("ours", vendor[1], "acme-secret", timeout=5), http)


def request(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "acme/one", "prompt": "a cat", "seconds": 8, "size": Size(720, 1280), **changes})


def handed_in(operation: VideoRequest) -> Submission:
    return Submission("task-1", "reference-1", operation, "acme-1", FakeFiles({"med_1": 10}))


async def test_the_example_does_the_work(provider: Provider, vendor: tuple[AcmeVideo, str]) -> None:
    acme, _ = vendor
    picture = MediaRef(media_id="med_1")
    assert provider.refusal(request(first_frame=picture)) is None
    submitted = await provider.submit(handed_in(request(first_frame=picture)))
    assert submitted == Submitted("job-1")
    assert acme.jobs == [
        {
            "engine": "acme-1",
            "text": "a cat",
            "length": 8,
            "shape": "9:16",
            "reference": "reference-1",
            "image": "data:image/png;base64,med_1",
        }
    ]
    assert acme.keys == {"acme-secret"}
    assert await provider.check("job-1") == Running()
    acme.state = {"state": "working", "percent": 40}
    assert await provider.check("job-1") == Running(0.4)
    acme.state = {"state": "done", "video": "https://cdn.acme.example/1.mp4"}
    assert await provider.check("job-1") == Finished((ResultFile("video", url="https://cdn.acme.example/1.mp4"),))


@pytest.mark.parametrize(("reason", "code"), [("unsafe", "moderation"), ("tired", "vendor_error")])
async def test_the_example_tells_a_failure(reason: str, code: str, provider: Provider, vendor: tuple[AcmeVideo, str]) -> None:
    vendor[0].state = {"state": "failed", "reason": reason, "text": "no"}
    assert await provider.check("job-1") == Failed(code, "no")


@pytest.mark.parametrize(
    ("status", "on_submit", "on_poll"),
    [
        (429, VendorBusy, VendorBusy),
        (500, OutcomeUnknown, VendorDown),
        (503, VendorDown, VendorDown),
        (404, VendorDown, VendorLost),
    ],
)
async def test_the_example_names_every_outcome(
    status: int, on_submit: type[Exception], on_poll: type[Exception], provider: Provider, vendor: tuple[AcmeVideo, str]
) -> None:
    vendor[0].status = status
    with pytest.raises(on_submit):
        await provider.submit(handed_in(request()))
    with pytest.raises(on_poll):
        await provider.check("job-1")


async def test_the_example_finds_a_submit_whose_answer_was_lost(provider: Provider, vendor: tuple[AcmeVideo, str]) -> None:
    assert await provider.find("reference-1") is None
    await provider.submit(handed_in(request()))
    assert await provider.find("reference-1") == Submitted("job-1")
    await provider.cancel("job-1")
    assert vendor[0].jobs == []


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (request(seconds=5), "acme makes 4 or 8 seconds, got 5"),
        (request(size=Size(512, 512)), "acme makes 16:9 and 9:16, got 512x512"),
        (request(last_frame=MediaRef(media_id="med_1")), "acme takes no picture to end with"),
        (request(model="acme/two"), "acme has no model acme/two"),
        (RestyleRequest(model="acme/one", video=MediaRef(media_id="med_1")), "acme does not do restyle"),
    ],
)
def test_the_example_says_what_it_cannot_do(operation: Any, reason: str, provider: Provider) -> None:
    assert provider.refusal(operation) == reason
