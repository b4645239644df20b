from __future__ import annotations

import pytest

from genway.billing import money, prices
from genway.billing.prices import Price
from genway.db import Database
from genway.errors import InvalidRequest, NoChannel, NotFound
from genway.operations import ImageRequest, VideoRequest

VIDEO = VideoRequest(model="acme/one", prompt="a cat", seconds=7.5)


def test_a_price_by_the_second_counts_the_seconds() -> None:
    quote = prices.quote(VIDEO, "acme/one", [Price("acme/one", "second", 30_000)], "USD")
    assert quote.total == 225_000
    assert [(line.unit, line.quantity, line.total) for line in quote.lines] == [("second", 7.5, 225_000)]


def test_a_price_may_have_a_part_for_the_call_and_one_for_the_second() -> None:
    book = [Price("acme/one", "call", 100_000), Price("acme/one", "second", 10_000)]
    assert prices.quote(VIDEO, "acme/one", book, "USD").total == 175_000


def test_a_price_by_the_image_counts_the_images() -> None:
    quote = prices.quote(ImageRequest(model="acme/one", count=3), "acme/one", [Price("acme/one", "image", 40_000)], "USD")
    assert quote.total == 120_000


def test_the_exact_model_beats_a_pattern_and_what_was_set_beats_the_list() -> None:
    book = [
        Price("acme/*", "second", 1),
        Price("acme/one", "second", 2),
        Price("acme/*", "second", 4, id="prc_1"),
    ]
    assert prices.quote(VIDEO, "acme/one", book, "USD").lines[0].amount == 4
    book.append(Price("acme/one", "second", 8, id="prc_2"))
    assert prices.quote(VIDEO, "acme/one", book, "USD").lines[0].amount == 8
    assert prices.quote(VIDEO, "acme/two", book, "USD").lines[0].amount == 4


def test_a_price_for_another_operation_does_not_count() -> None:
    book = [Price("acme/one", "call", 5, operation="image"), Price("acme/one", "call", 7)]
    assert prices.quote(VIDEO, "acme/one", book, "USD").total == 7


def test_a_price_set_for_the_exact_model_replaces_all_units_of_the_pattern() -> None:
    book = [Price("acme/*", "second", 1_000), Price("acme/one", "call", 70, id="prc_1")]
    assert prices.quote(VIDEO, "acme/one", book, "USD").total == 70


def test_a_model_without_a_price_is_not_sold() -> None:
    with pytest.raises(NoChannel, match="acme/one has no price"):
        prices.quote(VIDEO, "acme/one", [Price("other/*", "second", 1)], "USD")


def test_a_price_for_no_unit_of_the_operation_is_not_a_price_of_nothing() -> None:
    with pytest.raises(NoChannel):
        prices.quote(VIDEO, "acme/one", [Price("acme/one", "image", 1)], "USD")


@pytest.mark.parametrize("model", ["runway/gen3", "runway/gen4_turbo", "runway/something_new", "local/video"])
def test_every_model_of_the_list_has_a_price(model: str) -> None:
    quote = prices.quote(VIDEO, model, prices.list_prices(), "USD")
    assert quote.total > 0


def test_a_price_that_is_set_counts_and_one_that_is_removed_does_not(database: Database) -> None:
    wanted = Price("runway/gen3", "second", money.parse("0.02"))
    database.write_now(lambda connection: prices.set_price(connection, wanted, 1.0))
    changed = Price("runway/gen3", "second", money.parse("0.03"))
    database.write_now(lambda connection: prices.set_price(connection, changed, 2.0))
    book = database.read_now(prices.current)
    assert [price.amount for price in book if price.id] == [30_000]
    assert prices.quote(VIDEO, "runway/gen3", book, "USD").lines[0].amount == 30_000
    database.write_now(lambda connection: prices.remove_price(connection, wanted, 3.0))
    assert prices.quote(VIDEO, "runway/gen3", database.read_now(prices.current), "USD").lines[0].amount == 50_000
    with pytest.raises(NotFound):
        database.write_now(lambda connection: prices.remove_price(connection, wanted, 4.0))


@pytest.mark.parametrize("price", [Price("a/b", "hour", 1), Price("a/b", "second", -1)])
def test_a_price_that_makes_no_sense_is_refused(database: Database, price: Price) -> None:
    with pytest.raises(InvalidRequest):
        database.write_now(lambda connection: prices.set_price(connection, price, 1.0))
