"""Chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import chat_audio, failures, words
from genway.providers.local.echo.answers import (
    EVENTS,
    Streamed,
    Whole,
    breaking,
    data,
    identifier,
    joined,
    read,
    whole,
)
from genway.providers.local.echo.chat_audio import Spoken
from genway.providers.local.echo.saying import NAME, Asked, Call, Choice, Conversation, Said, Tool, bounded, say

FINGERPRINT = "fp_local_echo"


class Part(msgspec.Struct):
    type: str = "text"
    text: str = ""
    refusal: str = ""


class Named(msgspec.Struct):
    """A function or a custom tool, also as a call or a choice of it."""

    name: str
    parameters: dict[str, Any] | None = None
    arguments: str = ""
    input: str = ""


class ToolCall(msgspec.Struct):
    id: str = ""
    function: Named | None = None
    custom: Named | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str = ""
    tool_calls: list[ToolCall] | None = None
    function_call: Named | None = None


class ToolGiven(msgspec.Struct):
    type: str = "function"
    function: Named | None = None
    custom: Named | None = None


class Allowed(msgspec.Struct):
    mode: str = "auto"
    tools: list[ToolGiven] = []


class ToolChoice(msgspec.Struct):
    type: str = "function"
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: Allowed | None = None


class JsonSchema(msgspec.Struct):
    name: str = ""
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct):
    type: str = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Thinking(msgspec.Struct):
    type: str = "disabled"


class Request(msgspec.Struct):
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[ToolGiven] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Named] | None = None
    function_call: str | Named | None = None
    response_format: ResponseFormat | None = None
    enable_thinking: bool | None = None
    thinking: Thinking | None = None
    modalities: list[str] | None = None
    audio: chat_audio.Wanted | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The answer to a chat. Raises InvalidRequest."""
    request = read(_decoder, body)
    talk = conversation(request.messages)
    forced = words.forced(talk.text, "messages")
    if forced.fail is not None:
        return failures.openai(forced.fail, "chat", forced.delay)
    said = say(_asked(request, talk), forced)
    head = {"id": identifier("chatcmpl-", request_id), "created": created, "model": NAME}
    count = request.n or 1
    bounded([said] * count)
    sound = None
    if "audio" in (request.modalities or ()) and not said.calls:
        sound = chat_audio.spoken(request.audio, said.text, streamed=bool(request.stream), created=created)
    if request.stream:
        events = breaking(_events(request, said, sound, head, count), forced.fail_after, failures.openai_event())
        return Streamed(EVENTS, events, forced.delay, forced.pause)
    choices = [
        {
            "index": index,
            "message": _message(request, said, sound, index, head["id"]),
            "logprobs": _logprobs(request, words.pieces(said.text)),
            "finish_reason": _finish(request, said),
        }
        for index in range(count)
    ]
    rest = {"usage": usage(said, sound, count), "service_tier": "default", "system_fingerprint": FINGERPRINT}
    return whole({**head, "object": "chat.completion", "choices": choices, **rest}, delay=forced.delay)


def conversation(messages: list[Message]) -> Conversation:
    """What matters of the messages. A user's parts of text count as one text, line by line."""
    talk = Conversation()
    for message in messages:
        text = _text(message)
        talk.tokens += _tokens(message, text)
        if message.role == "user":
            talk.turn()
            talk.user(text)
        elif message.role == "tool":
            talk.result(message.tool_call_id, text)
        elif message.role == "function":
            talk.result("", text, name=message.name or "")
        elif message.role == "assistant":
            talk.turn()
            for call in message.tool_calls or ():
                if called := call.function or call.custom:
                    talk.called[call.id] = called.name
    return talk


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, list):
        return joined(part.text or part.refusal for part in content)
    return content or ""


def _tokens(message: Message, text: str) -> int:
    tokens = words.count(text)
    if isinstance(message.content, list):
        tokens += words.NOT_TEXT * sum(part.type not in ("text", "refusal") for part in message.content)
    called = [call.function or call.custom for call in message.tool_calls or ()]
    return tokens + sum(1 + words.count(each.arguments or each.input) for each in [*called, message.function_call] if each)


def _asked(request: Request, talk: Conversation) -> Asked:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    most = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    thinking = request.thinking is not None and request.thinking.type != "disabled"
    return Asked(
        talk,
        "messages",
        tools=_tools(request),
        choice=_choice(request),
        parallel=request.parallel_tool_calls is not False and request.functions is None,
        form=_form(request.response_format),
        form_field="response_format.json_schema.schema",
        most=most,
        stop=stop,
        reasoning=bool(request.enable_thinking) or thinking,
    )


