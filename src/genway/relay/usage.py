"""What a vendor says a call used, read from its answers and streams and taken apart into classes that do not overlap.

OpenAI's totals (chat, completions, responses, embeddings, images, audio, realtime) hold their details: `prompt_tokens` its
cached, written and audio tokens, `completion_tokens` the reasoning. Anthropic's `input_tokens` holds neither what was read
from the cache nor what was written to it, and its `output_tokens` holds the thinking; what it took to shorten a conversation is
in neither, and told beside them. What some vendors leave out of their own totals (reasoning beside `completion_tokens`) is not
added: it would be a guess. The classes of a call always add up to the vendor's totals; details that do not fit into their total
are cut to it. A usage with a number that no call can have (-1 without its sign, for instance) says nothing.

Only usage is decoded; everything else of a body is skipped over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated

import msgspec

from genway.billing.tokens import Used

MOST = 2**32 - 1
Count = Annotated[int, msgspec.Meta(lt=MOST)] | None


class InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None
    cached_tokens_details: CachedDetails | None = None


class CachedDetails(msgspec.Struct, gc=False):
    audio_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class Totals(msgspec.Struct, gc=False):
    """OpenAI's usage, under every name its formats have for the same thing.

    prompt_cache_hit_tokens: DeepSeek's name for what was read from the cache. seconds: of sound, where that is what is billed.
    """

    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    input_tokens_details: InputDetails | None = None
    input_token_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    output_token_details: OutputDetails | None = None
    prompt_cache_hit_tokens: Count = None
    seconds: float | None = None


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: Count = None
    ephemeral_5m_input_tokens: Count = None


class ThinkingDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class MessageUsage(msgspec.Struct, gc=False):
    """Anthropic's usage. A member that is null or left out was not said, which in a stream is not 0.

    iterations: the parts of the call's work, of which those of `type` compaction are not within the counts beside them.
    """

    input_tokens: Count = None
    output_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: ThinkingDetails | None = None
    iterations: list[Iteration] | None = None


class Iteration(MessageUsage, gc=False):
    type: str = ""


class Answer(msgspec.Struct, gc=False):
    usage: Totals | None = None


class MessageAnswer(msgspec.Struct):
    usage: MessageUsage | None = None


class MessageEvent(msgspec.Struct):
    """`message_start` has its usage inside `message`, `message_delta` beside it."""

    message: MessageAnswer | None = None
    usage: MessageUsage | None = None


class ResponseEvent(msgspec.Struct):
    response: Answer | None = None


class TypedEvent(msgspec.Struct):
    type: str = ""
    usage: Totals | None = None


class Picture(msgspec.Struct):
    """One of an answer's pictures; only that it is there matters."""


class Choice(msgspec.Struct, gc=False):
    """One of a chunk's choices. Moonshot has a stream's usage here; else only that it is there matters."""

    usage: Totals | None = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Totals | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class StreamRequest(msgspec.Struct):
    stream_options: StreamOptions | None = None


class ImageAnswer(msgspec.Struct):
    data: list[Picture] | None = None
    usage: Totals | None = None


class SoundAnswer(msgspec.Struct):
    usage: Totals | None = None
    duration: float | None = None


class BilledUnits(msgspec.Struct):
    search_units: float | None = None


class RerankMeta(msgspec.Struct):
    billed_units: BilledUnits | None = None


class RerankAnswer(msgspec.Struct):
    usage: Totals | None = None
    meta: RerankMeta | None = None


class RequestCounts(msgspec.Struct):
    completed: Count = None


class BatchAnswer(msgspec.Struct):
    usage: Totals | None = None
    request_counts: RequestCounts | None = None


class BatchResult(msgspec.Struct):
    message: MessageAnswer | None = None


class BatchLine(msgspec.Struct):
    result: BatchResult | None = None


# Not strict: some vendors write their counts as text or as 12.0.
_answer = msgspec.json.Decoder(Answer, strict=False).decode
_message = msgspec.json.Decoder(MessageAnswer, strict=False).decode
_message_event = msgspec.json.Decoder(MessageEvent, strict=False).decode
_response_event = msgspec.json.Decoder(ResponseEvent, strict=False).decode
_typed_event = msgspec.json.Decoder(TypedEvent, strict=False).decode
_chunk = msgspec.json.Decoder(Chunk, strict=False).decode
_options = msgspec.json.Decoder(StreamRequest).decode
_images = msgspec.json.Decoder(ImageAnswer, strict=False).decode
_sound = msgspec.json.Decoder(SoundAnswer, strict=False).decode
_rerank = msgspec.json.Decoder(RerankAnswer, strict=False).decode
_batch = msgspec.json.Decoder(BatchAnswer, strict=False).decode
_batch_lines = msgspec.json.Decoder(BatchLine, strict=False).decode_lines

