"""The official `openai` SDK's video helpers against a running gateway, unmodified."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from openai import AsyncOpenAI, OpenAI

from standins import samples

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

SMALL: dict[str, Any] = {"model": "local/animate", "seconds": "1", "size": "256x144"}
MP4 = b"ftyp"
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def client(gateway_server: Any) -> Iterator[OpenAI]:
    with client_of(gateway_server, gateway_server.key) as made:
        yield made


@pytest.fixture
def tester(gateway_server: Any) -> Iterator[OpenAI]:
    with client_of(gateway_server, gateway_server.test_key) as made:
        yield made


def client_of(server: Any, key: str) -> OpenAI:
    return OpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0)


@pytest.fixture(scope="module")
def finished(client: OpenAI) -> Any:
    """One video, made from a picture that was sent as a file."""
    picture = ("picture.png", io.BytesIO(samples.picture()), "image/png")
    return client.videos.create_and_poll(**SMALL, prompt="a slow zoom", input_reference=picture)


def test_a_picture_sent_as_a_file_becomes_a_video(client: OpenAI, finished: Any) -> None:
    assert (finished.status, finished.progress, finished.error) == ("completed", 100, None)
    assert (finished.model, finished.seconds, finished.size) == ("local/animate", "1", "256x144")
    assert finished.completed_at >= finished.created_at
    assert client.videos.download_content(finished.id).read()[4:8] == MP4


def test_the_thumbnail_is_a_picture(client: OpenAI, finished: Any) -> None:
    thumbnail = client.videos.download_content(finished.id, variant="thumbnail")
    assert thumbnail.response.headers["content-type"].startswith("image/")
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(finished.id, variant="spritesheet")


def test_a_part_of_the_content_is_answered_to_a_range(client: OpenAI, finished: Any) -> None:
    address = f"{client.base_url}videos/{finished.id}/content"
    headers = {"Authorization": f"Bearer {client.api_key}"}
    whole = requests.get(address, headers=headers, timeout=10)
    part = requests.get(address, headers={**headers, "Range": "bytes=4-7"}, timeout=10)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    assert (part.status_code, part.content) == (206, MP4)
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    assert requests.get(address, headers={**headers, "Range": "bytes=99999999-"}, timeout=10).status_code == 416
    head = requests.head(address, headers=headers, timeout=10)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))
    assert requests.get(address, timeout=10).status_code == 401


def test_a_remix_names_the_video_it_was_made_from(client: OpenAI, finished: Any) -> None:
    remix = client.videos.remix(finished.id, prompt="in watercolour")
    assert remix.remixed_from_video_id == finished.id
    assert client.videos.poll(remix.id).status == "completed"
    assert client.videos.download_content(remix.id).read()[4:8] == MP4


def test_the_list_is_followed_page_by_page(tester: OpenAI) -> None:
    ids = [tester.videos.create(**SMALL, prompt="genway:delay=60").id for _ in range(3)]
    try:
        assert [video.id for video in tester.videos.list(limit=2)][:3] == ids[::-1]
        assert next(iter(tester.videos.list(order="asc", after=ids[0], limit=1))).id == ids[1]
    finally:
        for video in ids:
            assert tester.videos.delete(video).deleted
    with pytest.raises(openai.NotFoundError):
        tester.videos.retrieve(ids[0])


@pytest.mark.parametrize("by", ["image_url", "file_id"])
def test_a_picture_is_taken_by_reference(by: str, gateway_server: Any, tester: OpenAI) -> None:
    """The SDK's own argument takes files only, whatever its types say."""
    if by == "file_id":
        upload = gateway_server.post("/runwayml/v1/uploads", {"filename": "a.png"}, gateway_server.test_key).json()
        file = {"file": ("a.png", samples.picture())}
        assert requests.post(upload["uploadUrl"], data=upload["fields"], files=file, timeout=10).status_code == 204
        value = upload["runwayUri"]
    else:
        value = f"data:image/png;base64,{base64.b64encode(samples.picture()).decode()}"
    video = tester.videos.create(**SMALL, prompt="genway:delay=60", extra_body={"input_reference": {by: value}})
    tester.videos.delete(video.id)


async def test_the_asynchronous_client_is_told_of_a_failure(gateway_server: Any) -> None:
    async with AsyncOpenAI(api_key=gateway_server.test_key, base_url=f"{gateway_server.url}/v1", max_retries=0) as client:
        video = await client.videos.create_and_poll(**SMALL, prompt="genway:fail=moderation")
    assert video.status == "failed"
    assert video.error is not None
    assert video.error.code == "moderation_blocked"


@pytest.mark.parametrize("model", ["sora-2", "kling/kling-v2-master", "runway/gen4_turbo", "luma/ray-2"])
def test_any_system_s_model_is_asked_for_at_the_same_door(model: str, tester: OpenAI) -> None:
    seconds: Any = "4" if model == "sora-2" else "5"
    video = tester.videos.create(model=model, seconds=seconds, prompt="genway:delay=60")
    assert video.model == model
    tester.videos.delete(video.id)


def test_wrong_requests_raise_the_sdk_s_own_errors(gateway_server: Any, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="seconds: 4, 8 or 12, got 5") as refused:
        client.videos.create(prompt="a wave", seconds="5")  # type: ignore[arg-type]
    assert (refused.value.param, refused.value.code) == ("seconds", "invalid_request")
    assert refused.value.request_id
    with pytest.raises(openai.BadRequestError, match="input_reference"):
        client.videos.create(**SMALL, prompt="a wave", input_reference=("a.png", b"<html></html>"))
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve("nothing")
    with client_of(gateway_server, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.videos.list()
    video = client.videos.create(**SMALL, prompt="a wave")
    client.videos.delete(video.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(video.id)


def test_the_same_form_twice_with_one_idempotency_key_is_one_video(tester: OpenAI) -> None:
    def create(prompt: str, picture: bytes) -> Any:
        return tester.videos.create(
            **SMALL, prompt=prompt, input_reference=("a.png", picture), extra_headers={"Idempotency-Key": key}
        )

    key = f"key-{time.time()}"
    first = create("genway:delay=60", samples.picture())
    assert create("genway:delay=60", samples.picture()).id == first.id
    with pytest.raises(openai.UnprocessableEntityError):
        create("genway:delay=60", samples.picture(5))
    tester.videos.delete(first.id)
