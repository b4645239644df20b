"""How much a call used where its vendor does not say: counted here, as well as it can be, and marked as an estimate.

Text is counted as `tokenizer.py` says; what is not text has a flat figure, stated below.

A long text takes its time (about 30 ms for a million characters): count it in a thread.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from genway.billing.tokens import Used
from genway.relay.tokenizer import count

IMAGE_TOKENS: Final = 1_000
"""A picture that is looked at. OpenAI counts 765 for 1024x1024, Anthropic up to about 1,600."""

DOCUMENT_TOKENS: Final = 5_000
"""A document that is sent as a file: two or three pages of text and their pictures."""

SOUND_TOKENS_PER_SECOND: Final = 10
"""Sound that is listened to, as OpenAI counts it."""

SPEECH_TOKENS_PER_SECOND: Final = 20
"""Sound that is produced, as OpenAI counts it."""

SOUND_BYTES_PER_SECOND: Final = 16_000
"""128 kbit/s. A recording with a higher rate is taken to be longer than it is."""

CHARACTERS_PER_SECOND: Final = 15
"""Of speech, in a European language."""

PICTURE_TOKENS: Final = 1_056
"""A picture that is produced: 1024x1024 in medium quality, as OpenAI counts it for gpt-image-1."""

MESSAGE_TOKENS: Final = 3
"""What a message takes besides its text; as much again once, for the answer to begin."""

LISTENING: Final = frozenset({"transcriptions", "translations"})
BYTES_PER_TOKEN: Final = 3.5
SMALL: Final = 4_096
"""A body of so many bytes has no file that would count for less than its text does."""

LONG: Final = 256
"""So many characters of base64 at the beginning of a text, and it is a file."""

_FILE = re.compile(rb"(?:data:[^,]{0,100},)?(?:[A-Za-z0-9+/=_-]|\\/){%d}" % LONG)
_TIME = re.compile(r"(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})")


def quick_input(body: bytes) -> int:
    """How many tokens a request may be, for setting money aside before it is sent: too many for prose, too few for dense code.

    Takes less than a microsecond for a body of a few kilobytes, and for larger ones without files one look through them.
    """
    size = len(body)
    files = 0
    if size > SMALL and (b"base64" in body or b'"input_audio"' in body):
        start = 0
        while (end := body.find(b'"', start)) >= 0:
            if end - start > LONG and _FILE.match(body, start):
                size -= end - start
                files += 1
            start = end + 1
    return int(size / BYTES_PER_TOKEN) + files * IMAGE_TOKENS + 1


def count_tokens(body: bytes) -> int:
    """The answer to Anthropic's `count_tokens`, in front of a vendor that cannot count. Raises msgspec.DecodeError."""
    return asked("messages", body).read


def asked(kind: str, body: bytes) -> Used:
    """What the request alone uses: the tokens of its texts, tools, pictures, sounds and documents, and a speech's characters.

    body: the request's, in the format of `kind`; of a form (transcriptions, image edits) nothing is counted here.
    Raises msgspec.DecodeError.
    """
    request = msgspec.json.decode(body) if body.lstrip()[:1] == b"{" else {}
    model = request.get("model")
    reading = _Reading()
    try:
        for member in _READ:
            reading.add(member, request.get(member))
    except RecursionError:
        return Used(input=quick_input(body), estimated=True)
    used = reading.total(model if isinstance(model, str) else "")
    messages = request.get("input" if kind == "responses" else "messages")
    if isinstance(messages, list):
        used.input += MESSAGE_TOKENS * (len(messages) + 1)
    if kind == "speech" and isinstance(request.get("input"), str):
        used.characters = len(request["input"])
    return used


def produced(kind: str, events: Iterable[bytes], model: str = "") -> Used:
    """What a stream has produced so far. events: their payloads, without `data: `, as the vendor sent them."""
    making = _Making(model)
    for data in events:
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(event, dict):
            making.add_event(kind, event)
    return making.total()


