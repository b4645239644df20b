"""What calls cost through a running gateway, with everything that may happen to them on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import Connection

from genway.access import store as access
from genway.billing import ledger, money
from genway.billing.prices import Price, set_price
from genway.config import load
from genway.db.tables import calls, channels, prices
from genway.errors import Unavailable
from genway.relay import seats
from relay.conftest import check_way
from relay.counting import check_books
from relay.house import CHAT, DONE, House, Way, chat_answer, chat_events, data, opened, until
from standins.raw_vendor import Answer, RawVendor, Taken, chunk, hang_up, head_of, nothing, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True

FUNDS = 50_000_000
KEY = "gw_live_of_one_who_pays"
MODEL = "priced"
FILLING = "filling"
PRICES = {
    "call": 0,
    "input_mtok": 1_000_000,
    "cached_input_mtok": 100_000,
    "audio_input_mtok": 5_000_000,
    "output_mtok": 2_000_000,
    "reasoning_mtok": 3_000_000,
}


class Till(House):
    """A house with one account that pays, and models of which every class of tokens has a price."""

    async def open(self) -> None:
        self.payer = self.purse(KEY, FUNDS)
        for unit, amount in PRICES.items():
            self.price(unit, amount)
        await self.relay._refresh()

    def price(self, unit: str, amount: int, model: str = MODEL) -> None:
        self.write(lambda connection: set_price(connection, Price(model, unit, amount), self.now))

    def balance(self) -> tuple[int, int]:
        """Available and held."""
        found: tuple[int, int] = self.database.read_now(lambda connection: ledger.balance(connection, self.payer, "live"))
        return found

    def paid(self) -> list[Any]:
        """The calls on record of the account that pays."""
        return [row for row in self.recorded() if row.account_id == self.payer]

    async def ask(self, **more: Any) -> Any:
        return await self.chat(MODEL, key=KEY, **more)

    async def call_after(self, number: int) -> Any:
        """The call that is put on record after so many."""
        await until(lambda: len(self.paid()) > number)
        return self.paid()[-1]

    def check(self) -> None:
        self.database.read_now(lambda connection: check_books(connection, self.payer, FUNDS))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def standing_till(tmp_path_factory: Any) -> AsyncIterator[Till]:
    till = Till(load(overrides={"data": str(tmp_path_factory.mktemp("till"))}))
    await till.start()
    await till.open()
    yield till
    await till.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def till(standing_till: Till, vendor: RawVendor, way: Way, request: pytest.FixtureRequest) -> AsyncIterator[Till]:
    """With a channel to the vendor alone; the books are looked at after each test."""
    standing_till.way = way
    standing_till.straight = 0
    await standing_till.channel(f"c{len(standing_till.board._stored)}", vendor.url, models={MODEL: MODEL, "unpriced-x": "x"})
    yield standing_till
    check_way(standing_till, request)
    standing_till.check()
    standing_till.write(lambda connection: connection.execute(channels.delete()).rowcount)
    await standing_till.board.refresh()


def held_stream(parts: list[bytes], after: int, go_on: asyncio.Event) -> Answer:
    """The first so many pieces, and the rest when told."""

    async def answer(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(200, "text/event-stream", {}) + b"".join(map(chunk, parts[:after])))
        await go_on.wait()
        writer.write(b"".join(map(chunk, parts[after:])) + b"0\r\n\r\n")

    return answer


async def leave_after(till: Till, body: dict[str, Any], words: bytes) -> None:
    """A client that reads until these words and goes."""
    await till.warm(KEY)
    async with aiohttp.ClientSession() as client:
        sent = {"authorization": f"Bearer {KEY}"}
        async with client.post(f"{till.url}{CHAT}", json={"model": MODEL, **body}, headers=sent) as answer:
            async for line in answer.content:
                if words in line:
                    answer.close()
                    return


ASKED = {"messages": [{"role": "user", "content": "Tell me a long story, please."}]}
STORY = [f"word{number} " for number in range(100)]


async def test_a_client_that_leaves_a_stream_pays_for_what_was_produced(till: Till, vendor: RawVendor) -> None:
    vendor.answer = pieces(chat_events(*STORY, usage=False))
    await till.ask(**ASKED, stream=True)
    full = till.paid()[-1]
    vendor.answer = held_stream(chat_events(*STORY), 52, asyncio.Event())
    vendor.left.clear()
    number = len(till.paid())
    await leave_after(till, {**ASKED, "stream": True}, b"word40")
    async with asyncio.timeout(1):
        await vendor.left.wait()
    gone = await till.call_after(number)
    assert (gone.outcome, gone.estimated) == ("client_gone", True)
    assert gone.input_tokens == full.input_tokens
    assert full.output_tokens * 0.3 < gone.output_tokens < full.output_tokens * 0.7
    assert gone.cost == gone.input_tokens + 2 * gone.output_tokens


async def test_a_client_that_leaves_before_a_whole_answer_pays_for_what_was_read(till: Till, vendor: RawVendor) -> None:
    vendor.answer = nothing
    vendor.left.clear()
    number, asked = len(till.paid()), len(vendor.requests)
    asking = asyncio.create_task(till.ask(**ASKED))
    await until(lambda: len(vendor.requests) > asked)
    asking.cancel()
    async with asyncio.timeout(1):
        await vendor.left.wait()
    gone = await till.call_after(number)
    assert (gone.outcome, gone.estimated, gone.output_tokens) == ("client_gone", True, 0)
    assert gone.cost == gone.input_tokens > 0


async def test_where_the_vendor_tells_no_usage_it_is_counted_here_and_marked(till: Till, vendor: RawVendor) -> None:
    answer = msgspec.json.decode(chat_answer("Once upon a time there was a gateway."))
    del answer["usage"]
    vendor.answer = whole(msgspec.json.encode(answer))
    told = await till.ask(**ASKED)
    row = till.paid()[-1]
    assert row.estimated
    assert row.input_tokens > 5
    assert row.output_tokens > 5
    assert row.cost == row.input_tokens + 2 * row.output_tokens
    assert told.headers["x-genway-cost"] == money.show(row.cost)


async def test_each_class_of_tokens_has_its_price(till: Till, vendor: RawVendor) -> None:
    usage: dict[str, Any] = {
        "prompt_tokens": 1_000,
        "completion_tokens": 300,
        "total_tokens": 1_300,
        "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 200},
    }
    expected = 350 * 1 + 600 * 100_000 // 1_000_000 + 50 * 5 + 100 * 2 + 200 * 3
    vendor.answer = whole(chat_answer("Hi", **usage))
    await till.ask()
    assert till.paid()[-1].cost == expected
    events = [*chat_events("Hi", usage=False, done=False), data({"id": "x", "choices": [], "usage": usage}), DONE]
    vendor.answer = pieces(events)
    await till.ask(stream=True)
    row = till.paid()[-1]
    assert (row.cost, row.estimated) == (expected, False)


async def test_a_call_costs_what_it_did_when_it_began(till: Till, vendor: RawVendor) -> None:
    go_on = asyncio.Event()
    vendor.answer = held_stream(chat_events("Hi"), 2, go_on)
    asking = asyncio.create_task(till.ask(stream=True))
    number = len(vendor.requests)
    await until(lambda: len(vendor.requests) > number)
    till.price("output_mtok", 200_000_000)
    await till.relay._refresh()
    go_on.set()
    await asking
    assert till.paid()[-1].cost == 10 + 2 * 5
    vendor.answer = whole(chat_answer())
    await till.ask()
    assert till.paid()[-1].cost == 10 + 200 * 5
    till.price("output_mtok", PRICES["output_mtok"])
    await till.relay._refresh()


@pytest.mark.never_straight("a refusal takes words")
async def test_a_model_without_a_price_is_refused_before_anything_is_sent(till: Till, vendor: RawVendor) -> None:
    till.write(lambda c: c.execute(prices.update().where(prices.c.model == "*").values(retired_at=till.now)).rowcount)
    await till.relay._refresh()
    number = len(vendor.requests)
    told = await till.chat("unpriced-x", key=KEY)
    assert told.status == 404
    assert "has no price" in told.json["error"]["message"]
    assert len(vendor.requests) == number
    assert till.balance()[1] >= 0


@pytest.mark.never_straight("a refusal takes words")
async def test_an_empty_account_gets_nothing_that_has_a_price(till: Till, vendor: RawVendor) -> None:
    till.purse("gw_live_of_one_without", 0)
    number = len(vendor.requests)
    told = await till.chat(MODEL, key="gw_live_of_one_without")
    assert (told.status, told.json["error"]["code"]) == (429, "insufficient_quota")
    assert len(vendor.requests) == number


@pytest.mark.never_straight("a refusal takes words")
async def test_a_budget_that_is_lowered_holds_from_the_next_call_on(till: Till, vendor: RawVendor) -> None:
    secret = "gw_live_of_one_with_a_budget"
    key_id = till.key(secret, budget=1_000_000)
    vendor.answer = whole(chat_answer())
    assert (await till.chat(MODEL, key=secret)).status == 200
    till.write(lambda connection: access.change_key(connection, key_id, {"budget": 20}))
    till.forget_callers()
    number = len(vendor.requests)
    told = await till.chat(MODEL, key=secret)
    assert (told.status, told.json["error"]["code"]) == (429, "insufficient_quota")
    assert len(vendor.requests) == number


@pytest.mark.never_straight("its work is done here")
async def test_a_test_key_spends_simulated_money(till: Till) -> None:
    account = till.purse("gw_test_of_one_who_tries", 0, mode="test")
    told = await till.chat(MODEL, key="gw_test_of_one_who_tries")
    assert told.status == 200
    row = next(row for row in till.recorded() if row.account_id == account)
    assert row.mode == "test"
    assert row.cost == row.input_tokens + 2 * row.output_tokens > 0
    live, test = till.database.read_now(
        lambda connection: (ledger.balance(connection, account, "live"), ledger.balance(connection, account, "test"))
    )
    assert live == (0, 0)
    assert sum(test) <= 0


async def test_an_answer_the_vendor_refuses_costs_nothing(till: Till, vendor: RawVendor) -> None:
    number = len(till.paid())
    vendor.answer = whole(b'{"error":{"message":"no","type":"invalid_request_error"}}', 400)
    assert (await till.ask()).status == 400
    assert len(till.paid()) == number


async def test_an_error_takes_the_place_of_an_end_that_could_not_be_put_on_record(
    tmp_path: Path, way: Way, vendor: RawVendor
) -> None:
    """The disk is full: the stream that runs ends with an error, new calls are refused, and then all is as before."""
    async with opened(tmp_path, way) as house:
        house.purse(KEY, FUNDS)
        await house.channel("one", vendor.url, models={"gpt-5": "gpt-5", "claude-x": "claude-x"})
        vendor.answer = whole(chat_answer())
        assert (await house.chat(key=KEY)).status == 200
        go_on = asyncio.Event()
        vendor.answer = held_stream(chat_events("Hello"), 2, go_on)
        streaming = asyncio.create_task(house.chat(key=KEY, stream=True))
        await until(lambda: len(vendor.requests) >= 2)
        await _fill_the_disk(house)
        go_on.set()
        stream = await streaming
        assert b"Hello" in stream.body
        assert b"[DONE]" not in stream.body
        last = stream.body.strip().split(b"\n\n")[-1]
        assert b"could not be put on record" in last
        number = len(vendor.requests)
        refused = [await house.chat(key=KEY), await house.messages("claude-x", key=KEY)]
        assert [told.status for told in refused] == [503, 503]
        assert refused[0].json["error"]["type"] == "service_unavailable_error"
        assert refused[1].json["error"]["type"] == "overloaded_error"
        assert len(vendor.requests) == number
        assert len(_calls_of(house)) == 1
        await house.app.database.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 100000000"))
        await house.relay.meter.flush()
        vendor.answer = whole(chat_answer())
        assert (await house.chat(key=KEY)).status == 200
        assert [row.outcome for row in _calls_of(house)] == ["done"] * 3


def _calls_of(house: House) -> list[Any]:
    return [row for row in house.recorded() if not row.id.startswith(FILLING)]


def _insert(row: dict[str, Any], connection: Connection) -> None:
    connection.execute(calls.insert(), row)


async def _fill_the_disk(house: House) -> None:
    """As a disk does: from now on the file cannot grow, and what was free in it is used up."""

    def fill(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    database = house.app.database
    await database.write(fill)
    number = 0
    while True:
        number += 1
        row = dict.fromkeys((column.name for column in calls.c), 0) | {"id": f"{FILLING}{number}", "used": "x" * 300}
        try:
            await database.write(partial(_insert, row))
        except Unavailable:
            break
    assert number < 10_000


async def test_the_sum_of_a_thousand_random_calls_is_what_the_account_has_lost(
    till: Till, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "FAILURES", 10_000)  # a vendor that fails so often would be left alone
    chance = random.Random(7)
    usage = {"prompt_tokens": 1_234, "completion_tokens": 567, "total_tokens": 1_801}
    answers: dict[str, list[Answer]] = {
        "whole": [
            whole(chat_answer("Hi", **usage)),
            whole(chat_answer("Hello there")),
            whole(b'{"error":{"message":"no"}}', 400),
            hang_up,
        ],
        "stream": [
            pieces(chat_events(*STORY[:30])),
            pieces(chat_events(*STORY[:30], usage=False)),
            pieces(chat_events(*STORY[:20], done=False), end=False),
            held_stream(chat_events(*STORY[:20]), 12, asyncio.Event()),
        ],
    }

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        asked = msgspec.json.decode(taken.body)
        await answers["stream" if asked["stream"] else "whole"][int(asked["user"])](taken, writer)

    vendor.answer = answer

    async def one(number: int) -> None:
        streamed = chance.random() < 0.5
        what = chance.choices(range(4), (6, 4, 2, 1))[0]
        body = {**ASKED, "user": str(what), "stream": streamed}
        if streamed and what == 3:
            await leave_after(till, body, b"word5")
        else:
            told = await till.ask(**body)
            assert told.status in {200, 400, 502, 503, 429}

    crowd = asyncio.Semaphore(16)

    async def queued(number: int) -> None:
        async with crowd:
            await one(number)

    before = len(till.paid())
    await asyncio.gather(*(queued(number) for number in range(1_000)))
    await till.relay.meter.flush()
    await until(lambda: not till.relay.flows)
    await till.relay.meter.flush()
    await until(lambda: not any(seat.busy for seat in till.board.seats))
    assert not any(holder.streams for holder in till.relay.callers._by_key.values())
    assert not any(purse.reserved for purse in till.relay.meter._purses.values())
    rows = till.paid()[before:]
    assert len(rows) > 800
    assert {row.outcome for row in rows} == {"done", "broken_off", "client_gone"}
    till.check()
    till.now += 60
    till.relay.meter.tidy()
    await until(lambda: till.balance()[1] == 0)
    assert till.balance() == (FUNDS - sum(row.cost for row in till.paid()), 0)
