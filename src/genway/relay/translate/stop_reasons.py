"""Why an answer ended, in the words of both formats."""

from __future__ import annotations

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_chat(stop_reason: str | None, *, called: bool) -> str:
    """The finish reason. called: the answer calls a tool, which some upstreams then do not give as the reason."""
    reason = FINISH_REASONS.get(stop_reason or "", "stop")
    if called:
        return "tool_calls" if reason == "stop" else reason
    return "stop" if reason == "tool_calls" else reason


def to_messages(finish_reason: str | None, *, called: bool) -> str:
    """The stop reason. called: as in `to_chat`."""
    reason = STOP_REASONS.get(finish_reason or "", "end_turn")
    if called:
        return "tool_use" if reason == "end_turn" else reason
    return "end_turn" if reason == "tool_use" else reason
