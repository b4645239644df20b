"""The table of models against the request types of the vendor's own SDK."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import TypeAdapter

from genway.operations import (
    AnyOperation,
    ImageRequest,
    MediaRef,
    PerformanceRequest,
    RestyleRequest,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers._runwayml_models import ROUTES, Route, Takes
from genway.providers.base import Provider, Submission
from genway.providers.runwayml import Runwayml
from standins.runway_vendor import RunwayVendor

# Models that the vendor's present SDK no longer knows.
OLDER = {"gen3a_turbo", "gen4_aleph", "upscale_v1", "veo3"}
MODELS = [(route, model) for route, models in ROUTES.items() for model in models if model not in OLDER]
each_model = pytest.mark.parametrize(("route", "model"), MODELS, ids=[f"{route}-{model}" for route, model in MODELS])

# These have the fields and take them in other circumstances than ours, as the table says.
FOLLOW_THE_INPUT = {
    ("image_to_video", "wan3"),
    ("image_to_video", "wan3_prime"),
    ("video_to_video", "gemini_omni_flash_1.1"),
    ("text_to_image", "bria_fibo_edit_1_5"),
}

PHOTO = MediaRef(url="https://example.com/photo.jpg")
CLIP = MediaRef(url="https://example.com/clip.mp4")


def sdk_type(route: Route, model: str) -> Any:
    """The TypedDict of a model's request."""
    module = importlib.import_module(f"runwayml.types.{route}_create_params")
    shapes = [shape for shape in vars(module).values() if "model" in getattr(shape, "__annotations__", ())]
    [found] = [shape for shape in shapes if model in get_args(get_type_hints(shape)["model"])]
    return found


def words_of(hint: Any) -> set[str]:
    """Every literal word in a type."""
    return {hint} if isinstance(hint, str) else {word for part in get_args(hint) for word in words_of(part)}


def richest(route: Route, model: str, takes: Takes) -> AnyOperation:
    """An operation that makes use of everything the table says the model takes."""
    name, fields = f"runway/{model}", takes.fields
    seconds = float(takes.seconds[0]) if takes.seconds else 5.0
    references = (PHOTO,) * min(takes.references[1], 2)
    match route:
        case "image_to_video" | "text_to_video":
            first = PHOTO if route == "image_to_video" else None
            return VideoRequest(
                model=name,
                prompt="a cat",
                negative_prompt="rain" if "negativePrompt" in fields else "",
                first_frame=first,
                last_frame=first if takes.frames != "first" else None,
                references=references,
                seconds=seconds,
                seed=1,
                audio="audio" in fields,
            )
        case "video_to_video":
            return RestyleRequest(model=name, prompt="clay", video=CLIP, references=references, seconds=seconds, seed=1)
        case "text_to_image":
            return ImageRequest(model=name, prompt="a cat", references=references, count=1 if takes.counts == () else 4, seed=1)
        case "video_upscale":
            return UpscaleRequest(
                model=name, video=CLIP, format="runwayml", extra={"targetFramerate": "60"} if takes.needed else {}
            )
        case "character_performance":
            return PerformanceRequest(model=name, performance=CLIP, character=PHOTO, intensity=3, body_control=True, seed=1)


@each_model
def test_the_ratios_and_optional_fields_are_those_of_the_sdk(route: Route, model: str) -> None:
    takes, hints = ROUTES[route][model], get_type_hints(sdk_type(route, model))
    assert takes.ratios is not None
    if (route, model) in FOLLOW_THE_INPUT:
        assert takes.ratios == ()
    else:
        assert set(takes.ratios) == {word for word in words_of(hints.get("ratio")) if ":" in word}
        assert (takes.seconds != ()) == ("duration" in hints)
    assert {_snake(field) for field in takes.fields} == {"seed", "audio", "negative_prompt"} & hints.keys()
    assert (takes.counts != ()) == ("output_count" in hints)


@each_model
async def test_the_richest_body_is_one_that_the_sdk_could_send(
    route: Route,
    model: str,
    vendor: RunwayVendor,
    make: Callable[..., Provider],
    handed_in: Callable[..., Submission],
) -> None:
    provider, operation = make(Runwayml), richest(route, model, ROUTES[route][model])
    assert provider.refusal(operation) is None
    await provider.submit(handed_in(provider, operation))
    body = _snaked(vendor.accepted[0].body)
    assert body.keys() <= get_type_hints(sdk_type(route, model)).keys()
    TypeAdapter(sdk_type(route, model)).validate_python(body)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _snaked(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(key): _snaked(inner) for key, inner in value.items()}
    return [_snaked(inner) for inner in value] if isinstance(value, list) else value
