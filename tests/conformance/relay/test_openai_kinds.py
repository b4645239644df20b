"""OpenAI's SDK beyond chat: responses, embeddings, moderations, pictures, sound, files, batches, models and realtime."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from openai import AsyncOpenAI, NotFoundError, OpenAI
from pydantic import BaseModel

from conformance.relay.stage import PICTURE, PICTURE_SEEN, SAME, TWO_CITIES, WEATHER, Target
from standins.openai_answers import vector
from standins.openai_media import png, wav

pytestmark = pytest.mark.parametrize("openai_target", SAME, indirect=True)
TOOL: Any = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
PNG = ("cat.png", png(), "image/png")
WAV = ("speech.wav", wav(), "audio/wav")


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def client(openai_target: Target) -> Iterator[OpenAI]:
    with OpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1", max_retries=0) as made:
        yield made


def test_a_response_is_given_kept_and_deleted(client: OpenAI, openai_target: Target) -> None:
    made = client.responses.create(model=openai_target.model, input="one", instructions="Be brief.")
    assert (made.status, made.output_text, made.model) == ("completed", "You said: one", openai_target.model)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    again = client.responses.create(model=openai_target.model, input="two", previous_response_id=made.id)
    assert again.previous_response_id == made.id
    assert again.usage is not None
    assert again.usage.input_tokens_details.cached_tokens > 0
    assert client.responses.retrieve(made.id).output_text == "You said: one"
    assert len(list(client.responses.input_items.list(again.id))) == 3
    client.responses.delete(made.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_is_streamed_event_by_event(client: OpenAI, openai_target: Target) -> None:
    events = list(
        client.responses.create(model=openai_target.thinker, input="one 🌍", reasoning={"summary": "auto"}, stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("response.created", "response.in_progress", "response.completed")
    assert "response.reasoning_summary_text.delta" in kinds
    with client.responses.stream(model=openai_target.model, input="one 🌍") as stream:
        assert stream.get_final_response().output_text == "You said: one 🌍"


def test_responses_call_tools_and_take_their_results(client: OpenAI, openai_target: Target) -> None:
    made = client.responses.create(model=openai_target.model, input=TWO_CITIES, tools=[TOOL])
    calls = [item for item in made.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Oslo", "Zürich"]
    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls]
    end = client.responses.create(model=openai_target.model, input=results, previous_response_id=made.id, tools=[TOOL])
    assert end.output_text == "The tools answered: rain; rain"
    whole: Any = [{"role": "user", "content": TWO_CITIES}, *(item.to_dict() for item in made.output), *results]
    assert client.responses.create(model=openai_target.model, input=whole, tools=[TOOL]).output_text == end.output_text


def test_responses_are_parsed_and_see(client: OpenAI, openai_target: Target) -> None:
    parsed = client.responses.parse(model=openai_target.model, input='{"name": "Ada", "age": 36}', text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    parts: Any = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": PICTURE}]
    seen = client.responses.create(model=openai_target.model, input=[{"role": "user", "content": parts}])
    assert seen.output_text == f"You said: look You showed: {PICTURE_SEEN}."


def test_a_response_in_the_background_is_waited_for_or_cancelled(client: OpenAI, openai_target: Target) -> None:
    made = client.responses.create(model=openai_target.model, input="one", background=True)
    assert (made.status, client.responses.retrieve(made.id).status) == ("queued", "in_progress")
    assert client.responses.retrieve(made.id).output_text == "You said: one"
    doomed = client.responses.create(model=openai_target.model, input="one", background=True)
    assert client.responses.cancel(doomed.id).status == "cancelled"


def test_legacy_completions_with_and_without_a_stream(client: OpenAI, openai_target: Target) -> None:
    ask: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": "one two"}
    whole = client.completions.create(**ask, echo=True, max_tokens=3)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("one twoYou said: one ", "length")
    stream = client.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "You said: one two"
    assert chunks[-1].usage is not None


def test_embeddings_as_numbers_and_packed(client: OpenAI, openai_target: Target) -> None:
    asked: Any = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8}
    packed = client.embeddings.create(**asked)
    numbers = client.embeddings.create(**asked, encoding_format="float")
    assert [row.embedding for row in packed.data] == [row.embedding for row in numbers.data]
    assert packed.data[1].embedding == vector("two", 8)
    assert packed.usage.total_tokens == 2


def test_moderations_flag(client: OpenAI, openai_target: Target) -> None:
    flagged, clean = client.moderations.create(input=["pure violence", "pure peace"], model="omni-moderation-latest").results
    assert (flagged.flagged, flagged.categories.violence, clean.flagged) == (True, True, False)


def test_documents_are_ranked_again(client: OpenAI, openai_target: Target) -> None:
    answer = requests.post(
        f"{openai_target.url}/v1/rerank",
        json={"model": "rerank-1", "query": "red house", "documents": ["a tree", "a red house"], "return_documents": True},
        headers={"Authorization": f"Bearer {openai_target.key}"},
        timeout=20,
    )
    assert [row["index"] for row in answer.json()["results"]] == [1, 0]
    assert answer.json()["results"][0]["document"] == {"text": "a red house"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_are_made_edited_and_varied(client: OpenAI, openai_target: Target) -> None:
    made = client.images.generate(model="gpt-image-2", prompt="a cat", n=2, size="1024x1024")
    assert made.data is not None
    assert [base64.b64decode(each.b64_json or "")[:4] for each in made.data] == [b"\x89PNG"] * 2
    assert made.usage is not None
    assert made.usage.output_tokens == 544
    events = list(client.images.generate(model="gpt-image-2", prompt="a cat", size="1024x1024", stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    one = client.images.edit(model="gpt-image-2", image=PNG, mask=PNG, prompt="a hat")
    several = client.images.edit(model="gpt-image-2", image=[PNG, PNG], prompt="a hat")
    assert one.usage is not None
    assert several.usage is not None
    assert (one.usage.input_tokens_details.image_tokens, several.usage.input_tokens_details.image_tokens) == (64, 128)
    varied = client.images.create_variation(image=PNG, n=1, size="256x256", response_format="b64_json")
    assert varied.data is not None
    assert varied.data[0].b64_json


def test_text_is_spoken(client: OpenAI, openai_target: Target) -> None:
    asked: Any = {"model": "gpt-4o-mini-tts", "input": "one two", "voice": "alloy"}
    spoken = client.audio.speech.create(**asked, response_format="wav")
    assert spoken.content == wav(0.1)
    assert spoken.response.headers["content-type"] == "audio/wav"
    with client.audio.speech.with_streaming_response.create(**asked, stream_format="sse") as streamed:
        lines = [line for line in streamed.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 2 + ["speech.audio.done"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_speech_is_written_down_in_every_form(client: OpenAI, openai_target: Target) -> None:
    said = f"You said something of {len(wav())} bytes."
    create = client.audio.transcriptions.create
    assert create(model="gpt-4o-transcribe", file=WAV, language="en").text == said
    assert str(create(model="whisper-1", file=WAV, response_format="text")).strip() == said
    assert "-->" in str(create(model="whisper-1", file=WAV, response_format="srt"))
    assert str(create(model="whisper-1", file=WAV, response_format="vtt")).startswith("WEBVTT")
    verbose = create(model="whisper-1", file=WAV, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.text, verbose.duration, len(verbose.words or [])) == (said, 1.0, len(said.split()))
    events = list(create(model="gpt-4o-transcribe", file=WAV, stream=True))
    assert (events[0].type, events[-1].type) == ("transcript.text.delta", "transcript.text.done")
    assert client.audio.translations.create(model="whisper-1", file=WAV).text == said


def test_a_batch_is_made_from_a_file_and_its_results_are_fetched(client: OpenAI, openai_target: Target) -> None:
    def line(number: int, content: Any) -> str:
        body = {"model": openai_target.model, "messages": [{"role": "user", "content": content}]}
        return json.dumps({"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})

    content = "\n".join([line(1, "one"), line(2, 5)]).encode()
    uploaded = client.files.create(file=("in.jsonl", content), purpose="batch", extra_query={"model": openai_target.model})
    assert (uploaded.bytes, uploaded.purpose, uploaded.filename) == (len(content), "batch", "in.jsonl")
    assert client.files.content(uploaded.id).read() == content
    assert uploaded.id in {file.id for file in client.files.list()}
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "tests"}
    )
    assert (batch.status, batch.metadata) == ("in_progress", {"for": "tests"})
    done = client.batches.retrieve(batch.id)
    assert done.request_counts is not None
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 1, 1)
    [row] = [json.loads(text) for text in client.files.content(str(done.output_file_id)).text.splitlines()]
    assert row["custom_id"] == "c1"
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "You said: one"
    assert batch.id in {each.id for each in client.batches.list()}
    doomed = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(doomed.id).status == "cancelling"
    assert client.files.delete(uploaded.id).deleted


def test_models_are_listed(client: OpenAI, openai_target: Target) -> None:
    listed = {model.id for model in client.models.list()}
    assert {openai_target.model, openai_target.thinker} <= listed
    assert client.models.retrieve(openai_target.model).object == "model"
    with pytest.raises(NotFoundError):
        client.models.retrieve("gpt-of-nobody")


async def test_a_realtime_conversation_is_held(openai_target: Target) -> None:
    async with (
        AsyncOpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1") as client,
        client.realtime.connect(model="gpt-realtime-2") as connection,
    ):
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        assert (await connection.recv()).type == "session.updated"
        said: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one 🌍"}]}
        await connection.conversation.item.create(item=said)
        await connection.response.create()
        text, usage = "", None
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.done":
                usage = event.response.usage
                break
        await connection.send({"type": "nonsense"})  # type: ignore[arg-type]
        refused = await connection.recv()
    assert text == "You said: one 🌍"
    assert usage is not None
    assert usage.total_tokens == 6
    assert refused.type == "error"
