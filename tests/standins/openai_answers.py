"""How OpenAI answers chat completions, completions, embeddings, moderations and rerank: whole and as streams."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from standins import obedience
from standins.obedience import Said, Told
from standins.openai_bodies import (
    MODELS,
    AllowedChoice,
    Assistant,
    Chat,
    Completion,
    CustomChoice,
    Embedding,
    FunctionChoice,
    Moderation,
    Rerank,
    TextPart,
    Tool,
    User,
    seen,
    text_of,
    tool_names,
)
from standins.relay_vendor import Answer, Events, Reply, Script

CREATED = 1_760_000_000
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
FINISHED = {"end": "stop", "stop": "stop", "length": "length", "tools": "tool_calls"}


def answered(body: Any, **headers: str) -> Answer:
    return Answer(msgspec.json.encode(body), headers=headers)


def data(body: Any) -> bytes:
    """One event of a stream without names."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def told(body: Chat) -> Told:
    """What a conversation tells the model to do."""
    turn: list[User] = []
    results: list[str] = []
    for message in body.messages:
        if isinstance(message, User):
            turn = [message]
            results = []
        elif isinstance(message, Tool):
            results.append(text_of(message.content))
        elif isinstance(message, Assistant):
            results = []
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    names = [] if body.tool_choice == "none" else tool_names(body.tools)
    forced = None
    if isinstance(body.tool_choice, FunctionChoice):
        forced = body.tool_choice.function.name
    elif isinstance(body.tool_choice, CustomChoice):
        forced = body.tool_choice.custom.name
    elif body.tool_choice == "required" or (
        isinstance(body.tool_choice, AllowedChoice) and body.tool_choice.allowed_tools.mode == "required"
    ):
        forced = "any"
    return Told(
        said=text_of(turn[0].content) if turn else "",
        shown=seen(turn[0]) if turn else [],
        results=results,
        tools=names,
        forced=forced,
        parallel=body.parallel_tool_calls is not False,
        json=body.response_format is not None and type(body.response_format).__name__ != "TextFormat",
        thinks=MODELS[body.model] and body.reasoning_effort != "none",
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or [],
        limit=limit,
    )


def prompt_tokens(body: Chat) -> int:
    """Words of all messages and tools, four a message, eighty-five a picture."""
    words = sum(obedience.tokens(text_of(message.content)) for message in body.messages)
    pictures = sum(len(seen(message)) for message in body.messages if isinstance(message, User))
    return words + 4 * len(body.messages) + 85 * pictures + 10 * len(body.tools or ())


def chat_usage(body: Chat, said: list[Said], cached: bool) -> dict[str, Any]:
    """Totals include what the details name. cached: half of the prompt was seen before."""
    prompt = prompt_tokens(body)
    reasoning = sum(obedience.tokens(each.thinking) for each in said)
    called = sum(len(json.dumps(arguments)) // 4 + 1 for each in said for _, arguments in each.calls)
    completion = reasoning + called + sum(obedience.tokens(each.text) for each in said)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt // 2 if cached else 0, "audio_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat(body: Chat, script: Script, number: int, cached: bool) -> Reply:
    """The answer to a chat body; number: makes ids differ."""
    told_ = told(body)
    said = [obedience.obey(told_, script) for _ in range(body.n or 1)]
    usage = script.usage or chat_usage(body, said, cached)
    head = {"id": f"chatcmpl-{number}", "created": CREATED, "model": body.model, "service_tier": "default"}
    head["system_fingerprint"] = "fp_standin"
    if body.stream:
        options = body.stream_options
        wants_usage = options is not None and bool(options.include_usage)
        padded = options is None or options.include_obfuscation is not False
        return Events([*_chat_events(body, script, said, head, usage if wants_usage else None, padded), DONE])
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "finish_reason": script.finish or FINISHED[each.stopped],
            "logprobs": _logprobs(body, each.text) if body.logprobs else None,
            "message": {"role": "assistant", "content": each.text or None, "refusal": None, "annotations": []}
            | ({"tool_calls": _tool_calls(each, f"{number}_{index}")} if each.calls else {}),
        }
        for index, each in enumerate(said)
    ]
    return answered({**head, "object": "chat.completion", "choices": choices, "usage": usage})


def _chat_events(
    body: Chat, script: Script, said: list[Said], head: dict[str, Any], usage: Any, padded: bool
) -> Iterator[bytes]:
    common: dict[str, Any] = {**head, "object": "chat.completion.chunk"}
    if usage is not None:
        common["usage"] = None

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return data({**common, "choices": [choice]} | ({"obfuscation": "x" * 7} if padded else {}))

    for index, each in enumerate(said):
        yield chunk(index, {"role": "assistant", "content": None if each.calls else "", "refusal": None})
        for piece in obedience.pieces(each.text):
            yield chunk(index, {"content": piece}, logprobs=_logprobs(body, piece) if body.logprobs else None)
        for place, call in enumerate(_tool_calls(each, f"{head['id'].removeprefix('chatcmpl-')}_{index}")):
            arguments = call["function"]["arguments"]
            begun = {**call, "index": place, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield chunk(index, {"tool_calls": [begun]})
            for fragment in obedience.fragments(arguments):
                yield chunk(index, {"tool_calls": [{"index": place, "function": {"arguments": fragment}}]})
        yield chunk(index, {}, script.finish or FINISHED[each.stopped])
    if usage is not None:
        yield data({**common, "choices": [], "usage": usage})


def _tool_calls(said: Said, number: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}_{place}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
            },
        }
        for place, (name, arguments) in enumerate(said.calls)
    ]


