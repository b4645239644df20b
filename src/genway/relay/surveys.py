"""The lines of a batch: what they may cost, read before it is made, and what they did use, read from its results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import msgspec

from genway.billing.tokens import Used
from genway.errors import InvalidRequest
from genway.relay import estimate, kinds, makings, mentions, usage
from genway.relay.makings import Making
from genway.relay.mentions import Mention
from genway.relay.objects import About

MOST_LINES = 100_000
LONGEST_LINE = 32 * 1024 * 1024
LONGEST_RESULT = 256 * 1024 * 1024  # as long as the answer to a call may be
MOST_THINGS = 1000
BREATH = 200  # lines, after which others get their turn


class Tally(msgspec.Struct):
    """What the calls of one model used. kind: the kind of call. used.calls: how many there were."""

    model: str
    kind: str
    used: Used


class Survey(msgspec.Struct):
    """What is asked for. likely: by model, what its calls may use; names: ids of kept things that the lines name."""

    likely: dict[str, Used] = {}
    names: dict[tuple[str, str], Mention] = {}
    lines: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens may go in."""
        return sum(used.read for used in self.likely.values())

    def add(self, kind: str, body: bytes, field: str, reserve_tokens: int) -> None:
        """Count one call. Raises InvalidRequest."""
        self.lines += 1
        if self.lines > MOST_LINES:
            raise InvalidRequest(f"at most {MOST_LINES} calls in one batch", field=field)
        try:
            asked = kinds.read(body)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, field=f"{field}.{error.field}" if error.field else field) from None
        if not asked.model:
            raise InvalidRequest("required: the name of a model", field=f"{field}.model")
        output = min(asked.most_output or reserve_tokens, reserve_tokens)
        made = 0 if kind in {"embeddings", "moderations"} else output
        # A number below zero is for the vendor to refuse; it must not make the other calls cheaper.
        images = max(1, min(asked.n or 1, MOST_THINGS))
        used = Used(input=estimate.quick_input(body), output=made, images=images, estimated=True)
        known = self.likely.get(asked.model)
        self.likely[asked.model] = used if known is None else known + used
        named = mentions.of(kind, body, asked.previous_response_id)
        if kind == "messages" and (name := mentions.previous_message(asked.thread)):
            named.append(Mention("threads", name, "thread.previous_message_id"))
        for mention in named:
            self.names.setdefault(
                (mention.kind, mention.id), msgspec.structs.replace(mention, field=f"{field}.{mention.field}")
            )


class _Request(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"")
    url: str = ""


class _Answer(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")


class _Result(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = msgspec.Raw(b"")


class _Row(msgspec.Struct):
    """A line of either vendor's results."""

    response: _Answer | None = None
    result: _Result | None = None


class _Named(msgspec.Struct):
    model: str = ""


_request = msgspec.json.Decoder(_Request)
_row = msgspec.json.Decoder(_Row)
_named = msgspec.json.Decoder(_Named)


async def lines(pieces: AsyncIterable[bytes], longest: int = 0) -> AsyncIterator[bytes]:
    """The lines of a file that comes in pieces, without empty ones. Raises InvalidRequest for one without end."""
    longest = longest or LONGEST_LINE
    parts: list[bytes] = []
    size = count = 0
    async for piece in pieces:
        *whole, rest = piece.split(b"\n")
        if whole:
            whole[0] = b"".join((*parts, whole[0]))
            parts, size = [], 0
        if rest:
            parts.append(rest)
            size += len(rest)
        if size > longest:
            raise InvalidRequest(f"a line has more than {longest} bytes", field="input_file_id")
        for line in whole:
            if line.strip():
                count += 1
                if count % BREATH == 0:
                    await asyncio.sleep(0)
                yield line
    if parts and (last := b"".join(parts)).strip():
        yield last


async def of_file(pieces: AsyncIterable[bytes], kind: str, endpoint: str, reserve_tokens: int) -> Survey:
    """A batch's input file. Raises InvalidRequest for lines that no vendor could carry out."""
    survey = Survey()
    async for line in lines(pieces):
        field = f"input_file_id.line {survey.lines + 1}"
        try:
            request = _request.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"not a line of a batch: {error}", field=field) from None
        if request.url != endpoint:
            raise InvalidRequest(f"the batch is for {endpoint}, got {request.url[:100]}", field=f"{field}.url")
        survey.add(kind, bytes(request.body), f"{field}.body", reserve_tokens)
    if not survey.lines:
        raise InvalidRequest("the file has no lines", field="input_file_id")
    return survey


async def of_requests(bodies: Iterable[bytes], reserve_tokens: int) -> Survey:
    """The requests of a message batch. Raises InvalidRequest."""
    survey = Survey()
    for number, body in enumerate(bodies):
        if number % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        survey.add("messages", body, f"requests.{number}.params", reserve_tokens)
    if not survey.lines:
        raise InvalidRequest("one request at least", field="requests")
    return survey


async def results(pieces: AsyncIterable[bytes], about: About, made: set[Making]) -> dict[str, Tally]:
    """What the results of a batch used, by the model's name as the client has it. Raises InvalidRequest for endless ones.

    made: what the answers have made besides themselves is added to it.
    """
    found: dict[str, Tally] = {}
    async for line in lines(pieces, LONGEST_RESULT):
        try:
            row = _row.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        body = b""
        if row.response is not None and 200 <= row.response.status_code < 300:
            body = bytes(row.response.body)
        elif row.result is not None and row.result.type == "succeeded":
            body = bytes(row.result.message)
        if body:
            count(found, about, body)
            made |= makings.of(about.call, body)
    return found


def count(found: dict[str, Tally], about: About, body: bytes) -> None:
    """Add one answer that went well."""
    model = _model(body, about)
    used = usage.from_answer(about.call, body) or estimate.whole(about.call, b"{}", body, model)
    if model in found:
        found[model].used += used
    else:
        found[model] = Tally(model, about.call, used)


def _model(body: bytes, about: About) -> str:
    """The name that the client gave, of the model that an answer names; the vendor adds a date to it."""
    if len(about.models) == 1:
        return about.models[0]
    try:
        said = _named.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    fitting = [name for name in about.models if said == name or said.startswith(f"{name}-")]
    return max(fitting, key=len, default=said or "".join(about.models[:1]))
