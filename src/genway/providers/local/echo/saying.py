"""What is said to a conversation, in no format's words: its last user text again, a tool's result, a tool call, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any, Literal

import msgspec

from genway.errors import InvalidRequest
from genway.providers.local.echo import words
from genway.providers.local.echo.answers import joined
from genway.providers.local.echo.schemas import instance
from genway.providers.local.echo.words import Forced

NAME = "local-echo"
MOST_TOKENS, MOST_CHARACTERS = 250_000, 5_000_000
"""Of several choices together."""
SILENCE = "There were no words."
"""The answer to a conversation without any user text."""


class Conversation(msgspec.Struct):
    """What matters of a conversation.

    text: the last user message that has words. results: of the tools that were called last, if nothing was said since. fresh:
    no result is newer than the text. called: by id, the tools that were called. answered: the tools whose results these are.
    tokens: of all messages.
    """

    text: str = ""
    results: list[str] = []
    fresh: bool = True
    called: dict[str, str] = {}
    answered: list[str] = []
    tokens: int = 0

    def turn(self) -> None:
        """Somebody else speaks: what tools said before is dealt with."""
        self.results, self.answered = [], []

    def user(self, text: str) -> None:
        """The words of a user message."""
        if text:
            self.text = text
            self.fresh = True

    def result(self, call: str, text: str, *, name: str = "") -> None:
        """A tool has answered. name: where the format tells it; else it is the tool of the call."""
        self.results.append(text)
        self.answered.append(name or self.called.get(call, ""))
        self.fresh = False


class Tool(msgspec.Struct):
    """A tool that the program offers. schema: of its arguments, None where it takes a free text."""

    name: str
    schema: dict[str, Any] | None


class Choice(msgspec.Struct, frozen=True):
    """Whether tools are called. names: those that may be, None for all. A `must` with one name means that very tool."""

    mode: Literal["may", "must", "never"] = "may"
    names: tuple[str, ...] | None = None


class Asked(msgspec.Struct):
    """A request. field: where its text stands. form: the schema of the JSON that is wanted, `{}` for any object, None for text.
    most: tokens at most, those of the reasoning included. parallel: whether several tools may be called at once."""

    conversation: Conversation
    field: str
    tools: Sequence[Tool] = ()
    choice: Choice = Choice()
    parallel: bool = True
    form: dict[str, Any] | None = None
    form_field: str = "response_format"
    most: int | None = None
    stop: Sequence[str] = ()
    reasoning: bool = False


class Call(msgspec.Struct):
    """A tool call. arguments: JSON text, or the free text of a tool that takes one."""

    name: str
    arguments: str
    free: bool = False


class Said(msgspec.Struct):
    """An answer. stopped_by: the stop sequence that ended it. tokens: all that was produced, the reasoning included."""

    text: str
    reasoning: str
    calls: list[Call]
    ending: Literal["stop", "length", "calls"]
    tokens: int
    reasoning_tokens: int
    prompt_tokens: int
    stopped_by: str | None = None


def say(asked: Asked, forced: Forced) -> Said:
    """The answer to a request. Raises InvalidRequest where a tool is not there or a schema allows nothing."""
    talk = asked.conversation
    calls = _calls(asked, forced)
    reasoning = f"The user said: {talk.text or SILENCE}" if asked.reasoning or forced.reasoning else ""
    reasoning, left, cut = _cut(reasoning, asked.most)
    thought = words.count(reasoning)
    if calls:
        tokens = thought + sum(1 + words.count(call.arguments) for call in calls)
        return Said("", reasoning, calls, "calls", tokens, thought, talk.tokens)
    text, _, cut_too = _cut("" if cut else _text(asked, forced), left)
    text, stopped_by = _stopped(text, asked.stop)
    ending: Literal["stop", "length"] = "length" if (cut or cut_too) and stopped_by is None else "stop"
    return Said(text, reasoning, [], ending, thought + words.count(text), thought, talk.tokens, stopped_by)


def bounded(said: Sequence[Said]) -> None:
    """Raise InvalidRequest where several choices together would be far larger than any single answer."""
    tokens, characters = sum(one.tokens for one in said), sum(len(one.text) for one in said)
    if len(said) > 1 and (tokens > MOST_TOKENS or characters > MOST_CHARACTERS):
        raise InvalidRequest(f"all choices together have at most {MOST_TOKENS} tokens", field="n")


def _text(asked: Asked, forced: Forced) -> str:
    talk = asked.conversation
    text = joined(talk.results) or talk.text or SILENCE
    if asked.form is not None:
        return _json(asked.form, text, asked.form_field)
    if forced.length is not None:
        said = [piece.strip() for piece in words.pieces(text)]
        return " ".join(islice(cycle(said), forced.length))
    return text


def _json(schema: dict[str, Any], text: str, field: str) -> str:
    if schema:
        return msgspec.json.encode(instance(schema, field=field)).decode()
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        given = None
    return text if isinstance(given, dict) else msgspec.json.encode({"text": text}).decode()


def _calls(asked: Asked, forced: Forced) -> list[Call]:
    """The forced words count before the choice. A result is answered with text, unless another tool must be called."""
    talk, choice = asked.conversation, asked.choice
    if choice.mode == "never" or not asked.tools:
        return []
    tools = {tool.name: tool for tool in asked.tools}
    wanted: list[tuple[str, dict[str, Any] | None]] = []
    if forced.tools and talk.fresh:
        wanted = forced.tools
    elif choice.mode == "must":
        allowed = list(tools if choice.names is None else choice.names)
        named = choice.names is not None and len(allowed) == 1
        if not talk.results or (named and allowed[0] not in talk.answered):
            wanted = [(name, None) for name in allowed[:1]]
    calls = [_call(tools, name, arguments, talk.text) for name, arguments in wanted]
    return calls if asked.parallel else calls[:1]


def _call(tools: Mapping[str, Tool], name: str, arguments: dict[str, Any] | None, text: str) -> Call:
    tool = tools.get(name)
    if tool is None:
        raise InvalidRequest(f"there is no tool {name} among {', '.join(tools)}", field="tools")
    if tool.schema is None and arguments is None:
        return Call(name, text, free=True)
    if arguments is None:
        arguments = instance({"type": "object", **(tool.schema or {})}, field="tools")
    return Call(name, msgspec.json.encode(arguments).decode(), free=tool.schema is None)


def _cut(text: str, most: int | None) -> tuple[str, int | None, bool]:
    """The text in at most so many tokens, how many are left, and whether something was cut off."""
    if most is None:
        return text, None, False
    found = words.pieces(text)
    if len(found) > most:
        return "".join(found[:most]), 0, True
    return text, most - words.count(text), False


def _stopped(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    places = [(text.find(each), each) for each in stop if each and each in text]
    if not places:
        return text, None
    place, sequence = min(places)
    return text[:place], sequence
