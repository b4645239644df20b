from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from genway.access import store as access
from genway.access.model import Caller
from genway.billing import leases
from genway.errors import BudgetExceeded, InsufficientBalance, Unauthenticated, Unavailable
from genway.relay import meter as meter_module
from genway.relay.meter import Meter, Reservation
from relay.counting import Payer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "RETRY_SECONDS", 0.001)


@pytest.fixture
def payer(database_url: str, tmp_path: Path) -> Iterator[Payer]:
    """An account with 8,000, a key without a budget and one with 400."""
    opened = Payer(database_url, tmp_path, funds=8_000, budgets=(None, 400))
    yield opened
    opened.close()


async def reserve(payer: Payer, meter: Meter, amount: int, key: int = 0) -> Reservation:
    caller = payer.callers[key]
    return meter.reserve(caller, amount) or await meter.fetch(caller, amount)


async def background(meter: Meter) -> None:
    """Let what it does beside calls come to its end."""
    while meter._jobs:
        await asyncio.gather(*meter._jobs)


async def test_many_calls_are_paid_out_of_one_lease(payer: Payer) -> None:
    meter = payer.meter()
    for _ in range(20):
        await payer.call(meter, 20, 7)
    lease = payer.open_leases()
    assert [(one.amount, one.spent) for one in lease] == [(1_000, 140)]
    payer.check()
    await meter.stop()
    assert payer.balance() == (8_000 - 140, 0)
    payer.check_closed()


async def test_what_a_call_did_not_use_is_there_for_the_next(payer: Payer) -> None:
    meter = payer.meter()
    for _ in range(100):
        await payer.call(meter, 7_900, 1)
    assert payer.read(lambda connection: leases.spent_of_key(connection, payer.caller.key_id)) + payer.key().spent == 100
    with pytest.raises(InsufficientBalance):
        await payer.call(meter, 7_901)
    await meter.stop()
    payer.check_closed()


async def test_a_call_that_comes_to_nothing_costs_nothing(payer: Payer) -> None:
    meter = payer.meter()
    reservation = await reserve(payer, meter, 500)
    meter.release(reservation)
    meter.release(reservation)
    assert meter.reserve(payer.caller, 1_000) is not None
    await meter.stop()
    assert payer.balance() == (8_000, 0)


async def test_a_busy_key_takes_larger_leases_and_a_rested_one_small_ones_again(payer: Payer) -> None:
    payer.top_up(10_000_000)
    meter = payer.meter()
    for _ in range(40):
        await payer.call(meter, 500)
        await background(meter)
        payer.now += 0.3
    assert payer.open_leases()[0].amount > 10_000
    payer.now += 60
    meter.tidy()
    await background(meter)
    assert payer.open_leases() == []
    await payer.call(meter, 500)
    assert payer.open_leases()[0].amount == 1_000
    await meter.stop()
    payer.check_closed()


async def test_the_next_lease_is_fetched_before_this_one_runs_out(payer: Payer) -> None:
    meter = payer.meter()
    held = [await reserve(payer, meter, 100)]
    first = payer.open_leases()[0].id
    held.append(await reserve(payer, meter, 700))
    await background(meter)
    assert [lease.id for lease in payer.open_leases()] != [first]
    reservation = meter.reserve(payer.caller, 300)
    assert reservation is not None
    for one in (*held, reservation):
        await asyncio.wait_for(_end(payer, meter, one, 100), 10)
    await meter.stop()
    assert payer.balance() == (7_700, 0)
    payer.check_closed()


