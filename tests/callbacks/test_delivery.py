from __future__ import annotations

import asyncio
import json
from email.utils import formatdate
from functools import partial

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from callbacks.conftest import Deliver, Receive
from callbacks.stage import DAY, SECRET, Clock, Names, get
from genway.callbacks import Rendered, outbox
from genway.config import Callbacks
from genway.db import Database
from genway.db.tables import callbacks, metadata
from genway.media.address import AddressPolicy


async def forever() -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody wakes this")


async def test_a_receiver_gets_the_rendered_body_and_can_verify_it(
    database: Database, deliver: Deliver, receive: Receive
) -> None:
    receiver = await receive()
    delivery = deliver()
    callback = delivery.put(receiver.url, task_id="t1")
    (received,) = await receiver.got(1)
    assert Webhook(SECRET).verify(received.body, received.headers) == {
        "task": "t1",
        "event": "succeeded",
        "prompt": "一只猫",
    }
    assert received.id == callback
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"].startswith("genway/")
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.attempts, row.last_status, row.owner) == ("delivered", 1, 200, None)
    assert delivery.trail.points == [(f"callback.{point}", "t1") for point in ("sending", "sent", "recorded")]


async def test_a_receiver_that_fails_seven_times_gets_it_the_eighth_time_under_the_same_id(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive(lambda number: 500 if number <= 7 else 200)
    delivery = deliver()
    callback = delivery.put(receiver.url)
    start = clock.now
    waits = []
    for tries in range(1, 8):
        await delivery.recorded(tries)
        row = get(database, callback)
        assert (row.state, row.attempts, row.last_status) == ("waiting", tries, 500)
        waits.append(row.next_at - clock.now)
        clock.move_to(row.next_at)
    await delivery.recorded(8)
    assert get(database, callback).state == "delivered"
    assert [one.id for one in receiver.received] == [callback] * 8
    assert waits == pytest.approx([5, 10, 20, 40, 80, 160, 320])
    stamps = [int(one.headers["webhook-timestamp"]) for one in receiver.received]
    assert stamps[0] == int(start)
    assert stamps[-1] == int(clock.now)


async def test_after_a_day_of_failures_it_is_kept_as_a_dead_letter_and_can_be_replayed(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive(lambda number: 500 if number <= 34 else 200)
    delivery = deliver()
    callback = delivery.put(receiver.url)
    start = clock.now
    moments = [0.0]
    while True:
        await delivery.recorded(len(moments))
        row = get(database, callback)
        if row.state != "waiting":
            break
        moments.append(row.next_at - start)
        clock.move_to(row.next_at)
    doubling = [5.0 * (2**tries - 1) for tries in range(11)]
    hourly = [doubling[-1] + 3600 * hours for hours in range(1, 23)]
    assert moments == pytest.approx([*doubling, *hourly, DAY])
    assert (row.state, row.attempts, row.last_status) == ("dead", 34, 500)

    work = partial(outbox.replay, now=clock.now, give_up_seconds=DAY, callback_id=callback)
    assert await database.write(work) == [callback]
    delivery.deliverer.wake()
    await delivery.recorded(35)
    assert get(database, callback).state == "delivered"
    assert receiver.received[-1].id == callback


async def test_redirects_are_not_followed(database: Database, deliver: Deliver, receive: Receive) -> None:
    target = await receive()
    receiver = await receive(lambda number: web.Response(status=307, headers={"Location": target.url}))
    delivery = deliver()
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.last_status) == ("waiting", 307)
    assert "redirects are not followed" in (row.last_error or "")
    assert target.received == []


async def test_a_receiver_that_hangs_is_given_up_for_this_time(database: Database, deliver: Deliver, receive: Receive) -> None:
    receiver = await receive(lambda number: forever())
    delivery = deliver(settings=Callbacks(timeout_seconds=0.2))
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.attempts, row.last_status) == ("waiting", 1, None)
    assert row.last_error == "no answer within 0.2 s"


