from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from callbacks import stage
from callbacks.stage import DAY, get, numbers
from genway.callbacks import outbox
from genway.db import Database
from genway.db.tables import metadata

NOW = 1_000_000.0


def put(database: Database, **changes: Any) -> str:
    """One callback of a task of its own, due now."""
    values = {
        "task_id": f"task_{next(numbers)}",
        "account_id": "account",
        "url": "https://one.example/hook",
        "event": "succeeded",
        "now": NOW,
        "give_up_seconds": DAY,
    }
    return stage.put(database, **{**values, **changes})


def claim(database: Database, *ids: str, owner: str = "me", now: float = NOW, lease_seconds: float = 30) -> list[str]:
    work = partial(outbox.claim, ids=ids, owner=owner, now=now, lease_seconds=lease_seconds)
    return [one.id for one in database.write_now(work)]


def due_hosts(database: Database, now: float = NOW, **changes: Any) -> list[str]:
    values = {"limit": 100, "each_host": 4}
    return [one.host for one in database.read_now(partial(outbox.due, now=now, **{**values, **changes}))]


def test_a_task_tells_each_event_once(database: Database) -> None:
    first = put(database, task_id="t", event="succeeded")
    assert put(database, task_id="t", event="succeeded", url="https://other.example/") == first
    assert put(database, task_id="t", event="failed") != first
    assert get(database, first).url == "https://one.example/hook"
    assert len(database.read_now(outbox.listing)) == 2


def test_a_callback_is_undone_with_the_transaction_that_wanted_it(database: Database) -> None:
    def end_task(connection: Connection) -> None:
        outbox.enqueue(
            connection, task_id="t", account_id="a", url="https://x.example/", event="failed", now=NOW, give_up_seconds=DAY
        )
        raise LookupError("the task was not there")

    with pytest.raises(LookupError):
        database.write_now(end_task)
    assert database.read_now(outbox.listing) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.COM/hook?a=1", "example.com:80"),
        ("https://example.com/hook", "example.com:443"),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]:8080"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_a_task_can_end_whatever_its_callback_address_is(database: Database, url: str, host: str) -> None:
    assert get(database, put(database, url=url)).host == host


def test_of_two_who_claim_at_once_one_gets_it(database: Database) -> None:
    callback = put(database)
    assert claim(database, callback, owner="one") == [callback]
    assert claim(database, callback, owner="two") == []
    assert get(database, callback).owner == "one"