async def _end(payer: Payer, meter: Meter, reservation: Reservation, cost: int, key: int = 0) -> None:
    committed = meter.record(payer.row(cost, meter.spend(reservation, cost), payer.callers[key]))
    if committed is not None:
        await committed


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_five_hundred_calls_at_once_never_spend_more_than_a_budget_for_thirty_seven(
    payer: Payer, durability: str
) -> None:
    meter = payer.meter(durability=durability)
    payer.write(lambda connection: access.create_key(connection, payer.vault, payer.account_id, name="k", budget=370, now=1.0))
    key = payer.read(lambda connection: access.get_key(connection, "k"))
    payer.callers.append(type(payer.caller)(account_id=payer.account_id, key_id=key.id, name="k", mode="live"))
    under_way = most = 0

    async def call(number: int) -> bool:
        nonlocal under_way, most
        try:
            reservation = await reserve(payer, meter, 10, key=2)
        except BudgetExceeded:
            return False
        under_way += 1
        most = max(most, under_way)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        under_way -= 1
        await _end(payer, meter, reservation, 10, key=2)
        return True

    outcomes = await asyncio.gather(*(call(number) for number in range(500)))
    assert sum(outcomes) == 37
    assert most > 1
    await meter.stop()
    assert payer.key(payer.callers[2]).spent == 370
    payer.check_closed()


async def test_two_processes_share_a_balance_and_use_it_to_the_last_millionth(payer: Payer) -> None:
    meters = [payer.meter("one"), payer.meter("two")]
    spent = [0, 0]
    refused = 0
    while refused < 8:
        for number, meter in enumerate(meters):
            try:
                await payer.call(meter, 50, 37)
                spent[number] += 37
            except InsufficientBalance:
                # What the other has at rest comes back in time.
                refused += 1
                payer.now += 6
                for each in meters:
                    each.tidy()
                    await background(each)
        payer.check()
    assert 8_000 - sum(spent) < 50
    assert min(spent) > 3_000
    for meter in meters:
        await meter.stop()
    payer.check_closed()


async def test_what_calls_under_way_do_not_need_comes_back_after_a_while(payer: Payer) -> None:
    """A stream that takes an hour keeps its own money, and not the rest of the lease."""
    meter, other = payer.meter("one"), payer.meter("two")
    stream = await reserve(payer, meter, 100)
    assert payer.balance() == (7_000, 1_000)
    payer.now += 6
    meter.tidy()
    await background(meter)
    assert payer.balance() == (7_900, 100)
    await payer.call(other, 7_900)
    await _end(payer, meter, stream, 100)
    for each in (meter, other):
        await each.stop()
    assert payer.balance() == (0, 0)
    payer.check_closed()


async def test_money_that_comes_in_can_be_spent_at_once(payer: Payer) -> None:
    meter = payer.meter()
    with pytest.raises(InsufficientBalance):
        await payer.call(meter, 9_000)
    payer.top_up(2_000)
    await payer.call(meter, 9_000)
    await meter.stop()
    payer.check_closed()


async def test_a_revoked_key_gets_no_new_lease(payer: Payer) -> None:
    meter = payer.meter()
    await payer.call(meter, 900)
    payer.write(lambda connection: access.revoke_key(connection, payer.caller.key_id, payer.now))
    with pytest.raises(Unauthenticated):
        await payer.call(meter, 900)
    await meter.stop()
    payer.check_closed()


async def test_a_budget_that_is_changed_counts_at_once_although_a_lease_is_out(payer: Payer) -> None:
    meter = payer.meter()
    await payer.call(meter, 300)

    def edited(budget: int | None) -> Caller:
        changes = {"budget": budget}
        payer.write(lambda connection: access.change_key(connection, payer.caller.key_id, changes))
        return msgspec.structs.replace(payer.caller, budget=budget)

    limited = edited(400)
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=r"the key's budget has 0\.0001 left"):
            await payer.call(meter, 101, caller=limited)
    await payer.call(meter, 100, caller=limited)
    assert meter.reserve(edited(None), 1) is None
    await payer.call(meter, 1_000, caller=edited(None))
    await meter.stop()
    payer.check_closed()


async def test_a_process_that_was_taken_for_dead_notices_and_begins_anew(payer: Payer) -> None:
    meter, other = payer.meter("one"), payer.meter("two")
    stream = await reserve(payer, meter, 200)
    payer.now += 61
    await other.renew()
    assert payer.balance() == (8_000, 0)
    await meter.renew()
    assert meter.reserve(payer.caller, 10) is None
    await payer.call(meter, 300)
    await _end(payer, meter, stream, 150)
    for each in (meter, other):
        await each.stop()
    assert payer.balance() == (8_000 - 450, 0)
    payer.check_closed()


