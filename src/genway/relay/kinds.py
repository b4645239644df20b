"""What calls there are: their routes, what of a body the relay needs to know, and which may be translated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from genway.errors import InvalidRequest
from genway.providers.relaying import Wire
from genway.wire.exchange import compressed

Body = Literal["json", "form"]


class Kind(msgspec.Struct, frozen=True):
    """One sort of call.

    wire: the format clients speak for it. streams: an answer may come as events. ends_with: what the last event of a
    stream has in its data. translated: the kind that does the same work in another format. instead: what is said to those who
    come with another method than POST.
    """

    name: str
    wire: Wire = "openai"
    body: Body = "json"
    streams: bool = True
    ends_with: tuple[bytes, ...] = ()
    translated: str = ""
    instead: str = ""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "chat",
            ends_with=(b"[DONE]",),
            translated="messages",
            instead="stored chats are not kept on record here; responses are: POST /v1/responses",
        ),
        Kind("completions", ends_with=(b"[DONE]",)),
        Kind(
            "responses",
            ends_with=(b'"response.completed"', b'"response.incomplete"', b'"response.failed"'),
            instead="responses are not listed, and streamed over HTTP, not over a WebSocket",
        ),
        Kind("embeddings", streams=False),
        Kind("moderations", streams=False),
        Kind("rerank", streams=False),
        Kind("image_generations", ends_with=(b'"image_generation.completed"',)),
        Kind("image_edits", body="form", ends_with=(b'"image_edit.completed"',)),
        Kind("image_variations", body="form", streams=False),
        Kind("speech", ends_with=(b'"speech.audio.done"',)),
        Kind("transcriptions", body="form", ends_with=(b'"transcript.text.done"',)),
        Kind("translations", body="form", streams=False),
        Kind("messages", wire="anthropic", ends_with=(b'"message_stop"',), translated="chat"),
        Kind("count_tokens", wire="anthropic", streams=False),
    )
}

PATHS: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/responses": "responses",
    "/embeddings": "embeddings",
    "/moderations": "moderations",
    "/rerank": "rerank",
    "/images/generations": "image_generations",
    "/images/edits": "image_edits",
    "/images/variations": "image_variations",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcriptions",
    "/audio/translations": "translations",
    "/messages": "messages",
    "/messages/count_tokens": "count_tokens",
}
# A base address with or without `/v1`, and the double `/v1` of those who gave one with it to a client that adds it.
PREFIXES = ("/v1", "", "/v1/v1", "/openai/v1", "/openai", "/anthropic/v1", "/anthropic")
ROUTES = {f"{prefix}{path}{slash}": KINDS[name] for path, name in PATHS.items() for prefix in PREFIXES for slash in ("", "/")}


def under_v1(path: str) -> str:
    """The path after `/v1` or its other spellings: `/openai/v1/models` → `/models`."""
    for prefix in ("/v1/v1", "/openai/v1", "/anthropic/v1", "/v1", "/openai", "/anthropic"):
        if path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/"):
            path = path[len(prefix) :]
            break
    return path.rstrip("/") or "/"


NOTHING = msgspec.Raw(b"")
ESCAPED = re.compile(rb"\\u00[4-7]")
"""A letter written as an escape, which is how a name could be hidden."""


MOST_ANSWERS = 1_000_000  # far more than any vendor gives at once, and few enough to be priced


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Call(msgspec.Struct):
    """What the relay reads of a body; all else travels on as it is."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stream_format: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: Annotated[int, msgspec.Meta(le=MOST_ANSWERS)] | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | str | None = None  # a response's switch; the ground of a picture
    thread: Any = None
    tools: msgspec.Raw = NOTHING
    audio: msgspec.Raw = NOTHING
    container: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING

    @property
    def streamed(self) -> bool:
        return self.stream is True or self.stream_format == "sse"

    @property
    def most_output(self) -> int | None:
        """The most tokens the client wants produced, where it says so with a number above zero."""
        most = self.max_completion_tokens or self.max_output_tokens or self.max_tokens
        return most if most is not None and most > 0 else None

    @property
    def sticky(self) -> str:
        """What keeps the calls that belong together on one channel."""
        return self.prompt_cache_key or self.user or ""

    @property
    def wants_usage(self) -> bool:
        """Whether a chat client asked for the usage of its stream."""
        return self.stream_options is not None and self.stream_options.include_usage is True


decode = msgspec.json.Decoder(Call).decode
"""What the relay reads of a body. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError."""
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(body: bytes) -> Call:
    """Raises InvalidRequest."""
    try:
        if may_name_two(body) and _names_two(body):
            raise InvalidRequest("given twice", field="model")
        return decode(body)
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where, what = _place(error, body)
        raise InvalidRequest(what, field=where) from None


def refuse_compressed(coding: bytes) -> None:
    """Raises InvalidRequest where a body comes compressed. coding: its Content-Encoding."""
    if compressed(coding):
        what = coding.decode("latin-1")[:100]
        raise InvalidRequest(f"the body is compressed ({what}); send it as it is", field="Content-Encoding")


def may_name_two(body: bytes) -> bool:
    """Whether the model might be given twice; we would charge for one, and the vendor might take the other."""
    named = body.lower().count(b'"model"')  # there are servers to which a name is the same in capitals
    return named > 1 or (b"\\" in body and ESCAPED.search(body) is not None)


class _Named:
    """A member's value, whatever it is."""


class _Models(msgspec.Struct):
    model: _Named | None = None


def _names_two(body: bytes) -> bool:
    found = []

    def note(kind: type, value: object) -> _Named:
        found.append(value)
        return _Named()

    msgspec.json.decode(body, type=_Models, dec_hook=note)
    others = [name for name in _members.decode(body) if name != "model" and name.lower() == "model"]
    return len(found) + len(others) > 1


def _place(error: Exception, body: bytes) -> tuple[str | None, str]:
    if not body.strip():
        return None, "the body is empty; send a JSON object"
    text = str(error)
    what, _, where = text.partition(" - at `$")
    if isinstance(error, msgspec.ValidationError) and where:
        return where.strip("`.").removeprefix(".") or None, what[:1].lower() + what[1:]
    if isinstance(error, msgspec.ValidationError):
        return None, f"a JSON object: {text}"
    return None, f"the body is not valid JSON: {text}"


def rewrite(body: bytes, changes: Mapping[str, object]) -> bytes:
    """A JSON object with some members set, or removed for None; the bytes of all others stay as they are."""
    members: dict[str, object] = dict(_members.decode(body))
    for name, value in changes.items():
        if value is None:
            members.pop(name, None)
        else:
            members[name] = value
    return msgspec.json.encode(members)