def _tools(request: Request) -> list[Tool]:
    tools = [Tool(function.name, function.parameters or {}) for function in request.functions or ()]
    for given in request.tools or ():
        if given.function is not None:
            tools.append(Tool(given.function.name, given.function.parameters or {}))
        elif given.custom is not None:
            tools.append(Tool(given.custom.name, None))
    return tools


def _choice(request: Request) -> Choice:
    chosen = request.tool_choice if request.tool_choice is not None else request.function_call
    match chosen:
        case "none":
            return Choice("never")
        case "required":
            return Choice("must")
        case Named():
            return Choice("must", (chosen.name,))
        case ToolChoice(allowed_tools=Allowed() as allowed):
            names = tuple(tool.name for given in allowed.tools if (tool := given.function or given.custom))
            return Choice("must" if allowed.mode == "required" else "may", names)
        case ToolChoice() if (tool := chosen.function or chosen.custom) is not None:
            return Choice("must", (tool.name,))
        case None | "auto":
            return Choice()
    raise InvalidRequest("none, auto, required or an object that names a tool", field="tool_choice")


def _form(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {}
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise InvalidRequest("required", field="response_format.json_schema")
        return wanted.json_schema.schema or {}
    raise InvalidRequest("text, json_object or json_schema", field="response_format.type")


def _finish(request: Request, said: Said) -> str:
    if said.ending == "calls":
        return "tool_calls" if request.functions is None else "function_call"
    return said.ending


def _message(request: Request, said: Said, sound: Spoken | None, index: int, id_: object) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if sound is not None:
        message |= {"content": None, "audio": sound.whole(id_, index)}
    if said.calls:
        message["content"] = None
        if request.functions is not None:
            message["function_call"] = {"name": said.calls[0].name, "arguments": said.calls[0].arguments}
        else:
            message["tool_calls"] = [_call(call, id_, index, number) for number, call in enumerate(said.calls)]
    return message


def _call(call: Call, id_: object, index: int, number: int) -> dict[str, Any]:
    begun = {"id": identifier("call_", id_, index, number)}
    if call.free:
        return {**begun, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {**begun, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _logprobs(request: Request, tokens: list[str]) -> dict[str, Any] | None:
    """Every token is certain: its logarithm is 0, and no other is offered."""
    if not request.logprobs:
        return None
    content = []
    for token in tokens:
        certain = {"token": token, "logprob": 0.0, "bytes": list(token.encode())}
        content.append({**certain, "top_logprobs": [certain] if request.top_logprobs else []})
    return {"content": content, "refusal": None}


def usage(said: Said, sound: Spoken | None, count: int) -> dict[str, Any]:
    """The tokens of an answer in so many choices."""
    audio = sound.tokens * count if sound is not None else 0
    completion = said.tokens * count + audio
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": said.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": said.reasoning_tokens * count,
            "audio_tokens": audio,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _events(request: Request, said: Said, sound: Spoken | None, head: dict[str, Any], count: int) -> Iterator[bytes]:
    counted = request.stream_options is not None and bool(request.stream_options.include_usage)
    head = {**head, "object": "chat.completion.chunk", "service_tier": "default", "system_fingerprint": FINGERPRINT}
    if counted:
        head["usage"] = None

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, token: str | None = None) -> bytes:
        logprobs = None if token is None else _logprobs(request, [token])
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return data({**head, "choices": [choice]})

    for index in range(count):
        yield chunk(index, {"role": "assistant", "content": None if said.calls else "", "refusal": None})
        for part in words.chunks(said.reasoning):
            yield chunk(index, {"reasoning_content": part})
        for number, call in enumerate(said.calls):
            for delta in _call_deltas(request, call, head["id"], index, number):
                yield chunk(index, delta)
        if sound is not None:
            for delta in sound.deltas(head["id"], index):
                yield chunk(index, {"audio": delta})
        else:
            for part in words.pieces(said.text) if request.logprobs else words.chunks(said.text):
                yield chunk(index, {"content": part}, token=part)
        yield chunk(index, {}, _finish(request, said))
    if counted:
        yield data({**head, "choices": [], "usage": usage(said, sound, count)})
    yield b"data: [DONE]\n\n"


def _call_deltas(request: Request, call: Call, id_: object, index: int, number: int) -> Iterator[dict[str, Any]]:
    if request.functions is not None:
        yield {"function_call": {"name": call.name, "arguments": ""}}
        for part in words.chunks(call.arguments):
            yield {"function_call": {"arguments": part}}
        return
    begun = _call(call, id_, index, number)
    kind, member = ("custom", "input") if call.free else ("function", "arguments")
    begun[kind][member] = ""
    yield {"tool_calls": [{"index": number, **begun}]}
    for part in words.chunks(call.arguments):
        yield {"tool_calls": [{"index": number, kind: {member: part}}]}
