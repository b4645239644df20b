"""Pictures: real files of the asked size and format."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from base64 import b64decode
from typing import Any

import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)
from PIL import Image, ImageChops

from genway.errors import InvalidRequest
from genway.providers.local import echo
from genway.providers.local.echo import Streamed, Whole
from providers.local.echo.asking import ask, event, openai_sdk, streamed, told

SMALL = "160x96"


def files(found: ImagesResponse) -> list[bytes]:
    return [b64decode(each.b64_json or "") for each in found.data or []]


def opened(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def made(**body: Any) -> ImagesResponse:
    return ImagesResponse.model_validate(told("image_generations", **{"prompt": "A cat", "size": SMALL, **body}), strict=True)


def form(kind: str, fields: dict[str, str], *names: str, part: str = "image") -> Whole | Streamed:
    return echo.answer_form(kind, fields, {part: [(name, 10, b"\x89PNG") for name in names]}, created=7)


@pytest.mark.parametrize("format_", ["png", "jpeg", "webp", "gif"])
def test_a_picture_has_the_asked_format_and_size_and_shows_something(format_: str) -> None:
    found = made(output_format=format_)
    picture = opened(files(found)[0])
    assert (picture.format, picture.size) == (format_.upper(), (160, 96))
    assert len(picture.convert("RGB").getcolors(100_000) or []) > 50
    assert (found.size, found.output_format) == (SMALL, format_)


def test_the_same_words_give_the_same_bytes_and_others_another_picture() -> None:
    assert files(made()) == files(made())
    cat, dog = opened(files(made())[0]), opened(files(made(prompt="A dog"))[0])
    assert ImageChops.difference(cat.convert("RGB"), dog.convert("RGB")).getbbox() is not None


def test_several_pictures_differ() -> None:
    found = made(n=3)
    assert len(set(files(found))) == 3
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (2, 3 * 256)


def test_a_gif_has_its_frames_and_a_clear_ground_is_clear() -> None:
    assert opened(files(made(output_format="gif", frame_count=4))[0]).n_frames == 4  # type: ignore[attr-defined]
    clear = opened(files(made(background="transparent"))[0])
    assert clear.getpixel((0, 0)) == (0, 0, 0, 0)
    assert clear.getchannel("A").getextrema() == (0, 255)


def test_an_svg_is_a_drawing_with_the_words_in_it() -> None:
    drawing = ET.fromstring(files(made(output_format="svg", prompt="<A> & \x01 猫"))[0])
    assert "<A> &" in "".join(drawing.itertext())
    assert drawing.attrib["width"] == "160"


def test_an_address_is_the_picture_itself() -> None:
    found = made(response_format="url")
    assert found.data is not None
    head, _, encoded = (found.data[0].url or "").partition(",")
    assert head == "data:image/png;base64"
    assert opened(b64decode(encoded)).size == (160, 96)


@pytest.mark.parametrize("prompt", ["x" * 32_000, "猫" * 500, "\n\n", "العربية हिन्दी 🙂"])
def test_any_words_fit_on_any_card(prompt: str) -> None:
    assert opened(files(made(prompt=prompt, size="16x64"))[0]).size == (16, 64)


def test_the_sdk_reads_a_picture_of_the_usual_size() -> None:
    found = openai_sdk().images.generate(model="m", prompt="A cat")
    assert opened(files(found)[0]).size == (1024, 1024)
    assert found.created == 1_760_000_000


def test_a_stream_becomes_sharper_until_it_is_the_whole_picture() -> None:
    events = streamed("image_generations", prompt="A cat", size=SMALL, partial_images=2)
    partial = [ImageGenPartialImageEvent.model_validate(data, strict=True) for _, data in events[:2]]
    last = ImageGenCompletedEvent.model_validate(events[2][1], strict=True)
    assert [name for name, _ in events] == [*["image_generation.partial_image"] * 2, "image_generation.completed"]
    assert [each.partial_image_index for each in partial] == [0, 1]
    assert b64decode(last.b64_json) == files(made())[0]
    final = opened(b64decode(last.b64_json))
    away = [
        sum(ImageChops.difference(final, opened(b64decode(each.b64_json))).convert("L").histogram()[8:]) for each in partial
    ]
    assert away[0] > away[1] > 0


def test_edits_take_a_form_or_a_body_and_can_be_streamed() -> None:
    whole = form("image_edits", {"prompt": "hat", "size": SMALL, "n": "2"}, "cat.png", "dog.png", part="image[]")
    assert isinstance(whole, Whole)
    found = ImagesResponse.model_validate_json(whole.body)
    assert len(files(found)) == 2
    assert found.created == 7
    assert found.usage is not None
    assert found.usage.input_tokens_details.image_tokens == 2 * 256
    assert told("image_edits", prompt="hat", size=SMALL, images=[{"file_id": "file-1"}])["size"] == SMALL
    stream = form("image_edits", {"prompt": "hat", "size": SMALL, "stream": "true", "partial_images": "1"}, "cat.png")
    assert isinstance(stream, Streamed)
    (_, partial), (_, completed) = (event(raw) for raw in stream.events)
    ImageEditPartialImageEvent.model_validate(partial)
    ImageEditCompletedEvent.model_validate(completed)


def test_variations_need_only_a_picture() -> None:
    whole = form("image_variations", {"size": "256x256", "response_format": "b64_json"}, "cat.png")
    assert isinstance(whole, Whole)
    assert opened(b64decode(json.loads(whole.body)["data"][0]["b64_json"])).size == (256, 256)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "size": "15x64"}, "size"),
        ({"prompt": "x", "size": "3840x3840"}, "size"),
        ({"prompt": "x", "size": "99999999999x1"}, "size"),
        ({"prompt": "x", "n": 11}, "n"),
        ({"prompt": "x", "output_format": "bmp"}, "output_format"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("image_generations", **body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "fields", "names", "field"),
    [
        ("image_edits", {"prompt": "x"}, (), "image"),
        ("image_edits", {}, ("a.png",), "prompt"),
        ("image_edits", {"prompt": "x", "n": "many"}, ("a.png",), "n"),
        ("image_variations", {}, (), "image"),
    ],
)
def test_what_is_wrong_in_a_form_is_named(kind: str, fields: dict[str, str], names: tuple[str, ...], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        form(kind, fields, *names)
    assert caught.value.field == field
