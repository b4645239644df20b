from __future__ import annotations

import asyncio

import pytest

from genway.billing import ledger, prices
from genway.errors import TaskNotFound
from genway.operations import VideoRequest
from genway.providers.base import (
    Failed,
    Finished,
    OutcomeUnknown,
    ResultFile,
    Running,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.tasks.model import State
from stage import Scripted, Stage

MILLION = 1_000_000


def script(**calls: list[object]) -> None:
    Scripted.scripts["vendor"] = calls  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def price(stage: Stage) -> None:
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 10_000), 1.0))
    stage.clock.now += 2


async def test_a_task_goes_from_queued_to_succeeded_and_is_charged(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Running(0.2), Running(0.7), Finished((stage.picture(),))])
    task = await stage.submit(caller, callback_url="https://example.com/hook")
    assert stage.balance(caller) == (950_000, 50_000)
    done = await stage.until(caller, task)
    assert done.state == State.SUCCEEDED
    assert (done.charged, done.progress, done.refunded) == (50_000, 1.0, False)
    assert done.files[0].role == "image"
    assert done.files[0].url.startswith("/media/med_")
    assert stage.balance(caller) == (950_000, 0)
    assert stage.audit() == []
    assert [(callback.event, callback.url) for callback in stage.callbacks()] == [("succeeded", "https://example.com/hook")]
    states = [event["after"] for event in stage.database.read_now(lambda c: stage.store.events(c, task.id))]
    assert states == ["queued", "submitting", "running", "storing", "succeeded"]


async def test_the_vendor_gets_its_own_name_of_the_model_and_the_same_reference_after_a_crash(stage: Stage) -> None:
    caller = stage.account()
    script(check=[Finished((stage.picture(),))])
    task = await stage.submit(caller)
    await stage.until(caller, task)
    (submission,) = Scripted.seen["vendor"]
    assert (submission.model, submission.reference) == ("one", f"{task.id}-1")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (VendorRefused("ratio: not that one"), "invalid_request"),
        (VendorModerated("not this"), "moderation"),
    ],
)
async def test_a_refused_request_fails_at_once_and_gives_the_money_back(stage: Stage, answer: Exception, code: str) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(submit=[answer])
    task = await stage.submit(caller, callback_url="https://example.com/hook")
    done = await stage.until(caller, task)
    assert (done.state, done.error_code, done.refunded) == (State.FAILED, code, True)
    assert stage.balance(caller) == (MILLION, 0)
    assert stage.audit() == []
    assert [callback.event for callback in stage.callbacks()] == ["failed"]
    assert len(Scripted.seen["vendor"]) == 1


async def test_a_failure_in_the_vendors_own_words_gives_the_money_back(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Running(0.1), Failed("vendor_error", "the model could not do it")])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_message) == (State.FAILED, "the model could not do it")
    assert stage.balance(caller) == (MILLION, 0)


@pytest.mark.parametrize(
    "trouble", [VendorBusy("slow down", retry_after=3), VendorDown("503"), VendorKeyRefused("no"), VendorOutOfCredit("no")]
)
async def test_trouble_at_one_channel_sends_the_task_to_another(stage: Stage, trouble: Exception) -> None:
    caller = stage.account()
    script(submit=[trouble])
    stage.channel("spare", priority=-1)
    Scripted.scripts["spare"] = {"check": [Finished((stage.picture(),))]}
    done = await stage.until(caller, await stage.submit(caller))
    assert done.state == State.SUCCEEDED
    assert len(Scripted.seen["vendor"]) == 1
    assert len(Scripted.seen["spare"]) == 1


async def test_a_busy_vendor_is_waited_for_as_long_as_it_takes(stage: Stage) -> None:
    caller = stage.account()
    script(submit=[*[VendorBusy("slow down", retry_after=2)] * 12, Submitted("v-1")], check=[Finished((stage.picture(),))])
    done = await stage.until(caller, await stage.submit(caller))
    assert done.state == State.SUCCEEDED
    assert len(Scripted.seen["vendor"]) == 13


async def test_a_vendor_that_stays_down_ends_the_task_after_the_stated_tries(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(submit=[VendorDown("no route")])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.FAILED, "vendor_down")
    assert len(Scripted.seen["vendor"]) == stage.config.tasks.submit_attempts
    assert stage.balance(caller) == (MILLION, 0)


