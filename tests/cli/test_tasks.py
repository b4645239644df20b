"""`genway task`."""

from __future__ import annotations

import pytest

from cli_stage import Genway, accepted, ended, stored_video
from genway.billing import ledger
from genway.callbacks import outbox
from genway.cli.place import Opened
from genway.tasks.model import State

CALLBACK = "http://receiver.example/hook"


def test_a_succeeded_task_is_explained_from_its_price_to_its_links(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened, callback_url=CALLBACK)
    ended(opened, task_id, State.SUCCEEDED, results=stored_video())
    told = genway("task", "show", task_id, "--json").json

    charge = told["charge"]
    assert charge["lines"] == [{"unit": "second", "quantity": 5, "unit_price": "0.05", "total": "0.25"}]
    assert [(one["kind"], one["amount"]) for one in charge["movements"]] == [("hold", "0.25"), ("settle", "0.25")]
    assert (charge["charged"], charge["given_back"], charge["currency"]) == ("0.25", "0.00", "USD")
    states = [(event["before"], event["after"]) for event in told["history"]]
    assert states[0] == (None, "queued")
    assert states[-1] == ("storing", "succeeded")
    assert (told["provider"], told["vendor_id"], told["account"]) == ("runwayml", "v-1", "ada")
    (file,) = told["files"]
    assert (file["bytes"], file["width"], file["height"], file["seconds"]) == (1_400_000, 1280, 768, 5)
    assert file["url"].startswith("http://127.0.0.1:8700/media/med_1.mp4?expires=")
    assert [callback["url"] for callback in told["callbacks"]] == [CALLBACK]


def test_the_same_in_words(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened)
    ended(opened, task_id, State.SUCCEEDED, results=stored_video())
    out = genway("task", "show", task_id).out
    assert "5 × 0.05 USD for each second of runway/gen3 = 0.25 USD" in out
    assert "0.25 USD set aside (video)" in out
    assert "0.25 USD charged (runway/gen3 video)" in out
    assert "in all: 0.25 USD charged, 0.00 USD given back" in out
    assert "video, video/mp4, 1.4 MB, 1280x768, 5 s" in out


def test_a_failed_task_says_why_and_that_the_money_is_back(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened)
    ended(opened, task_id, State.FAILED, error_code="moderation", error_message="the vendor's moderation refused it")
    out = genway("task", "show", task_id).out
    assert "the vendor's moderation refused it (moderation)" in out
    assert "0.25 USD given back (failed: moderation)" in out
    assert "in all: 0.00 USD charged, 0.25 USD given back" in out


def test_money_of_a_test_key_is_called_simulated(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened, mode="test")
    assert "simulated money of a test key" in genway("task", "show", task_id).out
    assert genway("task", "show", task_id, "--json").json["charge"]["simulated"] is True


def test_a_waiting_task_tells_its_place_in_the_queue(genway: Genway, opened: Opened) -> None:
    accepted(opened, now=opened.now - 1)
    assert genway("task", "show", accepted(opened), "--json").json["queue_position"] == 2


def test_tasks_are_listed_newest_first_and_by_state(genway: Genway, opened: Opened) -> None:
    first, second = accepted(opened, now=opened.now - 5), accepted(opened)
    ended(opened, first, State.FAILED, error_code="vendor_error")
    assert [task["id"] for task in genway("task", "list", "--json").json] == [second, first]
    assert [task["id"] for task in genway("task", "list", "--state", "queued", "--json").json] == [second]
    assert [task["id"] for task in genway("task", "list", "--account", "ada", "--limit", "1", "--json").json] == [second]
    assert first in genway("task", "list").out


def test_a_state_that_does_not_exist_is_refused(genway: Genway) -> None:
    said = genway("task", "list", "--state", "sleeping")
    assert said.err.startswith("genway: --state: one of queued, submitting, running, storing, parked, succeeded")


def test_a_cancelled_task_gives_the_hold_back_and_tells_its_owner(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened, callback_url=CALLBACK)
    said = genway("task", "cancel", task_id)
    assert said.out == f"{task_id} is cancelled; 0.25 USD given back.\n"
    told = genway("task", "show", task_id, "--json").json
    assert (told["state"], told["error"]["message"]) == ("cancelled", "cancelled by the operator")
    assert [one["kind"] for one in told["charge"]["movements"]] == ["hold", "release"]
    assert opened.read(ledger.audit) == []
    assert [callback.event for callback in opened.read(lambda c: outbox.listing(c, task_id=task_id))] == ["cancelled"]


def test_a_task_that_has_ended_is_not_cancelled_nor_are_those_named_with_it(genway: Genway, opened: Opened) -> None:
    waiting, done = accepted(opened), accepted(opened)
    ended(opened, done, State.SUCCEEDED, results=stored_video())
    said = genway("task", "cancel", waiting, done)
    assert (said.code, said.err) == (1, f"genway: the task {done} has succeeded already; nothing was changed\n")
    assert genway("task", "show", waiting, "--json").json["state"] == "queued"


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_unknown_task_is_named(genway: Genway, command: str) -> None:
    said = genway("task", command, "nothing")
    assert said.code == 1
    assert said.err.startswith("genway: there is no task nothing")


def test_to_cancel_nothing_is_a_mistake(genway: Genway) -> None:
    assert genway("task", "cancel").err == "genway: say which: one or more ids\n"
