from __future__ import annotations

from collections.abc import Iterator

import pytest

from running import Running, start_server


@pytest.fixture(scope="session")
def gateway_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A real gateway with an empty data folder, over a real socket: `.url`, `.key` (live), `.test_key`."""
    with start_server(tmp_path_factory.mktemp("gateway")) as running:
        yield running
