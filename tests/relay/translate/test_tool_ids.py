from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.relay.translate import tool_ids


@pytest.mark.parametrize("identity", ["toolu_01A09q90qw90lq917835lq9", "call_abc123", "chatcmpl-tool-1"])
def test_an_id_in_allowed_letters_stays(identity: str) -> None:
    assert tool_ids.to_messages(identity) == identity
    assert tool_ids.to_chat(identity) == identity


def test_another_vendors_id_becomes_one_in_allowed_letters() -> None:
    assert tool_ids.to_messages("functions.weather:0") == "wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA"


@given(st.text(min_size=1).filter(lambda text: text.isprintable()) | st.from_regex(r"wrapped_[A-Za-z0-9_-]*", fullmatch=True))
def test_every_id_comes_back(identity: str) -> None:
    there = tool_ids.to_messages(identity)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", there)
    assert tool_ids.to_chat(there) == identity


@pytest.mark.parametrize("identity", ["wrapped_A", "wrapped_a b", "wrapped_gICA"])
def test_what_only_looks_wrapped_stays(identity: str) -> None:
    assert tool_ids.to_chat(identity) == identity


def test_an_id_is_as_short_as_it_has_to_be() -> None:
    long = f"chatcmpl-tool-{'0' * 32}"
    assert tool_ids.within(long, 0) == tool_ids.within(long, 46) == long
    assert tool_ids.within("toolu_1", 40) == "toolu_1"
    short = tool_ids.within(long, 40)
    assert len(short) <= 40
    assert short == tool_ids.within(long, 40) != tool_ids.within(f"{long}1", 40)
    assert len(tool_ids.within(long, 9)) == 9


def test_invented_ids_differ() -> None:
    assert tool_ids.invented() != tool_ids.invented()
    assert re.fullmatch(r"toolu_[0-9a-f]{24}", tool_ids.invented())
