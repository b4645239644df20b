"""The same promises on PostgreSQL, where several machines serve and one takes over from another by its lease."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from durability.conftest import MakeSite
from durability.crashing_server import Kill
from durability.stage import TEST, Site, Vendor, Work, local_work, official_work, page_work
from genway.server import free_port

LEASE = 1.5
SECRET = "a secret that both machines were given by the operator"


@pytest.fixture
def site(make_site: MakeSite, vendor: Vendor, postgresql_url: str, tmp_path: Path) -> Site:
    """Its links are those of the second machine, as of a proxy in front of both."""
    return make_site(
        {"runwayml": vendor.url, "runway_compat": vendor.url},
        server_public_url=f"http://127.0.0.1:{free_port('127.0.0.1')}",
        database_url=postgresql_url,
        security_secret_key=SECRET,
        storage_url=(tmp_path / "media").as_uri(),
        tasks_lease_seconds=LEASE,
        callbacks_timeout_seconds=0.5,
    )


def _serve_second(site: Site, **settings: Any) -> str:
    """Another machine: its own data folder, the same database; its address."""
    url = site.config.server.public_url
    site.serve(data=site.folder / "second", server_port=url.rpartition(":")[2], **settings)
    return url


def _works(words: str, number: int) -> list[Work]:
    works = [official_work(f"{words} official {one:02}") for one in range(number)]
    works += [page_work(f"{words} page {one:02}") for one in range(number)]
    return [*works, local_work(f"{words} rendered", key=TEST), local_work(f"{words} genway:fail=vendor", key=TEST)]


@pytest.mark.parametrize("point", ["running.committed", "ending.before_commit"])
def test_another_machine_takes_over_from_one_that_was_killed(point: str, site: Site, vendor: Vendor) -> None:
    first = site.serve(Kill(point, 3))
    works = _works(f"taken over at {point}", 3)
    known = {work: task_id for work in works if (task_id := site.accepted(work))}
    assert first.exit_code() == -signal.SIGKILL
    site.url = _serve_second(site)
    for work in works:
        known.setdefault(work, str(site.accepted(work)))
    for row in site.check(vendor, known):
        assert row.state == "succeeded" or row.error_code in ("outcome_unknown", "vendor_error")


def test_two_machines_share_the_work_of_a_crowd(site: Site, vendor: Vendor) -> None:
    site.serve(tasks_lease_seconds=30)
    _serve_second(site, tasks_lease_seconds=30)
    works = _works("a crowd on two machines", 30)
    with ThreadPoolExecutor(16) as pool:
        known = dict(zip(works, map(str, pool.map(site.accepted, works)), strict=True))
    rows = {row.id: row for row in site.check(vendor, known)}
    for work, task_id in known.items():
        assert rows[task_id].error_code == ("vendor_error" if "genway:fail" in work.prompt else None)
