"""A stand-in vendor and everything a provider needs to speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from genway.operations import AnyOperation
from genway.providers.base import ChannelSettings, Provider, Submission
from standins.files import FakeFiles
from standins.runway_vendor import KEY, RunwayVendor


@pytest.fixture
async def vendor() -> AsyncIterator[RunwayVendor]:
    async with RunwayVendor() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def make(vendor: RunwayVendor, http: aiohttp.ClientSession) -> Callable[..., Provider]:
    """A provider whose channel leads to the stand-in: `make(Runwayml, secret="…")`."""

    def build(kind: type[Provider], **settings: object) -> Provider:
        defaults: dict[str, object] = {"name": "a channel", "base_url": vendor.url, "secret": KEY, "timeout": 5.0}
        return kind(ChannelSettings(**(defaults | settings)), http)  # type: ignore[arg-type]

    return build


@pytest.fixture
def handed_in() -> Callable[..., Submission]:
    """The submission of an operation to a provider, with files that can be looked at."""

    def build(provider: Provider, operation: AnyOperation, files: FakeFiles | None = None, model: str = "") -> Submission:
        vendor_model = model or provider.models.get(operation.model, operation.model)
        return Submission("task-1", "reference-1", operation, vendor_model, files or FakeFiles())

    return build
