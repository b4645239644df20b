"""Responses: the whole object, or its events in their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, identifier, joined, named, read, whole
from genway.providers.local.echo.saying import NAME, Asked, Call, Choice, Conversation, Said, Tool, say

TEXTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")
CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"


class Part(msgspec.Struct):
    type: str = "input_text"
    text: str = ""
    refusal: str = ""


class Item(msgspec.Struct):
    """A message, a tool call or its output; of other items only their type is looked at."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    input: str = ""
    output: Any = None


class ToolGiven(msgspec.Struct):
    type: str
    name: str = ""
    parameters: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct):
    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[ToolGiven] = []


class Format(msgspec.Struct):
    type: str = "text"
    schema: dict[str, Any] | None = None


class Text(msgspec.Struct):
    format: Format | None = None


class Reasoning(msgspec.Struct):
    summary: str | None = None


class Request(msgspec.Struct):
    input: str | list[Item] = ""
    stream: bool | None = None
    instructions: str | list[Item] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: list[ToolGiven] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None


class Echoed(msgspec.Struct):
    """What the answer repeats of the request, as it came."""

    background: bool | None = None
    instructions: Any = None
    metadata: dict[str, str] | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any] | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    temperature: float | None = None
    text: dict[str, Any] | None = None
    tool_choice: Any = None
    tools: list[dict[str, Any]] | None = None
    top_p: float | None = None
    truncation: str | None = None
    user: str | None = None


_decoder = msgspec.json.Decoder(Request)
_echoed = msgspec.json.Decoder(Echoed)