async def test_not_knowing_is_not_failing(stage: Stage) -> None:
    caller = stage.account()
    polls = [VendorDown("502"), VendorBusy("429", retry_after=7), VendorDown("timeout")] * 20
    script(check=[*polls, VendorLost("not yet"), Finished((stage.picture(),))])
    done = await stage.until(caller, await stage.submit(caller))
    assert done.state == State.SUCCEEDED


async def test_an_unknown_outcome_is_parked_found_and_seen_through(stage: Stage) -> None:
    caller = stage.account()
    script(submit=[OutcomeUnknown("no answer")], find=[None, None, Submitted("v-9")], check=[Finished((stage.picture(),))])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.vendor_id) == (State.SUCCEEDED, "v-9")
    assert len(Scripted.seen["vendor"]) == 1


async def test_an_unknown_outcome_that_stays_unknown_is_given_back_and_never_sent_again(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(submit=[OutcomeUnknown("no answer")])
    began = stage.clock()
    done = await stage.until(caller, await stage.submit(caller, callback_url="https://example.com/hook"))
    assert (done.state, done.error_code, done.refunded) == (State.FAILED, "outcome_unknown", True)
    assert stage.clock() - began >= stage.config.tasks.parked_seconds
    assert len(Scripted.seen["vendor"]) == 1
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_provider_whose_code_fails_while_submitting_leaves_the_outcome_unknown(stage: Stage) -> None:
    caller = stage.account()
    script(submit=[KeyError("oops")])
    done = await stage.until(caller, await stage.submit(caller))
    assert done.error_code == "outcome_unknown"
    assert len(Scripted.seen["vendor"]) == 1


async def test_work_that_the_vendor_lost_for_good_is_given_back(stage: Stage) -> None:
    caller = stage.account()
    script(check=[Running(0.3), VendorLost("404")])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.FAILED, "vendor_lost")


async def test_a_task_that_never_ends_expires_and_the_vendor_is_told_to_stop(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Running(0.5)])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.EXPIRED, "expired")
    async with stage.running(), asyncio.timeout(20):
        while not Scripted.cancelled:
            await asyncio.sleep(0.005)
    assert Scripted.cancelled == [done.vendor_id]
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_cancelled_task_gives_the_money_back_and_stops_the_vendor(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Running(0.5)])
    task = await stage.submit(caller, callback_url="https://example.com/hook")
    stage.clock.sleep = lambda seconds: asyncio.sleep(0.005)  # type: ignore[method-assign]
    stage.runner._sleep = stage.clock.sleep
    async with stage.running():
        while (await stage.gateway.get(caller, task.id)).state != State.RUNNING:
            await asyncio.sleep(0.005)
        done = await stage.gateway.cancel(caller, task.id)
        assert (done.state, done.refunded) == (State.CANCELLED, True)
        async with asyncio.timeout(5):
            while not Scripted.cancelled:
                await asyncio.sleep(0.005)
    assert Scripted.cancelled == [f"v-{task.id}"]
    assert stage.balance(caller) == (MILLION, 0)
    assert stage.audit() == []
    again = await stage.gateway.cancel(caller, task.id)
    assert again.state == State.CANCELLED
    assert [callback.event for callback in stage.callbacks()] == ["cancelled"]


async def test_a_queued_task_that_is_cancelled_is_never_submitted(stage: Stage) -> None:
    caller = stage.account()
    task = await stage.submit(caller)
    await stage.gateway.cancel(caller, task.id)
    async with stage.running():
        await asyncio.sleep(0.1)
    assert Scripted.seen == {}


async def test_a_deleted_task_cannot_be_found(stage: Stage) -> None:
    caller = stage.account()
    task = await stage.submit(caller)
    await stage.gateway.delete(caller, task.id)
    with pytest.raises(TaskNotFound):
        await stage.gateway.get(caller, task.id)
    told = await stage.gateway.show(task.id)
    assert told is not None, "its callback has something to tell"
    assert stage.audit() == []


async def test_a_channels_limit_holds_and_those_who_wait_see_their_place(stage: Stage) -> None:
    caller = stage.account()
    stage.database.write_now(lambda c: c.exec_driver_sql("UPDATE channels SET concurrency = 2, version = 2").rowcount)
    stage.clock.now += 2
    script(check=[Running(0.5)])
    stage.runner._sleep = lambda seconds: asyncio.sleep(3600)
    tasks = [await stage.submit(caller) for _ in range(5)]
    async with stage.running():
        async with asyncio.timeout(5):
            while len(Scripted.seen.get("vendor", ())) < 2:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        now = [await stage.gateway.get(caller, task.id) for task in tasks]
    assert [task.state for task in now] == ["running", "running", "queued", "queued", "queued"]
    assert [task.queue_position for task in now] == [None, None, 1, 2, 3]


