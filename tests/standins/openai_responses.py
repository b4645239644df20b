"""OpenAI's responses: what they take, how they answer, and those that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from standins import obedience
from standins.obedience import Said, Told
from standins.openai_answers import CREATED, answered
from standins.openai_bodies import (
    MODELS,
    Effort,
    Metadata,
    Name,
    Share,
    Temperature,
    check_model,
    check_schema,
    document,
    invalid,
    picture,
    unsupported,
    wrong_body,
)
from standins.relay_vendor import Call, Events, Refused, Reply, Script
from standins.strict_bodies import Strict, Wrong, read


class InputText(Strict, tag="input_text"):
    text: str
    prompt_cache_breakpoint: dict[str, str] | None = None


class OutputText(Strict, tag="output_text"):
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] | None = None


class OutputRefusal(Strict, tag="refusal"):
    refusal: str


class InputImage(Strict, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: dict[str, str] | None = None


class InputFile(Strict, tag="input_file"):
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: dict[str, str] | None = None


Part = InputText | OutputText | OutputRefusal | InputImage | InputFile


class Message(Strict):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCall(Strict):
    type: Literal["function_call"]
    call_id: str
    name: Name
    arguments: str
    id: str | None = None
    status: str | None = None
    namespace: str | None = None
    caller: dict[str, Any] | None = None


class FunctionOutput(Strict):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Part]
    id: str | None = None
    status: str | None = None


class ReasoningItem(Strict):
    type: Literal["reasoning"]
    summary: list[dict[str, str]]
    id: str | None = None
    content: list[dict[str, str]] | None = None
    encrypted_content: str | None = None
    status: str | None = None


class Reference(Strict):
    id: str
    type: Literal["item_reference"] = "item_reference"


ITEMS: dict[str, Any] = {
    "message": Message,
    "function_call": FunctionCall,
    "function_call_output": FunctionOutput,
    "reasoning": ReasoningItem,
    "item_reference": Reference,
}


EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}
"""What an item of the output has for a content when it begins."""


class FunctionTool(Strict, tag="function"):
    name: Name
    parameters: dict[str, Any] | None
    strict: bool | None = None
    description: str | None = None


class WebSearch(Strict, tag="web_search"):
    filters: dict[str, Any] | None = None
    search_context_size: str | None = None
    user_location: dict[str, Any] | None = None


class FunctionChoice(Strict, tag="function"):
    name: Name


class PlainText(Strict, tag="text"):
    pass


class JsonObject(Strict, tag="json_object"):
    pass


class JsonSchema(Strict, tag="json_schema"):
    name: Name
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class TextConfig(Strict):
    format: PlainText | JsonObject | JsonSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Strict):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard", "pro"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None


class StreamOptions(Strict):
    include_obfuscation: bool | None = None


class Create(Strict):
    """POST /v1/responses."""

    model: str
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=16)] | None = None
    max_tool_calls: int | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    tools: list[FunctionTool | WebSearch] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    prompt: dict[str, Any] | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None


class Kept(msgspec.Struct):
    """A response that was stored. items: its whole conversation. polls: how often a background one was asked for."""

    response: dict[str, Any]
    items: list[Any]
    events: list[tuple[str, dict[str, Any]]]
    polls: int = 0


class Responses:
    """The calls below /v1/responses, and what they have stored."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._count = 0

    def create(self, call: Call) -> Reply:
        body = self._read(call.body)
        items = self._conversation(body)
        self._count += 1
        response_id = f"resp_{self._count}"
        said = obedience.obey(_told(body, items), call.script)
        response = _response(body, response_id, said, items, call.script)
        events = list(_events(response, said))
        if body.store is not False:
            self.kept[response_id] = Kept(response, items, events)
        if body.background and not body.stream:
            return answered({**response, "status": "queued", "output": [], "usage": None})
        if body.stream:
            return Events([named(name, event) for name, event in events])
        return answered(response)

    def retrieve(self, call: Call) -> Reply:
        kept = self._kept(call)
        if call.seen.query.get("stream") == "true":
            after = int(call.seen.query.get("starting_after", -1))
            return Events([named(name, event) for name, event in kept.events if event["sequence_number"] > after])
        kept.polls += 1
        if kept.response["background"] and kept.response["status"] == "completed" and kept.polls == 1:
            return answered({**kept.response, "status": "in_progress", "output": [], "usage": None})
        return answered(kept.response)

    def delete(self, call: Call) -> Reply:
        self._kept(call)
        del self.kept[call.ids["id"]]
        return answered({"id": call.ids["id"], "object": "response", "deleted": True})

    def cancel(self, call: Call) -> Reply:
        kept = self._kept(call)
        if not kept.response["background"]:
            raise invalid("response_id", "Cannot cancel a synchronous response.")
        kept.response |= {"status": "cancelled", "output": [], "usage": None}
        return answered(kept.response)

    def input_items(self, call: Call) -> Reply:
        kept = self._kept(call)
        rows = [_listed(item, f"msg_in_{number}") for number, item in enumerate(kept.items)]
        if call.seen.query.get("order", "desc") == "desc":
            rows.reverse()
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": "", "last_id": ""}
        return answered({"object": "list", "data": rows, "has_more": False, **ends})

    def input_tokens(self, call: Call) -> Reply:
        body = self._read(call.body)
        return answered({"object": "response.input_tokens", "input_tokens": _input_tokens(body, self._conversation(body))})

    def _read(self, value: Any) -> Create:
        try:
            body: Create = read(value, Create)
        except Wrong as wrong:
            raise wrong_body(wrong) from wrong
        check_model(body.model)
        if body.stream_options is not None and not body.stream:
            raise invalid("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        if body.previous_response_id is not None and body.conversation is not None:
            raise invalid("previous_response_id", "Mutually exclusive parameters: 'conversation' and 'previous_response_id'.")
        if body.reasoning is not None and not MODELS[body.model]:
            raise unsupported("reasoning", f"Unsupported parameter: 'reasoning' is not supported with {body.model}.")
        if MODELS[body.model] and body.temperature not in (None, 1):
            raise unsupported("temperature", "Unsupported parameter: 'temperature' is not supported with this model.")
        for number, tool in enumerate(body.tools or ()):
            if isinstance(tool, FunctionTool):
                check_schema(tool.parameters, tool.strict is not False, f"tools[{number}].parameters")
        if body.text is not None and isinstance(body.text.format, JsonSchema):
            check_schema(body.text.format.schema, body.text.format.strict, "text.format.schema")
        return body

    def _conversation(self, body: Create) -> list[Any]:
        """All items, those before this response first. Raises Refused."""
        items: list[Any] = []
        if body.previous_response_id is not None:
            before = self.kept.get(body.previous_response_id)
            if before is None:
                message = f"Previous response with id '{body.previous_response_id}' not found."
                raise Refused(400, message, code="previous_response_not_found", param="previous_response_id")
            items += before.items
            items += [_item({k: v for k, v in item.items() if v is not None}, "output") for item in before.response["output"]]
        if isinstance(body.input, str):
            return [*items, Message(role="user", content=body.input)]
        items += [_item(item, f"input[{number}]") for number, item in enumerate(body.input)]
        called = {item.call_id for item in items if isinstance(item, FunctionCall)}
        answers = {item.call_id for item in items if isinstance(item, FunctionOutput)}
        for call_id in answers - called:
            raise invalid("input", f"No tool call found for function call output with call_id {call_id}.")
        for call_id in called - answers:
            raise invalid("input", f"No tool output found for function call {call_id}.")
        return items

    def _kept(self, call: Call) -> Kept:
        if call.ids["id"] not in self.kept:
            raise Refused(404, f"Response with id '{call.ids['id']}' not found.")
        return self.kept[call.ids["id"]]


def named(name: str, event: Any) -> bytes:
    """One event of a stream with names."""
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"


def _item(value: dict[str, Any], at: str) -> Any:
    kind = value.get("type", "message" if "role" in value else "item_reference")
    if kind not in ITEMS:
        raise invalid(f"{at}.type", f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, ITEMS))}.")
    try:
        item = read(value, ITEMS[kind], at)
    except Wrong as wrong:
        raise wrong_body(wrong) from wrong
    if isinstance(item, Message) and not isinstance(item.content, str):
        wanted = OutputText | OutputRefusal if item.role == "assistant" else InputText | InputImage | InputFile
        for number, part in enumerate(item.content):
            if not isinstance(part, wanted):
                raise invalid(f"{at}.content[{number}]", f"Invalid value: '{type(part).__name__}' in a {item.role} message.")
        shown(item, at)
    return item


