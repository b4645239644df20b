from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.callbacks.retries import asked_for, wait_after
from genway.config import Callbacks

SETTINGS = Callbacks()


def test_waits_double_from_five_seconds_to_an_hour() -> None:
    waits = [wait_after(attempts, SETTINGS, jitter=0.5) for attempts in range(1, 13)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


@given(attempts=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_wait_is_moved_by_a_tenth_at_most(attempts: int, jitter: float) -> None:
    plain = wait_after(attempts, SETTINGS, jitter=0.5)
    assert 0.9 * plain - 1e-9 <= wait_after(attempts, SETTINGS, jitter=jitter) <= 1.1 * plain + 1e-9


@given(asked=st.floats(0, math.inf), jitter=st.floats(0, 1))
def test_what_the_receiver_asks_for_is_honoured_within_bounds(asked: float, jitter: float) -> None:
    wait = wait_after(3, SETTINGS, jitter=jitter, asked=asked)
    assert 5 <= wait <= 3961
    if asked <= 3600:
        assert wait >= asked


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 400, math.inf),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert asked_for(header, NOW) == seconds


@given(st.text())
def test_no_header_whatever_breaks_the_reader(header: str) -> None:
    seconds = asked_for(header, NOW)
    assert seconds is None or seconds >= 0
