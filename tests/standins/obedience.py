"""What a stand-in's model answers: exactly what the prompt tells it to, so that a test can foretell it.

`get_weather({"city": "Oslo"})` in the last user text calls that tool, where it is offered, as often as it stands there.
Where JSON is wanted, or a tool is forced, the first JSON object of the text is the answer. Results of tools are repeated.
Otherwise the text is repeated, with what pictures and documents were seen.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from standins.relay_vendor import Script

MAGIC = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "application/pdf": b"%PDF",
}


class Told(msgspec.Struct, kw_only=True):
    """What the model is told.

    said: the last user text. shown: a description of every picture and document of that turn. results: what the tools
    answered, where that came last. tools: the names on offer. forced: a tool that must be called, or `any`.
    """

    said: str = ""
    shown: Sequence[str] = ()
    results: Sequence[str] = ()
    tools: Sequence[str] = ()
    forced: str | None = None
    parallel: bool = True
    json: bool = False
    thinks: bool = False
    stop: Sequence[str] = ()
    limit: int | None = None


class Said(msgspec.Struct, kw_only=True):
    """What the model says. stopped: `end`, `length`, `tools` or `stop`, and then the sequence that stopped it."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = []
    stopped: str = "end"
    sequence: str | None = None


def obey(told: Told, script: Script) -> Said:
    """The model's turn."""
    thinking = script.thinking if script.thinking is not None else f"I was told: {told.said}" if told.thinks else ""
    calls = list(script.calls) if script.calls is not None else _calls(told)
    said = Said(thinking=thinking, calls=calls if told.parallel else calls[:1])
    if script.text is not None:
        said.text = script.text
    elif said.calls:
        said.text = ""
    elif told.results:
        said.text = f"The tools answered: {'; '.join(told.results)}"
    elif told.json:
        said.text = json.dumps(first_object(told.said), ensure_ascii=False)
    else:
        said.text = " ".join([f"You said: {told.said}", *(f"You showed: {shown}." for shown in told.shown)])
    return _ended(said, told)


def _ended(said: Said, told: Told) -> Said:
    for sequence in told.stop:
        if sequence in said.text:
            said.text = said.text[: said.text.index(sequence)]
            said.stopped, said.sequence = "stop", sequence
    words = pieces(said.text)
    if told.limit is not None and tokens(said.thinking) + len(words) > told.limit:
        said.text = "".join(words[: max(told.limit - tokens(said.thinking), 0)])
        said.stopped, said.calls = "length", []
    elif said.calls:
        said.stopped = "tools"
    return said


def _calls(told: Told) -> list[tuple[str, Any]]:
    if told.results or (told.forced is None and not told.tools):
        return []
    found = []
    for match in re.finditer(r"([\w-]+)\((?=\{)", told.said):
        if match[1] in told.tools and told.forced in (None, "any", match[1]):
            found.append((match[1], json.JSONDecoder().raw_decode(told.said, match.end())[0]))
    if not found and told.forced is not None:
        return [(told.tools[0] if told.forced == "any" else told.forced, first_object(told.said))]
    return found


def first_object(text: str) -> Any:
    """The first JSON object that stands in `text`; an empty one where there is none."""
    for match in re.finditer(r"\{", text):
        try:
            return json.JSONDecoder().raw_decode(text, match.start())[0]
        except json.JSONDecodeError:
            continue
    return {}


def pieces(text: str) -> list[str]:
    """A text in the pieces in which it is streamed: words with the space after them. Each counts as one token."""
    return re.findall(r"\S+\s*|^\s+", text)


def tokens(text: str) -> int:
    return len(pieces(text))


def fragments(text: str, size: int = 5) -> list[str]:
    """JSON text as it comes in a stream, broken anywhere."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def described(media_type: str, data: str) -> str:
    """Type and size of base64 `data`. Raises ValueError where it is not what it says."""
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("invalid base64 data") from error
    if media_type in MAGIC and not content.startswith(MAGIC[media_type]):
        raise ValueError(f"the data does not appear to be {media_type}")
    return f"{media_type} of {len(content)} bytes"


def data_uri(uri: str) -> tuple[str, str]:
    """Media type and base64 data. Raises ValueError."""
    match = re.fullmatch(r"data:([\w.+/-]+);base64,(.*)", uri, re.DOTALL)
    if match is None:
        raise ValueError("expected a base64 data URI")
    return match[1], match[2]
