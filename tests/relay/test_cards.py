"""Which price counts for a call: those that vendors do not charge for, and those of a test key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from genway.billing import calls, ledger
from genway.billing.prices import Price, set_price
from genway.billing.tokens import Card
from genway.cli.usage import Names
from genway.db.tables import prices
from genway.relay.cards import FREE
from genway.routing.channels import LOCAL
from relay.house import House, opened
from standins.raw_vendor import RawVendor, Taken, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = "/v1/messages/count_tokens"
ASKED = {"model": "claude-x", "messages": [{"role": "user", "content": "Hi"}]}
COUNTED = whole(b'{"input_tokens":4711}')
TEST_KEY = "gw_test_of_one_who_tries"


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(tmp_path: Path) -> AsyncIterator[House]:
    """A house that nobody else was in, with the prices that ship and no others."""
    async with opened(tmp_path) as house:
        house.write(lambda connection: connection.execute(prices.delete()).rowcount)
        await house.relay._refresh()
        yield house


def explained(house: House) -> Any:
    """The only call on record as `genway call show` explains it."""
    (row,) = house.recorded()

    def read(connection: Any) -> Any:
        (call,) = calls.get(connection, row.id)
        return calls.explain(connection, call, Names(connection).providers(call.channel_id))

    return house.database.read_now(read)


async def test_counting_tokens_costs_nothing_though_every_call_has_a_price(house: House, vendor: RawVendor) -> None:
    await house.channel("claude", vendor.url, "anthropic")
    vendor.answer = COUNTED
    told = await house.post(COUNT, ASKED)
    assert (told.status, told.json, told.headers["x-genway-cost"]) == (200, {"input_tokens": 4711}, "0.00")
    (row,) = house.recorded()
    assert (row.kind, row.outcome, row.cost, row.input_tokens, row.output_tokens) == ("count_tokens", "done", 0, 0, 0)
    why = explained(house)
    assert (why.exact, why.lines) == (True, ())


async def test_counting_tokens_sets_no_money_aside_and_an_empty_account_may_do_it(house: House, vendor: RawVendor) -> None:
    await house.channel("claude", vendor.url, "anthropic")
    account = house.purse("gw_live_of_one_who_counts", 0)
    held: list[tuple[int, int]] = []

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        held.append(house.database.read_now(lambda connection: ledger.balance(connection, account, "live")))
        await COUNTED(taken, writer)

    vendor.answer = answer
    assert (await house.post(COUNT, ASKED, "gw_live_of_one_who_counts")).status == 200
    assert held == [(0, 0)]
    assert (await house.messages(key="gw_live_of_one_who_counts")).status == 402, "what has a price needs money"


async def test_a_model_without_a_price_can_be_counted_for(fresh: House, vendor: RawVendor) -> None:
    await fresh.channel("claude", vendor.url, "anthropic")
    vendor.answer = COUNTED
    assert (await fresh.post(COUNT, ASKED)).status == 200
    assert (await fresh.messages()).status == 404


async def test_a_test_key_counts_tokens_for_nothing_as_well(house: House) -> None:
    house.key("gw_test_of_one_who_counts", mode="test")
    told = await house.post(COUNT, ASKED, "gw_test_of_one_who_counts")
    assert (told.status, told.channel, told.headers["x-genway-cost"]) == (200, LOCAL, "0.00")
    (row,) = house.recorded()
    assert (row.mode, row.cost, row.input_tokens, row.output_tokens) == ("test", 0, 0, 0)
    why = explained(house)
    assert (why.exact, why.lines) == (True, ())


@pytest.mark.parametrize(
    ("model", "sold_as"), [("gpt-4.1", "openai/gpt-4.1"), ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5")]
)
async def test_on_a_fresh_server_a_test_key_is_shown_what_a_known_model_costs(fresh: House, model: str, sold_as: str) -> None:
    fresh.key(TEST_KEY, mode="test")
    for unit, amount in (("input_mtok", 3_000_000), ("output_mtok", 9_000_000), ("call", 11)):
        price = Price(sold_as, unit, amount)
        fresh.write(partial(set_price, price=price, now=fresh.now))
    await fresh.relay._refresh()
    assert not fresh.board.seats
    told = await fresh.chat(model, key=TEST_KEY)
    (row,) = fresh.recorded()
    assert told.channel == LOCAL
    assert row.cost == 3 * row.input_tokens + 9 * row.output_tokens + 11
    why = explained(fresh)
    assert why.exact, "the lines add up to what was charged"


async def test_what_nobody_knows_costs_what_is_local_costs(fresh: House) -> None:
    fresh.write(lambda connection: set_price(connection, Price("local/chat", "call", 13), fresh.now))
    await fresh.relay._refresh()
    cards = fresh.relay.cards
    assert cards.local("chat", "a-model-of-nobodys", "test") == Card(calls=13)
    assert cards.local("chat", f"{LOCAL}/chat", "test") == cards.local("chat", "gpt-4.1", "live") == Card(calls=13)
    assert cards.local("count_tokens", "gpt-4.1", "test") is FREE
