"""Accounting without waiting: money is taken in slices, calls are put on record in groups.

Before a call nothing is written: its likely cost is set aside from a lease (`billing/leases.py`) in memory. After it, its
row joins the group that is written next, and in the strict way the client sees the end of its answer only then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Set
from functools import partial
from typing import Any, Literal, TypeVar, cast

import msgspec
import structlog
from sqlalchemy import Connection

from genway.access.model import Caller
from genway.billing import leases
from genway.billing.leases import CallRow
from genway.config import Relay
from genway.db import Database, checkpoints
from genway.db.checkpoints import Checkpoint
from genway.errors import GenwayError, Unavailable
from genway.relay.journal import Journal

log = structlog.get_logger(__name__)
T = TypeVar("T")
Tell = Callable[[Unavailable | None], None]

KEEP_SECONDS = 1.0
RENEW_SECONDS = 10.0
CROWD = 6  # calls in a group, from which on more are waited for
GATHER_SECONDS = 0.002
RETRY_SECONDS = 1.0
REFILL_SECONDS = 0.25
BUSY_SECONDS = 10.0
GROW = 4
MOST_WAITING = 20_000  # calls that are over and not on record; with more of them no new ones are taken


class Purse(msgspec.Struct):
    """What a key may spend in this process: one lease, which gives way to a new one before it runs out.

    caller: as the key was when the lease was taken. lease_id: empty while there is none. left: of the lease, beside
    `reserved`, which is set aside for calls under way. spent: by calls that are over, of whatever lease.
    low: with less than this `left` a new lease is fetched ahead, not before refill_at. want: how much the next one should
    have beside what is reserved, in millionths. waiting: how many are about to change the lease.
    """

    caller: Caller
    want: int
    changing: asyncio.Lock
    lease_id: str = ""
    left: int = 0
    reserved: int = 0
    spent: int = 0
    low: int = 0
    opened_at: float = 0
    used_at: float = 0
    refill_at: float = 0
    waiting: int = 0


class Reservation(msgspec.Struct):
    """A part of a purse that is set aside for one call."""

    purse: Purse | None
    amount: int


class Committed(asyncio.Future[None]):
    """A group of calls is on record. Many wait for one, so one that is cancelled is so only once it is resolved."""

    def cancel(self, msg: Any | None = None) -> bool:
        return False


class Meter:
    """One a process. `start` before the first call, `stop` after the last.

    owner: the process's name in leases. checkpoint: told each step of what is written, for tests that end the process there.
    """

    def __init__(
        self,
        database: Database,
        settings: Relay,
        journal: Journal,
        *,
        owner: str,
        clock: Callable[[], float],
        checkpoint: Checkpoint = checkpoints.silent,
    ) -> None:
        self._database = database
        self._settings = settings
        self._journal = journal
        self._owner = owner
        self._clock = clock
        self._checkpoint = checkpoint
        self._relaxed = settings.durability == "relaxed"
        self._purses: dict[str, Purse] = {}
        self._rows: list[CallRow] = []
        self._committed: Committed | None = None
        self._tells: list[Tell] = []
        self._writing: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._problem = ""
        self._in_doubt = False

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
        if self._writing is not None:
            self._writing.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            now = self._clock()
            await self._database.write(lambda connection: leases.close_all(connection, now, owner=self._owner))
        if not self._rows:
            self._journal.close()
            return
        with contextlib.suppress(OSError):  # the next start puts them on record
            self._journal.append(self._rows)

    # --- before a call

    def reserve(self, caller: Caller, amount: int) -> Reservation | None:
        """Set `amount` aside from what is at hand; None where more must be fetched, with `fetch`."""
        if self._problem:
            return None
        if amount <= 0:
            return Reservation(None, 0)
        purse = self._purses.get(caller.key_id)
        if purse is None or purse.left < amount or purse.caller.budget != caller.budget:
            return None
        purse.left -= amount
        purse.reserved += amount
        if purse.left < purse.low and not purse.waiting and self._clock() >= purse.refill_at:
            purse.waiting += 1
            self._background(self._refill(purse))
        return Reservation(purse, amount)

    async def fetch(self, caller: Caller, amount: int) -> Reservation:
        """`reserve`, with a new lease. Raises InsufficientBalance, BudgetExceeded, Unauthenticated or Unavailable."""
        if self._problem:
            raise Unavailable(f"calls cannot be put on record: {self._problem}", retry_after=RETRY_SECONDS)
        purse = self._purses.get(caller.key_id)
        if purse is None:
            purse = self._purses[caller.key_id] = Purse(caller, self._settings.first_lease, asyncio.Lock())
        purse.waiting += 1
        try:
            async with purse.changing:
                reservation = self.reserve(caller, amount)  # somebody who was here before may have fetched enough for us too
                if reservation is None:
                    await self._renew_whole(purse, amount)
                    purse.caller = caller
                    purse.left -= amount
                    purse.reserved += amount
                    reservation = Reservation(purse, amount)
        finally:
            purse.waiting -= 1
        return reservation

    async def _refill(self, purse: Purse) -> None:
        """Fetch the next lease while there is some left of this one, which goes on being spent meanwhile."""
        try:
            async with purse.changing:
                if purse.left < purse.low:
                    purse.refill_at = self._clock() + REFILL_SECONDS
                    # Where there is no money left, the one who needs it is told so.
                    with contextlib.suppress(GenwayError):
                        await self._change(purse, 1, purse.left + purse.reserved)
        finally:
            purse.waiting -= 1

    async def _renew_whole(self, purse: Purse, need: int, want: int | None = None) -> None:
        """A new lease with `need` more than calls under way have. Meanwhile nothing is given out: all of the old one counts."""
        aside, purse.left = purse.left, 0
        try:
            await self._change(purse, need, purse.reserved, want)
        except BaseException:
            purse.left += aside
            raise

    async def _change(self, purse: Purse, need: int, besides: int, want: int | None = None) -> None:
        """Close a purse's lease and open another in one transaction.

        Calls that are over and are written only after this find their lease closed and are charged apart; so much of the
        new one is not given out.
        """
        caller, now = purse.caller, self._clock()
        before = purse.spent
        apart = sum([row.cost for row in self._rows if row.lease_id == purse.lease_id])
        work = partial(
            leases.open_lease,
            owner=self._owner,
            account_id=caller.account_id,
            key_id=caller.key_id,
            mode=caller.mode,
            need=need,
            want=purse.want if want is None else want,
            now=now,
            seconds=self._settings.lease_seconds,
            besides=max(besides, 0) + apart,
            instead_of=purse.lease_id,
        )
        opened = await self._told("leasing", caller.key_id, work)
        if want is None and purse.lease_id and now - purse.opened_at < BUSY_SECONDS:
            purse.want = min(purse.want * GROW, self._settings.largest_lease)
        purse.lease_id = opened.id
        purse.left = opened.amount - purse.reserved - apart - (purse.spent - before)
        purse.low = purse.left // GROW
        purse.opened_at = purse.used_at = now

    # --- after a call

    def release(self, reservation: Reservation) -> None:
        """The call cost nothing."""
        self.spend(reservation, 0)

    def spend(self, reservation: Reservation, cost: int) -> str | None:
        """The call cost so much, which is all the same where it is more than was set aside. Returns the lease to charge."""
        purse = reservation.purse
        if purse is None:
            return None
        amount, reservation.amount = reservation.amount, 0
        purse.reserved -= amount
        purse.left += amount - cost
        purse.spent += cost
        purse.used_at = self._clock()
        return purse.lease_id or None

    def record(self, row: CallRow) -> asyncio.Future[None] | None:
        """Put a call on record. Strict: a future to wait for, which may raise Unavailable; None: it is safe already."""
        return None if self._add(row) else self._next_group()

    def record_and_tell(self, row: CallRow, tell: Tell) -> None:
        """`record` for one who does not wait. tell: called when the call is safe, perhaps at once, or with the Unavailable."""
        if self._add(row):
            tell(None)
        else:
            self._tells.append(tell)

    def _add(self, row: CallRow) -> bool:
        """Put a call among those to be written next; whether it is safe already."""
        self._rows.append(row)
        if len(self._rows) > MOST_WAITING and not self._problem:
            self._problem = "too many wait for it"
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        if not self._relaxed:
            return False
        try:
            self._journal.append((row,))
        except OSError as error:
            log.error("journal.not_written", why=str(error))  # the database has to have it at once
            return False
        return True

    async def flush(self) -> None:
        """Wait until all is in the database. Raises Unavailable."""
        if self._rows or self._writing is not None:
            await self._next_group()

    def _next_group(self) -> Committed:
        """What is resolved when the rows that are waiting now are on record."""
        if self._committed is None:
            self._committed = Committed(loop=asyncio.get_running_loop())
            if self._writing is None:
                self._writing = asyncio.create_task(self._write())
        return self._committed

    async def _write(self) -> None:
        """Write what has gathered, in groups, until nothing is left."""
        crowd = 0
        try:
            while self._rows or self._committed is not None:
                if self._committed is None and not self._tells:
                    await asyncio.sleep(self._settings.relaxed_seconds)
                elif crowd > CROWD:  # a group costs the same whether few or many are in it
                    await asyncio.sleep(GATHER_SECONDS)
                crowd = len(self._rows)
                await self._commit()
                if self._problem:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._writing = None

    async def _commit(self) -> None:
        """Write one group; the only one at a time."""
        rows, self._rows = self._rows, []
        committed, self._committed = self._committed, None
        tells, self._tells = self._tells, []
        journalled = self._journal.turn()
        try:
            closed = await self._put(rows) if rows else frozenset()
        except asyncio.CancelledError:
            self._rows = rows + self._rows
            raise
        except Exception as error:
            # Nothing is lost: they are written with the next group, and no new call is taken until then.
            self._rows = rows + self._rows
            self._problem = str(error)
            self._in_doubt = True
            log.error("calls.not_recorded", calls=len(self._rows), why=str(error))
            problem = Unavailable("the call could not be put on record")
            if committed is not None:
                committed.set_exception(problem)
                committed.exception()  # nobody may be there any more to ask for it
            _tell(tells, problem)
            return
        self._problem = ""
        self._in_doubt = False
        try:
            self._journal.clear(journalled)
        except OSError as error:  # the next start finds that they are on record
            log.error("journal.not_removed", why=str(error))
        if closed:
            self._forget(closed)
        if committed is not None:
            committed.set_result(None)
        _tell(tells, None)

    async def _put(self, rows: list[CallRow]) -> Set[str]:
        """Returns the leases of theirs that were closed before. Raises Unavailable."""
        now = self._clock()
        record = leases.record_missing if self._in_doubt else leases.record
        try:
            return await self._told("recording", rows[0].id, partial(record, rows=rows, now=now))
        except Unavailable:
            raise
        except Exception as error:
            log.error("calls.refused", calls=len(rows), why=str(error))
            return await self._told("recording", rows[0].id, partial(leases.record_apart, rows=rows, now=now))

    async def _told(self, step: str, about: str, work: Callable[[Connection], T]) -> T:
        """`database.write`, telling the steps of it."""
        return cast(T, await checkpoints.commit(self._database, self._checkpoint, step, about, work))

    # --- leases in the background

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _forget(self, lease_ids: Iterable[str]) -> None:
        """They were closed by somebody who took this process for dead."""
        for purse in self._purses.values():
            if purse.lease_id in lease_ids:
                log.warning("lease.lost", lease=purse.lease_id, key_id=purse.caller.key_id)
                purse.lease_id = ""
                purse.left = purse.low = 0

    async def _close(self, lease_id: str) -> None:
        with contextlib.suppress(Unavailable):  # then the lease runs out in time
            await self._told("returning", lease_id, partial(leases.close, lease_id=lease_id, now=self._clock()))

    async def _shrink(self, purse: Purse) -> None:
        """Keep no more than what calls under way may cost."""
        try:
            async with purse.changing:
                if purse.reserved > 0 and purse.left > 0:
                    with contextlib.suppress(GenwayError):
                        await self._renew_whole(purse, 0, want=0)
        finally:
            purse.waiting -= 1

    def tidy(self) -> None:
        """Begin to return what nobody has used for a while."""
        now = self._clock()
        for key_id, purse in list(self._purses.items()):
            # A clock that was set back would keep it until the old time is reached again.
            if purse.waiting or 0 <= now - purse.used_at <= self._settings.idle_lease_seconds:
                continue
            if purse.reserved <= 0:
                del self._purses[key_id]
                if purse.lease_id:
                    self._background(self._close(purse.lease_id))
            elif purse.left > 0:
                purse.waiting += 1
                self._background(self._shrink(purse))

    async def renew(self) -> None:
        """Tell that this process lives, and close the leases of those that do not. Raises Unavailable."""
        now = self._clock()
        held = [purse.lease_id for purse in self._purses.values() if purse.lease_id]
        until = now + self._settings.lease_seconds
        lost = await self._database.write(partial(leases.renew, lease_ids=held, until=until))
        self._forget(lost)
        await self._database.write(partial(leases.close_all, now=now, expired=True))

    async def _keep(self) -> None:
        """Return what rests, renew the others."""
        loop = asyncio.get_running_loop()
        every = min(RENEW_SECONDS, self._settings.lease_seconds / 3)
        renewed = loop.time()
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            try:
                self.tidy()
                if loop.time() - renewed > every:
                    renewed = loop.time()
                    await self.renew()
            except Unavailable:
                continue
            except Exception:
                log.exception("leases.not_kept")

    @property
    def durability(self) -> Literal["strict", "relaxed"]:
        return "relaxed" if self._relaxed else "strict"


def _tell(tells: Iterable[Tell], problem: Unavailable | None) -> None:
    for tell in tells:
        try:
            tell(problem)
        except Exception:  # the others of the group wait too
            log.exception("call.not_told")
