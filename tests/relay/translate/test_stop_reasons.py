from __future__ import annotations

import pytest

from genway.relay.translate import stop_reasons


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("of_tomorrow", "stop"),
        (None, "stop"),
    ],
)
def test_why_a_message_stopped(stop_reason: str | None, finish_reason: str) -> None:
    assert stop_reasons.to_chat(stop_reason, called=False) == finish_reason


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("model_length", "max_tokens"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("content_filter", "refusal"),
        ("sensitive", "refusal"),
        ("eos", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_why_a_completion_finished(finish_reason: str | None, stop_reason: str) -> None:
    assert stop_reasons.to_messages(finish_reason, called=False) == stop_reason


@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "function_call"])
def test_a_call_is_the_reason_whatever_the_upstream_says(finish_reason: str) -> None:
    assert stop_reasons.to_messages(finish_reason, called=True) == "tool_use"
    assert stop_reasons.to_chat("end_turn", called=True) == "tool_calls"
    assert stop_reasons.to_chat("tool_use", called=True) == "tool_calls"


def test_a_call_cut_short_is_not_to_be_made() -> None:
    assert stop_reasons.to_messages("length", called=True) == "max_tokens"
    assert stop_reasons.to_chat("max_tokens", called=True) == "length"


def test_without_a_call_no_call_is_the_reason() -> None:
    assert stop_reasons.to_messages("tool_calls", called=False) == "end_turn"
    assert stop_reasons.to_chat("tool_use", called=False) == "stop"
