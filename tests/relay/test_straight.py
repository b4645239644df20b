"""Calls that are led in the event loop's callbacks: which they are, and what becomes of them when something goes wrong.

What all calls have in common is told in the modules whose stories are seen both ways (`BOTH_WAYS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from genway.billing import leases, ledger
from genway.config import load
from genway.db import Database
from genway.db.tables import calls
from genway.relay import heads, usage
from genway.relay.callers import Holder
from genway.relay.kinds import ROUTES
from genway.relay.straight import SIMPLE
from genway.wire.exchange import Exchange
from genway.wire.upstream import WHOLE_LIMIT, Upstream
from relay.house import CHAT, DONE, MESSAGES, SECRET, House, Way, chat_answer, chat_events, message_answer, until
from standins.raw_vendor import EVENTS, Answer, RawVendor, Taken, chunk, hang_up, head_of, in_turn, nothing, pieces, whole
from wire.stage import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

WELL = whole(chat_answer())
HI = [{"role": "user", "content": "Hi"}]
BODY = msgspec.json.encode({"model": "gpt-5", "messages": HI})
STREAMED = msgspec.json.encode({"model": "gpt-5", "messages": HI, "stream": True})
DEEP = b'{"model":"m","stream":true,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
KEY = "gw_live_of_one_with_limits"


@pytest.fixture
def way() -> Way:
    return "straight"


@contextlib.contextmanager
def full_disk(house: House) -> Iterator[None]:
    """Nothing can be committed."""

    def commit(_: object) -> None:
        raise OSError("no space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(house.app.database, "_commit", commit)
        yield


def at_rest(house: House) -> bool:
    """Whether nothing is held for any call."""
    relay = house.relay
    return (
        not any(seat.busy for seat in house.board.seats)
        and not any(holder.streams for holder in relay.callers._by_key.values())
        and not any(purse.reserved for purse in relay.meter._purses.values())
        and not relay.flows
    )


async def connected(house: House) -> Client:
    host, _, port = house.url.removeprefix("http://").partition(":")
    return await Client.open(host, int(port))


def request(body: bytes = BODY, path: str = CHAT, key: str = SECRET) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        key.encode(),
        len(body),
        body,
    )


def arrived(body: bytes, key: str = KEY, path: str = CHAT, method: str = "POST") -> Exchange:
    """A request that is here whole. It has no connection: nobody may answer it."""
    raw = path.encode()
    exchange = Exchange(cast(Any, None), method, raw, raw, path, b"", [(b"authorization", b"Bearer " + key.encode())])
    exchange.arrived(body)
    exchange.ended()
    return exchange


# --- which calls go straight


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (CHAT, {}),
        (CHAT, {"stream": True}),
        ("/v1/completions", {}),
        ("/v1/responses", {"store": False}),
        ("/v1/embeddings", {}),
        ("/v1/moderations", {}),
        ("/v1/rerank", {}),
        ("/v1/images/generations", {}),
        (MESSAGES, {"max_tokens": 5}),
    ],
)
async def test_a_plain_call_goes_straight(house: House, vendor: RawVendor, path: str, more: dict[str, Any]) -> None:
    await house.channel("only", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    if path == MESSAGES:
        vendor.answer = whole(message_answer())
    elif more.get("stream"):
        vendor.answer = pieces(chat_events("Hi"))
    assert (await house.post(path, {"model": "m", "input": "x", **more})).status == 200
    assert house.straight == 1
    assert at_rest(house)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, {"model": "none"}, 404),
        (CHAT, {}, 400),
        (CHAT, b"not JSON", 400),
        (CHAT, DEEP, 400),
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": [{"file": {"file_id": "file-1"}}]}]}, 404),
        (CHAT, {"model": "local/chat", "messages": HI}, 200),
        (CHAT, b'{"model":"m","messages":[],"model":"n"}', 400),
        (CHAT, b'{"model":"m","messages":[],"Model":"n"}', 400),
        (CHAT, {"model": "m", "messages": HI, "audio": {"voice": "alloy", "format": "wav"}}, 200),
        (CHAT, {"model": "m", "messages": HI, "metadata": {"model": "n"}}, 200),
        ("/v1/responses", {"model": "m", "input": "Hi", "store": False, "tools": [{"type": "shell"}]}, 200),
        ("/v1/moderations", {"input": "x"}, 404),
        ("/v1/responses", {"model": "m", "input": "Hi"}, 200),
        ("/v1/responses", {"model": "m", "input": "Hi", "store": False, "previous_response_id": "resp_1"}, 404),
        ("/v1/audio/speech", {"model": "m", "input": "Hi"}, 200),
        (MESSAGES, {"model": "m"}, 400),
        (MESSAGES, {"model": "m", "max_tokens": 5, "messages": HI}, 200),
    ],
)
async def test_what_has_to_be_looked_up_kept_made_here_translated_or_refused_goes_the_long_way(
    house: House, vendor: RawVendor, path: str, body: Any, status: int
) -> None:
    await house.channel("only", vendor.url, models={"m": "m"})
    told = await house.post(path, body)
    assert (told.status, house.straight) == (status, 0)
    await until(lambda: at_rest(house))


async def test_a_channel_that_is_tried_out_after_a_pause_is_waited_for(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = in_turn(whole(b"{}", 429, retry_after="40"), WELL)
    assert (await house.chat()).status == 429
    house.now += 41
    assert (await house.chat()).status == 200
    assert house.straight == 1, "the first one alone"
    assert (await house.chat()).status == 200
    assert house.straight == 2


# --- one that is not taken finds everything as it was


def no_money(house: House, holder: Holder) -> None:
    house.relay.meter._purses[holder.caller.key_id].left = 0


def no_connection(house: House, _: Holder) -> None:
    for connection in house.board.seats[0].origin.idle:
        connection.abort()


def keys_aside(house: House, _: Holder) -> None:
    for credential in house.board.seats[0].credentials:
        credential.aside_until = house.now + 60


def all_streams_open(_: House, holder: Holder) -> None:
    holder.streams = holder.most_streams = 1


def no_request_left(_: House, holder: Holder) -> None:
    assert holder.requests is not None
    holder.requests.correct(-1000)


def few_tokens_left(_: House, holder: Holder) -> None:
    assert holder.tokens is not None
    holder.tokens.correct(-4900)


def forgotten(house: House, _: Holder) -> None:
    house.forget_callers()


def nothing_lacks(_: House, __: Holder) -> None:
    """The fault lies in the request."""


@pytest.mark.parametrize(
    "lack",
    [no_money, no_connection, keys_aside, all_streams_open, no_request_left, few_tokens_left, forgotten, nothing_lacks],
)
async def test_one_that_is_not_taken_leaves_everything_as_it_was(
    house: House, vendor: RawVendor, lack: Callable[[House, Holder], None]
) -> None:
    seat = await house.channel("only", vendor.url)
    key_id = house.key(KEY, requests_per_minute=1000, tokens_per_minute=5000)
    await house.warm(KEY)
    holder, purse = house.relay.callers._by_key[key_id], house.relay.meter._purses[key_id]
    lack(house, holder)

    def state() -> tuple[Any, ...]:
        assert holder.requests is not None
        assert holder.tokens is not None
        left = [pytest.approx(bucket._level, abs=100) for bucket in (holder.requests, holder.tokens)]
        return *left, holder.streams, purse.left, purse.reserved, seat.busy

    before = state()
    exchange = arrived(DEEP if lack is nothing_lacks else STREAMED)
    body = exchange.here
    assert not house.app.take(exchange)
    assert state() == before
    assert (exchange.take(), exchange.on_gone) == (body, None)
    holder.streams = 0


# --- the upstream


async def test_a_connection_that_was_closed_meanwhile_is_replaced_within_the_attempt(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = in_turn(hang_up, WELL)
    told = await house.chat()
    assert (told.status, told.headers["x-genway-attempts"], house.straight) == (200, "1", 1)
    assert len(vendor.requests) == 2
    assert house.waited == []


async def test_a_request_that_makes_them_hang_up_is_repeated_once(house: House, vendor: RawVendor, another: RawVendor) -> None:
    seat = await house.channel("killed", vendor.url, priority=1)
    await house.channel("good", another.url)
    ready = []
    for _ in range(3):
        await house.warm()
        ready.append(seat.origin.idle.pop())
    seat.origin.idle.extend(ready)
    vendor.answer = hang_up
    told = await house.chat()
    assert (told.channel, told.headers["x-genway-attempts"], house.straight) == ("good", "2", 1)
    assert len(vendor.requests) == 2, "not given to all that are ready in turn"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_nobody_asked_for_reaches_nobody(house: House, vendor: RawVendor, streamed: bool) -> None:
    await house.channel("only", vendor.url)
    forged = head_of(200, "application/json", {}, 6) + b"forged"
    answers = [pieces(chat_events("Hi")), pieces(chat_events("you"))] if streamed else [WELL, whole(chat_answer("you"))]

    async def smuggling(taken: Taken, writer: asyncio.StreamWriter) -> None:
        class Joined:
            def write(self, data: bytes) -> None:
                written.append(data)

        written: list[bytes] = []
        await answers.pop(0)(taken, cast(Any, Joined()))
        writer.write(b"".join(written) + (forged if answers else b""))

    vendor.answer = smuggling
    first, second = [await house.chat(stream=streamed, stream_options={"include_usage": True}) for _ in range(2)]
    assert house.straight == 2
    assert (first.status, second.status) == (200, 200)
    assert b"forged" not in first.body + second.body
    assert second.body == (b"".join(chat_events("you")) if streamed else chat_answer("you"))
    assert at_rest(house)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_does_not_come_in_a_longer_time_is_given_up_by_the_sweep(
    house: House, vendor: RawVendor, another: RawVendor, streamed: bool
) -> None:
    await house.channel("slow", vendor.url, priority=1, timeout=20)
    await house.channel("good", another.url)
    vendor.answer = nothing
    another.answer = pieces(chat_events("Hi")) if streamed else WELL
    pool = house.app._pool
    asking = asyncio.create_task(house.chat(stream=streamed))
    await until(lambda: len(vendor.requests) == 1)
    (waiting,) = [each for each in pool._all if each.late_at]
    assert 15 < waiting.late_at - time.monotonic() <= 20
    pool.sweep()
    assert waiting.usable, "it is not time yet"
    waiting.late_at -= 20
    pool.sweep()
    told = await asking
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "2")
    assert not waiting.usable
    assert not any(each.late_at for each in pool._all)


async def test_events_nobody_asked_for_that_come_to_nothing_change_nothing_of_the_next_try(
    house: House, vendor: RawVendor, another: RawVendor
) -> None:
    await house.channel("odd", vendor.url, priority=1)
    await house.channel("good", another.url)

    async def half_an_event(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(200, EVENTS, {}) + chunk(b"data: " + b"x" * WHOLE_LIMIT))
        await writer.drain()
        writer.transport.abort()

    vendor.answer = half_an_event
    told = await house.chat()
    assert (told.status, told.channel, house.straight) == (200, "good", 1)
    assert another.requests[0].body == vendor.requests[0].body
    assert at_rest(house)


async def test_an_unfinished_stream_is_left_after_its_last_event(house: House, vendor: RawVendor) -> None:
    seat = await house.channel("only", vendor.url)

    async def no_end(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(200, EVENTS, {}) + b"".join(map(chunk, chat_events("Hi"))))
        await asyncio.Event().wait()

    vendor.answer = no_end
    assert (await house.chat(stream=True)).body.endswith(DONE)
    (lingering,) = [each for each in house.app._pool._all if each.late_at]
    assert lingering not in seat.origin.idle
    lingering.late_at = time.monotonic()
    house.app._pool.sweep()
    await until(lambda: vendor.open == 0)
    assert at_rest(house)


# --- the client


async def test_two_requests_in_one_piece_are_answered_in_their_order(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)

    async def echo(taken: Taken, writer: asyncio.StreamWriter) -> None:
        await whole(chat_answer(msgspec.json.decode(taken.body)["user"]))(taken, writer)

    vendor.answer = echo
    await house.warm()
    client = await connected(house)
    await client.send(b"".join(request(msgspec.json.encode({"model": "gpt-5", "user": name})) for name in "ab"))
    said = [msgspec.json.decode((await client.answer()).body)["choices"][0]["message"]["content"] for _ in "ab"]
    assert said == ["a", "b"]
    assert house.straight == 1, "the second one waits its turn, which is work for a task"
    client.abort()


async def test_an_old_client_gets_a_stream_that_ends_with_the_connection(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = pieces(chat_events("Hi", usage=False))
    await house.warm()
    client = await connected(house)
    answer = await client.ask(request(STREAMED).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert answer.body == b"".join(chat_events("Hi", usage=False))
    assert (answer.headers["connection"], house.straight) == ("close", 1)
    assert await client.closed()


@pytest.mark.parametrize("body", [BODY, STREAMED])
async def test_a_client_that_leaves_while_the_answer_is_awaited_pays_for_what_was_read(
    house: House, vendor: RawVendor, body: bytes
) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = nothing
    await house.warm()
    client = await connected(house)
    await client.send(request(body))
    await until(lambda: len(vendor.requests) == 1)
    client.abort()
    await until(lambda: vendor.open == 0)
    await until(lambda: len(house.recorded()) == 1 and at_rest(house))
    (row,) = house.recorded()
    assert (row.outcome, row.cost, row.output_tokens, house.straight) == ("client_gone", 7, 0, 1)


@pytest.mark.parametrize(("body", "answer"), [(BODY, WELL), (STREAMED, pieces(chat_events("Hi")))])
async def test_a_client_that_leaves_while_its_call_is_put_on_record_is_charged_once(
    house: House, vendor: RawVendor, body: bytes, answer: Answer
) -> None:
    seat = await house.channel("only", vendor.url)
    vendor.answer = answer
    await house.warm()
    gate = threading.Event()
    writing = asyncio.ensure_future(house.app.database.write(lambda _: gate.wait(10)))
    client = await connected(house)
    await client.send(request(body))
    await until(lambda: bool(house.relay.meter._tells or house.relay.meter._writing))
    client.abort()
    await until(lambda: not house.server.connections or all(each._current is None for each in house.server.connections))
    assert seat.busy == 1
    gate.set()
    await writing
    await until(lambda: at_rest(house))
    (row,) = house.recorded()
    assert (row.outcome, row.input_tokens, row.cost, house.straight) == ("done", 10, 7, 1)
    vendor.answer = WELL
    assert (await house.chat()).status == 200


@pytest.mark.parametrize(
    ("answer", "charged"), [(hang_up, 0), (whole(b"{}", 500), 0), (whole(b"{}", 429), 0), (whole(b"x" * 17_000_000), 1)]
)
async def test_a_client_that_leaves_before_a_call_goes_on_gets_no_second_try(
    house: House, vendor: RawVendor, another: RawVendor, monkeypatch: pytest.MonkeyPatch, answer: Answer, charged: int
) -> None:
    await house.channel("first", vendor.url, priority=1)
    await house.channel("second", another.url)
    vendor.answer = answer
    work = Exchange.work

    def work_and_leave(exchange: Exchange, working: Any) -> None:
        work(exchange, working)
        exchange._connection.abort()

    await house.warm()
    monkeypatch.setattr(Exchange, "work", work_and_leave)
    client = await connected(house)
    await client.send(request())
    await until(lambda: bool(house.straight) and at_rest(house))
    await house.relay.meter.flush()
    assert another.requests == []
    assert len(vendor.requests) == 1
    assert [row.outcome for row in house.recorded()] == ["client_gone"] * charged, "what was refused costs nothing"
    client.abort()


# --- this house


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "service_unavailable_error"), (MESSAGES, "overloaded_error")])
async def test_a_call_that_cannot_be_put_on_record_is_refused_in_the_format(
    house: House, vendor: RawVendor, path: str, kind: str
) -> None:
    await house.channel("only", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    vendor.answer = whole(message_answer() if path == MESSAGES else chat_answer())
    await house.warm()
    with full_disk(house):
        told = await house.post(path, {"model": "m", "max_tokens": 5, "messages": HI})
    assert (told.status, told.json["error"]["type"], house.straight) == (503, kind, 1)
    await house.relay.meter.flush()
    assert [row.outcome for row in house.recorded()] == ["done"], "the vendor has done its work"
    assert at_rest(house)


async def test_what_could_not_be_put_on_record_is_put_there_later_and_charged_once(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    await house.warm()
    vendor.answer = pieces(chat_events("Hi"))
    with full_disk(house):
        told = await house.chat(stream=True)
        assert (await house.chat()).status == 503, "no new call is taken before"
    assert told.status == 200
    assert DONE not in told.body
    assert b"could not be put on record" in told.body.split(b"\n\n")[-2]
    await house.relay.meter.flush()
    (row,) = house.recorded()
    assert (row.outcome, row.cost) == ("done", 7)
    vendor.answer = WELL
    assert (await house.chat()).status == 200
    assert house.straight == 2
    assert at_rest(house)


def broken(*_: object, **__: object) -> Any:
    raise RuntimeError("a fault of ours")


@pytest.mark.parametrize(("answer", "body"), [(WELL, BODY), (pieces(chat_events("Hi")), STREAMED)], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "where",
    ["heads.head", "heads.common", "usage.from_answer", "usage.from_event", "board.succeeded", "sender.begin", "sender.flow"],
)
async def test_a_fault_of_ours_lets_go_of_the_client_and_of_all_that_was_held(
    house: House, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch, where: str, answer: Answer, body: bytes
) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = answer
    await house.warm()
    client = await connected(house)
    owner, _, what = where.partition(".")
    places = {"heads": heads, "usage": usage, "board": house.board, "sender": house.relay._sender}
    with monkeypatch.context() as patch:
        patch.setattr(places[owner], what, broken)
        await client.send(request(body))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # it may be broken off
            assert (await client.answer()).status in {200, 500}
    assert house.straight == 1
    await until(lambda: at_rest(house))
    client.abort()
    vendor.answer = WELL
    assert (await house.chat()).status == 200


async def test_a_vendor_that_counts_beyond_all_measure_is_answered_for(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url, "anthropic", models={"m": "m"})
    house.key(KEY, tokens_per_minute=5000)
    vendor.answer = whole(message_answer().replace(b'"input_tokens":10', b'"input_tokens":%d' % (2**32 - 2)))
    told = await house.post(MESSAGES, {"model": "m", "max_tokens": 5, "messages": HI}, KEY)
    assert (told.status, told.headers["anthropic-ratelimit-tokens-remaining"], house.straight) == (200, "0", 1)
    await until(lambda: at_rest(house))


@pytest.mark.parametrize("count", [2**63, 10**30])
async def test_a_vendor_that_counts_beyond_what_is_a_number_keeps_nobody_waiting(
    house: House, vendor: RawVendor, count: int
) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = whole(chat_answer().replace(b'"prompt_tokens":10', b'"prompt_tokens":%d' % count))
    assert (await house.chat()).status in {200, 500}
    events = [event.replace(msgspec.json.encode(10), b"%d" % count) for event in chat_events("Hi")]
    vendor.answer = pieces(events)
    assert (await house.chat(stream=True)).status == 200
    assert house.straight == 2
    await until(lambda: at_rest(house))
    await house.relay.meter.flush()


class Held:
    """A vendor that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, taken: Taken, writer: asyncio.StreamWriter) -> None:
        if b'"stream"' in taken.body:
            writer.write(head_of(200, EVENTS, {}) + chunk(chat_events("Hi")[0]))
        await self.go.wait()


