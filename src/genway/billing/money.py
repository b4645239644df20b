"""Amounts of money: whole millionths of a currency unit, never a float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import ceil

MICRO = 1_000_000
LARGEST = 2**62


def parse(text: str) -> int:
    """`"12.50"` → 12_500_000 millionths. Raises ValueError for anything that is not such an amount exactly."""
    try:
        amount = Decimal(text.strip()) * MICRO
    except InvalidOperation:
        raise ValueError(f"an amount like 12.50, got {text!r}") from None
    if not amount.is_finite() or abs(amount) > LARGEST:
        raise ValueError(f"an amount like 12.50, got {text!r}")
    if amount != int(amount):
        raise ValueError(f"at most six decimal places, got {text!r}")
    return int(amount)


def show(amount: int, currency: str = "") -> str:
    """12_500_000 → `"12.50 USD"`; as many decimal places as it takes, two at least."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), MICRO)
    places = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{places} {currency}".rstrip()


def times(amount: int, quantity: float) -> int:
    """`amount` × `quantity`, rounded up to a whole millionth, computed on the decimal digits of `quantity`."""
    return ceil(Fraction(amount) * Fraction(str(quantity)))
