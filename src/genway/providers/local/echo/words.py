"""Words: how they are counted, how a text is cut into them, and those that force an outcome.

A token of the built-in answers is a word: what stands between spaces, and each Chinese, Japanese or Korean character by itself.

| words in the last user text | effect |
|---|---|
| `genway:fail=rate_limit` | the request is answered with this failure in the format's own shape; `FAILURES` are all of them |
| `genway:fail_after=3` | a stream breaks with an error after so many events |
| `genway:delay=2` | seconds before the answer, up to 600 |
| `genway:pause=0.05` | seconds between the events of a stream, up to 60 |
| `genway:length=500` | the answer has so many words, up to 100,000 |
| `genway:reasoning` | the answer comes with a reasoning |
| `genway:tool=NAME` or `genway:tool=NAME:{"city":"Oslo"}` | the tool is called, with these or with made-up arguments |
| `genway:tools=a,b` | these tools are called side by side |
| `genway:flag=violence` | a moderation finds these categories |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from genway.errors import InvalidRequest

FAILURES = ("moderation", "rate_limit", "overloaded", "server_error", "context_length", "insufficient_quota", "timeout")
MOST = {"delay": 600.0, "pause": 60.0, "length": 100_000.0, "fail_after": 100_000.0}
WHOLE = ("length", "fail_after")
LISTS = ("tools", "flag")
BARE = "genway:reasoning"
NOT_TEXT = 256
"""What a part that is not text counts: a picture, a sound or a file, of any size."""

_cjk = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_alone = re.compile(rf"[{_cjk}]")
_piece = re.compile(rf"\s*(?:[{_cjk}]|[^\s{_cjk}]+)")
_term = re.compile(rf"[{_cjk}]|(?:(?![{_cjk}])\w)+")
_forced = re.compile(r"genway:([a-z_-]+)=([\w./,-]*)(:(?=\{))?")
_json = json.JSONDecoder()


class Forced(msgspec.Struct):
    """The forced outcomes of a text. tools: names with the arguments to call them with, None for made-up ones."""

    fail: str | None = None
    fail_after: int | None = None
    delay: float = 0
    pause: float = 0
    length: int | None = None
    reasoning: bool = False
    tools: list[tuple[str, dict[str, Any] | None]] = []
    flag: list[str] = []


def count(text: str) -> int:
    """How many tokens a text has."""
    alone = 0
    if not text.isascii():
        text, alone = _alone.subn(" ", text)
    return alone + len(text.split())


def pieces(text: str) -> list[str]:
    """The text in tokens, each with the space before it; put together they are the text."""
    return list(_tokens(text))


def chunks(text: str) -> Iterator[str]:
    """The text as a stream sends it: a token at a time, a lone token in two halves."""
    found = _tokens(text)
    begun = list(islice(found, 2))
    if len(begun) == 1 and len(text) > 1:
        begun = [text[: len(text) // 2], text[len(text) // 2 :]]
    return chain(begun, found)


def _tokens(text: str) -> Iterator[str]:
    # The spaces at the end are no part of what is searched: at each of them a search would look in vain for a token behind it.
    end = len(text.rstrip())
    before = None
    for found in _piece.finditer(text, 0, end):
        if before is not None:
            yield before
        before = found[0]
    if last := (before or "") + text[end:]:
        yield last


def terms(text: str) -> list[str]:
    """What a text is about, for comparing: its words in lower case and without signs."""
    return _term.findall(text.casefold())


def forced(text: str, field: str) -> Forced:
    """The forced outcomes in a text. field: where the text stands, for errors.

    Raises InvalidRequest for words that are not in the table.
    """
    if "genway:" not in text:
        return Forced()
    found = Forced(reasoning=BARE in text)
    at = 0
    while word := _forced.search(text, at):
        at = word.end()
        name, value = word[1], word[2].rstrip(".,")
        if name == "tool":
            arguments = None
            if word[3]:
                arguments, at = _arguments(text, at, field)
            found.tools.append((value, arguments))
        else:
            _set(found, name, value, field)
    return found


def _set(found: Forced, name: str, value: str, field: str) -> None:
    if name == "fail":
        if value not in FAILURES:
            raise InvalidRequest(f"genway:fail= one of {', '.join(FAILURES)}, got {value}", field=field)
        found.fail = value
    elif name in MOST:
        whole = name in WHOLE
        if not re.fullmatch(r"[0-9]+" if whole else r"[0-9]+(\.[0-9]+)?", value) or float(value) > MOST[name]:
            kind = "whole number" if whole else "number"
            raise InvalidRequest(f"genway:{name}= a {kind} from 0 to {MOST[name]:g}, got {value}", field=field)
        setattr(found, name, int(value) if whole else float(value))
    elif name in LISTS:
        names = [each for each in value.split(",") if each]
        if name == "flag":
            found.flag += names
        else:
            found.tools += [(each, None) for each in names]
    else:
        raise InvalidRequest(f"there is no forced outcome genway:{name}", field=field)


def _arguments(text: str, at: int, field: str) -> tuple[dict[str, Any], int]:
    try:
        _, end = _json.raw_decode(text, at)
        return msgspec.json.decode(text[at:end]), end
    except (ValueError, RecursionError):
        raise InvalidRequest("genway:tool=NAME: is followed by what is no JSON object", field=field) from None
