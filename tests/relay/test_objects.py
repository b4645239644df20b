from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from genway.db import Database
from genway.db.tables import accounts
from genway.relay import objects
from genway.relay.objects import About, Kept


def thing(name: str, **more: Any) -> Kept:
    what: dict[str, Any] = {"account_id": "ann", "mode": "live", "key_id": "k", "kind": "files", "channel_id": "c", **more}
    return Kept(id=name, **what)


def put(database: Database, *rows: Kept) -> None:
    database.write_now(lambda connection: objects.put(connection, rows))


def found(database: Database, name: str, account: str = "ann", mode: str = "live") -> Kept | None:
    return database.read_now(lambda connection: objects.find(connection, account, mode, [name])).get(name)


def test_the_same_id_is_a_thing_of_each_account_and_mode(database: Database) -> None:
    put(database, thing("file-1"), thing("file-1", account_id="bob", channel_id="d"), thing("file-1", mode="test"))
    ann, bob = found(database, "file-1"), found(database, "file-1", "bob")
    assert ann is not None
    assert bob is not None
    assert (ann.channel_id, bob.channel_id) == ("c", "d")
    assert found(database, "file-1", "eve") is None


def test_an_id_that_is_given_anew_means_the_new_thing(database: Database) -> None:
    put(database, thing("file-1", deleted_at=1.0))
    assert found(database, "file-1") is None
    put(database, thing("file-1", channel_id="d"))
    again = found(database, "file-1")
    assert again is not None
    assert again.channel_id == "d"


