from __future__ import annotations

from collections.abc import Sequence

import pytest

from genway.billing import money, prices
from genway.billing.prices import Price
from genway.billing.tokens import Card, Used
from genway.db import Database
from genway.errors import InvalidRequest, NoChannel, NotFound
from genway.operations import ImageRequest, Size, VideoRequest

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


@pytest.mark.parametrize(
    ("size", "quality", "amount"),
    [
        (Size(1280, 720), "", 2),
        (Size(1920, 1080), "", 5),
        (Size(1080, 1920), "", 5),
        (Size(1440, 1440), "", 5),
        (Size(1280, 720), "pro", 7),
        (Size(3840, 2160), "", 2),
    ],
)
def test_a_price_may_be_for_one_resolution_or_one_quality(size: Size, quality: str, amount: int) -> None:
    book = [Price("acme/one", "second", 2), Price("acme/one@1080p", "second", 5), Price("acme/one@pro", "second", 7)]
    asked = VideoRequest(model="acme/one", prompt="a", size=size, quality=quality)
    assert prices.quote(asked, "acme/one", book, "USD").lines[0].amount == amount


def test_a_price_for_a_variant_replaces_all_units_of_the_models_own() -> None:
    book = [Price("acme/one", "call", 100), Price("acme/one", "second", 2), Price("acme/one@1080p", "second", 5)]
    asked = VideoRequest(model="acme/one", prompt="a", seconds=10, size=Size(1920, 1080))
    assert prices.quote(asked, "acme/one", book, "USD").total == 50


def test_a_pattern_may_name_a_variant_and_what_was_set_still_comes_first() -> None:
    book = [Price("acme/*", "second", 2), Price("acme/*@1080p", "second", 5), Price("acme/one", "second", 9, id="prc_1")]
    large = VideoRequest(model="acme/one", prompt="a", size=Size(1920, 1080))
    assert prices.quote(large, "acme/two", book, "USD").lines[0].amount == 5
    assert prices.quote(large, "acme/one", book, "USD").lines[0].amount == 9


def test_a_larger_video_of_luma_costs_more_by_the_list() -> None:
    small, large = (VideoRequest(model="luma/ray-2", prompt="a", size=size) for size in (Size(1280, 720), Size(1920, 1080)))
    totals = [prices.quote(each, "luma/ray-2", prices.list_prices(), "USD").total for each in (small, large)]
    assert totals == [710_000, 1_600_000]


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


BOOK = [
    Price("acme/*", "input_mtok", 1_000_000),
    Price("acme/*", "cached_input_mtok", 100_000),
    Price("acme/*", "output_mtok", 2_000_000),
    Price("acme/big", "input_mtok", 5_000_000),
    Price("acme/big", "output_mtok", 6_000_000),
    Price("acme/big-20*", "input_mtok", 7_000_000),
    Price("acme/film", "second", 9),
]


def card(*names: str, kind: str = "chat", more: Sequence[Price] = ()) -> Card | None:
    return prices.card([*BOOK, *more], names, kind)


def test_a_card_has_the_prices_of_the_most_precise_name_and_no_others() -> None:
    assert card("acme/small") == Card.of({"input": 1_000_000, "cached_input": 100_000, "output": 2_000_000})
    assert card("acme/big") == Card.of({"input": 5_000_000, "output": 6_000_000})
    assert card("acme/big-2026-01-01") == Card.of({"input": 7_000_000})


def test_a_card_of_what_was_set_replaces_the_list() -> None:
    assert card("acme/big", more=[Price("acme/*", "token", 3, id="prc_1")]) == Card.of({"input": 3_000_000})
    both = [Price("acme/big", "input_mtok", 4, id="prc_1"), Price("acme/*", "call", 3, id="prc_2")]
    assert card("acme/big", more=both) == Card.of({"input": 4})


def test_a_card_for_one_kind_of_call_counts_for_no_other() -> None:
    half = [Price("acme/big", "input_mtok", 2_500_000, operation="batches")]
    assert card("acme/big", kind="batches", more=half) == Card.of({"input": 2_500_000})
    assert card("acme/big", more=half) == card("acme/big")


def test_the_first_name_that_has_a_price_counts() -> None:
    assert card("none/such", "acme/big", "acme/small") == card("acme/big")
    assert card("none/such") is None
    assert card() is None


def test_a_price_in_a_unit_that_a_call_is_not_measured_in_is_no_price() -> None:
    film = [Price("film/*", "second", 9), Price("film/*", "image", 8)]
    assert card("film/one", more=film) is None
    assert card("film/one", kind="transcriptions", more=film) == Card.of({"seconds": 9})
    assert card("film/one", kind="image_edits", more=film) == Card.of({"images": 8})


