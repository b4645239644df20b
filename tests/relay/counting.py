"""An account with money and keys, processes that spend it, and what must hold of the books at all times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from genway.access import store as access
from genway.access.model import Caller
from genway.billing import ledger
from genway.billing.leases import CallRow
from genway.config import Relay
from genway.db import Database
from genway.db.tables import accounts, calls, keys, leases, metadata
from genway.errors import Unavailable
from genway.relay.journal import Journal
from genway.relay.meter import Meter
from genway.relay.recovery import recover
from genway.vault import Vault

_numbers = itertools.count(1)


class Faulty(Database):
    """A database that can be told to fail: `before` anything is written, or `after` it is and nobody was told."""

    def __init__(self, url: str) -> None:
        self.fails = ""
        super().__init__(url, readers=1)

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        if self.fails == "before":
            raise Unavailable("the database could not commit; nothing was changed")
        answer = await super().write(work)
        if self.fails == "after":
            raise Unavailable("the connection to the database broke off")
        return answer


class Payer:
    """One account with `funds`, its keys with budgets, and a clock that stands still until it is moved."""

    def __init__(self, url: str, folder: Path, *, funds: int = 0, budgets: tuple[int | None, ...] = (None,)) -> None:
        self.database = Faulty(url)
        self.folder = folder
        self.now = 1_000.0
        self.funds = funds
        metadata.drop_all(self.database.engine)
        metadata.create_all(self.database.engine)
        self.vault = Vault(b"x" * 32)
        self.account_id, self.callers = self.database.write_now(lambda connection: self._furnish(connection, budgets))
        self.meters: list[Meter] = []

    def _furnish(self, connection: Connection, budgets: tuple[int | None, ...]) -> tuple[str, list[Caller]]:
        account = access.create_account(connection, self.vault, "acme", currency="USD", credit_limit=0, now=1.0)
        if self.funds:
            ledger.top_up(connection, account.id, "live", self.funds, "", 1.0)
        callers = []
        for number, budget in enumerate(budgets):
            key, _ = access.create_key(connection, self.vault, account.id, name=str(number), budget=budget, now=1.0)
            callers.append(Caller(account_id=account.id, key_id=key.id, name=key.name, mode="live"))
        return account.id, callers

    @property
    def caller(self) -> Caller:
        return self.callers[0]

    def clock(self) -> float:
        return self.now

    def meter(self, owner: str = "one", **settings: Any) -> Meter:
        """A process's meter, not started: nothing happens by itself."""
        relay = Relay(**{"first_lease": 1_000, "largest_lease": 16_000, "relaxed_seconds": 0.0} | settings)
        meter = Meter(self.database, relay, Journal(self.folder, owner), owner=owner, clock=self.clock)
        self.meters.append(meter)
        return meter

    def recover(self, owner: str | None = None) -> None:
        recover(self.database, self.folder, self.now, owner=owner, alone=owner is None)

    def row(self, cost: int, lease_id: str | None, caller: Caller | None = None, **changes: Any) -> CallRow:
        caller = caller or self.caller
        values: dict[str, Any] = {
            "id": f"cll_{next(_numbers):08}",
            "created_at": self.now,
            "account_id": caller.account_id,
            "key_id": caller.key_id,
            "mode": caller.mode,
            "kind": "chat",
            "model": "gpt-4.1",
            "vendor_model": "gpt-4.1",
            "channel_id": "ch_1",
            "lease_id": lease_id,
            "status": 200,
            "outcome": "done",
            "attempts": 1,
            "milliseconds": 5,
            "input_tokens": 10,
            "output_tokens": 2,
            "used": "{}",
            "estimated": False,
            "cost": cost,
            "request_id": "req_1",
        }
        return CallRow(**values | changes)

    async def call(self, meter: Meter, amount: int, cost: int | None = None, caller: Caller | None = None) -> CallRow:
        """A whole call, from setting money aside to being on record."""
        caller = caller or self.caller
        reservation = meter.reserve(caller, amount) or await meter.fetch(caller, amount)
        cost = amount if cost is None else cost
        row = self.row(cost, meter.spend(reservation, cost), caller)
        committed = meter.record(row)
        if committed is not None:
            await committed
        return row

    def write(self, work: Callable[[Connection], Any]) -> Any:
        return self.database.write_now(work)

    def read(self, work: Callable[[Connection], Any]) -> Any:
        return self.database.read_now(work)

    def top_up(self, amount: int) -> None:
        self.write(lambda connection: ledger.top_up(connection, self.account_id, "live", amount, "", self.now))
        self.funds += amount

    def set_credit(self, limit: int | None) -> None:
        change = update(accounts).where(accounts.c.id == self.account_id).values(credit_limit=limit)
        self.write(lambda connection: connection.execute(change).rowcount)

    def balance(self, mode: str = "live") -> tuple[int, int]:
        """Available and held."""
        found: tuple[int, int] = self.read(lambda connection: ledger.balance(connection, self.account_id, mode))
        return found

    def key(self, caller: Caller | None = None) -> access.Key:
        key_id = (caller or self.caller).key_id
        found: access.Key = self.read(lambda connection: access.get_key(connection, key_id))
        return found

    def on_record(self) -> set[str]:
        found: set[str] = self.read(lambda connection: set(connection.execute(select(calls.c.id)).scalars()))
        return found

    def open_leases(self) -> list[Any]:
        query = select(leases).where(leases.c.closed_at.is_(None)).order_by(leases.c.opened_at, leases.c.id)
        found: list[Any] = self.read(lambda connection: connection.execute(query).all())
        return found

    def check(self) -> None:
        """The ledger is exact; every millionth that calls cost was charged or is counted in an open lease, once."""
        self.read(lambda connection: check_books(connection, self.account_id, self.funds))

    def check_closed(self) -> None:
        """Nothing is lent any more, and the account has paid what its calls cost."""
        self.check()
        assert self.open_leases() == []
        cost = self.read(lambda connection: connection.execute(select(_sum(calls.c.cost))).scalar_one())
        assert self.balance() == (self.funds - cost, 0)

    def close(self) -> None:
        self.database.close()


def check_books(connection: Connection, account_id: str, funds: int) -> None:
    """The ledger is exact; every millionth that an account's calls cost was charged or is counted in an open lease, once."""
    assert ledger.audit(connection) == []
    is_open = leases.c.closed_at.is_(None)
    for mode in ("live", "test"):
        lent, uncharged = connection.execute(
            select(_sum(leases.c.amount), _sum(leases.c.spent)).where(
                is_open, leases.c.mode == mode, leases.c.account_id == account_id
            )
        ).one()
        cost = connection.execute(
            select(_sum(calls.c.cost)).where(calls.c.mode == mode, calls.c.account_id == account_id)
        ).scalar_one()
        available, held = ledger.balance(connection, account_id, mode)
        assert held == lent
        assert available + held == (funds if mode == "live" else 0) - (cost - uncharged)
    for key in connection.execute(select(keys).where(keys.c.account_id == account_id)):
        lent, uncharged = connection.execute(
            select(_sum(leases.c.amount), _sum(leases.c.spent)).where(is_open, leases.c.key_id == key.id)
        ).one()
        cost = connection.execute(select(_sum(calls.c.cost)).where(calls.c.key_id == key.id)).scalar_one()
        assert (key.held, key.spent) == (lent, cost - uncharged)


def _sum(column: Any) -> Any:
    return func.coalesce(func.sum(column), 0)
