"""Several processes on one port and one data folder."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import requests

from durability.conftest import MakeSite
from durability.crashing_server import lives
from durability.stage import DEADLINE, TEST, Site, Vendor, Work, local_work, official_work, page_work, until


def _works(words: str, number: int) -> list[Work]:
    works = [official_work(f"{words} official {one:02}") for one in range(number)]
    works += [page_work(f"{words} page {one:02}") for one in range(number)]
    return [*works, local_work(f"{words} rendered", key=TEST), local_work(f"{words} genway:fail=vendor", key=TEST)]


def _submit(site: Site, works: list[Work]) -> dict[Work, str]:
    """Submit all at once, and again under the same key where a worker died before it answered."""

    def one(work: Work) -> str:
        return until(lambda: site.accepted(work), "somebody accepts it")

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(works, pool.map(one, works), strict=True))


def test_when_one_worker_is_killed_the_others_see_its_tasks_through(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url, "runway_compat": vendor.url})
    parent = psutil.Process(site.start_workers(2).pid)
    first, *_ = before = parent.children()
    works = _works("two workers", 19)
    with ThreadPoolExecutor(1) as pool:
        submitting = pool.submit(_submit, site, works)
        until(lambda: len(site.tasks()) > 10, "some tasks are accepted")
        first.kill()
        known = submitting.result()
    rows = site.check(vendor, known)
    assert len(rows) == 40
    for row in rows:
        assert row.state == "succeeded" or row.error_code in ("outcome_unknown", "vendor_error")
    assert sum(row.state == "succeeded" for row in rows) >= 20
    replaced = until(lambda: len(parent.children()) == 2 and parent.children(), "the dead worker is replaced")
    assert len({worker.pid for worker in replaced} & {worker.pid for worker in before}) == 1


def test_the_workers_count_together(make_site: MakeSite) -> None:
    site = make_site()
    site.start_workers(2)
    known = _submit(site, [local_work(f"counted {number} genway:fail=vendor", key=TEST) for number in range(12)])
    site.receiver.wait_for(known.values())
    text = requests.get(f"{site.url}/metrics", timeout=DEADLINE).text
    counted = re.findall(r"^genway_tasks_accepted_total{.*} (\S+)$", text, re.MULTILINE)
    assert sum(map(float, counted)) == 12


def test_when_the_parent_is_killed_its_workers_end_and_the_next_start_goes_on(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url, "runway_compat": vendor.url}, server_drain_seconds=1)
    parent = site.start_workers(2)
    workers = psutil.Process(parent.pid).children(recursive=True)
    known = _submit(site, _works("no parent", 4))
    parent.kill()
    parent.wait()
    site.start_workers(2)
    assert not any(lives(worker) for worker in workers)
    site.check(vendor, known)


def test_a_stop_reaches_all_workers(make_site: MakeSite) -> None:
    site = make_site(server_drain_seconds=1)
    parent = site.start_workers(2)
    workers = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(DEADLINE) == 0
    assert not any(lives(worker) for worker in workers)