def answer(body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The answer to an input. Nothing is kept: `previous_response_id` is repeated and brings no earlier words back.

    Raises InvalidRequest.
    """
    request = read(_decoder, body)
    talk = conversation(request)
    forced = words.forced(talk.text, "input")
    if forced.fail is not None:
        return failures.openai(forced.fail, "responses", forced.delay)
    said = say(_asked(request, talk), forced)
    response = _response(read(_echoed, body), identifier("resp_", request_id), created)
    writer = _Writer(request, said, response, created)
    if request.stream:
        return Streamed(EVENTS, writer.events(forced.fail_after), forced.delay, forced.pause)
    return whole(writer.finished(), delay=forced.delay)


def again(asked: dict[str, Any], response: dict[str, Any]) -> tuple[dict[str, Any], Iterator[bytes]]:
    """A response that `answer` gave or began, as it is at its end, and its whole stream, each event numbered as it was then.

    asked: the body that it answers. A failure in the middle that the text forced is not forced again.
    """
    request = msgspec.convert(asked, Request)
    talk = conversation(request)
    begun = {**response, "status": "in_progress", "completed_at": None, "incomplete_details": None, "output": [], "usage": None}
    said = say(_asked(request, talk), words.forced(talk.text, "input"))
    writer = _Writer(request, said, begun, response["created_at"])
    return writer.finished(), writer.events(None)


def conversation(request: Request) -> Conversation:
    """What matters of the input and the instructions."""
    talk = Conversation()
    for item in _items(request.instructions):
        talk.tokens += _tokens(item.content)
    for item in _items(request.input):
        if item.type in CALLS:
            talk.turn()
            talk.called[item.call_id] = item.name
            talk.tokens += 1 + words.count(item.arguments or item.input)
        elif item.type in OUTPUTS:
            text = _output(item.output)
            talk.tokens += words.count(text)
            talk.result(item.call_id, text)
        elif item.type == "message":
            talk.tokens += _tokens(item.content)
            talk.turn()
            if item.role == "user":
                talk.user(_words(item.content))
    return talk


def _items(given: str | list[Item] | None) -> list[Item]:
    return [Item(role="user", content=given)] if isinstance(given, str) else given or []


def _words(content: str | list[Part] | None) -> str:
    if isinstance(content, list):
        return joined(part.text or part.refusal for part in content)
    return content or ""


def _tokens(content: str | list[Part] | None) -> int:
    tokens = words.count(_words(content))
    if isinstance(content, list):
        tokens += words.NOT_TEXT * sum(part.type not in TEXTS for part in content)
    return tokens


def _output(output: Any) -> str:
    if isinstance(output, list):
        return joined(str(part.get("text", "")) for part in output if isinstance(part, dict))
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def _asked(request: Request, talk: Conversation) -> Asked:
    tools = [
        Tool(tool.name, None if tool.type == "custom" else tool.parameters or {})
        for tool in request.tools or ()
        if tool.type in ("function", "custom")
    ]
    wanted = request.text.format if request.text else None
    return Asked(
        talk,
        "input",
        tools=tools,
        choice=_choice(request.tool_choice),
        parallel=request.parallel_tool_calls is not False,
        form=_form(wanted),
        form_field="text.format.schema",
        most=request.max_output_tokens,
        reasoning=request.reasoning is not None and request.reasoning.summary is not None,
    )


def _choice(chosen: str | ToolChoice | None) -> Choice:
    match chosen:
        case None | "auto":
            return Choice()
        case "none":
            return Choice("never")
        case "required":
            return Choice("must")
        case ToolChoice(type="function" | "custom"):
            return Choice("must", (chosen.name,))
        case ToolChoice(type="allowed_tools"):
            names = tuple(tool.name for tool in chosen.tools if tool.type in ("function", "custom"))
            return Choice("must" if chosen.mode == "required" else "may", names)
        case ToolChoice():
            return Choice("never")  # a hosted tool, which the program does not carry out
    raise InvalidRequest("none, auto, required or an object that names a tool", field="tool_choice")


def _form(wanted: Format | None) -> dict[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type in ("json_object", "json_schema"):
        return wanted.schema or {}
    raise InvalidRequest("text, json_object or json_schema", field="text.format.type")


def _response(echoed: Echoed, id_: str, created: int) -> dict[str, Any]:
    """The response while it is under way."""
    return {
        "id": id_,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": echoed.background is True,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": echoed.instructions,
        "max_output_tokens": echoed.max_output_tokens,
        "model": NAME,
        "output": [],
        "parallel_tool_calls": echoed.parallel_tool_calls is not False,
        "previous_response_id": echoed.previous_response_id,
        "prompt_cache_key": echoed.prompt_cache_key,
        "reasoning": echoed.reasoning or {"effort": None, "summary": None},
        "safety_identifier": echoed.safety_identifier,
        "service_tier": "default",
        "store": echoed.store is not False,
        "temperature": 1.0 if echoed.temperature is None else echoed.temperature,
        "text": {"format": {"type": "text"}, **(echoed.text or {})},
        "tool_choice": echoed.tool_choice or "auto",
        "tools": [_tool(tool) for tool in echoed.tools or ()],
        "top_p": 1.0 if echoed.top_p is None else echoed.top_p,
        "truncation": echoed.truncation or "disabled",
        "usage": None,
        "user": echoed.user,
        "metadata": echoed.metadata or {},
    }


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    filled = {"strict": True, "parameters": None, "description": None} if tool.get("type") == "function" else {}
    return {**filled, **tool}


class _Writer:
    """Puts what is said into a response's items and events."""

    def __init__(self, request: Request, said: Said, response: dict[str, Any], created: int) -> None:
        self._said = said
        self._response = response
        self._created = created
        self._include = request.include or []
        self._number = -1
        self._items = [*self._reasoning(), *self._message(), *self._calls()]

    def finished(self) -> dict[str, Any]:
        """The response at its end."""
        said = self._said
        cut = said.ending == "length"
        return {
            **self._response,
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else self._created,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": self._items,
            "usage": {
                "input_tokens": said.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": said.tokens,
                "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
                "total_tokens": said.prompt_tokens + said.tokens,
            },
        }

    def events(self, fail_after: int | None) -> Iterator[bytes]:
        """The events of the stream, broken after so many."""
        for index, event in enumerate(self._whole_stream()):
            if index == fail_after:
                yield failures.responses_event(index)
                return
            yield event

    def _whole_stream(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._response)
        yield self._event("response.in_progress", response=self._response)
        for index, item in enumerate(self._items):
            match item["type"]:
                case "reasoning":
                    yield from self._reasoning_events(item, index)
                case "message":
                    yield from self._message_events(item, index)
                case _:
                    yield from self._call_events(item, index)
        finished = self.finished()
        yield self._event(f"response.{finished['status']}", response=finished)

    def _event(self, type_: str, **members: Any) -> bytes:
        self._number += 1
        return named({"type": type_, "sequence_number": self._number, **members})

    def _id(self, prefix: str, number: int = 0) -> str:
        return identifier(prefix, self._response["id"], number)

    def _status(self) -> str:
        return "incomplete" if self._said.ending == "length" else "completed"

    def _reasoning(self) -> list[dict[str, Any]]:
        if not self._said.reasoning:
            return []
        item = {"id": self._id("rs_"), "type": "reasoning"}
        summary = [{"type": "summary_text", "text": self._said.reasoning}]
        sealed = {"encrypted_content": self._id("local-echo-")} if ENCRYPTED in self._include else {}
        return [{**item, "summary": summary, **sealed}]

    def _message(self) -> list[dict[str, Any]]:
        if self._said.calls or (not self._said.text and self._said.ending == "length"):
            return []
        logprobs = [logprob for token in words.pieces(self._said.text) for logprob in self._logprobs(token)]
        part = {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": self._said.text}
        about = {"id": self._id("msg_"), "type": "message", "status": self._status(), "role": "assistant"}
        return [{**about, "content": [part]}]

    def _calls(self) -> list[dict[str, Any]]:
        return [self._call(number, call) for number, call in enumerate(self._said.calls)]

    def _call(self, number: int, call: Call) -> dict[str, Any]:
        about = {"call_id": self._id("call_", number), "name": call.name}
        if call.free:
            return {"id": self._id("ctc_", number), "type": "custom_tool_call", "input": call.arguments, **about}
        function = {"id": self._id("fc_", number), "type": "function_call", "status": "completed"}
        return {**function, "arguments": call.arguments, **about}

    def _logprobs(self, token: str) -> list[dict[str, Any]]:
        """Every token is certain: its logarithm is 0."""
        if LOGPROBS not in self._include:
            return []
        return [{"token": token, "bytes": list(token.encode()), "logprob": 0.0, "top_logprobs": []}]

    def _reasoning_events(self, item: dict[str, Any], index: int) -> Iterator[bytes]:
        place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        text = item["summary"][0]["text"]
        yield self._event("response.output_item.added", output_index=index, item={**item, "summary": []})
        yield self._event("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
        for delta in words.chunks(text):
            yield self._event("response.reasoning_summary_text.delta", **place, delta=delta)
        yield self._event("response.reasoning_summary_text.done", **place, text=text)
        yield self._event("response.reasoning_summary_part.done", **place, part=item["summary"][0])
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _message_events(self, item: dict[str, Any], index: int) -> Iterator[bytes]:
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        part = item["content"][0]
        yield self._event(
            "response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []}
        )
        yield self._event("response.content_part.added", **place, part={**part, "text": "", "logprobs": []})
        for delta in words.pieces(part["text"]) if part["logprobs"] else words.chunks(part["text"]):
            yield self._event("response.output_text.delta", **place, delta=delta, logprobs=self._logprobs(delta))
        yield self._event("response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _call_events(self, item: dict[str, Any], index: int) -> Iterator[bytes]:
        place = {"item_id": item["id"], "output_index": index}
        free = item["type"] == "custom_tool_call"
        member, event = ("input", "custom_tool_call_input") if free else ("arguments", "function_call_arguments")
        begun = {**item, member: ""} if free else {**item, member: "", "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        for delta in words.chunks(item[member]):
            yield self._event(f"response.{event}.delta", **place, delta=delta)
        yield self._event(f"response.{event}.done", **place, **{member: item[member]})
        yield self._event("response.output_item.done", output_index=index, item=item)
