from __future__ import annotations

import asyncio

import msgspec
import pytest

from genway.access.model import Asked
from genway.billing import ledger, prices
from genway.errors import (
    AddressRefused,
    BudgetExceeded,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidRequest,
    NoChannel,
    RateLimited,
    TaskNotFound,
    Unauthenticated,
)
from genway.operations import VideoRequest
from genway.providers.base import Finished
from genway.tasks.model import State
from stage import Scripted, Stage

MILLION = 1_000_000
COSTS = 50_000


@pytest.fixture(autouse=True)
def price(stage: Stage) -> None:
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 10_000), 1.0))
    stage.clock.now += 2


def rows(stage: Stage, table: str) -> int:
    return int(stage.database.read_now(lambda c: c.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()))


async def test_an_accepted_task_and_its_hold_are_committed_before_the_answer(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    task = await stage.submit(caller)
    assert rows(stage, "tasks") == 1
    assert (task.state, task.held) == (State.QUEUED, COSTS)
    assert stage.balance(caller) == (MILLION - COSTS, COSTS)


async def test_an_empty_wallet_is_refused_and_leaves_no_task(stage: Stage) -> None:
    caller = stage.account(topup=COSTS - 1, credit_limit=0)
    with pytest.raises(InsufficientBalance, match=r"costs 0\.05 USD and the balance is 0\.049999 USD"):
        await stage.submit(caller)
    assert rows(stage, "tasks") == 0
    assert rows(stage, "task_events") == 0
    assert stage.balance(caller) == (COSTS - 1, 0)


async def test_submits_at_the_same_time_never_overdraw(stage: Stage) -> None:
    caller = stage.account(topup=10 * COSTS + 1, credit_limit=0)
    answers = await asyncio.gather(*(stage.submit(caller) for _ in range(40)), return_exceptions=True)
    assert sum(not isinstance(answer, Exception) for answer in answers) == 10
    assert all(isinstance(a, InsufficientBalance) for a in answers if isinstance(a, Exception))
    assert stage.balance(caller) == (1, 10 * COSTS)
    assert stage.audit() == []


async def test_a_keys_budget_and_its_number_of_tasks_hold_at_the_same_time(stage: Stage) -> None:
    budget = stage.account(budget=3 * COSTS)
    answers = await asyncio.gather(*(stage.submit(budget) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(answer, BudgetExceeded) for answer in answers) == 6
    few = stage.account(concurrent_tasks=2)
    answers = await asyncio.gather(*(stage.submit(few) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 7


async def test_the_same_request_twice_is_one_task(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    same = {"idempotency_key": "k1", "fingerprint": "f1"}
    tasks = await asyncio.gather(*(stage.submit(caller, **same) for _ in range(10)))
    assert len({task.id for task in tasks}) == 1
    again = await stage.submit(caller, **same)
    assert again.id == tasks[0].id
    assert stage.balance(caller) == (MILLION - COSTS, COSTS)
    assert stage.audit() == []


async def test_the_same_idempotency_key_with_another_request_is_refused(stage: Stage) -> None:
    caller = stage.account()
    await stage.submit(caller, idempotency_key="k1", fingerprint="f1")
    with pytest.raises(IdempotencyMismatch):
        await stage.submit(caller, idempotency_key="k1", fingerprint="f2")
    assert rows(stage, "tasks") == 1


async def test_an_idempotency_key_belongs_to_its_key(stage: Stage) -> None:
    one, other = stage.account(), stage.account()
    first = await stage.submit(one, idempotency_key="k1", fingerprint="f1")
    second = await stage.submit(other, idempotency_key="k1", fingerprint="f2")
    assert first.id != second.id


async def test_an_idempotency_key_outlives_an_empty_wallet(stage: Stage) -> None:
    """A refused request leaves its key unused, so that it works once the account is topped up."""
    caller = stage.account(credit_limit=0)
    same = {"idempotency_key": "k1", "fingerprint": "f1"}
    with pytest.raises(InsufficientBalance):
        await stage.submit(caller, **same)
    stage.database.write_now(lambda c: ledger.top_up(c, caller.account_id, "live", MILLION, "", 1.0))
    assert (await stage.submit(caller, **same)).state == State.QUEUED


async def test_a_foreign_task_and_an_unknown_one_answer_alike(stage: Stage) -> None:
    mine, other = stage.account(), stage.account()
    task = await stage.submit(mine)
    said = []
    for task_id in (task.id, "0" * 8):
        for call in (stage.gateway.get, stage.gateway.cancel, stage.gateway.delete):
            with pytest.raises(TaskNotFound) as refused:
                await call(other, task_id)
            said.append(str(refused.value).replace(task_id, "ID"))
    assert len(set(said)) == 1
    assert (await stage.gateway.get(mine, task.id)).state == State.QUEUED
    assert await stage.gateway.list(other) == []


async def test_a_test_key_does_not_see_live_tasks(stage: Stage) -> None:
    live = stage.account()
    task = await stage.submit(live)
    with pytest.raises(TaskNotFound):
        await stage.gateway.get(msgspec.structs.replace(live, mode="test"), task.id)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "ftp://example.com/"]
)
async def test_a_callback_that_is_private_by_its_text_is_refused_before_anything_is_charged(stage: Stage, url: str) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    with pytest.raises(AddressRefused) as refused:
        await stage.submit(caller, callback_url=url)
    assert refused.value.field == "callback_url"
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_quote_says_what_a_submit_holds_and_does_nothing(stage: Stage) -> None:
    caller = stage.account(credit_limit=0)
    quote = await stage.gateway.quote(VideoRequest(model="acme/one", seconds=7), Asked(caller=caller))
    assert (quote.total, quote.currency, quote.served_by) == (70_000, "USD", "scripted")
    assert rows(stage, "tasks") == 0
    with pytest.raises(NoChannel):
        await stage.gateway.quote(VideoRequest(model="acme/unknown"), Asked(caller=caller))


async def test_a_price_change_does_not_touch_what_is_held_already(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    Scripted.scripts["vendor"] = {"check": [Finished((stage.picture(),))]}
    task = await stage.submit(caller)
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 99_000), 2.0))
    assert (await stage.until(caller, task)).charged == COSTS


async def test_forced_outcomes_answer_the_request_itself_and_only_for_test_keys(stage: Stage) -> None:
    test, live = stage.account(mode="test"), stage.account()
    for word, error in (("fail=balance", InsufficientBalance), ("fail=rate", RateLimited), ("fail=tpyo", InvalidRequest)):
        operation = VideoRequest(model="acme/one", prompt=f"a cat genway:{word}")
        with pytest.raises(error):
            await stage.submit(test, operation)
        assert (await stage.submit(live, operation)).state == State.QUEUED


async def test_a_key_that_was_revoked_a_moment_ago_can_submit_nothing(stage: Stage) -> None:
    caller = stage.account()
    stage.database.write_now(lambda c: c.exec_driver_sql("UPDATE keys SET revoked_at = 1").rowcount)
    with pytest.raises(Unauthenticated):
        await stage.submit(caller)
    assert rows(stage, "tasks") == 0


async def test_waiting_ends_with_the_task(stage: Stage) -> None:
    caller = stage.account()
    Scripted.scripts["vendor"] = {"check": [Finished((stage.picture(),))]}
    task = await stage.submit(caller)
    async with stage.running():
        done = await asyncio.wait_for(stage.gateway.wait(caller, task.id, 3000), 10)
    assert done.state == State.SUCCEEDED


async def test_waiting_ends_when_its_time_is_up(stage: Stage) -> None:
    caller = stage.account()
    task = await stage.submit(caller)
    assert (await stage.gateway.wait(caller, task.id, 0)).state == State.QUEUED


async def test_an_account_sees_what_it_may_spend(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0, budget=70_000)
    await stage.submit(caller)
    view = await stage.gateway.account(caller)
    assert (view.available, view.held, view.budget_left, view.unlimited) == (MILLION - COSTS, COSTS, 20_000, False)


async def test_points_are_rounded_up(stage: Stage) -> None:
    assert [stage.gateway.points(amount) for amount in (0, 1, 10_000, 10_001, MILLION)] == [0, 1, 1, 2, 100]
