"""`kill -9` at moments that nobody chose, again and again, and while a vendor's answer is on its way."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable

import pytest
import requests

from durability.conftest import MakeSite
from durability.crashing_server import Kill
from durability.stage import LIVE, TEST, Vendor, Work, local_work, official_work, page_work, until
from durability.test_crashes import STEPS

KILLS = 6
SEED = 8700


def test_thirty_tasks_come_through_a_row_of_accidents(make_site: MakeSite, vendor: Vendor) -> None:
    chance = random.Random(SEED)
    site = make_site({"runwayml": vendor.url, "runway_compat": vendor.url})
    known: dict[Work, str] = {}
    works = [official_work(f"accident official {number:02}") for number in range(12)]
    works += [page_work(f"accident page {number:02}") for number in range(12)]
    works += [local_work(f"accident rendered {number:02}", key=TEST) for number in range(1)]
    works += [local_work(f"accident genway:fail=moderation {number:02}", key=TEST) for number in range(5)]
    chance.shuffle(works)
    for _ in range(KILLS):
        process = site.start(Kill(chance.choice(STEPS), chance.randint(1, 15)))
        if process.started():
            for work in works:
                task_id = site.accepted(work)
                if task_id is None:
                    break
                assert known.setdefault(work, task_id) == task_id
        with contextlib.suppress(AssertionError):
            process.exit_code(chance.uniform(0, 0.4))
        process.kill()
        assert process.orphans() == []
    site.serve()
    for work in works:
        task_id = site.accepted(work)
        assert task_id is not None
        assert known.setdefault(work, task_id) == task_id
    rows = {row.id: row for row in site.check(vendor, known)}
    for work, task_id in known.items():
        row = rows[task_id]
        if "genway:fail" in work.prompt:
            assert row.error_code == "moderation"
        elif row.state != "succeeded":
            assert (row.error_code, row.local) == ("outcome_unknown", False)


@pytest.mark.parametrize(("provider", "make"), [("runwayml", official_work), ("runway_compat", page_work)])
def test_a_submit_whose_answer_was_on_its_way_is_never_sent_again(
    provider: str, make: Callable[[str], Work], make_site: MakeSite, vendor: Vendor
) -> None:
    site = make_site({provider: vendor.url})
    work = make(f"an answer on its way from {provider}")
    vendor.fault("late", work.prompt, seconds=30)
    process = site.serve()
    task_id = site.accepted(work)
    assert task_id is not None
    until(lambda: vendor.submits(work.prompt), "the vendor has the submit")
    process.kill()
    site.serve()
    [row] = site.check(vendor, {work: task_id})
    assert (row.state, row.error_code) == ("failed", "outcome_unknown")
    assert site.passed_through(task_id) == ["queued", "submitting", "parked", "failed"]
    assert len(vendor.submits(work.prompt)) == 1


@pytest.mark.parametrize(("point", "state"), [("ending.before_commit", "succeeded"), ("ending.committed", "cancelled")])
def test_a_cancel_that_is_cut_off_has_happened_whole_or_not_at_all(
    point: str, state: str, make_site: MakeSite, vendor: Vendor
) -> None:
    site = make_site({"runwayml": vendor.url})
    process = site.serve(Kill(point))
    work = official_work(f"cancelled at {point} vendor:poll_error=8")
    task_id = str(site.accepted(work))
    until(lambda: site.tasks()[0].state == "running", "it is running")
    with pytest.raises(requests.ConnectionError):
        requests.delete(f"{site.url}/runwayml/v1/tasks/{task_id}", headers={"Authorization": f"Bearer {LIVE}"}, timeout=30)
    assert process.exit_code() == -signal.SIGKILL
    site.serve()
    [row] = site.check(vendor, {work: task_id})
    assert row.state == state