async def test_a_result_whose_link_is_dead_is_asked_for_again_and_then_given_up(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    dead = ResultFile("video", url="https://nowhere.invalid/a.mp4")
    script(check=[Finished((dead,))])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.FAILED, "result_lost")
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_rendered_file_that_vanished_is_rendered_again(stage: Stage) -> None:
    caller = stage.account(mode="test")
    gone = ResultFile("image", path=str(stage.folder / "gone.png"))
    Scripted.scripts["local"] = {"check": [Finished((gone,)), Finished((stage.picture(),))]}
    done = await stage.until(caller, await stage.submit(caller))
    assert done.state == State.SUCCEEDED
    assert len(Scripted.seen["local"]) == 2


async def test_a_vendors_file_that_vanished_gives_the_money_back(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Finished((ResultFile("image", path=str(stage.folder / "gone.png")),))])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.FAILED, "result_lost")
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_result_at_a_private_address_is_not_fetched(stage: Stage) -> None:
    caller = stage.account()
    script(check=[Finished((ResultFile("video", url="http://169.254.169.254/latest"),))])
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.error_code) == (State.FAILED, "result_unusable")


async def test_no_channel_is_left_and_the_task_expires_in_the_queue(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0)
    script(check=[Running(0.5)])
    task = await stage.submit(caller)
    stage.database.write_now(lambda c: c.exec_driver_sql("UPDATE channels SET disabled_at = 1, version = 2").rowcount)
    stage.clock.now += 2
    stage.runner.slots.dismiss()
    for _ in range(60):
        async with stage.running():
            await asyncio.sleep(0.02)
        stage.clock.now += 120
        if (await stage.gateway.get(caller, task.id)).state.ended:
            break
    done = await stage.gateway.get(caller, task.id)
    assert (done.state, done.error_code) == (State.EXPIRED, "expired")
    assert Scripted.seen == {}
    assert stage.balance(caller) == (MILLION, 0)


async def test_a_test_key_always_works_on_the_local_provider_with_its_own_money(stage: Stage) -> None:
    caller = stage.account(topup=MILLION, credit_limit=0, mode="test")
    Scripted.scripts["local"] = {"check": [Finished((stage.picture(),))]}
    done = await stage.until(caller, await stage.submit(caller))
    assert (done.state, done.local, done.provider) == (State.SUCCEEDED, True, "local")
    assert "vendor" not in Scripted.seen
    assert stage.balance(caller) == (-50_000, 0)
    assert done.charged == 50_000
    assert stage.database.read_now(lambda c: ledger.balance(c, caller.account_id, "live")) == (MILLION, 0)


async def test_a_renderer_that_was_interrupted_starts_again(stage: Stage) -> None:
    caller = stage.account(mode="test")
    Scripted.scripts["local"] = {"check": [Running(0.4), VendorLost("restarted"), Finished((stage.picture(),))]}
    done = await stage.until(caller, await stage.submit(caller, VideoRequest(model="acme/one", prompt="x")))
    assert done.state == State.SUCCEEDED
    assert len(Scripted.seen["local"]) == 2


async def test_a_forced_expiry_expires(stage: Stage) -> None:
    caller = stage.account(mode="test")
    operation = VideoRequest(model="acme/one", prompt="a cat genway:fail=expire genway:lose-callback=3")
    done = await stage.until(caller, await stage.submit(caller, operation, callback_url="https://example.com/hook"))
    assert done.state == State.EXPIRED
    row = stage.database.read_now(lambda c: c.exec_driver_sql("SELECT lose FROM callbacks").scalar_one())
    assert row == 3


async def test_a_forgotten_task_takes_its_events_and_callbacks_with_it(stage: Stage) -> None:
    caller = stage.account(mode="test")
    Scripted.scripts["local"] = {"check": [Finished((stage.picture(),))]}
    kept, gone = [await stage.submit(caller, callback_url="https://example.com/hook") for _ in range(2)]
    for task in (gone, kept):
        await stage.until(caller, task)
    stage.database.write_now(
        lambda c: c.exec_driver_sql("UPDATE tasks SET finished_at = 1 WHERE id = '" + gone.id + "'").rowcount
    )
    assert stage.database.write_now(lambda c: stage.store.forget(c, 1_000.0)) == 1
    assert {callback.task_id for callback in stage.callbacks()} == {kept.id}
    assert stage.database.read_now(lambda c: stage.store.events(c, gone.id)) == []
    assert stage.audit() == []
