from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from genway.access import store as access
from genway.billing import leases, ledger
from genway.billing.leases import CallRow, Lease
from genway.db import Database, tables
from genway.db.tables import calls, keys
from genway.errors import BudgetExceeded, InsufficientBalance, Unauthenticated
from relay.counting import Payer


@pytest.fixture
def payer(database_url: str, tmp_path: Path) -> Iterator[Payer]:
    """An account with 8,000, a key without a budget and one with 400."""
    opened = Payer(database_url, tmp_path, funds=8_000, budgets=(None, 400))
    yield opened
    opened.close()


def take(payer: Payer, need: int, want: int = 0, *, key: int = 0, besides: int = 0, instead_of: str = "") -> Lease:
    caller = payer.callers[key]

    def work(connection: Connection) -> Lease:
        return leases.open_lease(
            connection,
            owner="one",
            account_id=caller.account_id,
            key_id=caller.key_id,
            mode=caller.mode,
            need=need,
            want=want,
            now=payer.now,
            seconds=60,
            besides=besides,
            instead_of=instead_of,
        )

    lease: Lease = payer.write(work)
    return lease


def record(payer: Payer, *rows: CallRow) -> set[str]:
    return set(payer.write(lambda connection: leases.record(connection, rows, payer.now)))


def close(payer: Payer, lease: Lease) -> bool:
    closed: bool = payer.write(lambda connection: leases.close(connection, lease.id, payer.now))
    return closed


def test_a_lease_sets_money_aside_for_the_key_and_gives_back_what_was_not_spent(payer: Payer) -> None:
    lease = take(payer, 10, 500)
    assert lease.amount == 500
    assert payer.balance() == (7_500, 500)
    assert payer.key().held == 500
    record(payer, payer.row(30, lease.id), payer.row(40, lease.id))
    assert payer.balance() == (7_500, 500)
    close(payer, lease)
    assert payer.balance() == (7_930, 0)
    assert (payer.key().held, payer.key().spent) == (0, 70)
    payer.check_closed()


def test_at_most_an_eighth_of_what_there_is_goes_into_a_lease_that_does_not_need_more(payer: Payer) -> None:
    assert take(payer, 10, 100_000).amount == 1_000
    assert take(payer, 10, 100_000, key=1).amount == 50
    assert take(payer, 3_000, 100_000).amount == 3_000


def test_what_is_not_there_cannot_be_had_and_the_refusal_says_what_there_is(payer: Payer) -> None:
    with pytest.raises(InsufficientBalance, match=r"may cost 0\.008001 and the balance is 0\.008"):
        take(payer, 8_001)
    with pytest.raises(BudgetExceeded, match=r"may cost 0\.000401 and the key's budget has 0\.0004 left"):
        take(payer, 401, key=1)
    for besides, left in ((7_900, "0.0001"), (8_200, "0.00")):
        with pytest.raises(InsufficientBalance, match=rf"the balance is {left};"):
            take(payer, 500, besides=besides)
    assert payer.balance() == (8_000, 0)
    assert payer.open_leases() == []
    payer.check()
    payer.top_up(-9_000)
    with pytest.raises(InsufficientBalance, match=r"the balance is -0\.001;"):
        take(payer, 1, besides=200)


def test_credit_can_be_lent_and_money_without_limit_too(payer: Payer) -> None:
    payer.set_credit(1_000)
    assert take(payer, 9_000).amount == 9_000
    payer.set_credit(None)
    assert take(payer, 10**9, 10**10).amount == 10**10
    payer.check()


def test_a_revoked_or_unknown_key_gets_nothing(payer: Payer) -> None:
    payer.write(lambda connection: access.revoke_key(connection, payer.caller.key_id, payer.now))
    with pytest.raises(Unauthenticated, match="revoked"):
        take(payer, 1)
    payer.write(lambda connection: connection.execute(keys.delete().where(keys.c.id == payer.caller.key_id)).rowcount)
    with pytest.raises(Unauthenticated, match="not known"):
        take(payer, 1)
    assert payer.balance() == (8_000, 0)