_NULL = msgspec.Raw(b"null")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(?:\[\s*\]|null)')

TELLS_WHEN_ASKED = frozenset({"chat", "completions"})
"""Kinds whose streams tell their usage only where `stream_options.include_usage` asks for it."""

_NO_INPUT = InputDetails()
_NO_SPLIT = CacheCreation()


def from_answer(kind: str, body: bytes) -> Used | None:
    """What a whole answer says it used; None where it does not say, or is not to be understood."""
    try:
        return _ANSWERS.get(kind, _from_totals)(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def from_event(kind: str, data: bytes, before: Used | None) -> Used | None:
    """What a stream has used so far, after one more event.

    data: the event's payload, without `data: `; of a realtime session, a text frame of the server's. before: what this
    returned for the event before, None at first. Totals that grow from event to event replace each other; several pictures
    of one stream, and several answers of one realtime session, are added up.
    """
    if b'"usage"' not in data:
        return before
    try:
        return _EVENTS.get(kind, _totals_event)(data, before)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return before


def asks_usage(kind: str, body: bytes) -> bool:
    """Whether the client of a stream is told its usage: it asked, or the format always tells. body: the request's."""
    if kind not in TELLS_WHEN_ASKED:
        return True
    if b"include_usage" not in body:
        return False
    try:
        options = _options(body).stream_options
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return options is not None and options.include_usage is True


def ask_usage(kind: str, body: bytes) -> bytes:
    """The same request, so that the vendor tells the usage of its stream. Everything else of it stays byte for byte.

    An event that was sent only because of this is known by `only_usage`, and is not for the client. Raises
    msgspec.DecodeError where `body` is no JSON object.
    """
    if asks_usage(kind, body):
        return body
    whole = body.lstrip()
    if b'"stream_options"' not in whole and whole.startswith(b"{"):
        rest = whole[1:].lstrip()
        return b'{"stream_options":{"include_usage":true}' + (b"" if rest.startswith(b"}") else b",") + rest
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    said = members.get("stream_options", _NULL)
    options = msgspec.json.decode(said, type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    members["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(members)


def only_usage(data: bytes) -> bool:
    """Whether an event of a chat or completion stream holds usage and no choices; clients that did not ask trip over it."""
    if b'"usage"' not in data or not _NO_CHOICES.search(data):
        return False
    try:
        event = _chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return event.usage is not None and not event.choices


def totals(said: Totals | None, *, sound_in: bool = False, sound_out: bool = False, pictures: bool = False) -> Used | None:
    """OpenAI's totals taken apart; None where they say nothing.

    sound_in, sound_out, pictures: what the tokens are of where no details tell: a recording is sound, speech becomes sound,
    and a picture's output is a picture.
    """
    if said is None:
        return None
    read = said.prompt_tokens or said.input_tokens or 0
    made = said.completion_tokens or said.output_tokens or 0
    if read <= 0 and made <= 0:
        read = said.total_tokens or 0
    seconds = _amount(said.seconds) if said.seconds else 0
    if read <= 0 and made <= 0 and not seconds:
        return None
    used = Used(input=max(read, 0), output=max(made, 0), seconds=seconds)
    inputs = said.prompt_tokens_details or said.input_tokens_details or said.input_token_details
    if inputs is not None:
        cached = inputs.cached_tokens or said.prompt_cache_hit_tokens
        if cached or inputs.audio_tokens or inputs.image_tokens or inputs.cache_write_tokens:
            _split_input(used, inputs, _count(cached))
    elif said.prompt_cache_hit_tokens:
        _split_input(used, _NO_INPUT, _count(said.prompt_cache_hit_tokens))
    elif sound_in:
        used.input, used.audio_input = 0, used.input
    outputs = said.completion_tokens_details or said.output_tokens_details or said.output_token_details
    if outputs is not None:
        if outputs.reasoning_tokens or outputs.audio_tokens or outputs.image_tokens:
            _split_output(used, outputs)
    elif sound_out:
        used.output, used.audio_output = 0, used.output
    elif pictures:
        used.output, used.image_output = 0, used.output
    return used


def _split_input(used: Used, details: InputDetails, cached: int) -> None:
    whole = used.input
    audio = min(_count(details.audio_tokens), whole)
    image = min(_count(details.image_tokens), whole - audio)
    write = min(_count(details.cache_write_tokens), whole - audio - image)
    cached = min(cached, whole - write)
    of_cached = details.cached_tokens_details
    both = 0 if of_cached is None else min(_count(of_cached.audio_tokens), audio, cached)
    # Cached tokens that do not fit beside the sound and the pictures can only be some of these.
    over = max(0, audio + image + write + cached - both - whole)
    sound = min(over, audio - both)
    both += sound
    used.cached_audio_input = both
    used.audio_input = audio - both
    used.cached_input = cached - both
    used.image_input = image - (over - sound)
    used.cache_write = write
    used.input = 0
    used.input = whole - used.read


def _split_output(used: Used, details: OutputDetails) -> None:
    left = used.output
    used.reasoning = min(_count(details.reasoning_tokens), left)
    left -= used.reasoning
    used.audio_output = min(_count(details.audio_tokens), left)
    left -= used.audio_output
    used.image_output = min(_count(details.image_tokens), left)
    used.output = left - used.image_output


def message(said: MessageUsage | None, before: Used | None = None) -> Used | None:
    """Anthropic's counts taken apart; None where they say nothing. before: what an earlier event of the same stream said.

    The counts of a stream are of all that was so far. Those of the input come first with `message_start` and may come again
    in `message_delta`, and then replace the first: some vendors learn only then what came from the cache. Zeros throughout are
    a vendor that does not repeat them.
    """
    if said is None:
        return before
    if said.iterations is not None:
        said = _with_compaction(said, said.iterations)
    used = Used() if before is None else before
    hour = (said.cache_creation or _NO_SPLIT).ephemeral_1h_input_tokens
    written = _written(said)
    if _count(said.input_tokens) or _count(said.cache_read_input_tokens) or _count(written):
        total = used.cache_write + used.cache_write_1h if written is None else _count(written)
        long = min(used.cache_write_1h if hour is None else _count(hour), total)
        used = msgspec.structs.replace(
            used,
            input=used.input if said.input_tokens is None else _count(said.input_tokens),
            cached_input=used.cached_input if said.cache_read_input_tokens is None else _count(said.cache_read_input_tokens),
            cache_write=total - long,
            cache_write_1h=long,
        )
    if said.output_tokens is not None:
        made = _count(said.output_tokens)
        details = said.output_tokens_details
        # Nothing said of the thinking is not 0: what was thought stays thought.
        thought = used.reasoning if details is None or details.thinking_tokens is None else _count(details.thinking_tokens)
        reasoning = min(thought, made)
        used = msgspec.structs.replace(used, output=made - reasoning, reasoning=reasoning)
    return used if used.read or used.produced else before


def _with_compaction(said: MessageUsage, iterations: list[Iteration]) -> MessageUsage:
    """The counts with those of the shortening of a conversation, which the vendor charges and does not count in."""
    apart = [each for each in iterations if each.type == "compaction"]
    if not apart or said.input_tokens is None:
        return said
    hour = sum(_count(each.cache_creation.ephemeral_1h_input_tokens) for each in apart if each.cache_creation is not None)
    split = said.cache_creation or _NO_SPLIT
    return msgspec.structs.replace(
        said,
        input_tokens=_plus(said.input_tokens, sum(_count(each.input_tokens) for each in apart)),
        cache_read_input_tokens=_plus(
            said.cache_read_input_tokens, sum(_count(each.cache_read_input_tokens) for each in apart)
        ),
        cache_creation_input_tokens=_plus(_written(said), sum(_count(_written(each)) for each in apart)),
        cache_creation=CacheCreation(ephemeral_1h_input_tokens=_plus(split.ephemeral_1h_input_tokens, hour)),
        output_tokens=_plus(said.output_tokens, sum(_count(each.output_tokens) for each in apart)),
    )


def _plus(value: Count, more: int) -> Count:
    """Nothing more leaves unsaid what was not said."""
    return _count(value) + more if more else value


def _written(said: MessageUsage) -> Count:
    """What was written to the cache; some tell it only by how long it is kept."""
    split = said.cache_creation or _NO_SPLIT
    by_lifetime = _count(split.ephemeral_1h_input_tokens) + _count(split.ephemeral_5m_input_tokens)
    return said.cache_creation_input_tokens or by_lifetime or said.cache_creation_input_tokens


def _count(value: Count) -> int:
    return value if value is not None and value > 0 else 0


def _amount(value: float | None) -> float:
    return value if value is not None and 0 < value < MOST else 0


def _from_totals(body: bytes) -> Used | None:
    return totals(_answer(body).usage)


def _from_message(body: bytes) -> Used | None:
    return message(_message(body).usage)


def _from_images(body: bytes) -> Used | None:
    answer = _images(body)
    used = totals(answer.usage, pictures=True)
    if answer.data:
        used = used or Used()
        used.images = len(answer.data)
    return used


def _from_sound(body: bytes) -> Used | None:
    answer = _sound(body)
    used = totals(answer.usage, sound_in=True)
    seconds = _amount(answer.duration)
    if seconds and (used is None or not used.seconds):
        used = used or Used()
        used.seconds = seconds
    return used


def _from_rerank(body: bytes) -> Used | None:
    answer = _rerank(body)
    used = totals(answer.usage)
    billed = answer.meta.billed_units if answer.meta is not None else None
    units = _amount(billed.search_units) if billed is not None else 0
    if units:
        used = used or Used()
        used.calls = math.ceil(units)
    return used


def _from_batch(body: bytes) -> Used | None:
    answer = _batch(body)
    used = totals(answer.usage)
    if used is not None and answer.request_counts is not None:
        used.calls = _count(answer.request_counts.completed)
    return used


def _from_message_batch(body: bytes) -> Used | None:
    """From the results of a batch, a line each; the batch itself does not say what it used."""
    found = None
    for line in _batch_lines(body):
        said = line.result and line.result.message and line.result.message.usage
        used = message(said) if said else None
        if used is not None:
            found = used if found is None else found + used
    return found


def _nothing(_: bytes) -> Used | None:
    return None


def _totals_event(data: bytes, before: Used | None) -> Used | None:
    return totals(_answer(data).usage) or before


def _chat_event(data: bytes, before: Used | None) -> Used | None:
    chunk = _chunk(data)
    said = chunk.usage
    if said is None and chunk.choices:
        said = chunk.choices[0].usage
    return totals(said) or before


def _message_event_of(data: bytes, before: Used | None) -> Used | None:
    event = _message_event(data)
    return message(event.usage if event.message is None else event.message.usage, before)


def _response_event_of(data: bytes, before: Used | None) -> Used | None:
    response = _response_event(data).response
    return before if response is None else totals(response.usage) or before


def _image_event(data: bytes, before: Used | None) -> Used | None:
    event = _typed_event(data)
    used = totals(event.usage, pictures=True)
    if used is None or not event.type.endswith(".completed"):
        return before
    used.images = 1
    return used if before is None else msgspec.structs.replace(before + used, calls=1)


def _speech_event(data: bytes, before: Used | None) -> Used | None:
    return totals(_typed_event(data).usage, sound_out=True) or before


def _sound_event(data: bytes, before: Used | None) -> Used | None:
    return totals(_typed_event(data).usage, sound_in=True) or before


def _realtime_event(data: bytes, before: Used | None) -> Used | None:
    if b'"response.done"' not in data:
        return before
    response = _response_event(data).response
    used = None if response is None else totals(response.usage)
    if used is None:
        return before
    return used if before is None else before + used


_ANSWERS: dict[str, Callable[[bytes], Used | None]] = {
    "messages": _from_message,
    "image_generations": _from_images,
    "image_edits": _from_images,
    "image_variations": _from_images,
    "transcriptions": _from_sound,
    "translations": _from_sound,
    "rerank": _from_rerank,
    "batches": _from_batch,
    "message_batches": _from_message_batch,
    "count_tokens": _nothing,
    "files": _nothing,
}

_EVENTS: dict[str, Callable[[bytes, Used | None], Used | None]] = {
    "chat": _chat_event,
    "messages": _message_event_of,
    "responses": _response_event_of,
    "image_generations": _image_event,
    "image_edits": _image_event,
    "speech": _speech_event,
    "transcriptions": _sound_event,
    "translations": _sound_event,
    "realtime": _realtime_event,
}
