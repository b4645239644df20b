from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.billing import money


@given(st.integers(-(2**60), 2**60))
def test_an_amount_that_is_shown_reads_back_as_itself(amount: int) -> None:
    assert money.parse(money.show(amount)) == amount


@pytest.mark.parametrize(
    ("text", "amount"), [("12.50", 12_500_000), ("0.000001", 1), ("-3", -3_000_000), (" 1e2 ", 100_000_000), ("0", 0)]
)
def test_an_amount_is_read_exactly(text: str, amount: int) -> None:
    assert money.parse(text) == amount


@pytest.mark.parametrize("text", ["", "free", "1,5", "NaN", "Infinity", "0.0000001", "1e30", "--1", "0x10"])
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"an amount like|decimal places"):
        money.parse(text)


def test_an_amount_is_shown_with_two_places_or_as_many_as_it_takes() -> None:
    assert money.show(12_500_000, "USD") == "12.50 USD"
    assert money.show(1) == "0.000001"
    assert money.show(-1_500_000) == "-1.50"


@given(st.integers(0, 10**12), st.decimals(0, 10**6, places=3))
def test_a_price_times_a_quantity_is_rounded_up_by_less_than_one_millionth(amount: int, quantity: Decimal) -> None:
    total = money.times(amount, float(quantity))
    exact = Decimal(amount) * Decimal(str(float(quantity)))
    assert 0 <= total - exact < 1


def test_a_price_times_a_quantity_has_no_rounding_error_of_binary_numbers() -> None:
    assert money.times(1_000_000, 0.1) == 100_000
    assert money.times(10, 0.3) == 3
