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
from genway.relay.objects import Sort

_FILE: Final = (b'"file_id',)
MARKS: Final[dict[str, tuple[bytes, ...]]] = {
    "chat": _FILE,
    "messages": _FILE,
    "count_tokens": (*_FILE, b'"previous_message_id"'),
    "image_edits": _FILE,
    "responses": (*_FILE, b'"item_reference"', b'"conversation"'),
}
"""Kinds of call whose bodies can name what a vendor keeps, and what is in every body that does, unless it is escaped."""

FILES: Final[dict[str, Sort]] = {"messages": "message_files", "count_tokens": "message_files"}
_PLACE = re.compile(r"(input|items)\[\d+\]")
_ESCAPED = re.compile(rb"\\u00[4-7]")  # a letter written as an escape, which is how a name could be hidden


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
    if b"\\" in body and _ESCAPED.search(body):
        return True
    return previous_response_id is not None or (kind == "responses" and b'"id"' in body)


def of(kind: str, body: bytes, previous_response_id: str | None = None) -> list[Mention]:
    """The things that a body names; mostly none, and that is found out without decoding it.

    body: a JSON object. Raises InvalidRequest for one that is nested too deeply.
    """
    found = []
    if previous_response_id:
        found.append(Mention("responses", previous_response_id, "previous_response_id"))
    marks = MARKS.get(kind, ())
    # One byte is looked for much faster than several.
    if marks and (any(mark in body for mark in marks) or (b"\\" in body and _ESCAPED.search(body))):
        try:
            value = msgspec.json.decode(body)
            found += _inside(value, FILES.get(kind, "files"), "")
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


def _inside(value: Any, files: Sort, path: str) -> Iterator[Mention]:
    if isinstance(value, dict):
        reference = value.get("id")
        if isinstance(reference, str) and _refers(value.get("type"), value.get("role"), path):
            yield Mention("items", reference, path)
        for name, member in value.items():
            where = f"{path}.{name}" if path else name
            if name == "file_id" and isinstance(member, str):
                yield Mention(files, member, where)
            elif name == "file_ids" and isinstance(member, list):
                yield from (Mention(files, each, where) for each in member if isinstance(each, str))
            else:
                yield from _inside(member, files, where)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _inside(member, files, f"{path}[{number}]")


def _refers(kind: Any, role: Any, path: str) -> bool:
    """An item that refers to another may leave its type out; then only the input of a response is the place for it."""
    return kind == "item_reference" or (kind is None and role is None and _PLACE.fullmatch(path) is not None)


def _bare_references(given: bytes, path: str) -> Iterator[Mention]:
    if not given.lstrip().startswith(b"["):
        return
    try:
        items = _items.decode(given)
    except msgspec.ValidationError:
        yield from _inside(msgspec.json.decode(given), "files", path)
        return
    for number, item in enumerate(items):
        if item.id and item.type is None and item.role is None:
            yield Mention("items", item.id, f"{path}[{number}]")


def _conversation(value: Any) -> Iterator[Mention]:
    named = value.get("id") if isinstance(value, dict) else value
    if isinstance(named, str) and named:
        yield Mention("conversations", named, "conversation")