def test_a_price_for_nothing_is_a_price() -> None:
    free = card("free/one", kind="moderations", more=[Price("free/*", "call", 0)])
    assert free is not None
    assert free.cost(Used(input=1_000_000)) == 0


@pytest.mark.parametrize(
    ("model", "kind", "used"),
    [
        ("openai/gpt-6.1-sol", "chat", Used(input=1_000)),
        ("openai/gpt-5.5-2026-04-23", "responses", Used(reasoning=1_000)),
        ("openai/text-embedding-3-small", "embeddings", Used(input=1_000)),
        ("openai/gpt-3.5-turbo-instruct", "completions", Used(output=1_000)),
        ("openai/gpt-image-2.6-flare", "image_edits", Used(image_output=1_000, images=1)),
        ("openai/tts-1", "speech", Used(characters=1_000)),
        ("openai/gpt-4o-mini-tts", "speech", Used(audio_output=1_000)),
        ("openai/whisper-1", "transcriptions", Used(seconds=60)),
        ("openai/gpt-4o-transcribe", "transcriptions", Used(audio_input=600)),
        ("openai/gpt-realtime", "realtime", Used(cached_audio_input=1_000_000)),
        ("anthropic/claude-opus-4-5-20251101", "messages", Used(cache_write_1h=1_000)),
        ("anthropic/claude-haiku-5-5", "message_batches", Used(cached_input=1_000)),
        ("deepseek/deepseek-chat", "chat", Used(output=1_000)),
        ("local/chat", "chat", Used(input=1_000)),
        ("local/image", "image_generations", Used(images=1)),
        ("local/speech", "speech", Used(characters=10)),
    ],
)
def test_the_list_sells_what_a_call_of_today_uses(model: str, kind: str, used: Used) -> None:
    card = prices.card(prices.list_prices(), [model], kind)
    assert card is not None
    assert card.cost(used) > 0


def test_the_list_gives_moderation_away_and_sells_no_video_as_chat() -> None:
    free = prices.card(prices.list_prices(), ["openai/omni-moderation-latest"], "moderations")
    assert free is not None
    assert free.cost(Used(input=1_000)) == 0
    assert prices.card(prices.list_prices(), ["openai/sora-2"], "chat") is None


def test_many_prices_are_set_together_or_not_at_all(database: Database) -> None:
    wanted = [Price("acme/one", "input_mtok", 5), Price("acme/one", "output_mtok", 6)]
    database.write_now(lambda connection: prices.set_prices(connection, wanted, 1.0))
    with pytest.raises(InvalidRequest):
        database.write_now(
            lambda connection: prices.set_prices(connection, [Price("acme/one", "call", 1), Price("acme/one", "call", -1)], 2.0)
        )
    database.write_now(lambda connection: prices.set_prices(connection, [Price("acme/one", "output_mtok", 7)], 3.0))
    assert prices.card(database.read_now(prices.current), ["acme/one"], "chat") == Card.of({"input": 5, "output": 7})


def test_a_book_with_an_index_finds_the_same_prices(database: Database) -> None:
    book = prices.list_prices()
    index = prices.Index(book)
    models = {
        price.model.partition("/")[2].replace("*", "x") for price in book if price.model.startswith(("openai/", "anthropic/"))
    }
    for model in sorted(models)[::6]:
        for provider in ("openai", "anthropic"):
            names = prices.names_of(provider, model, f"{model}-2026-01-01")
            for kind in ("chat", "speech", "image_generations"):
                assert prices.card(index.among(names), names, kind) == prices.card(book, names, kind), (model, kind)


def test_an_index_knows_the_variants_of_a_model() -> None:
    book = [Price("film/one@1080p", "second", 2), Price("film/*@1080p", "second", 3), Price("film/two", "second", 4)]
    assert prices.Index(book).among(["film/one"]) == book[:2]


def test_what_counted_at_any_moment_of_a_span_is_known(database: Database) -> None:
    for now, amount in ((10.0, 1), (20.0, 2), (30.0, 3)):
        database.write_now(lambda c, now=now, amount=amount: prices.set_price(c, Price("a/b", "call", amount), now))  # type: ignore[misc]

    def counted(since: float, until: float) -> list[list[int]]:
        found = database.read_now(lambda connection: prices.books(connection, since, until))
        return [[price.amount for price in book if price.model == "a/b"] for book in found]

    assert counted(15, 25) == [[2], [2], [1]]
    assert counted(1, 5) == [[], []]
    assert counted(31, 40) == [[3], [3]]
