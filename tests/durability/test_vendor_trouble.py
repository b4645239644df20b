"""Not knowing is not failing: what a vendor answers badly, late or not at all costs no task and is never paid twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests

from durability.conftest import MakeSite
from durability.crashing_server import Kill
from durability.stage import DEADLINE, VENDOR_KEY, Site, Vendor, Work, official_work, page_work, until

Make = Callable[[str], Work]

BOTH = pytest.mark.parametrize("make", [official_work, page_work], ids=["runwayml", "runway_compat"])
NOWHERE = "http://127.0.0.1:9"

BAD_POLLS = (
    *("poll_error=6", "poll_garbage=3", "poll_lost=3", "poll_missing=3", "poll_odd=3"),
    "poll_error=2 vendor:poll_lost=2 vendor:poll_garbage=2",
)
LOST_ANSWERS = ("lost", "garbage", "no_id", "accepted_error", "accepted_timeout", "dropped", "error")


@pytest.fixture
def site(make_site: MakeSite, vendor: Vendor) -> Site:
    """A site with both providers, that serves."""
    made = make_site({"runwayml": vendor.url, "runway_compat": vendor.url})
    made.serve()
    return made


@BOTH
def test_polls_that_fail_for_a_while_leave_the_task_running(make: Make, site: Site, vendor: Vendor) -> None:
    works = [make(f"bad polls of {make.__name__} vendor:{words}") for words in BAD_POLLS]
    slow, busy = make(f"slow polls of {make.__name__}"), make(f"throttled polls of {make.__name__}")
    # Longer than the channel waits for an answer.
    vendor.fault("poll_late", slow.prompt, seconds=3)
    vendor.fault("poll_throttled", busy.prompt, times=3, retry_after="0.3")
    rows = site.check(vendor, {work: str(site.accepted(work)) for work in [*works, slow, busy]})
    assert {row.state for row in rows} == {"succeeded"}


@BOTH
def test_a_submit_without_a_clear_answer_is_given_back_and_not_sent_again(make: Make, site: Site, vendor: Vendor) -> None:
    works = [make(f"no clear answer to {make.__name__} vendor:{words}") for words in LOST_ANSWERS]
    slow = make(f"no answer in time to {make.__name__}")
    vendor.fault("late", slow.prompt, seconds=3)
    works.append(slow)
    known = {work: str(site.accepted(work)) for work in works}
    rows = {row.id: row for row in site.check(vendor, known)}
    for work, task_id in known.items():
        assert rows[task_id].error_code == "outcome_unknown", work
        assert "parked" in site.passed_through(task_id)
        assert len(vendor.submits(work.prompt)) == 1


@BOTH
def test_a_busy_vendor_is_asked_again(make: Make, site: Site, vendor: Vendor) -> None:
    work = make(f"busy for {make.__name__}")
    vendor.fault("throttled", work.prompt, times=2, retry_after="0.2")
    task_id = str(site.accepted(work))
    site.receiver.wait_for([task_id])
    assert site.feed(task_id)["status"] == "3"
    submits = vendor.submits(work.prompt)
    assert [submit["accepted"] for submit in submits] == [False, False, True]
    site.check_money()


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ({"base_url": NOWHERE}, "vendor_down"),
        ({"secret": "key_bad"}, "vendor_key_refused"),
        ({}, "vendor_out_of_credit"),
    ],
    ids=["down", "key", "credit"],
)
def test_when_one_channel_cannot_another_does_it(first: dict[str, Any], why: str, make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url})
    site.write(
        lambda connection: site.add_channel(
            connection,
            "runwayml",
            first.get("base_url", vendor.url),
            first.get("secret", VENDOR_KEY),
            name="preferred",
            priority=10,
        )
    )
    site.serve()
    works = [official_work(f"instead of {why} {number}") for number in range(3)]
    if not first:
        vendor.fault("out_of_credit", f"instead of {why}")
    known = {work: str(site.accepted(work)) for work in works}
    rows = site.wait_for_the_end()
    assert {row.state for row in rows} == {"succeeded"}
    for work in works:
        assert sum(submit["accepted"] for submit in vendor.submits(work.prompt)) == 1
    assert any(site.passed_through(task_id).count("submitting") == 2 for task_id in known.values()), "it was never tried"
    site.check_money()


def test_what_a_vendor_finished_while_nobody_could_ask_is_honoured(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url}, tasks_deadline_seconds=3)
    process = site.serve(Kill("running.committed"))
    work = official_work("finished meanwhile")
    site.accepted(work)
    assert process.exit_code() == -signal.SIGKILL
    [row] = site.tasks()
    headers = {"Authorization": f"Bearer {VENDOR_KEY}", "X-Runway-Version": "2024-11-06"}
    vendor_task = f"{vendor.url}/v1/tasks/{row.vendor_id.partition(':')[2]}"

    def done() -> bool:
        return bool(requests.get(vendor_task, headers=headers, timeout=DEADLINE).json()["status"] == "SUCCEEDED")

    until(done, "the vendor is done")
    until(lambda: site.now() > row.deadline_at, "the deadline passes while nobody is there")
    site.serve()
    [row] = site.check(vendor, {work: row.id})
    assert row.state == "succeeded"


def test_a_task_that_is_never_done_ends_at_its_deadline(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url}, tasks_deadline_seconds=2)
    site.serve()
    work = official_work("never done vendor:poll_error=9999")
    [row] = site.check(vendor, {work: str(site.accepted(work))})
    assert (row.state, row.error_code, row.charged) == ("expired", "expired", 0)
