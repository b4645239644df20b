"""Pictures from words, from pictures, and variations of one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, breaking, named, read, refused, whole
from genway.providers.local.echo.cards import Card, Format, drawn

NAME = "local-image"
AUTO = (1024, 1024)
SMALLEST, LONGEST_SIDE, MOST_PIXELS = 16, 3840, 3840 * 2160
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "svg": "image/svg+xml"}
EVENT_NAMES = {"image_generations": "image_generation", "image_edits": "image_edit"}
WITH_PICTURES = ("image_edits", "image_variations")

File = tuple[str, int, bytes]


class Source(msgspec.Struct):
    """A picture that a JSON body hands in."""

    image_url: str = ""
    file_id: str = ""


class Request(msgspec.Struct):
    prompt: Annotated[str, Meta(max_length=32_000)] = ""
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    quality: str | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Format | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    frame_count: Annotated[int, Meta(ge=2, le=16)] | None = None
    frame_duration_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None
    images: list[Source] | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(kind: str, body: bytes, *, created: int) -> Whole | Streamed:
    """The pictures that a JSON body asks for. Raises InvalidRequest."""
    request = read(_decoder, body)
    return _answered(kind, request, [source.file_id or "picture" for source in request.images or ()], created)


def answer_form(kind: str, fields: Mapping[str, str], files: Mapping[str, list[File]], *, created: int = 0) -> Whole | Streamed:
    """The pictures that a form asks for. Raises InvalidRequest."""
    known = {name: value for name, value in fields.items() if name in Request.__struct_fields__ and value}
    try:
        request = msgspec.convert({**known, "images": None}, Request, strict=False)
    except msgspec.ValidationError as error:
        raise refused(error) from None
    names = [name for part in ("image", "image[]") for name, _, _ in files.get(part, ())]
    return _answered(kind, request, names, created)


def _answered(kind: str, request: Request, pictures: list[str], created: int) -> Whole | Streamed:
    if kind in WITH_PICTURES and not pictures:
        raise InvalidRequest("required", field="image")
    if kind != "image_variations" and not request.prompt:
        raise InvalidRequest("required", field="prompt")
    forced = words.forced(request.prompt, "prompt")
    if forced.fail is not None:
        return failures.openai(forced.fail, kind, forced.delay)
    width, height = _size(request.size)
    about = {
        "background": "transparent" if request.background == "transparent" else "opaque",
        "output_format": request.output_format or "png",
        "quality": request.quality if request.quality in ("low", "medium", "high", "xhigh", "max") else "high",
        "size": f"{width}x{height}",
    }
    cards = [_card(kind, request, pictures, width, height, number) for number in range(request.n or 1)]
    usage = _usage(request, len(pictures), len(cards))
    if request.stream and kind in EVENT_NAMES:
        coarse = [drawn(card, (index + 1) / 4) for card in cards for index in range(request.partial_images or 0)]
        whole_ones = [drawn(card) for card in cards]
        events = _events(EVENT_NAMES[kind], {"created_at": created, **about}, coarse, whole_ones, usage)
        return Streamed(EVENTS, breaking(events, forced.fail_after, failures.typed_event()), forced.delay, forced.pause)
    data = [_shown(drawn(card), card, request) for card in cards]
    return whole({"created": created, "data": data, **about, "usage": usage}, delay=forced.delay)


def _size(size: str | None) -> tuple[int, int]:
    if size in (None, "", "auto"):
        return AUTO
    width, _, height = (size or "").partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit() and len(width + height) <= 8):
        raise InvalidRequest(f"auto or a size such as 1024x1024, got {size}", field="size")
    sides = int(width), int(height)
    if min(sides) < SMALLEST or max(sides) > LONGEST_SIDE or sides[0] * sides[1] > MOST_PIXELS:
        raise InvalidRequest(f"{SMALLEST}x{SMALLEST} to 3840x2160, got {size}", field="size")
    return sides


def _card(kind: str, request: Request, pictures: list[str], width: int, height: int, number: int) -> Card:
    text = request.prompt
    if kind in WITH_PICTURES:
        text = f"{'variation' if kind == 'image_variations' else 'edit'} of {', '.join(pictures)}\n{text}".strip()
    return Card(
        text,
        width,
        height,
        format=request.output_format or "png",
        number=number,
        transparent=request.background == "transparent",
        compression=90 if request.output_compression is None else request.output_compression,
        frames=request.frame_count or 9,
        frame_milliseconds=request.frame_duration_ms or 200,
    )


def _shown(file: bytes, card: Card, request: Request) -> dict[str, str]:
    encoded = b64encode(file).decode()
    if request.response_format == "url":
        return {"url": f"data:{TYPES[card.format]};base64,{encoded}"}
    return {"b64_json": encoded}


def _usage(request: Request, given: int, made: int) -> dict[str, Any]:
    """A picture counts as any part that is not text."""
    text, pictures, output = words.count(request.prompt), given * words.NOT_TEXT, made * words.NOT_TEXT
    return {
        "input_tokens": text + pictures,
        "input_tokens_details": {"image_tokens": pictures, "text_tokens": text},
        "output_tokens": output,
        "output_tokens_details": {"image_tokens": output, "text_tokens": 0},
        "total_tokens": text + pictures + output,
    }


def _events(
    name: str, about: dict[str, Any], coarse: list[bytes], whole_ones: list[bytes], usage: dict[str, Any]
) -> Iterator[bytes]:
    for index, file in enumerate(coarse):
        partial = {"type": f"{name}.partial_image", "b64_json": b64encode(file).decode(), "partial_image_index": index}
        yield named({**partial, **about})
    for file in whole_ones:
        yield named({"type": f"{name}.completed", "b64_json": b64encode(file).decode(), **about, "usage": usage})
