from __future__ import annotations

from typing import Any

import msgspec
import pytest

from genway.billing import calls, leases, prices
from genway.billing.calls import Call
from genway.billing.leases import CallRow
from genway.billing.prices import Price
from genway.billing.tokens import Used
from genway.billing.usage import Span
from genway.db import Database
from genway.errors import NotFound

USED = Used(input=1_000, cached_input=2_000, output=333, reasoning=7)
OPENAI = ("openai",)


def sell(database: Database, now: float, **amounts: int) -> None:
    wanted = [Price("openai/big", unit, amount) for unit, amount in amounts.items()]
    database.write_now(lambda connection: prices.set_prices(connection, wanted, now))


def call(number: int, at: float, cost: int = 0, used: Used = USED, **values: Any) -> CallRow:
    row = CallRow(
        f"cll_{number}", at, "acc_1", "key_1", "live", "chat", "big", "big", "chn_1", None, 200, "done", 1, 1000,
        used.read, used.produced, msgspec.json.encode(used).decode(), used.estimated, cost, f"req_{number}",
    )  # fmt: skip
    return msgspec.structs.replace(row, **values)


def on_record(row: CallRow) -> Call:
    return msgspec.convert(msgspec.structs.asdict(row), Call)


def explained(database: Database, row: CallRow, providers: tuple[str, ...] = OPENAI) -> calls.Explanation:
    return database.read_now(lambda connection: calls.explain(connection, on_record(row), providers))


def cost(input: int, cached: int, output: int, used: Used = USED) -> int:
    card = prices.card_of(
        [Price("m", "input_mtok", input), Price("m", "cached_input_mtok", cached), Price("m", "output_mtok", output)]
    )
    return card.cost(used)


def test_the_lines_add_up_to_what_was_charged(database: Database) -> None:
    sell(database, 100, input_mtok=1_111_111, cached_input_mtok=7, output_mtok=3_333_333)
    why = explained(database, call(1, 200, cost(1_111_111, 7, 3_333_333)))
    assert why.exact
    assert [line.name for line in why.lines] == ["input", "cached_input", "output", "reasoning"]
    assert sum(line.total for line in why.lines) == cost(1_111_111, 7, 3_333_333)
    assert {price.unit for price in why.prices} == {"input_mtok", "cached_input_mtok", "output_mtok"}


def test_the_price_that_counted_then_explains_it_and_not_todays(database: Database) -> None:
    sell(database, 100, input_mtok=1_000_000, cached_input_mtok=500_000, output_mtok=2_000_000)
    sell(database, 300, input_mtok=9_000_000, cached_input_mtok=9_000_000, output_mtok=9_000_000)
    why = explained(database, call(1, 200, cost(1_000_000, 500_000, 2_000_000)))
    assert (why.exact, {price.created_at for price in why.prices}) == (True, {100})


@pytest.mark.parametrize("before", [True, False])
def test_a_price_that_changed_while_a_call_ran_explains_it_either_way(database: Database, before: bool) -> None:
    old, new = (1_000_000, 500_000, 2_000_000), (3_000_000, 100_000, 5_000_000)
    for at, (entry, cached, output) in ((100, old), (200.5, new)):
        sell(database, at, input_mtok=entry, cached_input_mtok=cached, output_mtok=output)
    why = explained(database, call(1, 201, cost(*(old if before else new))))
    assert (why.exact, {price.created_at for price in why.prices}) == (True, {100 if before else 200.5})


def test_a_price_that_is_not_known_any_more_is_said_to_be_none_that_explains(database: Database) -> None:
    sell(database, 100, input_mtok=1_000_000, output_mtok=2_000_000)
    why = explained(database, call(1, 200, 12_345))
    assert not why.exact
    assert why.lines


def test_what_was_free_needs_no_price(database: Database) -> None:
    why = explained(database, call(1, 200, 0, model="none", vendor_model="none"))
    assert (why.exact, why.lines, why.prices) == (True, (), ())


def test_a_batch_is_explained_by_the_price_of_batches(database: Database) -> None:
    usual = [Price("openai/big", "input_mtok", 2_000_000), Price("openai/big", "input_mtok", 1_000_000, "batches")]
    database.write_now(lambda connection: prices.set_prices(connection, usual, 100))
    used = Used(input=5_000_000, calls=9)
    why = explained(database, call(1, 200, 5_000_000, used, kind="batches"))
    assert why.exact
    assert [price.operation for price in why.prices] == ["batches"]


@pytest.mark.parametrize(("mode", "sold_as"), [("live", "local/*"), ("test", "openai/gpt-5.5")])
def test_a_built_in_answer_is_sold_as_what_it_is_and_to_a_test_key_as_what_it_named(
    database: Database, mode: str, sold_as: str
) -> None:
    (price, *_) = prices.chosen(prices.list_prices(), [sold_as], "chat")
    used = Used(input=1_000_000)
    row = call(1, 200, price.amount, used, mode=mode, model="openai/gpt-5.5", vendor_model="local-chat", channel_id="local")
    why = explained(database, row, ("local",))
    assert (why.exact, {price.model for price in why.prices}) == (True, {sold_as})


def test_a_call_whose_channel_is_gone_is_explained_by_whichever_provider_adds_up(database: Database) -> None:
    sell(database, 100, input_mtok=1_000_000, cached_input_mtok=500_000, output_mtok=2_000_000)
    why = explained(database, call(1, 200, cost(1_000_000, 500_000, 2_000_000)), ("anthropic", "azure-openai", "openai"))
    assert why.exact


def test_calls_are_listed_newest_first_and_by_whatever_is_asked(database: Database) -> None:
    rows = [
        call(1, 100),
        call(2, 200, outcome="broken_off"),
        call(3, 300, model="small"),
        call(4, 400, used=Used(input=1, estimated=True)),
        call(5, 500, account_id="acc_2"),
    ]
    database.write_now(lambda connection: leases.record(connection, rows, 1.0))

    def found(span: Span | None = None, **more: Any) -> list[str]:
        listed = database.read_now(lambda connection: calls.listing(connection, span or Span(), **more))
        return [call.id.removeprefix("cll_") for call in listed]

    assert found() == ["5", "4", "3", "2", "1"]
    assert found(limit=2) == ["5", "4"]
    assert found(Span(account_id="acc_1", since=200, before=400)) == ["3", "2"]
    assert found(Span(model="small")) == ["3"]
    assert found(outcome="broken_off") == ["2"]
    assert found(estimated=True) == ["4"]
    assert found(Span(channel_id="chn_2")) == []


def test_a_call_is_found_by_its_id_and_by_its_requests(database: Database) -> None:
    rows = [call(1, 100), call(2, 200, request_id="req_1"), call(3, 300)]
    database.write_now(lambda connection: leases.record(connection, rows, 1.0))
    assert [one.id for one in database.read_now(lambda c: calls.get(c, "cll_3"))] == ["cll_3"]
    assert [one.id for one in database.read_now(lambda c: calls.get(c, "req_1"))] == ["cll_1", "cll_2"]
    with pytest.raises(NotFound, match="genway call list"):
        database.read_now(lambda c: calls.get(c, "cll_none"))
