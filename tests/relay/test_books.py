"""Random lives of several processes that share an account: nothing is lost and nothing charged twice, whatever happens."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from genway.billing import leases
from genway.billing.leases import CallRow
from genway.errors import BudgetExceeded, InsufficientBalance, Unavailable
from genway.relay import meter as meter_module
from genway.relay.meter import Meter, Reservation
from relay.counting import Payer

FUNDS = 5_000


class Call:
    """One call under way. late: somebody else closed its lease meanwhile, so nothing is held for it."""

    def __init__(self, key: int, amount: int, reservation: Reservation, late: bool) -> None:
        self.key, self.amount, self.reservation, self.late = key, amount, reservation, late


class Worker:
    """A process: its meter, its calls under way, and what its clients were told is on record."""

    def __init__(self, owner: str, meter: Meter) -> None:
        self.owner, self.meter = owner, meter
        self.calls: list[Call] = []
        self.waiting: list[tuple[asyncio.Future[None], CallRow]] = []


class Books(RuleBasedStateMachine):
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.payer: Payer
        self.workers: list[Worker] = []
        self.dead: list[str] = []
        self.promised: set[str] = set()
        self.excess: dict[int, int] = {}
        self.cost: dict[int, int] = {}
        self.number = 0

    def run(self, work: Any) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(work, 20)

        try:
            return self.loop.run_until_complete(bounded())
        finally:
            self.settle()

    def settle(self) -> None:
        """See what was begun committed, or not, so that the same steps always lead to the same books; nobody is told yet."""
        self.payer.write(lambda connection: None)

    @initialize(budgets=st.tuples(*[st.one_of(st.none(), st.integers(1, FUNDS))] * 3))
    def furnish(self, budgets: tuple[int | None, ...]) -> None:
        url = self.url or f"sqlite:///{self.folder.name}/books.sqlite3"
        self.payer = Payer(url, Path(self.folder.name), funds=FUNDS, budgets=budgets)
        self.budgets = budgets
        self.excess = dict.fromkeys(range(len(budgets)), 0)
        self.cost = dict.fromkeys(range(len(budgets)), 0)

    @precondition(lambda self: len(self.workers) < 3)
    @rule(durability=st.sampled_from(["strict", "relaxed"]))
    def begin_a_process(self, durability: str) -> None:
        self.number += 1
        owner = f"host:{self.number}"
        self.workers.append(Worker(owner, self.payer.meter(owner, durability=durability, first_lease=200, largest_lease=2_000)))

    def worker(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.workers), label="process")

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), key=st.integers(0, 2), amount=st.integers(1, 900))
    def a_call_begins(self, data: st.DataObject, key: int, amount: int) -> None:
        worker, caller = self.worker(data), self.payer.callers[key]

        async def begin() -> Reservation:
            return worker.meter.reserve(caller, amount) or await worker.meter.fetch(caller, amount)

        promised = sum(call.amount for call in worker.calls if call.key == key and call.late)
        try:
            reservation = self.run(begin())
        except BudgetExceeded:
            row = self.payer.key(caller)
            assert row.budget is not None
            assert row.budget - row.spent - row.held - promised < amount
        except InsufficientBalance:
            available, _ = self.payer.balance()
            assert available - promised < amount
        except Unavailable:
            assert self.payer.database.fails or worker.meter._problem
        else:
            known = {lease.id for lease in self.payer.open_leases()}
            late = reservation.purse is not None and reservation.purse.lease_id not in known
            worker.calls.append(Call(key, amount, reservation, late))

    @precondition(lambda self: any(worker.calls for worker in self.workers))
    @rule(data=st.data(), share=st.floats(0, 1.3), waits=st.booleans())
    def a_call_ends(self, data: st.DataObject, share: float, waits: bool) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.calls]), label="process")
        call = worker.calls.pop(data.draw(st.integers(0, len(worker.calls) - 1)))
        cost = int(call.amount * share)
        row = self.payer.row(cost, worker.meter.spend(call.reservation, cost), self.payer.callers[call.key])
        self.excess[call.key] += cost if call.late else max(cost - call.amount, 0)

        async def end() -> None:
            committed = worker.meter.record(row)
            if committed is None:
                self.promised.add(row.id)
            else:
                worker.waiting.append((committed, row))
                if waits:
                    try:
                        await committed
                    except Unavailable:
                        assert self.payer.database.fails
            await asyncio.sleep(0)

        self.run(end())
        self.note()

    def note(self) -> None:
        """Whoever was told that a call is on record relies on it."""
        for worker in self.workers:
            for committed, row in worker.waiting:
                if committed.done() and committed.exception() is None:
                    self.promised.add(row.id)

    @precondition(lambda self: any(worker.calls for worker in self.workers))
    @rule(data=st.data())
    def a_call_comes_to_nothing(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.calls]), label="process")
        call = worker.calls.pop()
        worker.meter.release(call.reservation)
        worker.meter.release(call.reservation)

    @precondition(lambda self: self.workers)
    @rule(seconds=st.sampled_from([0.5, 6.0, 20.0]), renews=st.booleans())
    def time_goes_by(self, seconds: float, renews: bool) -> None:
        self.payer.now += seconds

        async def tidy() -> None:
            for worker in self.workers:
                worker.meter.tidy()
                await asyncio.gather(*worker.meter._jobs)
                if renews and not self.payer.database.fails:
                    await worker.meter.renew()

        known = {lease.id for lease in self.payer.open_leases()}
        self.run(tidy())
        self.find_late(known)

    @precondition(lambda self: self.workers)
    @rule()
    def a_stalled_process_is_taken_for_dead(self) -> None:
        """Its leases run out while it lives, and somebody closes them."""
        self.payer.now += 61
        known = {lease.id for lease in self.payer.open_leases()}
        self.payer.write(lambda connection: leases.close_all(connection, self.payer.now, expired=True))
        self.find_late(known)

    def find_late(self, before: set[str]) -> None:
        known = {lease.id for lease in self.payer.open_leases()}
        for worker in self.workers:
            for call in worker.calls:
                if call.reservation.purse is not None and call.reservation.purse.lease_id not in known:
                    call.late = True

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), settled=st.booleans())
    def a_process_is_killed(self, data: st.DataObject, settled: bool) -> None:
        worker = self.worker(data)

        async def kill() -> None:
            if settled and not self.payer.database.fails:
                await worker.meter.flush()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            mine = {worker.meter._writing, *worker.meter._jobs}
            for task in tasks:
                if task in mine:
                    task.cancel()
            await asyncio.gather(*(task for task in tasks if task in mine), return_exceptions=True)

        self.run(kill())
        self.note()
        self.workers.remove(worker)
        self.dead.append(worker.owner)

    @precondition(lambda self: self.dead)
    @rule()
    def what_a_dead_process_owes_is_seen_to(self) -> None:
        self.payer.recover(self.dead.pop())

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_process_stops(self, data: st.DataObject) -> None:
        worker = self.worker(data)
        if worker.calls:
            return
        self.run(worker.meter.stop())
        self.note()
        self.workers.remove(worker)
        self.dead.append(worker.owner)

    @rule(amount=st.integers(1, 2_000))
    def money_comes_in(self, amount: int) -> None:
        self.payer.top_up(amount)

    @rule(how=st.sampled_from(["before", "after"]))
    def the_database_fails(self, how: str) -> None:
        self.payer.database.fails = how

    @precondition(lambda self: self.payer.database.fails)
    @rule()
    def the_database_is_well_again(self) -> None:
        self.payer.database.fails = ""

        async def flush() -> None:
            for worker in self.workers:
                try:
                    await worker.meter.flush()
                except Unavailable:
                    await worker.meter.flush()
                assert not worker.meter._problem

        self.run(flush())
        self.note()

    @invariant()
    def the_books_agree(self) -> None:
        if not self.excess:
            return
        self.payer.check()
        spent = dict.fromkeys(self.excess, 0)
        for number, caller in enumerate(self.payer.callers):
            key = self.payer.key(caller)
            open_spent = sum(lease.spent for lease in self.payer.open_leases() if lease.key_id == caller.key_id)
            spent[number] = key.spent + open_spent
            if key.budget is not None:
                assert spent[number] <= key.budget + self.excess[number]
        assert sum(spent.values()) <= self.payer.funds + sum(self.excess.values())

    def teardown(self) -> None:
        if self.excess:
            self.payer.database.fails = ""
            for worker in self.workers:
                for call in worker.calls:
                    worker.meter.release(call.reservation)
                self.run(worker.meter.stop())
            self.note()
            self.payer.recover()
            self.payer.check_closed()
            assert self.promised <= self.payer.on_record()
            self.payer.close()
        self.loop.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "RETRY_SECONDS", 0.001)


CHECKS = settings(deadline=None, suppress_health_check=list(HealthCheck))


def test_the_books_agree_on_sqlite() -> None:
    run_state_machine_as_test(Books, settings=settings(CHECKS, max_examples=15, stateful_step_count=25))


def test_the_books_agree_on_postgresql(postgresql_url: str) -> None:
    machine = type("PostgresqlBooks", (Books,), {"url": postgresql_url})
    run_state_machine_as_test(machine, settings=settings(CHECKS, max_examples=4, stateful_step_count=25))
