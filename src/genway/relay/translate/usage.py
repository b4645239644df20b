"""Token counts of both formats.

Chat completions counts cached tokens and cache writes within `prompt_tokens`, messages counts them beside `input_tokens`.
"""

from __future__ import annotations

import msgspec


class CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputTokensDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class MessagesUsage(msgspec.Struct):
    """`usage` of the messages format. In a stream later counts replace earlier ones, and a missing one says nothing."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None

    def then(self, later: MessagesUsage) -> MessagesUsage:
        """These counts, replaced by those that `later` has."""
        given = {name: value for name, value in msgspec.structs.asdict(later).items() if value is not None}
        return msgspec.structs.replace(self, **given)


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct):
    """`usage` of the chat completions format."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


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
    cached, written = prompt.cached_tokens or 0, prompt.cache_write_tokens or 0
    details = usage.completion_tokens_details or CompletionTokensDetails()
    return {
        "input_tokens": max(0, (usage.prompt_tokens or 0) - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens or 0,
        "output_tokens_details": {"thinking_tokens": details.reasoning_tokens or 0},
    }