async def test_stopping_loses_nothing_of_calls_that_are_under_way(tmp_path: Path, vendor: RawVendor) -> None:
    house = House(load(overrides={"data": str(tmp_path)}), "straight")
    await house.start()
    seat = await house.channel("only", vendor.url)
    clients = []
    for number, body in enumerate([BODY, STREAMED, BODY, STREAMED]):
        vendor.answer = Held()
        await house.warm()
        clients.append(await connected(house))
        await clients[-1].send(request(body))
        await until(lambda number=number: len(vendor.requests) == number + 1)  # type: ignore[misc]
    vendor.answer = WELL
    await house.warm()
    gate = threading.Event()
    writing = asyncio.ensure_future(house.app.database.write(lambda _: gate.wait(10)))
    clients.append(await connected(house))
    await clients[-1].send(request())
    await until(lambda: house.relay.meter._writing is not None)
    assert (house.straight, seat.busy) == (5, 5)
    asyncio.get_running_loop().call_later(0.05, gate.set)
    await house.stop()
    await writing
    assert seat.busy == 0
    with contextlib.closing(Database(house.config.database_url)) as database:
        rows = database.read_now(lambda connection: connection.execute(calls.select()).all())
        account, key_id = house.account, house.key_id
        assert database.read_now(lambda connection: ledger.balance(connection, account, "live"))[1] == 0
        assert database.read_now(lambda connection: leases.spent_of_key(connection, key_id)) == 0, "no lease is open"
    assert sorted(row.outcome for row in rows) == ["client_gone"] * 4 + ["done"]
    assert sum(row.cost for row in rows) == 35
    for client in clients:
        client.abort()


async def test_a_connection_serves_one_call_at_a_time(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    seen: list[Upstream] = []
    ask = Upstream.ask

    async def slowly(taken: Taken, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)
        await whole(chat_answer(msgspec.json.decode(taken.body)["user"]))(taken, writer)

    vendor.answer = slowly
    with pytest.MonkeyPatch.context() as patch:

        def watched(self: Upstream, *given: Any) -> None:
            assert self._tell is None
            assert self._reply is None
            assert self not in self._origin.idle
            seen.append(self)
            ask(self, *given)

        patch.setattr(Upstream, "ask", watched)
        for _ in range(5):
            told = await asyncio.gather(*(house.chat(user=str(number)) for number in range(8)))
            assert [each.json["choices"][0]["message"]["content"] for each in told] == [str(number) for number in range(8)]
    assert len(seen) == 40
    assert house.straight > 20
    assert at_rest(house)


async def test_the_kinds_that_go_straight_are_kinds() -> None:
    assert {kind.name for kind in ROUTES.values()} >= SIMPLE
