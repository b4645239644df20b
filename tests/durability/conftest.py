"""A vendor and a receiver for the whole session, and sites that are cleared away after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durability.stage import Receiver, Site, Vendor

MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def vendor() -> Iterator[Vendor]:
    running = Vendor()
    yield running
    running.close()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    listening = Receiver()
    yield listening
    listening.close()


@pytest.fixture
def make_site(tmp_path: Path, receiver: Receiver) -> Iterator[MakeSite]:
    """Makes sites: `make_site({"runwayml": vendor.url}, tasks_lease_seconds=2)`."""
    made: list[Site] = []

    def make(channels: dict[str, str] | None = None, **settings: Any) -> Site:
        folder = tmp_path / f"site-{len(made)}"
        folder.mkdir()
        made.append(Site(folder, receiver, channels or {}, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()