def answered(kind: str, body: bytes, model: str = "") -> Used:
    """What a whole answer has produced. body: JSON; of transcriptions also plain text, or subtitles, whose last time counts."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if kind in LISTENING:
        return _listened(body, answer, model)
    making = _Making(model)
    if isinstance(answer, dict):
        making.add_answer(kind, answer)
    return making.total()


def whole(kind: str, request: bytes, answer: bytes, model: str = "") -> Used:
    """What a call used whose whole answer does not say so. answer: empty where it is not known.

    How long a speech is follows from its text, and how long a recording is from its transcript, else from its size.
    """
    read = _readable(kind, request)
    if kind == "speech":
        seconds = read.characters / CHARACTERS_PER_SECOND
        made = Used(audio_output=round(seconds * SPEECH_TOKENS_PER_SECOND), seconds=round(seconds, 3), estimated=True)
    elif kind in LISTENING and not answer:
        made = _heard(len(request) / SOUND_BYTES_PER_SECOND)
    else:
        made = answered(kind, answer, model)
    return msgspec.structs.replace(read + made, calls=1)


def streamed(kind: str, request: bytes, events: Iterable[bytes], known: Used | None = None, model: str = "") -> Used:
    """What a stream used that ended before the vendor had said all.

    known: what it had said (`usage.from_event`). Its input counts, where it told one; of its output and our own count the
    larger.
    """
    made = produced(kind, events, model)
    if known is None:
        return msgspec.structs.replace(_readable(kind, request) + made, calls=1)
    if not known.read:
        made = made + _readable(kind, request)
    more = known.produced >= made.produced
    out = known if more else made
    source = known if known.read else made
    return msgspec.structs.replace(
        source,
        output=out.output,
        reasoning=out.reasoning,
        audio_output=out.audio_output,
        image_output=out.image_output,
        images=max(known.images, made.images),
        seconds=max(known.seconds, made.seconds),
        characters=max(known.characters, made.characters),
        calls=max(known.calls, 1),
        estimated=known.estimated or not (more and known.read),
    )


def cut_off(used: Used, size: int) -> Used:
    """A speech of which so many bytes came: no more of it than these can hold, and of its text the same share."""
    if not used.seconds:
        return used
    share = min(size / SOUND_BYTES_PER_SECOND / used.seconds, 1.0)
    return msgspec.structs.replace(
        used,
        seconds=round(used.seconds * share, 3),
        audio_output=round(used.audio_output * share),
        characters=max(round(used.characters * share), 1),
    )


_READ = ("system", "instructions", "messages", "input", "prompt", "suffix", "tools", "functions", "query", "documents")
"""Members of requests that a model reads, in all formats."""

_NOT_READ = frozenset(
    ("type", "role", "id", "index", "status", "phase", "detail", "format", "media_type", "cache_control", "signature")
) | {"call_id", "tool_call_id", "tool_use_id", "file_id", "encrypted_content", "prompt_cache_breakpoint"}
_SCHEMAS = frozenset(("parameters", "input_schema"))
_PICTURES = frozenset(("image_url", "input_image", "image"))
_DOCUMENTS = frozenset(("file", "input_file", "document"))


def _readable(kind: str, request: bytes) -> Used:
    try:
        return asked(kind, request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Used(input=quick_input(request), estimated=True)


class _Reading:
    """What is found in a request, whatever its format: texts, and things that have a flat figure."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._used = Used(estimated=True)

    def add(self, name: str, value: Any) -> None:
        if name in _NOT_READ:
            return
        if isinstance(value, str):
            self._add_text(value)
        elif isinstance(value, list):
            self._used.input += sum(isinstance(item, int) for item in value)  # tokens, already counted by the client
            for item in value:
                self.add("", item)
        elif isinstance(value, dict):
            if name in _SCHEMAS or value.get("type") == "tool_use":
                self._texts.append(msgspec.json.encode(value).decode())
            else:
                self._add_object(value)

    def total(self, model: str) -> Used:
        self._used.input += count("\n".join(self._texts), model)
        return self._used

    def _add_text(self, text: str) -> None:
        if not text.startswith("data:") or ";base64," not in text[:100]:
            self._texts.append(text)
        elif text.startswith("data:image/"):
            self._used.image_input += IMAGE_TOKENS
        else:
            self._used.input += DOCUMENT_TOKENS

    def _add_object(self, value: dict[str, Any]) -> None:
        kind = value.get("type")
        if kind in _PICTURES:
            self._used.image_input += IMAGE_TOKENS
        elif kind == "input_audio":
            sound = value.get("input_audio")
            data = sound.get("data") if isinstance(sound, dict) else None
            seconds = len(data) * 3 / 4 / SOUND_BYTES_PER_SECOND if isinstance(data, str) else 0
            self._used.audio_input += round(seconds * SOUND_TOKENS_PER_SECOND)
        elif kind in _DOCUMENTS:
            source = value.get("source")
            if isinstance(source, dict) and source.get("type") in {"text", "content"}:
                self.add("", source.get("data") or source.get("content"))
            else:
                self._used.input += DOCUMENT_TOKENS
        else:
            for name, member in value.items():
                self.add(name, member)


