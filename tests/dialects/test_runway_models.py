"""The table of models against the request types of the official SDK."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FakeGateway
from genway.dialects.runway import models, ratios

TYPES = {
    "image_to_video": ("ImageToVideoCreateParams", models.IMAGE_TO_VIDEO),
    "text_to_video": ("TextToVideoCreateParams", models.TEXT_TO_VIDEO),
    "video_to_video": ("VideoToVideoCreateParams", models.VIDEO_TO_VIDEO),
    "text_to_image": ("TextToImageCreateParams", models.TEXT_TO_IMAGE),
    "video_upscale": ("VideoUpscaleCreateParams", models.VIDEO_UPSCALE),
    "character_performance": ("CharacterPerformanceCreateParams", models.CHARACTER_PERFORMANCE),
}
ADDRESS = "https://a.example/1"
MEDIA: dict[str, dict[str, Any]] = {
    "image_to_video": {"promptImage": ADDRESS},
    "text_to_video": {},
    "video_to_video": {"videoUri": ADDRESS},
    "text_to_image": {"referenceImages": [{"uri": ADDRESS}]},
    "video_upscale": {"videoUri": ADDRESS},
    "character_performance": {"character": {"type": "image", "uri": ADDRESS}, "reference": {"type": "video", "uri": ADDRESS}},
}


def literals(hint: Any) -> list[Any]:
    """Every literal value in a type, however deep."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for inner in get_args(hint) for value in literals(inner)]


def variants(route: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each model of a route with its fields, as the SDK types them."""
    module = importlib.import_module(f"runwayml.types.{route}_create_params")
    union = getattr(module, TYPES[route][0])
    for variant in get_args(union) if get_origin(union) is typing.Union else (union,):
        hints = get_type_hints(variant)
        for model in literals(hints["model"]):
            yield model, hints


REQUESTS = [pytest.param(route, model, hints, id=f"{route}-{model}") for route in TYPES for model, hints in variants(route)]


@pytest.mark.parametrize("route", TYPES)
def test_every_model_of_the_sdk_is_known_at_its_route(route: str) -> None:
    assert {model for model, _ in variants(route)} <= set(TYPES[route][1])


@pytest.mark.parametrize(("route", "model", "hints"), REQUESTS)
def test_every_ratio_and_duration_of_the_sdk_is_taken(
    client: TestClient[Litestar], gateway: FakeGateway, route: str, model: str, hints: dict[str, Any]
) -> None:
    needed = {"duration": 5} if model == "gen4.5" else {}
    body = {"model": model, "promptText": "a cat", **needed, **MEDIA[route]}
    requests = [{**body, field: value} for field in ("ratio", "duration") for value in literals(hints.get(field))]
    for request in requests[:: 5 if route == "text_to_image" else 1] or [body]:
        answer = client.post(f"/runwayml/v1/{route}", json=request)
        assert answer.status_code == 200, answer.text
        size = getattr(gateway.last.operation, "size", None)
        pair = ratios.parse(str(request.get("ratio")))
        if size is not None and pair is not None and not ratios.in_words(pair):
            assert (size.width, size.height) == pair


@pytest.mark.parametrize("table", [models.IMAGE_TO_VIDEO, models.TEXT_TO_VIDEO, models.VIDEO_TO_VIDEO, models.PAGE_VIDEO])
def test_every_models_usual_size_and_duration_are_its_own(table: dict[str, models.Video]) -> None:
    for name, takes in table.items():
        ratios.fit(takes.ratios[0] if takes.ratios else "16:9", takes.ratios, name, "ratio")
        if takes.usual is not None:
            assert models.duration(takes, None, "duration") == takes.usual
