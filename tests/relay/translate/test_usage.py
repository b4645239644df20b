from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from genway.relay.translate import usage
from genway.relay.translate.usage import ChatUsage, MessagesUsage

COUNTS = st.integers(0, 10**7)


def test_cached_tokens_are_counted_once() -> None:
    there = usage.to_chat(
        MessagesUsage(input_tokens=100, cache_read_input_tokens=900, cache_creation_input_tokens=50, output_tokens=20)
    )
    assert there == {
        "prompt_tokens": 1050,
        "completion_tokens": 20,
        "total_tokens": 1070,
        "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    back = usage.to_messages(msgspec.convert(there, ChatUsage))
    assert back == {
        "input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 900,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 0},
    }


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_every_count_comes_back(fresh: int, read: int, written: int, output: int, thought: int) -> None:
    given_counts = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thought},
    }
    there = usage.to_chat(msgspec.convert(given_counts, MessagesUsage))
    assert usage.to_messages(msgspec.convert(there, ChatUsage)) == given_counts


def test_cache_writes_told_only_by_lifetime_count() -> None:
    split = {"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}, "input_tokens": 1}
    assert usage.to_chat(msgspec.convert(split, MessagesUsage))["prompt_tokens"] == 8


def test_more_cached_than_there_were_is_not_less_than_nothing() -> None:
    strange = msgspec.convert({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, ChatUsage)
    assert usage.to_messages(strange)["input_tokens"] == 0


def test_what_deepseek_read_from_its_cache_is_known_by_its_own_name() -> None:
    said = msgspec.convert({"prompt_tokens": 10, "prompt_cache_hit_tokens": 7}, ChatUsage)
    assert usage.to_messages(said).items() >= {"input_tokens": 3, "cache_read_input_tokens": 7}.items()


def test_unknown_counts_are_nought() -> None:
    assert usage.to_messages(None)["output_tokens"] == 0
    assert usage.to_messages(ChatUsage())["input_tokens"] == 0
    assert usage.to_chat(MessagesUsage())["total_tokens"] == 0


def test_later_counts_replace_earlier_ones_and_missing_ones_do_not() -> None:
    start = MessagesUsage(input_tokens=10, cache_read_input_tokens=5, output_tokens=1)
    assert start.then(MessagesUsage(output_tokens=40, cache_read_input_tokens=7)) == MessagesUsage(
        input_tokens=10, cache_read_input_tokens=7, output_tokens=40
    )
    unrepeated = MessagesUsage(output_tokens=40, input_tokens=0, cache_read_input_tokens=0, cache_creation_input_tokens=0)
    assert start.then(unrepeated) == MessagesUsage(input_tokens=10, cache_read_input_tokens=5, output_tokens=40)
    assert MessagesUsage(input_tokens=0).then(MessagesUsage(input_tokens=10)).input_tokens == 10
