"""Speech: bytes of sound through a real gateway, or events, charged by the character or by what came."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
import requests

from relay.forms_stage import DEADLINE, Stage, staged, until

SPEAKING = "/v1/audio/speech"
numbers = itertools.count()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("speech") / "data") as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    yield standing
    standing.vendor.release()
    standing.vendor.forget()


@pytest.fixture
def number() -> str:
    """A request id of the test's own."""
    return f"speech-{next(numbers)}"


def say(stage: Stage, number: str, key: str = "", **body: Any) -> requests.Response:
    asked = {"model": "gpt-4o-mini-tts", "input": "Good morning", "voice": "alloy"} | body
    headers = {"Authorization": f"Bearer {key or stage.server.key}", "x-request-id": number}
    return requests.post(stage.server.url + SPEAKING, json=asked, headers=headers, timeout=30)


def left_after(stage: Stage, number: str, body: dict[str, Any], first: bytes) -> None:
    """Ask, and leave when the answer holds `first`."""
    data = msgspec.json.encode({"model": "gpt-4o-mini-tts", "voice": "alloy"} | body)
    lines = [f"POST {SPEAKING} HTTP/1.1", "host: a", f"authorization: Bearer {stage.server.key}", f"x-request-id: {number}"]
    lines += ["content-type: application/json", f"content-length: {len(data)}"]
    with stage.connect() as client:
        client.settimeout(DEADLINE)
        client.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        seen = b""
        while first not in seen:
            seen += client.recv(65536)
        client.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("wanted", "content_type"),
    [("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("pcm", "audio/pcm"), ("opus", "audio/opus"), ("flac", "audio/flac")],
)
def test_sound_comes_as_the_vendor_made_it(stage: Stage, number: str, wanted: str, content_type: str) -> None:
    answer = say(stage, number, response_format=wanted)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.content == stage.vendor.asked(SPEAKING)[0].answered
    assert answer.headers["x-request-id"] == number
    call = stage.recorded(number)
    assert (call.kind, call.outcome, call.cost) == ("speech", "done", len("Good morning") * 10)


def test_the_characters_are_counted_and_not_their_bytes(stage: Stage, number: str) -> None:
    assert say(stage, number, input="Größe 大 🎈").status_code == 200
    assert msgspec.json.decode(stage.recorded(number).used)["characters"] == 9


def test_a_model_of_another_name_is_asked_for_by_the_vendors(stage: Stage, number: str) -> None:
    client = openai.OpenAI(api_key=stage.server.key, base_url=f"{stage.server.url}/v1", max_retries=0)
    with client.audio.speech.with_streaming_response.create(model="my-voice", voice="alloy", input="Hi") as answer:
        assert b"".join(answer.iter_bytes()) == b"mp3 of Hi"
    assert stage.vendor.asked(SPEAKING)[0].parsed["model"] == "gpt-4o-mini-tts"


def test_sound_comes_as_events_with_what_it_used(stage: Stage, number: str) -> None:
    answer = say(stage, number, stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == stage.vendor.asked(SPEAKING)[0].answered
    call = stage.recorded(number)
    used = msgspec.json.decode(call.used)
    assert (used["input"], used["audio_output"], call.estimated) == (2, 20, False)


def test_a_large_answer_comes_whole(stage: Stage, number: str) -> None:
    sound = bytes(range(256)) * 40_000
    stage.vendor.next(raw=sound, content_type="audio/pcm", chunk=300_000)
    assert say(stage, number, response_format="pcm").content == sound


def test_a_refusal_is_the_vendors_and_costs_nothing(stage: Stage, number: str) -> None:
    answer = say(stage, number, voice=7)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "voice"
    assert stage.recorded(number) is None


def test_a_client_that_leaves_in_the_middle_of_sound_pays_for_what_came(stage: Stage, number: str) -> None:
    text = "a" * 1500  # some 100 seconds
    stage.vendor.next(raw=bytes(400_000), content_type="audio/mpeg", cut_after=1, hold_after=1)
    left_after(stage, number, {"input": text}, b"\r\n\r\n")
    until(lambda: stage.recorded(number) is not None)
    call = stage.recorded(number)
    used = msgspec.json.decode(call.used)
    assert call.outcome == "client_gone"
    assert 0 < used["characters"] < 1500
    assert call.cost == used["characters"] * 10


def test_a_client_that_leaves_in_the_middle_of_events_pays_for_what_came(stage: Stage, number: str) -> None:
    stage.vendor.next(hold_after=1)
    left_after(stage, number, {"input": "Good morning", "stream_format": "sse"}, b"speech.audio.delta")
    until(lambda: stage.recorded(number) is not None)
    call = stage.recorded(number)
    assert (call.outcome, call.estimated) == ("client_gone", True)
    assert call.cost > 1
    until(lambda: stage.vendor.asked(SPEAKING)[0].disconnected)


def test_sound_that_breaks_off_does_not_look_whole_and_is_charged_in_part(stage: Stage, number: str) -> None:
    stage.vendor.next(cut_after=1, raw=bytes(4000), content_type="audio/mpeg")
    with pytest.raises(requests.exceptions.RequestException):
        say(stage, number, input="a" * 1500)
    until(lambda: stage.recorded(number) is not None)
    call = stage.recorded(number)
    assert call.outcome == "broken_off"
    share = 2000 / 16_000 / (1500 / 15)
    assert msgspec.json.decode(call.used)["characters"] == pytest.approx(math.ceil(1500 * share), abs=1)


def test_a_test_key_hears_something_made_here(stage: Stage, number: str) -> None:
    answer = say(stage, number, key=stage.server.test_key, response_format="wav")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert answer.content.startswith(b"RIFF")
    assert not stage.vendor.asked(SPEAKING)
    assert stage.recorded(number).mode == "test"