async def test_a_late_call_makes_the_process_notice_too(payer: Payer) -> None:
    meter = payer.meter()
    stream = await reserve(payer, meter, 200)
    payer.now += 61
    payer.write(lambda connection: leases.close_all(connection, payer.now, expired=True))
    await _end(payer, meter, stream, 150)
    assert payer.balance() == (8_000 - 150, 0)
    assert meter.reserve(payer.caller, 10) is None
    await meter.stop()
    payer.check_closed()


async def test_a_living_process_keeps_its_leases(payer: Payer) -> None:
    meter = payer.meter()
    reservation = await reserve(payer, meter, 200)
    for _ in range(10):
        payer.now += 50
        await meter.renew()
    assert len(payer.open_leases()) == 1
    await _end(payer, meter, reservation, 200)
    await meter.stop()
    payer.check_closed()


@pytest.mark.parametrize("how", ["before", "after"])
async def test_while_nothing_can_be_put_on_record_no_call_is_taken_and_afterwards_nothing_is_missing(
    payer: Payer, how: str
) -> None:
    """`after`: the commit came about and its answer was lost, so the same calls are written again."""
    meter = payer.meter()
    under_way = [await reserve(payer, meter, 100) for _ in range(3)]
    payer.database.fails = how
    for reservation in under_way[:2]:
        with pytest.raises(Unavailable):
            await _end(payer, meter, reservation, 60)
    assert meter.reserve(payer.caller, 1) is None
    assert meter.reserve(payer.caller, 0) is None
    with pytest.raises(Unavailable, match="cannot be put on record"):
        await meter.fetch(payer.caller, 1)
    payer.database.fails = ""
    await meter.flush()
    await _end(payer, meter, under_way[2], 60)
    assert meter.reserve(payer.caller, 1) is not None
    assert len(payer.on_record()) == 3
    await meter.stop()
    assert payer.balance() == (8_000 - 180, 0)
    payer.check_closed()


async def test_a_call_that_the_database_refuses_harms_no_other(payer: Payer) -> None:
    meter = payer.meter()
    found = [await reserve(payer, meter, 10) for _ in range(3)]
    rows = [payer.row(5, meter.spend(one, 5), model=model) for one, model in zip(found, ("a", "b\0\ud800", "c"), strict=True)]
    waiting = [meter.record(row) for row in rows]
    await asyncio.gather(*(one for one in waiting if one is not None))
    assert payer.on_record() == {row.id for row in rows}
    await meter.stop()
    assert payer.balance() == (8_000 - 15, 0)
    payer.check_closed()


async def test_one_that_fails_when_it_is_told_keeps_none_of_the_others_waiting(payer: Payer) -> None:
    meter = payer.meter()
    told: list[int] = []
    for number in range(3):
        reservation = await reserve(payer, meter, 10)

        def tell(problem: Unavailable | None, number: int = number) -> None:
            assert problem is None
            told.append(number)
            if number == 1:
                raise RuntimeError("a fault of the listener's")

        meter.record_and_tell(payer.row(5, meter.spend(reservation, 5)), tell)
    await meter.flush()
    assert told == [0, 1, 2]
    await _end(payer, meter, await reserve(payer, meter, 10), 5)
    await meter.stop()
    assert payer.balance() == (8_000 - 20, 0)
    payer.check_closed()


async def test_one_client_that_leaves_does_not_cancel_the_record_of_the_others(payer: Payer) -> None:
    meter = payer.meter()

    async def end() -> None:
        reservation = await reserve(payer, meter, 10)
        await _end(payer, meter, reservation, 5)

    await end()
    ending = [asyncio.create_task(end()) for _ in range(10)]
    while meter._committed is None:
        await asyncio.sleep(0)
    ending[3].cancel()
    outcomes = await asyncio.gather(*ending, return_exceptions=True)
    assert [type(one) for one in outcomes] == [asyncio.CancelledError if n == 3 else type(None) for n in range(10)]
    await meter.stop()
    assert payer.balance() == (8_000 - 55, 0)
    payer.check_closed()


