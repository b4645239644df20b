from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.billing.tokens import INSTEAD, THINGS, TOKENS, Card, Used

counts = st.integers(0, 10**9)
amounts = st.integers(0, 10**12)
used = st.builds(
    Used,
    **dict.fromkeys([*TOKENS, "images", "characters", "calls"], counts),
    seconds=st.one_of(counts, st.floats(0, 10**7, allow_nan=False)),
)
cards = st.builds(Card, **dict.fromkeys([*TOKENS, *THINGS], amounts))


@given(cards, used)
def test_a_cost_is_the_exact_sum_rounded_up_once(card: Card, used: Used) -> None:
    exact = sum(
        (Fraction(getattr(used, name)) * getattr(card, name) / 1_000_000 for name in TOKENS),
        sum(Fraction(str(getattr(used, name))) * getattr(card, name) for name in THINGS),
    )
    assert card.cost(used) == ceil(exact)


@given(cards, used)
def test_the_lines_of_a_charge_add_up_to_it(card: Card, used: Used) -> None:
    lines = card.lines(used)
    assert sum(line.total for line in lines) == card.cost(used)
    assert all(line.quantity and line.amount and line.total >= 0 for line in lines)


@given(st.lists(st.tuples(cards, used), min_size=1, max_size=1), used)
def test_two_calls_together_cost_what_they_cost_alone_but_for_the_rounding(pair: list[tuple[Card, Used]], other: Used) -> None:
    [(card, one)] = pair
    one.seconds = other.seconds = 0
    apart = card.cost(one) + card.cost(other)
    assert apart - 1 <= card.cost(one + other) <= apart


def test_a_million_tokens_cost_the_price_and_one_token_is_not_for_nothing() -> None:
    card = Card.of({"input": 1_250_000, "output": 10_000_000})
    assert card.cost(Used(input=1_000_000)) == 1_250_000
    assert card.cost(Used(input=1)) == 2
    assert card.cost(Used(input=1, output=1)) == 12


def test_what_was_not_used_costs_nothing() -> None:
    assert Card.of({"input": 5, "call": 0}).cost(Used()) == 0


def test_seconds_are_charged_by_their_decimal_digits() -> None:
    card = Card.of({"seconds": 100})
    assert card.cost(Used(seconds=8.47)) == 847
    assert card.cost(Used(seconds=8.4701)) == 848
    assert card.lines(Used(seconds=8.47))[0].total == 847


@pytest.mark.parametrize(
    ("set_prices", "expected"),
    [
        ({"input": 8}, dict.fromkeys(TOKENS, 8)),
        ({"output": 8}, dict.fromkeys(TOKENS, 8)),
        ({"input": 8, "output": 9}, {"cached_input": 8, "cache_write_1h": 8, "reasoning": 9, "image_output": 9}),
        ({"input": 8, "cache_write": 10}, {"cache_write_1h": 10, "cached_input": 8}),
        ({"input": 8, "audio_input": 32}, {"cached_audio_input": 32, "image_input": 8}),
        ({"input": 8, "cached_input": 1}, {"cached_audio_input": 1, "audio_input": 8}),
        ({"input": 8, "cached_input": 0}, {"cached_input": 0}),
        ({"seconds": 8}, dict.fromkeys(TOKENS, 0)),
        ({"calls": 8}, {"calls": 8, "images": 0}),
    ],
)
def test_a_class_without_a_price_has_that_of_its_kin(set_prices: dict[str, int], expected: dict[str, int]) -> None:
    card = Card.of(set_prices)
    assert {name: getattr(card, name) for name in expected} == expected


def test_every_class_of_tokens_has_a_kin() -> None:
    assert set(INSTEAD) == set(TOKENS)


def test_tokens_that_went_in_and_came_out_are_told_apart() -> None:
    numbers = {name: 10**place for place, name in enumerate(TOKENS)}
    assert Used(**numbers).read == 1_111_111
    assert Used(**numbers).produced == 11_110_000_000


def test_a_sum_is_an_estimate_where_a_part_of_it_is() -> None:
    whole = Used(input=1, seconds=0.5) + Used(input=2, output=3, estimated=True)
    assert whole == Used(input=3, output=3, seconds=0.5, calls=2, estimated=True)
