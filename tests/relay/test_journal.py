from __future__ import annotations

import os
from pathlib import Path

import pytest

from genway.billing.leases import CallRow
from genway.relay.journal import Journal, left_behind


def call(number: int) -> CallRow:
    return CallRow(
        f"cll_{number}", 1.5, "acc", "key", "live", "chat", "a\nb", "a", "ch", "lse", 200, "done", 1, 9, 10, 2,
        '{"input":10}', False, 7, "req",
    )  # fmt: skip


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("calls/*"))


def test_what_was_written_is_there_for_whoever_comes_after(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "host:1/2")
    journal.append([call(1), call(2)])
    journal.append([call(3)])
    [(path, rows)] = left_behind(tmp_path)
    assert rows == [call(1), call(2), call(3)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_of_a_journal_whose_calls_are_all_in_the_database(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    assert files(tmp_path) == []
    journal.append([call(1)])
    journal.clear(journal.turn())
    assert files(tmp_path) == []
    journal.append([call(2)])
    journal.close()
    assert files(tmp_path) == []


def test_calls_that_come_while_others_are_written_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    journal.append([call(1)])
    turned = journal.turn()
    journal.append([call(2)])
    journal.clear(turned)
    assert [rows for _, rows in left_behind(tmp_path)] == [[call(2)]]


def test_calls_whose_group_was_not_written_stay_until_a_later_one_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    journal.append([call(1)])
    journal.turn()
    journal.append([call(2)])
    turned = journal.turn()
    journal.append([call(3)])
    assert [row for _, rows in left_behind(tmp_path) for row in rows] == [call(1), call(2), call(3)]
    journal.clear(turned)
    assert [row for _, rows in left_behind(tmp_path) for row in rows] == [call(3)]


def test_a_turn_without_calls_makes_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    for _ in range(5):
        journal.clear(journal.turn())
    assert not (tmp_path / "calls").exists()


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    journal.append([call(1), call(2)])
    [(path, _)] = left_behind(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        [(_, rows)] = left_behind(tmp_path)
        assert rows == [call(1), call(2)][: whole[: length + 1].count(b"\n")]


def test_of_a_write_that_the_disk_took_only_a_part_of_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, "one")
    journal.append([call(1)])
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        with pytest.raises(OSError, match="No space left"):
            journal.append([call(2)])
    journal.append([call(3)])
    assert [rows for _, rows in left_behind(tmp_path)] == [[call(1), call(3)]]


def test_the_journals_of_one_process_are_told_from_those_of_others(tmp_path: Path) -> None:
    owners = ["host:1", "host:11", "host.1", "host[1]", "host:1:2"]
    for number, owner in enumerate(owners):
        Journal(tmp_path, owner).append([call(number)])
    for number, owner in enumerate(owners):
        assert [rows for _, rows in left_behind(tmp_path, owner)] == [[call(number)]]
    assert len(left_behind(tmp_path)) == len(owners)