def test_a_lease_can_take_the_place_of_another_with_all_that_is_left_of_it(payer: Payer) -> None:
    first = take(payer, 8_000)
    record(payer, payer.row(3_000, first.id))
    second = take(payer, 4_000, besides=1_000, instead_of=first.id)
    assert second.amount == 5_000
    assert payer.balance() == (0, 5_000)
    assert [lease.id for lease in payer.open_leases()] == [second.id]
    payer.check()


def test_a_lease_stays_where_the_one_in_its_place_cannot_be_had(payer: Payer) -> None:
    first = take(payer, 5_000)
    with pytest.raises(InsufficientBalance):
        take(payer, 8_001, instead_of=first.id)
    assert [lease.id for lease in payer.open_leases()] == [first.id]
    assert payer.balance() == (3_000, 5_000)
    payer.check()


def test_a_lease_is_closed_once_however_often_it_is_tried(payer: Payer) -> None:
    lease = take(payer, 100)
    record(payer, payer.row(60, lease.id))
    assert close(payer, lease)
    assert not close(payer, lease)
    assert payer.balance() == (7_940, 0)
    payer.check_closed()


def test_the_audit_finds_a_lease_that_was_closed_without_its_hold(payer: Payer) -> None:
    lease = take(payer, 100)
    closed = update(tables.leases).where(tables.leases.c.id == lease.id).values(closed_at=1.0)
    payer.write(lambda connection: connection.execute(closed).rowcount)
    assert payer.read(ledger.audit) == [f"lease {lease.id} and its hold are not closed together"]


def test_a_lease_that_was_overspent_is_charged_in_full(payer: Payer) -> None:
    lease = take(payer, 100)
    record(payer, payer.row(250, lease.id))
    close(payer, lease)
    assert payer.balance() == (7_750, 0)
    payer.check_closed()


def test_a_call_that_comes_after_its_lease_was_closed_is_charged_at_once_and_says_so(payer: Payer) -> None:
    open_lease, closed = take(payer, 100), take(payer, 100)
    close(payer, closed)
    rows = [payer.row(10, closed.id), payer.row(20, open_lease.id), payer.row(30, closed.id), payer.row(0, closed.id)]
    assert record(payer, *rows) == {closed.id}
    assert payer.balance() == (7_860, 100)
    payer.check()
    transfers = payer.read(lambda connection: ledger.of_account(connection, payer.account_id))
    assert (transfers[0].kind, transfers[0].amount, transfers[0].memo) == ("charge", 40, "2 calls")


def test_calls_without_a_lease_are_charged_to_their_own_keys(payer: Payer) -> None:
    record(payer, payer.row(5, None), payer.row(7, None, payer.callers[1]), payer.row(0, None))
    assert payer.balance() == (7_988, 0)
    assert (payer.key().spent, payer.key(payer.callers[1]).spent) == (5, 7)
    payer.check_closed()


def test_a_call_is_on_record_once(payer: Payer) -> None:
    lease = take(payer, 100)
    row, other = payer.row(10, lease.id), payer.row(20, lease.id)
    record(payer, row)
    with pytest.raises(IntegrityError):
        record(payer, other, row)
    assert payer.on_record() == {row.id}
    payer.write(lambda connection: leases.record_missing(connection, [row, other, other], payer.now))
    assert payer.on_record() == {row.id, other.id}
    assert payer.open_leases()[0].spent == 30
    payer.check()


def test_every_member_of_a_call_comes_back_as_it_was(payer: Payer) -> None:
    row = payer.row(3, None, outcome="client_gone", used='{"input":1}', estimated=True, model="名字 %s ?")
    record(payer, row)
    stored = payer.read(lambda connection: connection.execute(select(calls)).one())
    assert tuple(stored) == tuple(getattr(row, name) for name in CallRow.__struct_fields__)
    assert tuple(column.name for column in calls.c) == CallRow.__struct_fields__