class _Making:
    """What has been produced: texts, in lanes whose pieces belong together, and things that have a flat figure."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lanes: defaultdict[tuple[str, object, object], list[str]] = defaultdict(list)
        self._used = Used(estimated=True)

    def add_event(self, kind: str, event: dict[str, Any]) -> None:
        said = event.get("type")
        if kind in {"chat", "completions"}:
            self._add_choices(event)
        elif not isinstance(said, str):
            return
        elif kind == "messages":
            self._add_block(event.get("index"), event.get("content_block"))
            self._add_block(event.get("index"), event.get("delta"))
        elif said.endswith(("partial_image", ".completed")) and kind in {"image_generations", "image_edits"}:
            self._add_picture()
        elif said == "speech.audio.delta":
            self._add_sound(event.get("audio"))
        elif said.endswith(".delta"):
            place = event.get("output_index"), event.get("content_index")
            if "transcript" in said and "audio" in said:
                self._add("audio_output", place, event.get("delta"))
            elif "audio" not in said:
                self._add("reasoning" if "reasoning" in said else "output", place, event.get("delta"))

    def add_answer(self, kind: str, answer: dict[str, Any]) -> None:
        if kind == "messages":
            for index, block in enumerate(_objects(answer.get("content"))):
                self._add_block(index, block)
        elif kind == "responses":
            for index, item in enumerate(_objects(answer.get("output"))):
                self._add_item(index, item)
        elif kind.startswith("image_"):
            for _ in _objects(answer.get("data")):
                self._add_picture()
        else:
            self._add_choices(answer)

    def total(self) -> Used:
        for (lane, _, _), pieces in self._lanes.items():
            text = "".join(pieces)
            if lane == "audio_output":
                self._used.audio_output += round(len(text) / CHARACTERS_PER_SECOND * SPEECH_TOKENS_PER_SECOND)
            elif lane == "reasoning":
                self._used.reasoning += count(text, self._model)
            else:
                self._used.output += count(text, self._model)
        self._lanes.clear()
        return self._used

    def _add(self, lane: str, place: tuple[object, object], text: object) -> None:
        if isinstance(text, str) and text:
            self._lanes[lane, *place].append(text)

    def _add_choices(self, event: dict[str, Any]) -> None:
        for choice in _objects(event.get("choices")):
            place = choice.get("index")
            self._add("output", (place, "text"), choice.get("text"))
            spoken = choice.get("delta") or choice.get("message")
            if not isinstance(spoken, dict):
                continue
            self._add("output", (place, "text"), spoken.get("content"))
            self._add("output", (place, "text"), spoken.get("refusal"))
            self._add("reasoning", (place, ""), spoken.get("reasoning_content") or spoken.get("reasoning"))
            if isinstance(sound := spoken.get("audio"), dict):
                self._add("audio_output", (place, ""), sound.get("transcript"))
            for number, call in enumerate([*_objects(spoken.get("tool_calls")), *_objects([spoken.get("function_call")])]):
                function = call.get("function") or call.get("custom") or call
                if isinstance(function, dict):
                    for member in ("name", "arguments", "input"):
                        self._add("output", (place, call.get("index", number)), function.get(member))

    def _add_block(self, index: object, block: object) -> None:
        if not isinstance(block, dict):
            return
        self._add("reasoning", (index, ""), block.get("thinking"))
        for member in ("name", "text", "partial_json"):
            self._add("output", (index, ""), block.get(member))
        if block.get("input"):
            self._add("output", (index, ""), msgspec.json.encode(block["input"]).decode())

    def _add_item(self, index: int, item: dict[str, Any]) -> None:
        if item.get("type") == "image_generation_call":
            self._add_picture()
        lane = "reasoning" if item.get("type") == "reasoning" else "output"
        for member in ("name", "arguments", "input"):
            self._add(lane, (index, ""), item.get(member))
        for part in [*_objects(item.get("content")), *_objects(item.get("summary"))]:
            for member in ("text", "refusal"):
                self._add(lane, (index, ""), part.get(member))

    def _add_picture(self) -> None:
        self._used.images += 1
        self._used.image_output += PICTURE_TOKENS

    def _add_sound(self, data: object) -> None:
        if isinstance(data, str):
            seconds = len(data) * 3 / 4 / SOUND_BYTES_PER_SECOND
            self._used.seconds += seconds
            self._used.audio_output += round(seconds * SPEECH_TOKENS_PER_SECOND)


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _listened(body: bytes, answer: object, model: str) -> Used:
    """A transcript: how long the sound was follows from its duration, from the last time in it, or from its length."""
    text = body.decode("utf-8", "replace")
    seconds = 0.0
    if isinstance(answer, dict):
        text = answer["text"] if isinstance(answer.get("text"), str) else ""
        duration = answer.get("duration")
        seconds = float(duration) if isinstance(duration, int | float) and duration > 0 else 0.0
    elif times := _TIME.findall(text):
        hours, minutes, whole_seconds, thousandths = times[-1]
        seconds = int(hours or 0) * 3600 + int(minutes) * 60 + int(whole_seconds) + int(thousandths) / 1000
    used = _heard(seconds or len(text) / CHARACTERS_PER_SECOND)
    used.output = count(text, model)
    return used


def _heard(seconds: float) -> Used:
    return Used(audio_input=round(seconds * SOUND_TOKENS_PER_SECOND), seconds=round(seconds, 3), estimated=True)
