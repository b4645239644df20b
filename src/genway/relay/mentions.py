"""Ids of kept things that the body of a call names: what must be the account's own before the vendor sees it.

A vendor's account is shared by all who come through a channel, so the vendor itself would let anybody use anybody's file.
Of a member that is given twice the last counts, as with the vendors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from genway.errors import InvalidRequest
from genway.relay.kinds import ESCAPED
from genway.relay.objects import Sort

_FILE: Final = b'"file_id'
_CONTAINER: Final = b'"container'
_SHARED: Final = (b'"prompt"', b'"tunnel_id"')
MARKS: Final[dict[str, tuple[bytes, ...]]] = {
    "chat": (_FILE, b'"audio"'),
    "messages": (_FILE, _CONTAINER),
    "count_tokens": (_FILE, _CONTAINER, b'"previous_message_id"'),
    "image_edits": (_FILE,),
    "responses": (_FILE, _CONTAINER, *_SHARED, b'"vector_store_ids"', b'"item_reference"', b'"conversation"'),
    "speech": (b'"voice"',),
    "realtime": (*_SHARED, b'"voice"'),
}
"""Kinds of call whose bodies can name what a vendor keeps, and what is in every body that does, unless it is escaped."""

ANTHROPIC: Final = frozenset({"messages", "count_tokens"})
FILES: Final[dict[str, tuple[Sort, Sort]]] = dict.fromkeys(ANTHROPIC, ("message_files", "message_containers"))
FREE_FORM: Final = frozenset({"parameters", "schema", "input_schema", "input_examples"})
"""Members that describe the client's own tools and formats: what is called how in them is the client's choice."""

OUTPUTS: Final = frozenset({"code_execution_output", "bash_code_execution_output"})
TOOL_USES: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
OWN_SKILLS: Final = "openai-"
"""What the ids of skills begin with that OpenAI itself gives to everybody."""

_ANNOTATION = re.compile(r"(?:^|\.)annotations\[\d+\]$")
_PLACE = re.compile(r"(input|items)\[\d+\]")


class Mention(msgspec.Struct, frozen=True):
    """field: where in the body, for an error."""

    kind: Sort
    id: str
    field: str


class _Item(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    role: str | None = None


class _Input(msgspec.Struct):
    """items: what the input is called where a conversation is made or goes on."""

    input: msgspec.Raw = msgspec.Raw(b"null")
    items: msgspec.Raw = msgspec.Raw(b"null")


_input = msgspec.json.Decoder(_Input)
_items = msgspec.json.Decoder(list[_Item])


def possible(kind: str, body: bytes, previous_response_id: str | None = None) -> bool:
    """Whether `of` would have to look; where it need not, nothing is named."""
    marks = MARKS.get(kind)
    if marks is None:
        return previous_response_id is not None
    for mark in marks:
        if mark in body:
            return True
    if b"\\" in body and ESCAPED.search(body):
        return True
    return previous_response_id is not None or (kind == "responses" and b'"id"' in body)


def of(kind: str, body: bytes, previous_response_id: str | None = None) -> list[Mention]:
    """The things that a body names; mostly none, and that is found out without decoding it.

    body: a JSON object, or a client's message of a realtime session. Raises InvalidRequest for one that is nested too deeply.
    """
    found = []
    if previous_response_id:
        found.append(Mention("responses", previous_response_id, "previous_response_id"))
    marks = MARKS.get(kind, ())
    # One byte is looked for much faster than several.
    if marks and (any(mark in body for mark in marks) or (b"\\" in body and ESCAPED.search(body))):
        try:
            value = msgspec.json.decode(body)
            found += _inside(value, kind, "")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"the body is not valid JSON, or too deep: {error}") from None
        if kind == "responses" and isinstance(value, dict):
            found += _conversation(value.get("conversation"))
        elif kind == "count_tokens" and isinstance(value, dict) and (name := previous_message(value.get("thread"))):
            found.append(Mention("threads", name, "thread.previous_message_id"))
    elif kind == "responses" and b'"id"' in body:
        given = _input.decode(body)
        found += [*_bare_references(bytes(given.input), "input"), *_bare_references(bytes(given.items), "items")]
    return found


def previous_message(thread: Any) -> str | None:
    """The message that a call's member `thread` names to go on from; None for a new thread."""
    name = thread.get("previous_message_id") if isinstance(thread, dict) else None
    return name if isinstance(name, str) and name else None


