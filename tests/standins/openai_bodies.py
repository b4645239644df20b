"""What OpenAI's API takes for chat completions and the other JSON calls, and what it refuses in a conversation.

Written from the vendor's OpenAPI file; the rules for sequences of messages, strict schemas and reasoning models are those
that its error texts state.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta

from standins.obedience import data_uri, described
from standins.relay_vendor import Refused
from standins.strict_bodies import Strict, Wrong, read

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Metadata = Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]

MODELS: dict[str, bool] = {
    "gpt-4.1": False,
    "gpt-4o-mini": False,
    "gpt-6-sol": True,
    "gpt-5.4-mini": True,
    "gpt-3.5-turbo-instruct": False,
    "text-embedding-3-small": False,
    "omni-moderation-latest": False,
    "gpt-image-2": False,
    "dall-e-2": False,
    "gpt-4o-mini-tts": False,
    "gpt-4o-transcribe": False,
    "whisper-1": False,
    "gpt-realtime-2": False,
    "rerank-1": False,
}
"""Every model, and whether it is a reasoning model, which refuses `max_tokens`, `stop` and sampling."""


class TextPart(Strict, tag="text"):
    text: str
    prompt_cache_breakpoint: dict[str, str] | None = None


class ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"


class ImagePart(Strict, tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: dict[str, str] | None = None


class InputAudio(Strict):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Strict, tag="input_audio"):
    input_audio: InputAudio


class FileContent(Strict):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Strict, tag="file"):
    file: FileContent


class RefusalPart(Strict, tag="refusal"):
    refusal: str


class CalledFunction(Strict):
    name: Name
    arguments: str


class CalledCustom(Strict):
    name: Name
    input: str


class FunctionCall(Strict, tag="function"):
    id: str
    function: CalledFunction


class CustomCall(Strict, tag="custom"):
    id: str
    custom: CalledCustom


ToolCall = FunctionCall | CustomCall
Text = str | list[TextPart]


class System(Strict, tag_field="role", tag="system"):
    content: Text
    name: str | None = None


class Developer(Strict, tag_field="role", tag="developer"):
    content: Text
    name: str | None = None


class User(Strict, tag_field="role", tag="user"):
    content: str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Meta(min_length=1)]
    name: str | None = None


class Assistant(Strict, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    refusal: str | None = None
    name: str | None = None
    audio: dict[str, str] | None = None
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1, max_length=128)] | None = None
    function_call: CalledFunction | None = None
    annotations: list[Any] | None = None


class Tool(Strict, tag_field="role", tag="tool"):
    content: Text
    tool_call_id: str


class OldFunction(Strict, tag_field="role", tag="function"):
    content: str | None
    name: Name


Message = System | Developer | User | Assistant | Tool | OldFunction


class Function(Strict):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Strict, tag="function"):
    function: Function


class Custom(Strict):
    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(Strict, tag="custom"):
    custom: Custom


class Named(Strict):
    name: Name


class FunctionChoice(Strict, tag="function"):
    function: Named


class CustomChoice(Strict, tag="custom"):
    custom: Named


class AllowedTools(Strict):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedChoice(Strict, tag="allowed_tools"):
    allowed_tools: AllowedTools


class JsonSchema(Strict):
    name: Name
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(Strict, tag="text"):
    pass


class JsonObjectFormat(Strict, tag="json_object"):
    pass


class JsonSchemaFormat(Strict, tag="json_schema"):
    json_schema: JsonSchema


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Chat(Strict):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    seed: int | None = None
    tools: Annotated[list[FunctionTool | CustomTool], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Named | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    reasoning_effort: Effort | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    service_tier: Tier | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    user: str | None = None
    moderation: dict[str, Any] | None = None


class Completion(Strict):
    """POST /v1/completions."""

    model: str
    prompt: str | list[Any]
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None


class Embedding(Strict):
    """POST /v1/embeddings."""

    model: str
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[Any], Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1536)] | None = None
    user: str | None = None


class Moderation(Strict):
    """POST /v1/moderations."""

    input: str | list[str | TextPart | ImagePart]
    model: str = "omni-moderation-latest"


class Rerank(Strict):
    """POST /v1/rerank, as gateways have it."""

    model: str
    query: str
    documents: Annotated[list[str | dict[str, str]], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None


def take(value: Any, shape: Any) -> Any:
    """A body as `shape`. Raises Refused (400) in the vendor's words, and 404 for a model there is not."""
    try:
        body = read(value, shape)
    except Wrong as wrong:
        raise wrong_body(wrong) from wrong
    check_model(body.model)
    return body


