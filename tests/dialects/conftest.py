from __future__ import annotations

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FakeGateway, client_of
from genway.dialects.runway import dialect


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture(scope="session")
def application() -> Iterator[TestClient[Litestar]]:
    """One for all tests: starting it takes longer than most of them."""
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def client(application: TestClient[Litestar], gateway: FakeGateway) -> TestClient[Litestar]:
    application.app.state.gateway = gateway
    return application
