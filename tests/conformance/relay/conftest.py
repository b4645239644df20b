from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.relay.stage import EVERY, Target, Vendors, direct, gateway, through
from running import Running
from standins.anthropic_vendor import AnthropicVendor
from standins.openai_vendor import OpenAIVendor


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
