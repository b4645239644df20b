"""What Anthropic's API takes for messages, and what it refuses in a conversation.

Written from the vendor's reference; the rules for tool results, thinking, sampling and empty text are those that its error
texts state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from standins.obedience import described
from standins.relay_vendor import Refused
from standins.strict_bodies import Strict, Wrong, read

ToolId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]+$")]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
NEWEST = "2026-10-21"
VERSIONS = ("2023-01-01", "2023-06-01", NEWEST)
BREAKPOINTS = 4


class Model(msgspec.Struct, frozen=True):
    """adaptive, budget: the kinds of thinking it takes. sampling: whether temperature and its kin are taken."""

    display_name: str
    adaptive: bool = True
    budget: bool = False
    sampling: bool = False
    prefill: bool = False
    ceiling: int = 64_000


MODELS = {
    "claude-sonnet-5-5": Model("Claude Sonnet 5.5"),
    "claude-opus-4-6": Model("Claude Opus 4.6", budget=True, sampling=True),
    "claude-haiku-4-5": Model("Claude Haiku 4.5", adaptive=False, budget=True, sampling=True, prefill=True),
}


class CacheControl(Strict, tag="ephemeral"):
    ttl: Literal["5m", "1h"] = "5m"


Cached = CacheControl | None


class Text(Strict, tag="text"):
    text: str
    citations: list[Any] | None = None
    cache_control: Cached = None


class Base64(Strict, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: str


class Url(Strict, tag="url"):
    url: Annotated[str, Meta(pattern="^https?://")]


class FileSource(Strict, tag="file"):
    file_id: str


class PlainText(Strict, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class ContentSource(Strict, tag="content"):
    content: str | list[Text]


class Image(Strict, tag="image"):
    source: Base64 | Url | FileSource
    cache_control: Cached = None
    transformations: Any = None


class Citations(Strict):
    enabled: bool = False


class Document(Strict, tag="document"):
    source: Base64 | PlainText | ContentSource | Url | FileSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: Cached = None


class SearchResult(Strict, tag="search_result"):
    source: str
    title: str
    content: list[Text]
    citations: Citations | None = None
    cache_control: Cached = None


class ToolUse(Strict, tag="tool_use"):
    id: ToolId
    name: ToolName
    input: dict[str, Any]
    caller: dict[str, Any] | UnsetType = UNSET
    cache_control: Cached = None


class ToolResult(Strict, tag="tool_result"):
    tool_use_id: ToolId
    content: str | list[Text | Image | Document | SearchResult] | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    cache_control: Cached = None


class Thinking(Strict, tag="thinking"):
    thinking: str
    signature: str


class RedactedThinking(Strict, tag="redacted_thinking"):
    data: str


Block = Text | Image | Document | SearchResult | ToolUse | ToolResult | Thinking | RedactedThinking
HERE: dict[str, tuple[type[Any], ...]] = {
    "user": (Text, Image, Document, SearchResult, ToolResult),
    "assistant": (Text, ToolUse, Thinking, RedactedThinking),
    "system": (Text,),
}
"""Which blocks a role may say."""


class Message(Strict):
    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Meta(min_length=1)]


class Tool(Strict):
    name: ToolName
    input_schema: dict[str, Any]
    description: str | UnsetType = UNSET
    type: Literal["custom"] | None = None
    strict: bool | UnsetType = UNSET
    cache_control: Cached = None
    input_examples: list[dict[str, Any]] | UnsetType = UNSET
    defer_loading: bool | UnsetType = UNSET
    eager_input_streaming: bool | None = None
    allowed_callers: list[str] | UnsetType = UNSET


class ServerTool(msgspec.Struct):
    """A tool that the vendor carries out; its options differ from kind to kind."""

    type: Annotated[str, Meta(pattern=r"^(web_search|web_fetch|code_execution|bash|text_editor|memory|computer)_\d+$")]
    name: str
    cache_control: Cached = None


class Auto(Strict, tag="auto"):
    disable_parallel_tool_use: bool = False


class AnyTool(Strict, tag="any"):
    disable_parallel_tool_use: bool = False


class NamedTool(Strict, tag="tool"):
    name: str
    disable_parallel_tool_use: bool = False


class NoTool(Strict, tag="none"):
    pass


Display = Literal["summarized", "omitted"] | None


class Adaptive(Strict, tag="adaptive"):
    display: Display = None


class Enabled(Strict, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1024)]
    display: Display = None


class Disabled(Strict, tag="disabled"):
    pass


class BetweenTools(Strict, tag="between_tools"):
    pass


class Format(Strict, tag="json_schema"):
    schema: dict[str, Any]


class OutputConfig(Strict):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class Metadata(Strict):
    user_id: Annotated[str, Meta(max_length=256)] | None = None


class Counted(Strict):
    """POST /v1/messages/count_tokens."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1, max_length=100_000)]
    system: str | list[Text] | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET
    tool_choice: Auto | AnyTool | NamedTool | NoTool | UnsetType = UNSET
    thinking: Adaptive | Enabled | Disabled | BetweenTools | UnsetType = UNSET
    output_config: OutputConfig | UnsetType = UNSET
    cache_control: Cached = None
    speed: Literal["standard", "fast"] | None = None


