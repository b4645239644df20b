"""Luma's official API: pictures, reframed, changed, larger and sounding videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dialects.luma_stage import CLIP, END, PICTURE, Client, LumaGateway, serving
from dialects.stage import FILES
from genway.operations import (
    AnyOperation,
    ImageRequest,
    MediaRef,
    Parent,
    RestyleRequest,
    Size,
    SoundRequest,
    UpscaleRequest,
)

GENERATIONS = "/dream-machine/v1/generations"
IMAGE = f"{GENERATIONS}/image"
PHOTON = {"model": "photon-1", "prompt": "a teddy bear in sunglasses"}


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.fixture
def gateway() -> LumaGateway:
    return LumaGateway()


@pytest.fixture
def client(application: Client, gateway: LumaGateway) -> Client:
    application.app.state.gateway = gateway
    return application


def made(client: Client, gateway: LumaGateway, path: str, body: dict[str, Any], status: int = 201) -> AnyOperation:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return gateway.last.operation


def detail(client: Client, path: str, body: dict[str, Any]) -> str:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["detail"])


def finished(client: Client, gateway: LumaGateway) -> str:
    """The id of a video of 720 lines and 10 seconds."""
    client.post(f"{GENERATIONS}/video", json={"model": "ray-flash-2", "prompt": "a tiger"})
    return gateway.succeed(operation=gateway.last.operation).id


def test_text_becomes_a_picture(client: Client, gateway: LumaGateway) -> None:
    operation = made(client, gateway, IMAGE, {**PHOTON, "aspect_ratio": "9:16", "format": "png"})
    assert isinstance(operation, ImageRequest)
    assert (operation.model, operation.format, operation.prompt) == ("luma/photon-1", "luma.official", PHOTON["prompt"])
    assert (operation.size, operation.references, operation.count) == (Size(1080, 1920), (), 1)
    assert operation.extra == {"format": "png", "generation_type": "image", "roles": []}


def test_reference_pictures_keep_their_order_their_role_and_their_weight(client: Client, gateway: LumaGateway) -> None:
    body = {
        **PHOTON,
        "modify_image_ref": {"url": END, "weight": 1},
        "character_ref": {"identity0": {"images": [PICTURE, END]}, "identity1": {"images": [END]}},
        "style_ref": [{"url": END, "weight": 0.8}],
        "image_ref": [{"url": PICTURE, "weight": 0.85}, {"url": END}],
    }
    operation = made(client, gateway, IMAGE, body)
    assert isinstance(operation, ImageRequest)
    first, last = MediaRef(url=PICTURE), MediaRef(url=END)
    assert operation.references == (first, last, last, first, last, last, last)
    assert operation.extra["roles"] == [
        {"role": "image_ref", "weight": 0.85},
        {"role": "image_ref"},
        {"role": "style_ref", "weight": 0.8},
        {"role": "character_ref", "identity": "identity0"},
        {"role": "character_ref", "identity": "identity0"},
        {"role": "character_ref", "identity": "identity1"},
        {"role": "modify_image_ref", "weight": 1.0},
    ]


def test_the_names_of_vercels_sdk_mean_the_same(client: Client, gateway: LumaGateway) -> None:
    body = {
        **PHOTON,
        "image": [{"url": PICTURE, "weight": 0.85}],
        "style": [{"url": END}],
        "character": {"identity0": {"images": [END]}},
        "modify_image": {"url": PICTURE},
    }
    operation = made(client, gateway, IMAGE, body)
    assert isinstance(operation, ImageRequest)
    roles = [role["role"] for role in operation.extra["roles"]]
    assert roles == ["image_ref", "style_ref", "character_ref", "modify_image_ref"]
    assert detail(client, IMAGE, {**PHOTON, "image": [{"url": "http://10.0.0.1/"}]}) == "image[0].url: a private address"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "a cat"}, "model: required"),
        ({**PHOTON, "model": "ray-2"}, 'model: photon-1 or photon-flash-1, got "ray-2"'),
        ({"model": "photon-1"}, "Prompt is required"),
        ({**PHOTON, "prompt": "a"}, "Prompt is too short, minimum length is 3 characters"),
        ({**PHOTON, "image_ref": [{"url": PICTURE}] * 5}, "image_ref: a list of at most 4 items, got a list of 5"),
        ({**PHOTON, "image_ref": [{"url": PICTURE, "weight": 2}]}, "image_ref[0].weight: a number from 0 to 1, got 2"),
    ],
)
def test_a_wrong_picture_request_is_refused(body: dict[str, Any], said: str, client: Client) -> None:
    assert detail(client, IMAGE, body) == said


def test_a_synchronous_picture_is_waited_for(client: Client, gateway: LumaGateway) -> None:
    answer = client.post(IMAGE, json={**PHOTON, "sync": True, "sync_timeout": 20})
    assert (answer.status_code, answer.json()["state"]) == (201, "completed")
    assert gateway.waited == [(gateway.last.id, 20.0)]
    client.post(IMAGE, json={**PHOTON, "sync": True, "sync_timeout": 600})
    assert gateway.waited[-1][1] == 60
    assert client.post(IMAGE, json=PHOTON).json()["state"] == "queued"
    assert len(gateway.waited) == 2


def test_a_picture_is_given_another_shape(client: Client, gateway: LumaGateway) -> None:
    body = {
        "model": "photon-flash-1",
        "generation_type": "reframe_image",
        "media": {"url": PICTURE},
        "aspect_ratio": "16:9",
        "x_start": 0,
        "x_end": 1080,
        "format": "jpg",
    }
    operation = made(client, gateway, f"{IMAGE}/reframe", body)
    assert isinstance(operation, ImageRequest)
    assert (operation.model, operation.references) == ("luma/photon-flash-1", (MediaRef(url=PICTURE),))
    assert operation.size == Size(1920, 1080)
    assert operation.extra == {"generation_type": "reframe_image", "x_start": 0, "x_end": 1080, "format": "jpg"}


def test_a_video_is_given_another_shape(client: Client, gateway: LumaGateway) -> None:
    body = {"model": "ray-2", "media": {"url": CLIP}, "aspect_ratio": "9:16", "first_frame": {"url": END}, "y_start": 3}
    operation = made(client, gateway, f"{GENERATIONS}/video/reframe", body)
    assert isinstance(operation, RestyleRequest)
    assert (operation.video, operation.references) == (MediaRef(url=CLIP), (MediaRef(url=END),))
    assert (operation.size, operation.strength, operation.seconds) == (Size(720, 1280), 0, 10)
    assert operation.extra == {"generation_type": "reframe_video", "y_start": 3}


@pytest.mark.parametrize(("mode", "strength"), [("adhere_1", 0.1), ("flex_2", 0.5), ("reimagine_3", 0.9)])
def test_a_video_is_changed_as_freely_as_the_mode_says(
    mode: str, strength: float, client: Client, gateway: LumaGateway
) -> None:
    body = {
        "model": "ray-flash-2",
        "media": {"url": CLIP},
        "mode": mode,
        "prompt": "in clay",
        "generation_type": "modify_video",
    }
    operation = made(client, gateway, f"{GENERATIONS}/video/modify", body)
    assert isinstance(operation, RestyleRequest)
    assert (operation.model, operation.prompt, operation.strength) == ("luma/ray-flash-2", "in clay", strength)
    assert operation.extra == {"generation_type": "modify_video"}
    assert gateway.last.context["request"]["mode"] == mode


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("video/modify", {"model": "ray-2", "media": {"url": CLIP}, "mode": "wild"}, "mode: adhere_1, adhere_2"),
        ("video/modify", {"model": "ray-2", "mode": "flex_1"}, "media: required"),
        ("video/reframe", {"model": "ray-2", "media": {"url": CLIP}}, "aspect_ratio: required"),
        ("image/reframe", {"model": "photon-1", "media": {}, "aspect_ratio": "1:1"}, "media.url: required"),
    ],
)
def test_what_is_needed_is_named(path: str, body: dict[str, Any], said: str, client: Client) -> None:
    assert detail(client, f"{GENERATIONS}/{path}", body).startswith(said)


def test_a_generation_is_made_larger(client: Client, gateway: LumaGateway) -> None:
    before = finished(client, gateway)
    body = {"resolution": "4k", "generation_type": "upscale_video", "callback_url": "https://hook.example/"}
    operation = made(client, gateway, f"{GENERATIONS}/{before}/upscale", body, 200)
    assert isinstance(operation, UpscaleRequest)
    assert (operation.parent, operation.model) == (Parent(before), "luma/ray-flash-2")
    assert (operation.factor, operation.seconds) == (pytest.approx(2160 / 768), 10)
    assert operation.extra == {"generation_type": "upscale_video", "resolution": "4k"}
    assert gateway.callback_urls[-1] == "https://hook.example/"


def test_a_generation_becomes_the_next_larger_where_no_resolution_is_given(client: Client, gateway: LumaGateway) -> None:
    before = finished(client, gateway)
    operation = made(client, gateway, f"{GENERATIONS}/{before}/upscale", {}, 200)
    assert operation.extra["resolution"] == "1080p"
    assert gateway.last.context["request"] == {"generation_type": "upscale_video", "resolution": "1080p"}
    said = detail(client, f"{GENERATIONS}/{before}/upscale", {"resolution": "720p"})
    assert said == "resolution: 1080p or 4k, which is larger than the generation's 768p"


def test_a_generation_whose_size_is_not_known_is_taken_to_be_what_was_asked_for(client: Client, gateway: LumaGateway) -> None:
    client.post(f"{GENERATIONS}/video", json={"model": "ray-2", "prompt": "a tiger", "resolution": "1080p", "duration": "9s"})
    operation = made(client, gateway, f"{GENERATIONS}/{gateway.last.id}/upscale", {}, 200)
    assert isinstance(operation, UpscaleRequest)
    assert (operation.factor, operation.seconds, operation.extra["resolution"]) == (2, 9, "4k")


def test_the_largest_generation_cannot_grow(client: Client, gateway: LumaGateway) -> None:
    client.post(f"{GENERATIONS}/video", json={"model": "ray-2", "prompt": "a tiger", "resolution": "4k"})
    said = detail(client, f"{GENERATIONS}/{gateway.last.id}/upscale", {})
    assert said == "resolution: nothing is larger than the generation's 2160p"


def test_a_generation_is_given_sound(client: Client, gateway: LumaGateway) -> None:
    before = finished(client, gateway)
    operation = made(client, gateway, f"{GENERATIONS}/{before}/audio", {"prompt": "roaring", "negative_prompt": "music"}, 200)
    assert isinstance(operation, SoundRequest)
    assert (operation.parent, operation.prompt, operation.negative_prompt) == (Parent(before), "roaring", "music")
    assert (operation.model, operation.seconds) == ("luma/ray-flash-2", FILES[0].seconds)
    answer = client.get(f"{GENERATIONS}/{gateway.last.id}").json()
    assert (answer["generation_type"], answer["request"]["generation_type"]) == ("video", "add_audio")


@pytest.mark.parametrize("work", ["upscale", "audio"])
def test_work_on_an_unknown_generation_is_not_found(work: str, client: Client) -> None:
    assert client.post(f"{GENERATIONS}/nothing/{work}", json={}).status_code == 404
