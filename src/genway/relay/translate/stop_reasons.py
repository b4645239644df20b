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

# Mistral's `model_length`, and Zhipu's `sensitive` and `model_context_window_exceeded`, are in no other format.
STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "model_length": "max_tokens",
    "model_context_window_exceeded": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "sensitive": "refusal",
}

# Reasons that say that the answer is not whole: OpenRouter's and Mistral's, DeepSeek's, Zhipu's, and that of vLLM and SGLang.
FAILURES = frozenset(("error", "insufficient_system_resource", "network_error", "abort"))


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
