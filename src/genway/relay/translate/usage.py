"""Token counts of both formats.

Chat completions counts cached tokens and cache writes within `prompt_tokens`, messages counts them beside `input_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


class CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputTokensDetails(msgspec.Struct):
    thinking_tokens: int | None = None


_INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")


class MessagesUsage(msgspec.Struct):
    """`usage` of the messages format. In a stream later counts replace earlier ones, and a missing one says nothing."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None

    def then(self, later: MessagesUsage) -> MessagesUsage:
        """These counts, replaced by those that `later` has. An input of nothing is one that was not repeated."""
        given = {name: value for name, value in msgspec.structs.asdict(later).items() if value is not None}
        if not any(given.get(name) for name in _INPUT):
            given = {name: value for name, value in given.items() if name not in _INPUT}
        return msgspec.structs.replace(self, **given)


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct):
    """`usage` of the chat completions format. prompt_cache_hit_tokens: DeepSeek's name for what was read from the cache."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_cache_hit_tokens: int | None = None


# Not strict: some upstreams write their counts as text or as 12.0.
_messages_usage = msgspec.json.Decoder(MessagesUsage, strict=False).decode
_chat_usage = msgspec.json.Decoder(ChatUsage, strict=False).decode
_NOTHING = len(b"null")


def of_messages(said: msgspec.Raw) -> MessagesUsage | None:
    """Counts as an upstream gives them; None where it gives none, or none that can be read."""
    return _read(_messages_usage, said) if len(said) > _NOTHING else None


def of_chat(said: msgspec.Raw) -> ChatUsage | None:
    """As `of_messages`."""
    return _read(_chat_usage, said) if len(said) > _NOTHING else None


def _read(decode: Callable[[msgspec.Raw], T], said: msgspec.Raw) -> T | None:
    try:
        return decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def to_chat(usage: MessagesUsage) -> dict[str, object]:
    """Counts of an answer in the messages format as those of chat completions."""
    cached = usage.cache_read_input_tokens or 0
    split = usage.cache_creation or CacheCreation()
    written = usage.cache_creation_input_tokens
    if written is None:
        written = (split.ephemeral_5m_input_tokens or 0) + (split.ephemeral_1h_input_tokens or 0)
    prompt = (usage.input_tokens or 0) + cached + written
    completion = usage.output_tokens or 0
    thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought or 0},
    }


def to_messages(usage: ChatUsage | None) -> dict[str, object]:
    """Counts of an answer in the chat completions format as those of messages; zero where nothing is known."""
    usage = usage or ChatUsage()
    prompt = usage.prompt_tokens_details or PromptTokensDetails()
    cached = prompt.cached_tokens or usage.prompt_cache_hit_tokens or 0
    written = prompt.cache_write_tokens or 0
    details = usage.completion_tokens_details or CompletionTokensDetails()
    return {
        "input_tokens": max(0, (usage.prompt_tokens or 0) - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens or 0,
        "output_tokens_details": {"thinking_tokens": details.reasoning_tokens or 0},
    }