def shown(message: Message, at: str = "input") -> list[str]:
    """What a message shows. Raises Refused."""
    if isinstance(message.content, str):
        return []
    found = []
    for number, part in enumerate(message.content):
        if isinstance(part, InputImage):
            found.append(part.file_id or picture(part.image_url or "", f"{at}.content[{number}].image_url"))
        elif isinstance(part, InputFile):
            found.append(part.file_url or document(part.file_data, part.file_id, f"{at}.content[{number}]"))
    return found


def _text(content: str | list[Part]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, InputText | OutputText))


def _told(body: Create, items: list[Any]) -> Told:
    said, seen, results = "", list[str](), list[str]()
    for item in items:
        if isinstance(item, Message) and item.role == "user":
            said, seen, results = _text(item.content), shown(item), []
        elif isinstance(item, FunctionOutput):
            results.append(_text(item.output))
    names = [tool.name for tool in body.tools or () if isinstance(tool, FunctionTool)]
    forced = body.tool_choice.name if isinstance(body.tool_choice, FunctionChoice) else None
    return Told(
        said=said,
        shown=seen,
        results=results,
        tools=[] if body.tool_choice == "none" else names,
        forced="any" if body.tool_choice == "required" else forced,
        parallel=body.parallel_tool_calls is not False,
        json=body.text is not None and isinstance(body.text.format, JsonObject | JsonSchema),
        thinks=MODELS[body.model],
        limit=body.max_output_tokens,
    )


