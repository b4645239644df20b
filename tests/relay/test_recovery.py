from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from genway.billing.leases import CallRow
from genway.errors import Unavailable
from genway.relay.journal import Journal
from genway.relay.meter import Meter
from genway.relay.recovery import recover
from relay.counting import Payer


@pytest.fixture
def payer(database_url: str, tmp_path: Path) -> Iterator[Payer]:
    opened = Payer(database_url, tmp_path, funds=8_000, budgets=(None, 400))
    yield opened
    opened.close()


async def abandon(meter: Meter) -> None:
    """The process is killed: nothing of what it meant to do is done."""
    doing = [task for task in (meter._writing, *meter._jobs) if task is not None]
    for task in doing:
        task.cancel()
    await asyncio.gather(*doing, return_exceptions=True)


async def test_relaxed_calls_of_a_killed_process_are_put_on_record_and_its_money_comes_back(payer: Payer) -> None:
    meter = payer.meter("one", durability="relaxed", relaxed_seconds=60.0)
    rows = [await payer.call(meter, 10, 7) for _ in range(20)]
    await abandon(meter)
    assert payer.on_record() == set()
    payer.recover("one")
    assert payer.on_record() == {row.id for row in rows}
    assert payer.balance() == (8_000 - 140, 0)
    assert list(payer.folder.glob("calls/*")) == []
    payer.check_closed()


async def test_a_call_under_way_when_its_process_was_killed_costs_nothing(payer: Payer) -> None:
    meter = payer.meter("one")
    await payer.call(meter, 10, 7)
    await meter.fetch(payer.caller, 900)
    payer.recover("one")
    assert payer.balance() == (7_993, 0)
    payer.check_closed()


async def test_what_was_recovered_once_is_not_charged_again(payer: Payer) -> None:
    """The server died again, between the database's commit and the journal's removal."""
    meter = payer.meter("one", durability="relaxed", relaxed_seconds=60.0)
    await payer.call(meter, 10, 7)
    await abandon(meter)
    kept = {path: path.read_bytes() for path in payer.folder.glob("calls/*")}
    assert kept
    payer.recover("one")
    for path, content in kept.items():
        path.write_bytes(content)
    payer.recover()
    assert payer.balance() == (7_993, 0)
    payer.check_closed()


async def test_a_journal_is_kept_while_the_database_cannot_take_it(payer: Payer) -> None:
    Journal(payer.folder, "one").append([payer.row(7, None)])
    payer.database.close()
    with pytest.raises(Unavailable):
        recover(payer.database, payer.folder, payer.now, owner="one")
    assert len(list(payer.folder.glob("calls/*"))) == 1


async def test_the_others_go_on_when_one_process_dies(payer: Payer) -> None:
    dead, living = payer.meter("one"), payer.meter("two")
    await payer.call(dead, 100, 70)
    await payer.call(living, 100, 70)
    payer.recover("one")
    assert [lease.owner for lease in payer.open_leases()] == ["two"]
    assert living.reserve(payer.caller, 100) is not None
    payer.check()
    await living.stop()
    payer.check_closed()


async def test_on_a_shared_database_the_leases_of_others_are_left_alone_and_run_out(payer: Payer) -> None:
    gone, living = payer.meter("one"), payer.meter("two")
    await payer.call(gone, 100, 70)
    recover(payer.database, payer.folder, payer.now)
    assert len(payer.open_leases()) == 1
    payer.now += 61
    await living.renew()
    assert payer.open_leases() == []
    payer.check_closed()


async def test_a_journal_that_is_found_when_its_lease_was_closed_long_ago_is_charged_apart(payer: Payer) -> None:
    meter, living = payer.meter("one", durability="relaxed", relaxed_seconds=60.0), payer.meter("two")
    for _ in range(3):
        await payer.call(meter, 10, 7)
    await abandon(meter)
    payer.now += 61
    await living.renew()
    assert payer.balance() == (8_000, 0)
    payer.recover()
    assert payer.balance() == (8_000 - 21, 0)
    payer.check_closed()


async def test_a_call_that_the_database_refuses_does_not_keep_a_server_from_starting(payer: Payer) -> None:
    rows: list[CallRow] = [payer.row(1, None), payer.row(2, None, model="a\0b", input_tokens=2**70), payer.row(4, None)]
    Journal(payer.folder, "one").append(rows)
    payer.recover()
    assert payer.on_record() == {row.id for row in rows}
    assert payer.balance() == (8_000 - 7, 0)
    payer.check_closed()


def test_where_nothing_was_left_nothing_is_done(payer: Payer) -> None:
    payer.recover()
    assert payer.balance() == (8_000, 0)
    payer.check_closed()
