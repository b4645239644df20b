from __future__ import annotations

from typing import Any

import msgspec

from genway.db import Database
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