def check_model(model: Any) -> None:
    """Raises Refused (404)."""
    if model not in MODELS:
        raise Refused(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")


def wrong_body(wrong: Wrong) -> Refused:
    param = re.sub(r"\.(\d+|\.\.\.)", r"[\1]", wrong.path)
    if wrong.kind == "unknown":
        return Refused(400, f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
    if wrong.kind == "missing":
        return Refused(400, f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)
    return Refused(400, f"Invalid value for '{param}': {wrong.message}.", code="invalid_value", param=param)


def take_chat(value: Any) -> Chat:
    """A chat body, with all that the vendor checks beyond types. Raises Refused."""
    body: Chat = take(value, Chat)
    check_stream_options(body.stream, body.stream_options)
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is enabled.")
    if MODELS[body.model]:
        _check_reasoning(body)
    elif body.reasoning_effort is not None:
        raise unsupported("reasoning_effort", f"'reasoning_effort' is not supported with {body.model}.")
    _check_tools(body)
    _check_conversation(body.messages)
    if isinstance(body.response_format, JsonSchemaFormat):
        wanted = body.response_format.json_schema
        check_schema(wanted.schema, wanted.strict, "response_format")
    if isinstance(body.response_format, JsonObjectFormat) and "json" not in str(value["messages"]).lower():
        raise invalid("messages", "'messages' must contain the word 'json' in some form to use 'json_object'.")
    return body


def check_stream_options(stream: bool | None, options: StreamOptions | None) -> None:
    if options is not None and not stream:
        raise invalid("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")


def _check_reasoning(body: Chat) -> None:
    if body.max_tokens is not None:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        raise unsupported("max_tokens", message)
    if body.stop is not None:
        raise unsupported("stop", "Unsupported parameter: 'stop' is not supported with this model.")
    for name in ("temperature", "top_p"):
        if getattr(body, name) not in (None, 1):
            raise Refused(
                400, f"Unsupported value: '{name}' supports only 1 with this model.", code="unsupported_value", param=name
            )


def _check_tools(body: Chat) -> None:
    if body.tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(body, name) is not None:
                raise invalid(name, f"'{name}' is only allowed when 'tools' are specified.")
        return
    names = tool_names(body.tools)
    for number, tool in enumerate(body.tools):
        if isinstance(tool, FunctionTool):
            at = f"tools[{number}].function.parameters"
            check_schema(tool.function.parameters, tool.function.strict, at)
    choice = body.tool_choice
    if isinstance(choice, FunctionChoice | CustomChoice):
        wanted = choice.function.name if isinstance(choice, FunctionChoice) else choice.custom.name
        if wanted not in names:
            raise invalid("tool_choice", f"Tool choice '{wanted}' not found in 'tools' parameter.")


def tool_names(tools: list[FunctionTool | CustomTool] | None) -> list[str]:
    return [tool.function.name if isinstance(tool, FunctionTool) else tool.custom.name for tool in tools or ()]


def check_schema(schema: dict[str, Any] | None, strict: bool | None, at: str) -> None:
    """The top level is an object; with `strict` every object lists all its members and allows no others."""
    if schema is None:
        return
    if schema.get("type") != "object":
        raise Refused(
            400, f"Invalid schema: schema must be of type \"object\", got {schema.get('type')!r}.",
            code="invalid_function_parameters", param=at,
        )  # fmt: skip
    if strict:
        _check_strict(schema, at)


def _check_strict(schema: Any, at: str) -> None:
    if isinstance(schema, list):
        for each in schema:
            _check_strict(each, at)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise invalid(at, "Invalid schema: 'additionalProperties' is required to be supplied and to be false.")
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            raise invalid(at, "Invalid schema: 'required' is required to include every key in properties.")
    for name, each in schema.items():
        for inner in each.values() if name in {"properties", "$defs"} else [each]:
            _check_strict(inner, at)


def _check_conversation(messages: list[Message]) -> None:
    waiting: list[str] = []
    for number, message in enumerate(messages):
        at = f"messages[{number}]"
        if isinstance(message, Tool):
            if message.tool_call_id not in waiting:
                said = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise invalid(f"{at}.role", said)
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            raise _unanswered(waiting, f"messages.[{number}].role")
        if isinstance(message, Assistant):
            waiting = [call.id for call in message.tool_calls or ()]
            if message.content is None and not (waiting or message.refusal or message.audio or message.function_call):
                raise invalid(f"{at}.content", f"Invalid value for 'content': expected a string, got null at {at}.")
        if isinstance(message, User):
            seen(message, at)
    if waiting:
        raise _unanswered(waiting, "messages")


def _unanswered(waiting: list[str], at: str) -> Refused:
    return invalid(
        at,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
        f" The following tool_call_ids did not have response messages: {', '.join(waiting)}",
    )


def seen(message: User, at: str = "messages") -> list[str]:
    """What a user's message shows. Raises Refused for a picture or file that cannot be read."""
    if isinstance(message.content, str):
        return []
    found = []
    for number, part in enumerate(message.content):
        if isinstance(part, ImagePart):
            found.append(picture(part.image_url.url, f"{at}.content[{number}].image_url.url"))
        elif isinstance(part, FilePart):
            found.append(document(part.file.file_data, part.file.file_id, f"{at}.content[{number}].file"))
        elif isinstance(part, AudioPart):
            found.append(f"sound as {part.input_audio.format}")
    return found


def picture(url: str, at: str) -> str:
    if url.startswith(("http://", "https://")):
        return url
    try:
        media_type, data = data_uri(url)
        if media_type not in {"image/png", "image/jpeg", "image/gif", "image/webp"}:
            raise ValueError(f"unsupported image {media_type}")
        return described(media_type, data)
    except ValueError as error:
        raise Refused(400, f"Invalid image: {error}.", code="invalid_image_url", param=at) from error


def document(file_data: str | None, file_id: str | None, at: str) -> str:
    if file_id is not None:
        return file_id
    try:
        return described(*data_uri(file_data or ""))
    except ValueError as error:
        raise invalid(at, f"Invalid file: {error}.") from error


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text of its parts."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(part.text for part in content if isinstance(part, TextPart))


def invalid(param: str, message: str) -> Refused:
    return Refused(400, message, code="invalid_value", param=param)


def unsupported(param: str, message: str) -> Refused:
    return Refused(400, message, code="unsupported_parameter", param=param)
