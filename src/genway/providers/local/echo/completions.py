"""Legacy completions: each prompt is followed by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, breaking, data, identifier, read, whole
from genway.providers.local.echo.chat import FINGERPRINT, StreamOptions
from genway.providers.local.echo.saying import NAME, Asked, Conversation, Said, bounded, say

MOST = 16
"""Tokens of a completion for which nothing else was asked."""


class Request(msgspec.Struct):
    prompt: str | list[str | int | list[int]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The completion of a prompt or of several. Raises InvalidRequest."""
    request = read(_decoder, body)
    if request.best_of is not None and request.best_of < (request.n or 1):
        raise InvalidRequest("at least as many as n", field="best_of")
    prompts = texts(request.prompt, "prompt")
    forced = words.forced(prompts[-1], "prompt")
    if forced.fail is not None:
        return failures.openai(forced.fail, "completions", forced.delay)
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    most = MOST if request.max_tokens is None else request.max_tokens
    said: list[tuple[str, Said]] = []
    for prompt in prompts:
        talk = Conversation(prompt, tokens=words.count(prompt))
        said += [(prompt, say(Asked(talk, "prompt", most=most, stop=stop), forced))] * (request.n or 1)
    bounded([one for _, one in said])
    head = {"id": identifier("cmpl-", request_id), "object": "text_completion", "created": created, "model": NAME}
    head["system_fingerprint"] = FINGERPRINT
    if request.stream:
        events = breaking(_events(request, said, head), forced.fail_after, failures.openai_event())
        return Streamed(EVENTS, events, forced.delay, forced.pause)
    choices = []
    for index, (prompt, one) in enumerate(said):
        text = (prompt if request.echo else "") + one.text
        choices.append({"text": text, "index": index, "logprobs": _logprobs(request, text), "finish_reason": one.ending})
    return whole({**head, "choices": choices, "usage": _usage(request, said)}, delay=forced.delay)


def texts(given: str | list[str | int | list[int]], field: str) -> list[str]:
    """The texts of an input that is one, several, or tokens, whose numbers are then its words."""
    if isinstance(given, str):
        found = [given]
    elif given and all(isinstance(each, int) for each in given):
        found = [" ".join(map(str, given))]
    else:
        found = [each if isinstance(each, str) else " ".join(map(str, each)) for each in given if not isinstance(each, int)]
        if len(found) != len(given):
            raise InvalidRequest("a text, texts, tokens or lists of tokens, not a mixture", field=field)
    if not all(found) or not found:
        raise InvalidRequest("must not be empty", field=field)
    return found


def _usage(request: Request, said: list[tuple[str, Said]]) -> dict[str, int]:
    prompt = sum(one.prompt_tokens for _, one in said) // (request.n or 1)
    completion = sum(one.tokens for _, one in said)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _logprobs(request: Request, text: str, offset: int = 0) -> dict[str, Any] | None:
    """Every token is certain. offset: of the text, in characters of the whole."""
    if request.logprobs is None:
        return None
    tokens = words.pieces(text)
    return {
        "tokens": tokens,
        "token_logprobs": [0.0] * len(tokens),
        "top_logprobs": [{token: 0.0} if request.logprobs else {} for token in tokens],
        "text_offset": list(accumulate(map(len, tokens[:-1]), initial=offset)) if tokens else [],
    }


def _events(request: Request, said: list[tuple[str, Said]], head: dict[str, Any]) -> Iterator[bytes]:
    counted = request.stream_options is not None and bool(request.stream_options.include_usage)
    if counted:
        head = {**head, "usage": None}
    for index, (prompt, one) in enumerate(said):
        offset = 0
        parts = [*(words.chunks(prompt) if request.echo else ()), *words.chunks(one.text)]
        for part in parts:
            choice = {"text": part, "index": index, "logprobs": _logprobs(request, part, offset), "finish_reason": None}
            yield data({**head, "choices": [choice]})
            offset += len(part)
        yield data({**head, "choices": [{"text": "", "index": index, "logprobs": None, "finish_reason": one.ending}]})
    if counted:
        yield data({**head, "choices": [], "usage": _usage(request, said)})
    yield b"data: [DONE]\n\n"
