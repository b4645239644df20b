"""A vendor and a receiver for the whole session, sites that are cleared away after each test, and stories in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from durability.stage import Receiver, Site, Vendor

MakeSite = Callable[..., Site]

STORIES_AT_ONCE = 5
STORIES = "test_crashes.py"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Wait for the stories last of all here: they are told while the other tests run."""
    here = [number for number, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[number] for number in here), key=lambda item: item.path.name == STORIES)
    for number, item in zip(here, ordered, strict=True):
        items[number] = item


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


@pytest.fixture(scope="session", autouse=True)
def telling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, vendor: Vendor, receiver: Receiver
) -> Iterator[Callable[[object], Future[None]]]:
    """Begins the chosen stories of crashes, a few at once; gives each one's outcome."""
    wanted = [item for item in request.session.items if item.path == Path(__file__).with_name(STORIES)]
    with ThreadPoolExecutor(STORIES_AT_ONCE) as pool:
        outcomes: dict[object, Future[None]] = {}
        for item in wanted:
            chosen, tell = item.callspec.params["chosen"], item.module.tell  # type: ignore[attr-defined]
            outcomes[chosen] = pool.submit(tell, chosen, tmp_path_factory.mktemp("story"), vendor, receiver)
        yield outcomes.__getitem__
        pool.shutdown(cancel_futures=True)


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