def _logprobs(body: Chat, text: str) -> dict[str, Any]:
    top = [{"token": "x", "logprob": -1.5, "bytes": [120]}] * (body.top_logprobs or 0)
    content = [
        {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": top}
        for piece in obedience.pieces(text)
    ]
    return {"content": content, "refusal": None}


def completions(body: Completion, script: Script, number: int) -> Reply:
    """Legacy completions: sixteen tokens unless told otherwise; a prompt of token numbers is named by their count."""
    prompts = (
        body.prompt if isinstance(body.prompt, list) and not all(isinstance(p, int) for p in body.prompt) else [body.prompt]
    )
    texts = [each if isinstance(each, str) else f"{len(each)} tokens" for each in prompts for _ in range(body.n or 1)]
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    limit = 16 if body.max_tokens is None else body.max_tokens
    said = [obedience.obey(Told(said=text, stop=stop, limit=limit), script) for text in texts]
    prompt = sum(obedience.tokens(text) for text in texts)
    completion = sum(obedience.tokens(each.text) for each in said)
    usage = script.usage or {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    head = {"id": f"cmpl-{number}", "object": "text_completion", "created": CREATED, "model": body.model}

    def choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}

    echoed = [text if body.echo else "" for text in texts]
    if not body.stream:
        choices = [choice(index, echoed[index] + each.text, FINISHED[each.stopped]) for index, each in enumerate(said)]
        return answered({**head, "choices": choices, "usage": usage})
    events = []
    for index, each in enumerate(said):
        parts = [*filter(None, [echoed[index]]), *obedience.pieces(each.text)]
        events += [data({**head, "choices": [choice(index, part, None)]}) for part in parts]
        events.append(data({**head, "choices": [choice(index, "", FINISHED[each.stopped])]}))
    if body.stream_options is not None and body.stream_options.include_usage:
        events.append(data({**head, "choices": [], "usage": usage}))
    return Events([*events, DONE])


def vector(text: str, dimensions: int) -> list[float]:
    """Numbers between -1 and 1 that depend on the text alone, each exactly a 32-bit float."""
    seed = hashlib.sha256(text.encode()).digest()
    return [(seed[place % 32] - 128) / 128 for place in range(dimensions)]


def embeddings(body: Embedding, script: Script) -> Reply:
    given = [body.input] if isinstance(body.input, str) or all(isinstance(each, int) for each in body.input) else body.input
    texts = [each if isinstance(each, str) else f"{each}" for each in given]
    rows = []
    for index, text in enumerate(texts):
        numbers = vector(text, body.dimensions or 16)
        packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        row = {"object": "embedding", "index": index, "embedding": packed if body.encoding_format == "base64" else numbers}
        rows.append(row)
    words = sum(obedience.tokens(text) for text in texts)
    usage = script.usage or {"prompt_tokens": words, "total_tokens": words}
    return answered({"object": "list", "data": rows, "model": body.model, "usage": usage})


def moderations(body: Moderation, number: int) -> Reply:
    """A text that has the word `violence` is flagged for it."""
    if isinstance(body.input, str):
        texts = [body.input]
    elif all(isinstance(each, str) for each in body.input):
        texts = [str(each) for each in body.input]
    else:
        texts = [" ".join(each.text for each in body.input if isinstance(each, TextPart))]
    results = []
    for text in texts:
        violent = "violence" in text
        results.append(
            {
                "flagged": violent,
                "categories": {name: violent and name == "violence" for name in CATEGORIES},
                "category_scores": {name: 0.9 if violent and name == "violence" else 0.001 for name in CATEGORIES},
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    return answered({"id": f"modr-{number}", "model": body.model, "results": results})


def rerank(body: Rerank, number: int) -> Reply:
    """By the number of words that a document shares with the query."""
    texts = [each if isinstance(each, str) else each["text"] for each in body.documents]
    asked = set(body.query.lower().split())
    scores = [len(asked & set(text.lower().split())) / len(asked) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])[: body.top_n]
    results = [
        {"index": index, "relevance_score": scores[index]}
        | ({"document": {"text": texts[index]}} if body.return_documents else {})
        for index in order
    ]
    words = obedience.tokens(body.query) + sum(obedience.tokens(text) for text in texts)
    return answered({"id": f"rerank-{number}", "results": results, "usage": {"prompt_tokens": words, "total_tokens": words}})
