"""`genway callback`."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from cli_stage import Genway
from genway.callbacks import outbox
from genway.cli.place import Opened

CALLBACK = "http://receiver.example/hook"


def told(opened: Opened, task_id: str, *, dead: bool = False) -> str:
    """A callback of a task, waiting, or given up after a 500; returns its id."""

    def write(connection: Connection) -> str:
        details: dict[str, Any] = {
            "account_id": "acc_1",
            "url": CALLBACK,
            "event": "succeeded",
            "now": opened.now,
            "give_up_seconds": 60,
        }
        callback_id = outbox.enqueue(connection, task_id=task_id, **details)
        if dead:
            outbox.claim(connection, [callback_id], owner="p", now=opened.now, lease_seconds=9)
            outbox.dead(connection, callback_id, owner="p", error="answered 500", status=500)
        return callback_id

    return opened.write(write)


def test_callbacks_are_listed_by_state_and_by_task(genway: Genway, opened: Opened) -> None:
    waiting, dead = told(opened, "t1"), told(opened, "t2", dead=True)
    assert [one["id"] for one in genway("callback", "list", "--json").json] == [dead, waiting]
    assert [one["id"] for one in genway("callback", "list", "--state", "dead", "--json").json] == [dead]
    (one,) = genway("callback", "list", "--task", "t2", "--json").json
    assert (one["state"], one["last_status"], one["last_error"], one["attempts"]) == ("dead", 500, "answered 500", 1)
    assert "answered 500" in genway("callback", "list").out


@pytest.mark.parametrize("which", ["--dead", "--task", "id"])
def test_a_dead_callback_is_sent_again(genway: Genway, opened: Opened, which: str) -> None:
    callback_id = told(opened, "t1", dead=True)
    arguments = {"--dead": ["--dead"], "--task": ["--task", "t1"], "id": [callback_id]}[which]
    assert genway("callback", "replay", *arguments, "--json").json == {"replayed": [callback_id]}
    (one,) = genway("callback", "list", "--json").json
    assert (one["state"], one["attempts"]) == ("waiting", 0)


def test_nothing_dead_is_no_mistake_and_an_unknown_id_is_one(genway: Genway, opened: Opened) -> None:
    told(opened, "t1")
    assert genway("callback", "replay", "--dead").out == "There are no dead callbacks.\n"
    said = genway("callback", "replay", "cb_nothing")
    assert (said.code, said.err) == (1, "genway: there is no callback cb_nothing that is not being tried right now\n")


@pytest.mark.parametrize("arguments", [[], ["cb_1", "--dead"], ["--dead", "--task", "t1"]])
def test_it_must_be_clear_which_are_meant(genway: Genway, arguments: list[str]) -> None:
    said = genway("callback", "replay", *arguments)
    assert (said.code, said.err) == (1, "genway: say which: a callback's id, --task ID or --dead\n")