def test_on_postgresql_a_claim_that_is_not_committed_yet_is_passed_over_without_waiting(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    metadata.create_all(database.engine)
    taken, left = put(database), put(database)
    with database.engine.begin() as connection:
        outbox.claim(connection, [taken], owner="one", now=NOW, lease_seconds=30)
        assert claim(database, taken, left, owner="two") == [left]
    database.close()


def test_a_lease_that_ran_out_frees_the_callback(database: Database) -> None:
    callback = put(database)
    claim(database, callback, owner="one", lease_seconds=30)
    assert claim(database, callback, owner="two", now=NOW + 29.9) == []
    assert due_hosts(database, NOW + 29.9) == []
    assert due_hosts(database, NOW + 30) == ["one.example:443"]
    assert claim(database, callback, owner="two", now=NOW + 30) == [callback]


def test_a_process_that_stops_gives_back_what_it_claimed_and_nothing_else(database: Database) -> None:
    mine, theirs = put(database), put(database)
    claim(database, mine, owner="me")
    claim(database, theirs, owner="them")
    assert database.write_now(partial(outbox.release_owner, owner="me")) == 1
    assert claim(database, mine, theirs, owner="next") == [mine]


def test_when_no_process_is_left_everything_is_free_again(database: Database) -> None:
    first, second = put(database), put(database)
    claim(database, first, owner="one")
    claim(database, second, owner="two")
    assert database.write_now(outbox.release_all) == 2
    assert sorted(claim(database, first, second, owner="next")) == sorted([first, second])


def test_nothing_is_due_before_its_time(database: Database) -> None:
    callback = put(database)
    claim(database, callback)
    told = partial(outbox.failed, owner="me", error="500", status=500, next_at=NOW + 5)
    assert database.write_now(partial(told, callback_id=callback))
    assert due_hosts(database, NOW + 4.9) == []
    assert claim(database, callback, now=NOW + 4.9) == []
    assert database.read_now(partial(outbox.next_due, now=NOW)) == NOW + 5
    assert due_hosts(database, NOW + 5) == ["one.example:443"]


def test_a_failure_told_by_one_who_lost_the_lease_changes_nothing(database: Database) -> None:
    callback = put(database)
    claim(database, callback, owner="slow", lease_seconds=30)
    claim(database, callback, owner="next", now=NOW + 31)
    late = partial(outbox.failed, callback_id=callback, owner="slow", error="500", status=500, next_at=NOW + 90)
    assert not database.write_now(late)
    assert not database.write_now(partial(outbox.dead, callback_id=callback, owner="slow", error="410", status=410))
    row = get(database, callback)
    assert (row.state, row.owner, row.attempts, row.next_at) == ("waiting", "next", 0, NOW)


def test_a_delivery_told_by_one_who_lost_the_lease_counts(database: Database) -> None:
    callback = put(database)
    claim(database, callback, owner="slow", lease_seconds=30)
    claim(database, callback, owner="next", now=NOW + 31)
    assert database.write_now(partial(outbox.delivered, callback_id=callback, now=NOW + 32, status=204))
    assert not database.write_now(partial(outbox.dead, callback_id=callback, owner="next", error="x", status=None))
    row = get(database, callback)
    assert (row.state, row.delivered_at, row.last_status, row.owner) == ("delivered", NOW + 32, 204, None)


def test_every_host_has_its_turn_before_any_has_a_second(database: Database) -> None:
    for moment, host in enumerate(["a", "a", "a", "b", "b", "c"]):
        put(database, url=f"https://{host}.example/", now=NOW - 100 + moment)
    names = [host[0] for host in due_hosts(database)]
    assert names == ["a", "b", "c", "a", "b", "a"]
    assert [host[0] for host in due_hosts(database, each_host=2)] == ["a", "b", "c", "a", "b"]
    assert [host[0] for host in due_hosts(database, limit=2)] == ["a", "b"]


def test_first_tries_can_be_asked_for_alone(database: Database) -> None:
    old = put(database, url="https://old.example/")
    claim(database, old)
    told = partial(outbox.failed, callback_id=old, owner="me", error="500", status=500, next_at=NOW)
    database.write_now(told)
    put(database, url="https://new.example/")
    assert due_hosts(database) == ["old.example:443", "new.example:443"]
    assert due_hosts(database, first_tries_only=True) == ["new.example:443"]


def bury(database: Database, callback: str) -> None:
    claim(database, callback)
    assert database.write_now(partial(outbox.dead, callback_id=callback, owner="me", error="gone", status=410))


def replay(database: Database, **which: str) -> list[str]:
    return database.write_now(partial(outbox.replay, now=NOW + DAY, give_up_seconds=DAY, **which))


def test_a_dead_letter_is_kept_and_replayed_from_the_first_try_on(database: Database) -> None:
    callback = put(database)
    bury(database, callback)
    assert due_hosts(database, NOW + DAY) == []
    assert database.read_now(partial(outbox.next_due, now=0.0)) is None
    assert replay(database, callback_id=callback) == [callback]
    row = get(database, callback)
    assert (row.state, row.attempts, row.next_at, row.give_up_at) == ("waiting", 0, NOW + DAY, NOW + 2 * DAY)
    assert row.last_error == "gone"
    assert claim(database, callback, now=NOW + DAY) == [callback]


def test_replaying_all_takes_the_dead_and_leaves_the_others(database: Database) -> None:
    dead = sorted(put(database) for _ in range(3))
    for callback in dead:
        bury(database, callback)
    done, waiting = put(database), put(database)
    database.write_now(partial(outbox.delivered, callback_id=done, now=NOW, status=200))
    assert replay(database) == dead
    assert get(database, done).state == "delivered"
    assert get(database, waiting).next_at == NOW


def test_a_task_is_replayed_whole_even_what_was_delivered(database: Database) -> None:
    first, second = (put(database, task_id="t", event=event) for event in ("running", "succeeded"))
    other = put(database)
    database.write_now(partial(outbox.delivered, callback_id=first, now=NOW, status=200))
    bury(database, second)
    bury(database, other)
    assert replay(database, task_id="t") == sorted([first, second])
    assert get(database, first).delivered_at is None
    assert get(database, other).state == "dead"


def test_what_is_being_tried_at_this_moment_is_not_replayed(database: Database) -> None:
    callback = put(database, now=NOW + DAY)
    claim(database, callback, now=NOW + DAY)
    assert replay(database, callback_id=callback) == []
    assert replay(database, callback_id="cb_unknown") == []


def test_the_listing_turns_pages_newest_first(database: Database) -> None:
    ids = [put(database, account_id="even" if number % 2 == 0 else "odd") for number in range(6)]
    page = partial(outbox.listing, limit=4)
    newest = [one.id for one in database.read_now(page)]
    assert newest == ids[:1:-1]
    assert [one.id for one in database.read_now(partial(page, before=newest[-1]))] == ids[1::-1]
    assert [one.id for one in database.read_now(partial(page, account_id="odd"))] == ids[5::-2]
    bury(database, ids[3])
    assert [one.id for one in database.read_now(partial(page, state="dead"))] == [ids[3]]
    task = get(database, ids[4]).task_id
    assert [one.id for one in database.read_now(partial(page, task_id=task))] == [ids[4]]