def test_pages_hold_all_once_though_many_were_made_at_the_same_time(database: Database) -> None:
    put(database, *(thing(f"file-{number}", created_at=number // 4) for number in range(10)), thing("batch_1", kind="batches"))
    for ascending in (False, True):
        seen: list[str] = [""]
        more = True
        while more:
            rows, more = database.read_now(
                lambda connection, after=seen[-1], up=ascending: objects.page(  # type: ignore[misc]
                    connection, "ann", "live", "files", limit=3, after=after, ascending=up
                )
            )
            seen += [row.id for row in rows]
        assert seen[1:] == sorted((f"file-{number}" for number in range(10)), reverse=not ascending)


def test_files_are_listed_by_purpose(database: Database) -> None:
    for purpose in ("batch", "batch_output", "user_%"):
        put(database, thing(purpose, about=msgspec.json.encode(About(purpose=purpose)).decode()))
    for purpose in ("batch", "user_%"):
        rows, _ = database.read_now(
            lambda connection, purpose=purpose: objects.page(  # type: ignore[misc]
                connection, "ann", "live", "files", limit=9, purpose=purpose
            )
        )
        assert [row.id for row in rows] == [purpose]


def test_one_of_several_processes_asks_about_a_thing(database: Database) -> None:
    put(database, thing("batch_1", kind="batches", next_at=10.0), thing("batch_2", kind="batches", next_at=99.0))
    assert not database.read_now(lambda connection: objects.any_due(connection, 9))
    assert database.read_now(lambda connection: objects.any_due(connection, 10))
    first = database.write_now(lambda connection: objects.due(connection, 10, 8))
    second = database.write_now(lambda connection: objects.due(connection, 10, 8))
    assert ([row.id for row in first], second) == (["batch_1"], [])
    assert [row.id for row in database.write_now(lambda connection: objects.due(connection, 15, 8))] == ["batch_1"]


def test_a_thing_ends_once(database: Database) -> None:
    kept = thing("batch_1", kind="batches", next_at=10.0)
    put(database, kept)
    assert [database.write_now(lambda connection: objects.end(connection, kept, 11, "{}")) for _ in range(2)] == [True, False]
    assert not database.read_now(lambda connection: objects.any_due(connection, 1e12))


def test_no_item_takes_the_place_of_something_else(database: Database) -> None:
    batch = thing("batch_1", kind="batches", next_at=10.0, held=5, about=msgspec.json.encode(About(reference="dep")).decode())
    put(database, batch, thing("file-1"))
    put(database, thing("batch_1", kind="items"), thing("file-1", kind="items"))
    kept = {name: found(database, name) for name in ("batch_1", "file-1")}
    assert [each.kind for each in kept.values() if each is not None] == ["batches", "files"]
    put(database, thing("batch_1", kind="batches"))
    assert found(database, "batch_1") == batch


def test_more_ids_can_be_looked_for_than_fit_one_statement(database: Database) -> None:
    put(database, thing("file-1"), thing("file-70000"))
    names = [f"file-{number}" for number in range(70_001)] + ["nul\0"]
    assert database.read_now(lambda connection: objects.find(connection, "ann", "live", names)).keys() == {
        "file-1",
        "file-70000",
    }


def test_a_name_that_no_database_can_hold_is_not_found(database: Database) -> None:
    assert found(database, "file-\0") is None
    rows = database.read_now(lambda connection: objects.page(connection, "ann", "live", "files", limit=9, after="\0"))
    assert rows == ([], False)


def test_what_was_on_its_way_comes_to_be_once(database: Database) -> None:
    first, second = (thing(name, kind="unmade", next_at=10.0, held=7) for name in ("dep_1", "dep_2"))
    made = thing("batch_1", kind="batches", next_at=10.0, held=7)
    put(database, first, second)
    told = [database.write_now(lambda connection, was=was: objects.replace(connection, was, made)) for was in (first, second)]  # type: ignore[misc]
    assert told == [True, False]
    assert found(database, "dep_1") is None
    assert found(database, "dep_2") == second


def test_what_comes_to_be_after_it_was_given_up_has_no_deposit_any_more(database: Database) -> None:
    made = thing("batch_1", kind="batches", next_at=10.0, held=7)
    assert database.write_now(lambda connection: objects.replace(connection, thing("dep_1", kind="unmade"), made))
    kept = found(database, "batch_1")
    assert kept is not None
    assert kept.held == 0


def test_what_is_old_is_found_of_every_account_but_never_what_goes_on(database: Database) -> None:
    def begin(connection: Connection) -> None:
        for name in ("ann", "bob"):
            connection.execute(
                accounts.insert(), {"id": name, "name": name, "currency": "USD", "created_at": 1.0, "callback_secret": b""}
            )

    database.write_now(begin)
    put(
        database,
        thing("resp_1", kind="responses", created_at=1.0),
        thing("resp_2", kind="responses", created_at=9.0),
        thing("resp_3", kind="responses", created_at=1.0, next_at=1.0),
        thing("resp_4", kind="responses", created_at=1.0, account_id="bob", mode="test"),
        thing("batch_1", kind="batches", created_at=1.0, ended_at=2.0),
        thing("dep_1", kind="unmade", created_at=1.0, next_at=2.0),
        thing("file-1", created_at=1.0),
        thing("file-2", created_at=1.0, deleted_at=2.0),
        thing("conv_1", kind="conversations", created_at=1.0),
    )
    old = database.read_now(lambda connection: objects.old(connection, ("responses", "batches"), 5.0, 99))
    assert sorted(kept.id for kept in old) == ["batch_1", "file-2", "resp_1", "resp_4"]
    database.write_now(lambda connection: objects.forget(connection, old))
    assert database.read_now(lambda connection: objects.old(connection, ("responses", "batches"), 5.0, 99)) == []
    assert found(database, "resp_3") is not None
    files = database.read_now(lambda connection: objects.old_files(connection, 5.0, 9, 0))
    assert [kept.id for kept in files] == ["file-1"]


def test_what_has_begun_anew_meanwhile_is_not_forgotten(database: Database) -> None:
    was = thing("resp_1", kind="responses")
    put(database, was)
    put(database, thing("resp_1", kind="responses", next_at=5.0))
    database.write_now(lambda connection: objects.forget(connection, [was]))
    assert found(database, "resp_1") is not None
