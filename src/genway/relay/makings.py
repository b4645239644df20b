"""What an answer makes at its vendor besides itself: containers that code ran in, files that came of it, audio to go on from.

Their ids are read only where the vendor itself puts them, never where a model or a client could have written them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from genway.relay.kinds import Call
from genway.relay.objects import Sort
from genway.relay.sse import data_of, events

TOOLS: Final[dict[str, tuple[bytes, ...]]] = {
    "messages": (b'"code_execution', b'"web_'),
    "responses": (b'"code_interpreter"', b'"shell"'),
}
"""Kinds of call whose tools run code in containers, and how such tools are called. Anthropic's tools for the web run code to
sift what they find."""

TOLD: Final[dict[str, tuple[bytes, ...]]] = {
    "chat": (b'"audio"',),
    "messages": (b'"container"', b'"file_id"'),
    "responses": (b'"container_id"',),
}
"""What an answer, or an event of one, has in it where it tells of such a thing."""

RESULTS: Final = frozenset({"code_execution_tool_result", "bash_code_execution_tool_result"})

Making = tuple[Sort, str]


class _Named(msgspec.Struct):
    id: str | None = None
    file_id: str | None = None
    container_id: str | None = None


class _Said(msgspec.Struct):
    audio: _Named | None = None


class _Choice(msgspec.Struct):
    """message: of a whole answer; delta: of a chunk."""

    message: _Said | None = None
    delta: _Said | None = None


class _Chat(msgspec.Struct):
    choices: list[_Choice] | None = None


class _Result(msgspec.Struct):
    content: list[_Named] | None = None


class _Block(msgspec.Struct):
    """content: of a tool's result, which each tool has in a form of its own."""

    type: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Delta(msgspec.Struct):
    container: _Named | None = None


class _Message(msgspec.Struct):
    container: _Named | None = None
    content: list[_Block] | None = None


class _MessageEvent(_Message):
    """A whole message, or an event of one."""

    message: _Message | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None


class _Item(msgspec.Struct):
    type: str = ""
    container_id: str | None = None
    environment: _Named | None = None


class _Response(msgspec.Struct):
    output: list[_Item] | None = None


class _ResponseEvent(_Response):
    """A whole response, or an event of one."""

    response: _Response | None = None
    item: _Item | None = None


_chat = msgspec.json.Decoder(_Chat).decode
_message = msgspec.json.Decoder(_MessageEvent).decode
_result = msgspec.json.Decoder(_Result).decode
_response = msgspec.json.Decoder(_ResponseEvent).decode


def possible(kind: str, asked: Call) -> bool:
    """Whether the answer to a call may make anything."""
    if kind == "chat":
        return bool(asked.audio)
    if kind not in TOOLS:
        return False
    tools = bytes(asked.tools)
    named = asked.container or (kind == "responses" and bytes(asked.prompt).startswith(b"{"))  # a prompt may bring tools
    return bool(named or (tools and any(mark in tools for mark in TOOLS[kind])))


def of(kind: str, told: bytes) -> set[Making]:
    """What an answer, or one event of it, tells that it has made; nothing for what is not to be understood. told: JSON."""
    if not any(mark in told for mark in TOLD.get(kind, ())):
        return set()
    try:
        return {(sort, name) for sort, name in _READ[kind](told) if name}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()


class Gathering:
    """Gathers what the events of one stream tell."""

    def __init__(self, kind: str) -> None:
        self.found: set[Making] = set()
        self._kind = kind
        self._marks = TOLD[kind]

    def __call__(self, ready: bytes) -> None:
        """ready: whole events, as they came."""
        if any(mark in ready for mark in self._marks):
            for event in events(ready):
                self.found |= of(self._kind, data_of(event))


def _of_chat(told: bytes) -> Iterator[tuple[Sort, str | None]]:
    for choice in _chat(told).choices or ():
        said = choice.message or choice.delta
        if said is not None and said.audio is not None:
            yield "audio", said.audio.id


def _of_message(told: bytes) -> Iterator[tuple[Sort, str | None]]:
    event = _message(told)
    for part in (event, event.message, event.delta):
        if part is not None and part.container is not None:
            yield "message_containers", part.container.id
    for block in (*(event.content or ()), event.content_block):
        if block is not None and block.type in RESULTS:
            result = _result(block.content)
            yield from (("message_files", output.file_id) for output in result.content or ())


def _of_response(told: bytes) -> Iterator[tuple[Sort, str | None]]:
    event = _response(told)
    ended = event.response.output if event.response is not None else None
    for item in (*(event.output or ()), *(ended or ()), event.item):
        if item is not None and item.type == "code_interpreter_call":
            yield "containers", item.container_id
        elif item is not None and item.type == "shell_call" and item.environment is not None:
            yield "containers", item.environment.container_id


_READ: Final = {"chat": _of_chat, "messages": _of_message, "responses": _of_response}