class Create(Counted, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    service_tier: Literal["auto", "standard_only"] | UnsetType = UNSET
    container: Any = None
    diagnostics: Any = None
    inference_geo: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


def take(value: Any, shape: Any, version: str) -> Any:
    """A body as `shape`, with all that the vendor checks beyond types. Raises Refused."""
    try:
        body = read(value, shape)
        tools_of(body)
    except Wrong as wrong:
        said = {"unknown": "Extra inputs are not permitted", "missing": "Field required"}.get(wrong.kind, wrong.message)
        raise invalid(f"{wrong.path}: {said}" if wrong.path else said) from wrong
    if body.model not in MODELS:
        raise Refused(404, f"model: {body.model}", code="not_found_error")
    if isinstance(body, Create):
        _check_sampling(body, MODELS[body.model], version)
        if body.max_tokens > MODELS[body.model].ceiling:
            ceiling = MODELS[body.model].ceiling
            raise invalid(f"max_tokens: {body.max_tokens} > {ceiling}, the maximum output tokens for {body.model}")
    _check_thinking(body)
    _check_tools(body)
    _check_messages(body, version)
    marks = sum(1 for each in _cacheable(body) if each.cache_control is not None) + (body.cache_control is not None)
    if marks > BREAKPOINTS:
        raise invalid(f"A maximum of {BREAKPOINTS} blocks with cache_control may be provided. Found {marks}.")
    return body


def _check_sampling(body: Create, model: Model, version: str) -> None:
    given = [name for name in ("temperature", "top_p", "top_k") if getattr(body, name) is not UNSET]
    if given and version == NEWEST:
        raise invalid(f"{given[0]}: Extra inputs are not permitted")
    if given and not model.sampling:
        raise invalid(f"`{given[0]}` is deprecated for this model.")
    if {"temperature", "top_p"} <= set(given):
        raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if isinstance(body.thinking, Enabled) and body.temperature not in (UNSET, 1):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")


def _check_thinking(body: Counted) -> None:
    model, thinking = MODELS[body.model], body.thinking
    if isinstance(thinking, Adaptive) and not model.adaptive:
        raise invalid("adaptive thinking is not supported on this model")
    if not isinstance(thinking, Enabled):
        return
    if not model.budget:
        raise invalid('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
    if isinstance(body, Create) and thinking.budget_tokens >= body.max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if isinstance(body.tool_choice, AnyTool | NamedTool):
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tools(body: Counted) -> None:
    tools = tools_of(body)
    if body.tool_choice is not UNSET and not tools:
        raise invalid("tool_choice: tool_choice may only be specified while providing tools.")
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise invalid("tools: Tool names must be unique.")
    for number, tool in enumerate(tools):
        if isinstance(tool, Tool) and tool.input_schema.get("type") != "object":
            raise invalid(f"tools.{number}.custom.input_schema.type: Input should be 'object'")
    if isinstance(body.tool_choice, NamedTool) and body.tool_choice.name not in names:
        raise invalid(f"Tool '{body.tool_choice.name}' not found in provided tools")


def _check_messages(body: Counted, version: str) -> None:
    turns = merged(body.messages)
    if turns[0][0] != "user":
        raise invalid('messages: first message must use the "user" role')
    if turns[-1][0] == "assistant":
        if not MODELS[body.model].prefill:
            raise invalid("This model does not support assistant message prefill.")
        last = turns[-1][1][-1]
        if isinstance(last, Text) and last.text != last.text.rstrip():
            raise invalid("messages: final assistant content cannot end with trailing whitespace")
    for place, block in _blocks(body, version):
        _check_block(place, block)
    waiting: list[str] = []
    for number, (_, blocks) in enumerate(turns):
        results = [block for block in blocks if isinstance(block, ToolResult)]
        answered_ = [block.tool_use_id for block in results]
        missing = [tool_id for tool_id in waiting if tool_id not in answered_]
        if missing:
            raise _unanswered(number - 1, missing)
        for tool_id in answered_:
            if tool_id not in waiting or answered_.count(tool_id) > 1:
                raise invalid(
                    f"messages.{number}.content: unexpected `tool_use_id` found in `tool_result` blocks: {tool_id}. Each"
                    " `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        if not all(isinstance(block, ToolResult) for block in blocks[: len(results)]):
            raise invalid(f"messages.{number}: `tool_result` blocks must stand before any other content.")
        waiting = [block.id for block in blocks if isinstance(block, ToolUse)]
        if len(set(waiting)) < len(waiting):
            raise invalid(f"messages.{number}.content: `tool_use` ids must be unique")
        if waiting and isinstance(body.thinking, Enabled) and not isinstance(blocks[0], Thinking | RedactedThinking):
            found = msgspec.to_builtins(blocks[0])["type"]
            raise invalid(
                f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`."
                " When `thinking` is enabled, a final `assistant` message must start with a thinking block."
            )
    if waiting:
        raise _unanswered(len(turns) - 1, waiting)


def _unanswered(number: int, missing: list[str]) -> Refused:
    return invalid(
        f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}."
        " Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _blocks(body: Counted, version: str) -> Iterator[tuple[str, Any]]:
    for number, message in enumerate(body.messages):
        allowed = HERE[message.role] + ((Document,) if message.role == "assistant" and version != NEWEST else ())
        for index, block in enumerate(blocks_of(message.content)):
            place = f"messages.{number}.content.{index}"
            if not isinstance(block, allowed):
                kind = msgspec.to_builtins(block)["type"]
                raise invalid(f"{place}: `{kind}` blocks are not permitted in {message.role} messages")
            if isinstance(block, Text) and block.citations and message.role == "user" and version == NEWEST:
                raise invalid(f"{place}.citations: not permitted in user messages")
            yield place, block
    for number, block in enumerate(system_of(body)):
        yield f"system.{number}", block


def _check_block(place: str, block: Any) -> None:
    if isinstance(block, Text):
        if not block.text:
            raise invalid(f"{place.partition('.')[0]}: text content blocks must be non-empty")
        if not block.text.strip():
            raise invalid(f"{place.partition('.')[0]}: text content blocks must contain non-whitespace text")
    elif isinstance(block, Image | Document):
        shown(block, place)
    elif isinstance(block, ToolResult) and isinstance(block.content, list):
        for number, each in enumerate(block.content):
            _check_block(f"{place}.content.{number}", each)
    elif isinstance(block, Thinking) and block.signature != signature(block.thinking):
        raise invalid(f"{place}: Invalid `signature` in `thinking` block")


def tools_of(body: Counted) -> list[Tool | ServerTool]:
    """The tools on offer. Raises Wrong."""
    given = [] if body.tools is UNSET else body.tools
    own = [each.get("type", "custom") in ("custom", None) for each in given]
    return [read(each, Tool if own[number] else ServerTool, f"tools.{number}") for number, each in enumerate(given)]


def blocks_of(content: str | list[Block]) -> list[Any]:
    return [Text(text=content)] if isinstance(content, str) else list(content)


def system_of(body: Counted) -> list[Text]:
    if body.system is UNSET or body.system == "":
        return []
    return [Text(text=body.system)] if isinstance(body.system, str) else body.system


def merged(messages: list[Message]) -> list[tuple[str, list[Any]]]:
    """Turns: messages of one role in a row are one, and system text in between belongs to none."""
    turns: list[tuple[str, list[Any]]] = []
    for message in messages:
        if message.role == "system":
            continue
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(blocks_of(message.content))
        else:
            turns.append((message.role, blocks_of(message.content)))
    return turns or [("system", [])]


def shown(block: Image | Document, place: str = "messages") -> str:
    """What a picture or document is. Raises Refused for one that cannot be read."""
    source = block.source
    if isinstance(source, Url):
        return source.url
    if isinstance(source, FileSource):
        return source.file_id
    if isinstance(source, PlainText):
        return f"text of {len(source.data)} characters"
    if isinstance(source, ContentSource):
        return "content"
    if (source.media_type == "application/pdf") != isinstance(block, Document):
        raise invalid(f"{place}.source.base64.media_type: {source.media_type} is not permitted here")
    try:
        return described(source.media_type, source.data)
    except ValueError as error:
        raise invalid(f"{place}.source.base64.data: {error}") from error


def _cacheable(body: Counted) -> list[Any]:
    blocks = [block for message in body.messages for block in blocks_of(message.content)]
    return [each for each in (*tools_of(body), *system_of(body), *blocks) if hasattr(each, "cache_control")]


def caches(body: Counted) -> dict[str, str]:
    """What is marked for the cache: a digest of each marked prefix, and how long it is kept."""
    found: dict[str, str] = {}
    running = hashlib.sha256(body.model.encode())
    for each in _cacheable(body):
        plain = {name: value for name, value in msgspec.to_builtins(each).items() if name != "cache_control"}
        running.update(msgspec.json.encode(plain))
        if each.cache_control is not None:
            found[running.hexdigest()] = each.cache_control.ttl
    if body.cache_control is not None:
        found[running.hexdigest()] = body.cache_control.ttl
    return found


def signature(thinking: str) -> str:
    """The vendor's mark under a thought; a thought comes back with it unchanged, or is refused."""
    return "sig_" + hashlib.sha256(thinking.encode()).hexdigest()[:24]


def invalid(message: str) -> Refused:
    return Refused(400, message, code="invalid_request_error")