async def test_a_receiver_that_is_gone_for_good_ends_it_at_once(database: Database, deliver: Deliver, receive: Receive) -> None:
    receiver = await receive(lambda number: web.Response(status=410, text="we  moved\nout"))
    delivery = deliver()
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.attempts, row.last_status, row.last_error) == ("dead", 1, 410, "410 Gone: we moved out")


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 502])
async def test_every_other_refusal_is_tried_again(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock, status: int
) -> None:
    receiver = await receive(lambda number: status)
    delivery = deliver()
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.last_status) == ("waiting", status)
    assert row.next_at - clock.now == pytest.approx(5)


@pytest.mark.parametrize(
    ("status", "asked", "wait"), [(429, "600", 600), (503, "600", 600), (503, "1", 5), (429, "999999", 3600), (500, "600", 5)]
)
async def test_retry_after_is_honoured_within_bounds(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock, status: int, asked: str, wait: float
) -> None:
    receiver = await receive(lambda number: web.Response(status=status, headers={"Retry-After": asked}))
    delivery = deliver(jitter=lambda: 0.0 if status != 500 else 0.5)
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    assert get(database, callback).next_at - clock.now == pytest.approx(wait)


async def test_retry_after_may_be_a_date(database: Database, deliver: Deliver, receive: Receive, clock: Clock) -> None:
    date = formatdate(clock.now + 900, usegmt=True)
    receiver = await receive(lambda number: web.Response(status=503, headers={"Retry-After": date}))
    delivery = deliver(jitter=lambda: 0.0)
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    assert get(database, callback).next_at - clock.now == pytest.approx(900, abs=1)


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_end_is_not_read_to_its_end(
    database: Database, deliver: Deliver, receive: Receive, status: int
) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    application = web.Application()
    application.router.add_post("/hook", flood)
    async with TestServer(application) as server:
        delivery = deliver()
        callback = delivery.put(str(server.make_url("/hook")))
        await delivery.recorded()
        row = get(database, callback)
    assert row.last_status == status
    assert row.state == ("delivered" if status == 200 else "waiting")
    assert len(row.last_error or "") < 300


async def test_an_address_that_becomes_private_is_not_connected_to_and_tried_again(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive()
    names = Names(hooks_example_com="10.0.0.7")
    delivery = deliver(resolver=names)
    callback = delivery.put(f"http://hooks.example.com:{receiver.port}/hook")
    await delivery.recorded()
    row = get(database, callback)
    assert row.state == "waiting"
    assert "10.0.0.7" in (row.last_error or "")

    names.addresses["hooks.example.com"] = "127.0.0.1"  # which this server is allowed to call
    clock.move_to(row.next_at)
    await delivery.recorded(2)
    assert get(database, callback).state == "delivered"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:{port}/", "callback_url: 127.0.0.1 is a private address"),
        ("http://[::ffff:127.0.0.1]:{port}/", "callback_url: ::ffff:7f00:1 is a private address"),
        ("http://inside.example:{port}/", "inside.example leads to the private address 127.0.0.1"),
    ],
)
async def test_nobody_reaches_inside(database: Database, deliver: Deliver, receive: Receive, url: str, error: str) -> None:
    receiver = await receive()
    delivery = deliver(policy=AddressPolicy([]), resolver=Names(inside_example="127.0.0.1"))
    callback = delivery.put(url.format(port=receiver.port))
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.last_error) == ("waiting", error)
    assert receiver.received == []


@pytest.mark.parametrize("url", ["http://nowhere.example/", "http://[broken", "http://127.0.0.1:1/"])
async def test_what_cannot_be_reached_ends_in_the_dead_letter(
    database: Database, deliver: Deliver, clock: Clock, url: str
) -> None:
    delivery = deliver(resolver=Names())
    callback = delivery.put(url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.last_status) == ("waiting", None)
    assert row.last_error
    clock.move(DAY)
    await delivery.recorded(2)
    assert get(database, callback).state == "dead"