async def test_with_too_many_calls_that_wait_for_the_database_no_more_are_taken(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "MOST_WAITING", 3)
    meter = payer.meter()
    found = [await reserve(payer, meter, 10) for _ in range(5)]
    waiting = [meter.record(payer.row(5, meter.spend(one, 5))) for one in found]
    assert meter.reserve(payer.caller, 1) is None
    await asyncio.gather(*(one for one in waiting if one is not None))
    assert meter.reserve(payer.caller, 1) is not None
    await meter.stop()
    payer.check_closed()


async def test_relaxed_calls_are_in_the_journal_at_once_and_in_the_database_soon(payer: Payer) -> None:
    meter = payer.meter(durability="relaxed")
    row = await payer.call(meter, 10, 5)
    journals = sorted(payer.folder.glob("calls/*.jsonl"))
    assert [path.read_text().count(row.id) for path in journals] == [1]
    await meter.flush()
    assert payer.on_record() == {row.id}
    assert list(payer.folder.glob("calls/*.jsonl")) == []
    await meter.stop()
    payer.check_closed()


async def test_the_journal_of_a_busy_process_does_not_grow_without_end(payer: Payer) -> None:
    payer.top_up(1_000_000)
    meter = payer.meter(durability="relaxed")
    largest = 0
    for _ in range(60):
        for _ in range(20):
            await payer.call(meter, 10, 5)
        largest = max(largest, sum(path.stat().st_size for path in payer.folder.glob("calls/*.jsonl")))
        while len(meter._rows) > 40:
            await asyncio.sleep(0)
    await meter.stop()
    assert len(payer.on_record()) == 1_200
    assert largest < 120 * 250
    payer.check_closed()


async def test_where_the_journal_cannot_be_written_relaxed_calls_wait_for_the_database(payer: Payer) -> None:
    (payer.folder / "calls").write_text("in the way of the folder")
    meter = payer.meter(durability="relaxed")
    reservation = await reserve(payer, meter, 10)
    row = payer.row(5, meter.spend(reservation, 5))
    committed = meter.record(row)
    assert committed is not None
    await committed
    assert payer.on_record() == {row.id}
    await meter.stop()
    payer.check_closed()


async def test_what_could_not_be_put_on_record_at_the_end_is_so_at_the_next_start(payer: Payer) -> None:
    meter = payer.meter()
    reservation = await reserve(payer, meter, 10)
    payer.database.fails = "before"
    with pytest.raises(Unavailable):
        await _end(payer, meter, reservation, 5)
    await meter.stop()
    payer.database.fails = ""
    assert payer.on_record() == set()
    payer.recover()
    assert len(payer.on_record()) == 1
    assert payer.balance() == (8_000 - 5, 0)
    payer.check_closed()


async def test_the_keeper_returns_what_rests(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "KEEP_SECONDS", 0.001)
    meter = payer.meter()
    meter.start()
    await payer.call(meter, 10)
    payer.now += 6
    until = time.monotonic() + 10
    while payer.open_leases():
        assert time.monotonic() < until
        await asyncio.sleep(0)
    await meter.stop()
    payer.check_closed()


async def test_a_clock_that_is_set_back_holds_up_neither_what_rests_nor_the_leases_of_the_dead(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "KEEP_SECONDS", 0.001)
    monkeypatch.setattr(meter_module, "RENEW_SECONDS", 0.001)
    meter = payer.meter()
    meter.start()
    await payer.call(meter, 10)
    payer.now -= 3_600
    await payer.call(payer.meter("dead"), 10)
    payer.now += 61
    until = time.monotonic() + 10
    while payer.open_leases():
        assert time.monotonic() < until
        await asyncio.sleep(0)
    await meter.stop()
    payer.check_closed()


async def test_setting_money_aside_and_spending_it_takes_microseconds(payer: Payer) -> None:
    payer.top_up(10**9)
    meter = payer.meter(first_lease=10**8)
    await payer.call(meter, 1)
    best = 1.0
    for _ in range(5):
        started = time.thread_time()
        for _ in range(2_000):
            reservation = meter.reserve(payer.caller, 10)
            assert reservation is not None
            meter.spend(reservation, 5)
        best = min(best, (time.thread_time() - started) / 2_000)
    assert best < 20e-6
    await meter.stop()
