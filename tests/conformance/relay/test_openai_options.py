"""OpenAI's SDK once more: options, ways of reading an answer and pages of lists that programs use beside the usual ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, NotFoundError, OpenAI

from conformance.relay.stage import SAME, Target, Vendors
from running import Running
from standins.openai_answers import vector
from standins.openai_media import png, wav

PNG = ("cat.png", png(), "image/png")


@pytest.fixture
def client(openai_target: Target) -> Iterator[OpenAI]:
    with OpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture(params=["live", "test"])
def gateway_client(request: pytest.FixtureRequest, relay_server: Running, vendors: Vendors) -> Iterator[OpenAI]:
    """A client of the gateway with a live key, and with one that the built-in provider answers."""
    key = relay_server.key if request.param == "live" else relay_server.test_key
    with OpenAI(api_key=key, base_url=f"{relay_server.url}/v1", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
@pytest.mark.parametrize("background", ["transparent", "opaque"])
def test_a_picture_has_the_background_that_is_asked_for(client: OpenAI, openai_target: Target, background: Any) -> None:
    asked: Any = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "background": background}
    made = client.images.generate(
        **asked, quality="low", output_format="webp", output_compression=50, moderation="low", user="u"
    )
    edited = client.images.edit(**asked, image=PNG)
    assert made.background == edited.background == background
    events = list(client.images.generate(**asked, stream=True, partial_images=1))
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]


def test_a_test_key_gets_a_picture_with_the_background_that_is_asked_for(relay_server: Running) -> None:
    with OpenAI(api_key=relay_server.test_key, base_url=f"{relay_server.url}/v1", max_retries=0) as client:
        made = client.images.generate(model="gpt-image-2", prompt="a cat", size="256x256", background="transparent")
        body = {"prompt": "a cat", "model": "gpt-image-2", "size": "256x256", "background": "opaque"}
        request = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": body}
        file = client.files.create(file=("in.jsonl", json.dumps(request).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h")
    assert made.background == "transparent"
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 1


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
@pytest.mark.parametrize("given", ["one", ["one"], [1, 2, 3], [[1, 2], [3]]])
def test_texts_and_tokens_become_vectors(client: OpenAI, openai_target: Target, given: Any) -> None:
    rows = client.embeddings.create(model="text-embedding-3-small", input=given, dimensions=8).data
    assert len(rows) == (2 if given == [[1, 2], [3]] else 1)
    if given in ("one", ["one"]):
        assert rows[0].embedding == vector("one", 8)


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
def test_sound_and_files_are_read_in_every_way(client: OpenAI, openai_target: Target, tmp_path: Path) -> None:
    asked: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "one two", "response_format": "wav"}
    client.audio.speech.create(**asked).write_to_file(tmp_path / "whole.wav")
    with client.audio.speech.with_streaming_response.create(**asked) as streamed:
        streamed.stream_to_file(tmp_path / "streamed.wav")
    raw = client.audio.speech.with_raw_response.create(**asked)
    assert (tmp_path / "whole.wav").read_bytes() == (tmp_path / "streamed.wav").read_bytes() == raw.content == wav(0.1)
    kept = client.files.create(file=tmp_path / "whole.wav", purpose="user_data")
    assert client.files.wait_for_processing(kept.id).status == "processed"
    assert client.files.content(kept.id).read() == wav(0.1)
    with client.files.with_streaming_response.content(kept.id) as content:
        assert b"".join(content.iter_bytes(100)) == wav(0.1)
    client.files.delete(kept.id)


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
async def test_a_stream_in_the_background_is_gone_on_with(openai_target: Target) -> None:
    async with AsyncOpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1", max_retries=0) as client:
        begun: Any = await client.responses.create(
            model=openai_target.model, input="one two three", background=True, stream=True
        )
        name, last = "", -1
        async for event in begun:
            name = name or event.response.id
            last = event.sequence_number
            if last == 5:
                break
        await begun.close()
        rest = [event.sequence_number async for event in await client.responses.retrieve(name, stream=True, starting_after=5)]
        async with client.responses.stream(response_id=name) as stream:
            assert (await stream.get_final_response()).output_text == "You said: one two three"
    assert rest == list(range(6, rest[-1] + 1))


def test_lists_are_walked_page_by_page(gateway_client: OpenAI) -> None:
    files = gateway_client.files
    names = [files.create(file=(f"{number}.txt", b"x"), purpose="user_data").id for number in range(4)]
    assert [file.id for file in files.list(limit=1, purpose="user_data")][:4] == names[::-1]
    assert [file.id for file in files.list(limit=2, order="asc", after=names[0], purpose="user_data")] == names[1:]
    first = files.list(limit=3, purpose="user_data")
    assert (len(first.data), first.has_next_page(), first.get_next_page().data[0].id) == (3, True, names[0])
    for name in names:
        assert files.delete(name).deleted
    made = gateway_client.responses.create(model="gpt-4.1", input=[{"role": "user", "content": text} for text in "abc"])
    for order, texts in (("asc", "abc"), ("desc", "cba")):
        items: Any = gateway_client.responses.input_items.list(made.id, limit=2, order=order)  # type: ignore[arg-type]
        assert [item.content[0].text for item in items] == list(texts)


def test_what_a_client_adds_of_its_own_does_no_harm(gateway_client: OpenAI) -> None:
    raw = gateway_client.with_options(timeout=20, max_retries=1).chat.completions.with_raw_response.create(
        model="gpt-4.1",
        messages=[{"role": "user", "content": "one"}],
        extra_headers={
            "X-Client-Request-Id": "mine",
            "OpenAI-Project": "p",
            "OpenAI-Organization": "o",
            "X-Request-Id": "req-7",
        },
        extra_query={"tag": "a b"},
        timeout=10,
    )
    assert (raw.parse().choices[0].message.content or "").endswith("one")
    assert raw.headers["x-request-id"] == "req-7"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_served_says_what_to_do_instead(gateway_client: OpenAI) -> None:
    uploads, chats = gateway_client.uploads, gateway_client.chat.completions
    with pytest.raises(NotFoundError, match="POST /v1/files"):
        uploads.upload_file_chunked(file=b"{}", filename="a.jsonl", bytes=2, mime_type="text/plain", purpose="batch")
    stored = chats.create(model="gpt-4.1", messages=[{"role": "user", "content": "one"}], store=True, metadata={"for": "me"})
    for use in (chats.retrieve, chats.delete, chats.messages.list):
        with pytest.raises(NotFoundError, match="POST /v1/responses"):
            use(stored.id)  # type: ignore[operator]
    with pytest.raises(APIStatusError, match="POST /v1/responses"):
        chats.list()
    with pytest.raises(NotFoundError, match="previous_response_id"):
        gateway_client.beta.threads.create()
    with pytest.raises(NotFoundError, match="operator"):
        gateway_client.vector_stores.list()