def test_what_a_database_cannot_store_of_a_call_is_cut_off_and_the_call_recorded(payer: Payer) -> None:
    lease = take(payer, 100)
    good, known = payer.row(1, lease.id), payer.row(2, lease.id)
    record(payer, known)
    odd = payer.row(4, lease.id, model="a\0b\ud800", input_tokens=10**40)
    payer.write(lambda connection: leases.record_apart(connection, [known, odd, good], payer.now))
    assert payer.on_record() == {good.id, known.id, odd.id}
    stored = payer.read(lambda connection: connection.execute(select(calls).where(calls.c.id == odd.id)).one())
    assert (stored.model, stored.input_tokens) == ("ab?", leases.MOST)
    assert payer.open_leases()[0].spent == 7
    payer.check()


def test_a_living_process_hears_which_of_its_leases_were_closed(payer: Payer) -> None:
    kept, lost = take(payer, 100), take(payer, 100)
    payer.now += 100
    payer.write(lambda connection: leases.close(connection, lost.id, payer.now))
    renewed = payer.write(lambda connection: leases.renew(connection, [kept.id, lost.id], payer.now + 60))
    assert renewed == {lost.id}
    assert payer.write(lambda connection: leases.close_all(connection, payer.now, expired=True)) == 0
    payer.now += 61
    assert payer.write(lambda connection: leases.close_all(connection, payer.now, expired=True)) == 1
    payer.check_closed()


def test_what_open_leases_have_spent_is_told_for_a_key(payer: Payer) -> None:
    first, second, other = take(payer, 100), take(payer, 100), take(payer, 100, key=1)
    record(payer, payer.row(10, first.id), payer.row(5, second.id), payer.row(7, other.id, payer.callers[1]))
    close(payer, first)
    assert payer.read(lambda connection: leases.spent_of_key(connection, payer.caller.key_id)) == 5
    assert payer.key().spent == 10


def test_test_money_is_lent_without_end_and_apart_from_live_money(payer: Payer) -> None:
    payer.write(lambda c: c.execute(update(keys).where(keys.c.id == payer.caller.key_id).values(mode="test")).rowcount)
    caller = payer.callers[0] = type(payer.caller)(
        account_id=payer.account_id, key_id=payer.caller.key_id, name="test", mode="test"
    )
    lease = take(payer, 10**12)
    record(payer, payer.row(10**12, lease.id, caller))
    close(payer, lease)
    assert payer.balance() == (8_000, 0)
    assert payer.balance("test") == (-(10**12), 0)
    payer.check()


def _race(payer: Payer, url: str, works: int) -> list[bool]:
    """Two processes' writers take 100 each at once, so often."""
    databases = [Database(url), Database(url)]
    start = threading.Barrier(8)

    def one(number: int) -> bool:
        caller = payer.callers[1]
        if number < 8:
            start.wait()
        try:
            databases[number % 2].write_now(
                lambda connection: leases.open_lease(
                    connection,
                    owner=str(number % 2),
                    account_id=caller.account_id,
                    key_id=caller.key_id,
                    mode="live",
                    need=30,
                    want=30,
                    now=payer.now,
                    seconds=60,
                )
            )
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(works)))
    for each in databases:
        each.close()
    return outcomes


def test_two_processes_never_lend_more_than_a_budget_has(payer: Payer, database_url: str) -> None:
    assert sum(_race(payer, database_url, 40)) == 13
    assert payer.key(payer.callers[1]).held == 390
    payer.check()


def test_nothing_is_lost_where_a_lease_is_closed_while_its_calls_are_recorded(payer: Payer, database_url: str) -> None:
    """One process closes leases of another that is only slow."""
    other = Database(database_url)
    found = [take(payer, 20) for _ in range(40)]
    start = threading.Barrier(2)

    def closes() -> None:
        start.wait()
        for lease in found:
            other.write_now(partial(leases.close, lease_id=lease.id, now=payer.now))

    closing = threading.Thread(target=closes)
    closing.start()
    start.wait()
    for lease in found:
        record(payer, payer.row(7, lease.id), payer.row(3, lease.id))
    closing.join()
    other.close()
    payer.check_closed()
    assert payer.balance() == (8_000 - 40 * 10, 0)