async def test_a_test_key_can_have_tries_lost_on_purpose(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    receiver = await receive()
    delivery = deliver()
    callback = delivery.put(receiver.url, lose=3)
    for tries in range(1, 4):
        await delivery.recorded(tries)
        row = get(database, callback)
        assert (row.state, row.attempts, row.lose, row.last_error) == ("waiting", tries, 3 - tries, "lost on purpose")
        clock.move_to(row.next_at)
    await delivery.recorded(4)
    assert get(database, callback).state == "delivered"
    assert len(receiver.received) == 1
    assert delivery.trail.count("callback.sending") == 1


async def test_a_task_that_is_gone_has_nothing_to_tell(database: Database, deliver: Deliver, receive: Receive) -> None:
    async def gone(task_id: str, event: str) -> Rendered | None:
        return None

    receiver = await receive()
    delivery = deliver(render=gone)
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    assert (get(database, callback).state, get(database, callback).last_error) == ("dead", "there is no such task any more")
    assert receiver.received == []


async def test_a_body_that_cannot_be_made_now_is_made_later(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock
) -> None:
    calls: list[str] = []

    async def shaky(task_id: str, event: str) -> Rendered | None:
        calls.append(task_id)
        if len(calls) == 1:
            raise KeyError("a private detail")
        return Rendered(b"{}", "application/problem+json")

    receiver = await receive()
    delivery = deliver(render=shaky)
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert row.state == "waiting"
    assert "private detail" not in (row.last_error or "")
    clock.move_to(row.next_at)
    (received,) = await receiver.got(1)
    assert (received.body, received.headers["content-type"]) == (b"{}", "application/problem+json")


async def test_it_goes_on_after_the_database_could_not_be_read(database: Database, deliver: Deliver, receive: Receive) -> None:
    receiver = await receive()
    callbacks.drop(database.engine)
    with structlog.testing.capture_logs() as logs:
        delivery = deliver()
        await delivery.rested()
    assert [entry["event"] for entry in logs if entry["event"] != "database.read_failed"] == ["callback.outbox_unreadable"]
    metadata.create_all(database.engine)
    delivery.put(receiver.url)
    assert len(await receiver.got(1)) == 1


async def test_logs_name_the_task_and_no_secret_and_metrics_count(deliver: Deliver, receive: Receive) -> None:
    def total(outcome: str) -> float:
        return REGISTRY.get_sample_value("genway_callbacks_total", {"outcome": outcome}) or 0.0

    delivered, dead = total("delivered"), total("dead")
    seconds = REGISTRY.get_sample_value("genway_callback_seconds_count") or 0.0
    receiver = await receive(lambda number: 200 if number == 1 else 410)
    with structlog.testing.capture_logs() as logs:
        delivery = deliver()
        delivery.put(f"{receiver.url}?token=hush", task_id="t1")
        await delivery.recorded()
        delivery.put(f"{receiver.url}?token=hush", task_id="t2")
        await delivery.recorded(2)
    told = {entry["task_id"]: (entry["event"], entry["log_level"]) for entry in logs}
    assert told == {"t1": ("callback.delivered", "info"), "t2": ("callback.dead", "error")}
    text = json.dumps(logs)
    assert SECRET not in text
    assert "hush" not in text
    assert (total("delivered") - delivered, total("dead") - dead) == (1, 1)
    assert REGISTRY.get_sample_value("genway_callback_seconds_count") == seconds + 2


async def test_a_secret_that_cannot_be_used_is_a_failure_like_others_and_is_not_logged(
    database: Database, deliver: Deliver, receive: Receive, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = ["whsec_abcde", SECRET]

    async def shaky(account_id: str) -> str:
        return secrets.pop(0)

    receiver = await receive()
    delivery = deliver(secret_of=shaky)
    callback = delivery.put(receiver.url)
    await delivery.recorded()
    row = get(database, callback)
    assert (row.state, row.last_error) == ("waiting", "the body could not be signed; the server's log has the reason")
    shown = capsys.readouterr().out
    assert "callback.not_signed" in shown
    assert "abcde" not in shown
    clock.move_to(row.next_at)
    await receiver.got(1)


async def test_a_traceback_that_shows_variables_shows_no_secret(
    deliver: Deliver, receive: Receive, capsys: pytest.CaptureFixture[str]
) -> None:
    """structlog's own console format does, unless it is told not to."""
    delivery = deliver(crash_at="callback.sent")
    delivery.put((await receive()).url)
    await delivery.trail.reached("callback.sent")
    await delivery.stop(within=10)
    shown = capsys.readouterr().out
    assert "the process ends at callback.sent" in shown
    assert "locals" in shown
    assert SECRET not in shown