def _input_tokens(body: Create, items: list[Any]) -> int:
    texts = [_text(item.content) for item in items if isinstance(item, Message)]
    return sum(obedience.tokens(text) for text in (*texts, body.instructions or "")) + 4 * len(items)


def _response(body: Create, response_id: str, said: Said, items: list[Any], script: Script) -> dict[str, Any]:
    tag = response_id.removeprefix("resp_")
    output: list[dict[str, Any]] = []
    if said.thinking:
        summary = body.reasoning is not None and body.reasoning.summary is not None
        summaries = [{"type": "summary_text", "text": said.thinking}] if summary else []
        output.append({"id": f"rs_{tag}", "type": "reasoning", "summary": summaries})
        if "reasoning.encrypted_content" in (body.include or ()):
            output[-1]["encrypted_content"] = "c2VjcmV0"
    if said.text:
        content = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        done = "incomplete" if said.stopped == "length" else "completed"
        output.append({"id": f"msg_{tag}", "type": "message", "role": "assistant", "status": done, "content": [content]})
    for number, (name, arguments) in enumerate(said.calls):
        text = json.dumps(arguments, ensure_ascii=False)
        call = {"id": f"fc_{tag}_{number}", "type": "function_call", "call_id": f"call_{tag}_{number}", "name": name}
        output.append({**call, "arguments": text, "status": "completed"})
    reasoning = obedience.tokens(said.thinking)
    read_, written = _input_tokens(body, items), reasoning + obedience.tokens(said.text) + 5 * len(said.calls)
    usage = {
        "input_tokens": read_,
        "input_tokens_details": {"cached_tokens": read_ // 2 if body.previous_response_id else 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read_ + written,
    }
    short = said.stopped == "length"
    return {
        "id": response_id,
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if short else "completed",
        "background": bool(body.background),
        "model": body.model,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": body.instructions,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "temperature": body.temperature if body.temperature is not None else 1,
        "top_p": body.top_p if body.top_p is not None else 1,
        "tool_choice": msgspec.to_builtins(body.tool_choice or "auto"),
        "tools": msgspec.to_builtins(body.tools or []),
        "text": msgspec.to_builtins(body.text or {"format": {"type": "text"}}),
        "reasoning": msgspec.to_builtins(body.reasoning or {"effort": None, "summary": None}),
        "max_output_tokens": body.max_output_tokens,
        "previous_response_id": body.previous_response_id,
        "store": body.store is not False,
        "truncation": body.truncation or "disabled",
        "service_tier": "default",
        "output": output,
        "usage": script.usage or usage,
    }


def _events(response: dict[str, Any], said: Said) -> Iterator[tuple[str, dict[str, Any]]]:
    number = -1

    def event(name: str, /, **members: Any) -> tuple[str, dict[str, Any]]:
        nonlocal number
        number += 1
        return name, {"type": name, "sequence_number": number, **members}

    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        place = {"item_id": item["id"], "output_index": index}
        started = {**item, **EMPTY[item["type"]]} | ({} if item["type"] == "reasoning" else {"status": "in_progress"})
        yield event("response.output_item.added", output_index=index, item=started)
        if item["type"] == "message":
            part = item["content"][0]
            yield event("response.content_part.added", **place, content_index=0, part={**part, "text": ""})
            for piece in obedience.pieces(part["text"]):
                yield event("response.output_text.delta", **place, content_index=0, delta=piece, logprobs=[])
            yield event("response.output_text.done", **place, content_index=0, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **place, content_index=0, part=part)
        elif item["type"] == "function_call":
            for fragment in obedience.fragments(item["arguments"]):
                yield event("response.function_call_arguments.delta", **place, delta=fragment)
            whole = {"arguments": item["arguments"], "name": item["name"]}
            yield event("response.function_call_arguments.done", **place, **whole)
        elif item["summary"]:
            part = item["summary"][0]
            yield event("response.reasoning_summary_part.added", **place, summary_index=0, part={**part, "text": ""})
            for piece in obedience.pieces(part["text"]):
                yield event("response.reasoning_summary_text.delta", **place, summary_index=0, delta=piece)
            yield event("response.reasoning_summary_text.done", **place, summary_index=0, text=part["text"])
            yield event("response.reasoning_summary_part.done", **place, summary_index=0, part=part)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(f"response.{response['status']}", response=response)


def _listed(item: Any, item_id: str) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(item)
    if isinstance(item, Message):
        content = [{"type": "input_text", "text": item.content}] if isinstance(item.content, str) else row["content"]
        row |= {"type": "message", "status": "completed", "content": content}
    return row | {"id": row.get("id") or item_id}
