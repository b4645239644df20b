"""Accounting without waiting: money is taken in slices, calls are put on record in groups.

Before a call nothing is written: its likely cost is set aside from a lease (`billing/leases.py`) in memory. After it, its
row joins the group that is written next, and in the strict way the client sees the end of its answer only then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal

import msgspec
import structlog
from sqlalchemy import Connection

from genway.access.model import Caller
from genway.billing import leases
from genway.billing.leases import CallRow, Lease
from genway.config import Relay
from genway.db import Database
from genway.errors import GenwayError, Unavailable
from genway.relay.journal import Journal

log = structlog.get_logger(__name__)

RENEW_SECONDS = 10.0
RETRY_SECONDS = 1.0
BUSY_SECONDS = 10.0
GROW = 4


class Slice(msgspec.Struct):
    """A lease in use. reserved: for calls under way; spent: by calls that are over. idle: resolved when none is under way."""

    lease: Lease
    spent: int = 0
    reserved: int = 0
    opened_at: float = 0
    used_at: float = 0
    calls: int = 0
    idle: asyncio.Future[None] | None = None

    @property
    def left(self) -> int:
        return self.lease.amount - self.spent - self.reserved


class Purse(msgspec.Struct):
    """What a key may spend in this process. want: how much the next slice should have, in millionths."""

    caller: Caller
    want: int
    opening: asyncio.Lock
    current: Slice | None = None


class Reservation(msgspec.Struct):
    """A part of a slice that is set aside for one call."""

    slice: Slice | None
    amount: int


class Meter:
    """One a process. `start` before the first call, `stop` after the last."""

    def __init__(
        self, database: Database, settings: Relay, journal: Journal, *, owner: str, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._settings = settings
        self._journal = journal
        self._owner = owner
        self._clock = clock
        self._relaxed = settings.durability == "relaxed"
        self._purses: dict[str, Purse] = {}
        self._rows: list[CallRow] = []
        self._committed: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._problem = ""

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name="leases")

    async def stop(self) -> None:
        """Put everything on record and give all money back."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        with contextlib.suppress(Unavailable):
            await self.flush()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            now = self._clock()
            await self._database.write(lambda connection: leases.close_all(connection, now, owner=self._owner))
        if not self._rows:
            self._journal.close()

    # --- before a call

    def reserve(self, caller: Caller, amount: int) -> Reservation | None:
        """Set `amount` aside from what is at hand; None where more must be fetched, with `fetch`."""
        if amount <= 0:
            return Reservation(None, 0)
        purse = self._purses.get(caller.key_id)
        if purse is None or purse.current is None or purse.current.left < amount:
            return None
        current = purse.current
        current.reserved += amount
        current.calls += 1
        if current.left * GROW < current.lease.amount and not purse.opening.locked():
            self._refill(purse)
        return Reservation(current, amount)

    async def fetch(self, caller: Caller, amount: int) -> Reservation:
        """`reserve`, with a new slice. Raises InsufficientBalance, BudgetExceeded, Unauthenticated or Unavailable."""
        if self._problem:
            raise Unavailable(f"calls cannot be put on record: {self._problem}", retry_after=RETRY_SECONDS)
        purse = self._purses.get(caller.key_id)
        if purse is None:
            purse = self._purses[caller.key_id] = Purse(caller, self._settings.first_lease, asyncio.Lock())
        async with purse.opening:
            reservation = self.reserve(caller, amount)  # somebody who was here before may have fetched enough for us too
            if reservation is None:
                opened = await self._open(purse, amount)
                opened.reserved += amount
                opened.calls += 1
                reservation = Reservation(opened, amount)
        return reservation

    def _refill(self, purse: Purse) -> None:
        """Fetch the next slice while there is some left of this one."""

        async def refill() -> None:
            async with purse.opening:
                if purse.current is not None and purse.current.left * GROW < purse.current.lease.amount:
                    # Where there is no money left, the one who needs it is told so.
                    with contextlib.suppress(GenwayError):
                        await self._open(purse, 1)

        self._background(refill())

    async def _open(self, purse: Purse, need: int) -> Slice:
        caller, now = purse.caller, self._clock()
        lease = await self._database.write(
            lambda connection: leases.open_lease(
                connection,
                owner=self._owner,
                account_id=caller.account_id,
                key_id=caller.key_id,
                mode=caller.mode,
                need=need,
                want=max(purse.want, need),
                now=now,
                seconds=self._settings.lease_seconds,
            )
        )
        old, purse.current = purse.current, Slice(lease, opened_at=now, used_at=now)
        if old is not None:
            if now - old.opened_at < BUSY_SECONDS:
                purse.want = min(purse.want * GROW, self._settings.largest_lease)
            self._background(self._close(old))
        self._purses[caller.key_id] = purse
        return purse.current

    # --- after a call

    def release(self, reservation: Reservation) -> None:
        """The call cost nothing."""
        self._spend(reservation, 0)

    def spend(self, reservation: Reservation, cost: int) -> str | None:
        """The call cost so much, which is all the same where it is more than was set aside. Returns the lease to charge."""
        self._spend(reservation, cost)
        return reservation.slice.lease.id if reservation.slice is not None else None

    def _spend(self, reservation: Reservation, cost: int) -> None:
        used = reservation.slice
        if used is None:
            return
        used.reserved -= reservation.amount
        used.spent += cost
        used.calls -= 1
        if used.idle is not None and not used.calls:
            used.idle.set_result(None)
            used.idle = None
        used.used_at = self._clock()
        reservation.amount = 0

    def record(self, row: CallRow) -> asyncio.Future[None] | None:
        """Put a call on record. Strict: a future to wait for; None: it is as safe as it is meant to be. Raises Unavailable."""
        self._rows.append(row)
        if self._relaxed:
            try:
                self._journal.append((row,))
            except OSError as error:
                self._problem = error.strerror or str(error)
                raise Unavailable("the call could not be put on record") from error
            if self._writing is None:
                self._writing = asyncio.create_task(self._write_later())
            return None
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        committed = self._committed
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return committed

    async def flush(self) -> None:
        """Wait until all is in the database. Raises Unavailable."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        if self._rows:
            await self._commit()

    async def _write(self) -> None:
        """Write what has gathered, in groups, until nothing is left."""
        try:
            while self._rows:
                committed, self._committed = self._committed, None
                try:
                    await self._commit()
                except Unavailable as error:
                    if committed is not None:
                        committed.set_exception(error)
                        committed.exception()
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if committed is not None:
                    committed.set_result(None)
        finally:
            self._writing = None

    async def _write_later(self) -> None:
        try:
            while self._rows:
                await asyncio.sleep(self._settings.relaxed_seconds)
                try:
                    await self._commit()
                except Unavailable:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._writing = None

    async def _commit(self) -> None:
        rows, self._rows = self._rows, []
        now = self._clock()
        try:
            await self._database.write(lambda connection: self._put(connection, rows, now))
        except Unavailable as error:
            # Nothing is lost: they are written with the next group, and no new call is taken until then.
            self._rows = rows + self._rows
            self._problem = str(error)
            log.error("calls.not_recorded", calls=len(self._rows), why=str(error))
            raise
        self._problem = ""
        if self._relaxed and not self._rows:
            self._journal.clear()

    @staticmethod
    def _put(connection: Connection, rows: list[CallRow], now: float) -> None:
        leases.record(connection, rows, now)

    # --- leases in the background

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _close(self, used: Slice) -> None:
        """Close a slice that nobody gets anything from any more, once its calls are over and on record."""
        if used.calls:
            used.idle = asyncio.get_running_loop().create_future()
            await used.idle
        with contextlib.suppress(Unavailable):
            await self.flush()
            now = self._clock()
            await self._database.write(lambda connection: leases.close(connection, used.lease.id, now))

    async def _keep(self) -> None:
        """Return slices that rest, renew the others."""
        renewed = self._clock()
        while True:
            await asyncio.sleep(1)
            now = self._clock()
            for key_id, purse in list(self._purses.items()):
                current = purse.current
                if current is None or purse.opening.locked() or current.calls:
                    continue
                if now - current.used_at > self._settings.idle_lease_seconds:
                    del self._purses[key_id]
                    self._background(self._close(current))
            if now - renewed > RENEW_SECONDS:
                renewed = now
                until = now + self._settings.lease_seconds
                with contextlib.suppress(Unavailable):
                    await self._database.write(partial(leases.renew, owner=self._owner, until=until))
                    await self._database.write(partial(leases.close_all, now=now, expired=True))

    @property
    def durability(self) -> Literal["strict", "relaxed"]:
        return "relaxed" if self._relaxed else "strict"