def _inside(value: Any, kind: str, path: str) -> Iterator[Mention]:
    if isinstance(value, dict):
        said, reference = value.get("type"), value.get("id")
        if isinstance(reference, str) and _refers(said, value.get("role"), path):
            yield Mention("items", reference, path)
        if not _is_quote(kind, said, path):
            for name, member in value.items():
                if not _is_free(kind, said, name, member, path):
                    where = f"{path}.{name}" if path else name
                    yield from _named(kind, name, member, said, where)
                    yield from _inside(member, kind, where)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _inside(member, kind, f"{path}[{number}]")


def _is_quote(kind: str, said: Any, path: str) -> bool:
    """Whether an object is what a vendor said earlier of where something came from or went to: sent again it is but text."""
    return said in OUTPUTS if kind in ANTHROPIC and isinstance(said, str) else _ANNOTATION.search(path) is not None


def _is_free(kind: str, said: Any, name: str, member: Any, path: str) -> bool:
    """Whether a member holds words of the client's own, or of a model's, which no vendor takes for ids of its own."""
    if name in FREE_FORM or (name == "metadata" and not path):
        return True
    if kind in ANTHROPIC:
        return name == "input" and isinstance(said, str) and said in TOOL_USES
    return (name == "results" and said == "file_search_call") or (isinstance(member, str) and path.endswith("prompt.variables"))


def _named(kind: str, name: str, member: Any, said: Any, where: str) -> Iterator[Mention]:
    """What one member of an object names. said: the object's own type."""
    files, containers = FILES.get(kind, ("files", "containers"))
    given = member.get("id") if isinstance(member, dict) else None
    match name:
        case "file_id" if isinstance(member, str):
            yield Mention(files, member, where)
        case "file_ids" if isinstance(member, list):
            yield from (Mention(files, each, where) for each in member if isinstance(each, str))
        case "container" | "container_id" if isinstance(member, str):
            yield Mention(containers, member, where)
        case "container" if isinstance(given, str):
            yield Mention(containers, given, f"{where}.id")
        case "vector_store_ids" if isinstance(member, list):
            yield from (Mention("vector_stores", each, where) for each in member if isinstance(each, str))
        case "skill_id" if isinstance(member, str) and said != "anthropic" and not member.startswith(OWN_SKILLS):
            yield Mention("skills", member, where)
        case "tunnel_id" if isinstance(member, str):
            yield Mention("tunnels", member, where)
        case "prompt" if isinstance(given, str) and kind in {"responses", "realtime"}:
            yield Mention("prompts", given, f"{where}.id")
        case "voice" if isinstance(given, str):
            yield Mention("voices", given, f"{where}.id")
        case "audio" if isinstance(given, str) and kind == "chat":
            yield Mention("audio", given, f"{where}.id")


def _refers(kind: Any, role: Any, path: str) -> bool:
    """An item that refers to another may leave its type out; then only the input of a response is the place for it."""
    return kind == "item_reference" or (kind is None and role is None and _PLACE.fullmatch(path) is not None)


def _bare_references(given: bytes, path: str) -> Iterator[Mention]:
    if not given.lstrip().startswith(b"["):
        return
    try:
        items = _items.decode(given)
    except msgspec.ValidationError:
        yield from _inside(msgspec.json.decode(given), "responses", path)
        return
    for number, item in enumerate(items):
        if item.id and item.type is None and item.role is None:
            yield Mention("items", item.id, f"{path}[{number}]")


def _conversation(value: Any) -> Iterator[Mention]:
    named = value.get("id") if isinstance(value, dict) else value
    if isinstance(named, str) and named:
        yield Mention("conversations", named, "conversation")
