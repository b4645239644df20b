"""Pictures, speech and music in MiniMax's format."""

from __future__ import annotations

import io
import wave
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dialects.minimax_stage import Client, Files, Working, events, serving, sound
from dialects.stage import IMAGE
from genway.dialects.minimax import dialect
from genway.operations import ImageRequest, MediaRef, MusicRequest, Size, SpeechRequest
from genway.tasks.model import State

OK = {"status_code": 0, "status_msg": "success"}
SPEECH = {"model": "speech-2.6-hd", "text": "Hello there", "voice_setting": {"voice_id": "male-qn-qingse"}}
SONG = {"model": "music-2.0", "prompt": "indie folk, melancholic", "lyrics": "[verse]\nla la la"}
PICTURE = {"model": "image-01", "prompt": "a red kite"}


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.fixture
def gateway() -> Working:
    gateway = Working()
    gateway.local = False
    return gateway


@pytest.fixture
def client(application: Client, gateway: Working) -> Client:
    application.app.state.gateway = gateway
    application.app.state.library = Files()
    return application


def refusal(client: Client, place: str, body: dict[str, Any]) -> str:
    answer = client.post(place, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["base_resp"]["status_code"] == 2013
    return str(answer.json()["base_resp"]["status_msg"])


def test_pictures_are_answered_as_links(client: Client, gateway: Working) -> None:
    gateway.makes(IMAGE, IMAGE)
    told = client.post("/v1/image_generation", json={**PICTURE, "n": 3, "seed": 4, "aspect_ratio": "16:9"}).json()
    assert told.pop("base_resp") == OK
    assert told == {
        "id": gateway.last.id,
        "data": {"image_urls": [IMAGE.url, IMAGE.url]},
        "metadata": {"success_count": 2, "failed_count": 1},
    }
    operation = gateway.last.operation
    assert isinstance(operation, ImageRequest)
    assert (operation.model, operation.count, operation.seed, operation.size) == ("minimax/image-01", 3, 4, Size(1280, 720))
    assert gateway.waited == [180]


def test_pictures_may_come_as_base64(client: Client, gateway: Working) -> None:
    gateway.makes(IMAGE)
    told = client.post("/v1/image_generation", json={**PICTURE, "response_format": "base64"}).json()
    assert told["data"] == {"image_base64": [b64encode(b"ID3abc").decode()]}


def test_a_picture_has_the_person_and_the_size_that_were_given(client: Client, gateway: Working) -> None:
    gateway.makes(IMAGE)
    given = {
        "subject_reference": [{"type": "character", "image_file": "https://a.example/1.png"}],
        "width": 1024,
        "height": 512,
    }
    client.post("/v1/image_generation", json={**PICTURE, **given, "prompt_optimizer": True, "aigc_watermark": False})
    operation = gateway.last.operation
    assert isinstance(operation, ImageRequest)
    assert (operation.references, operation.size) == ((MediaRef(url="https://a.example/1.png"),), Size(1024, 512))
    assert operation.extra == {"prompt_optimizer": True, "aigc_watermark": False}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 1024}, "height: required, for width and height are given together"),
        ({"width": 1023, "height": 512}, "width: a whole number from 512 to 2048, got 1023"),
        ({"n": 10}, "n: a whole number from 1 to 9, got 10"),
        ({"prompt": ""}, "prompt: required"),
        ({"model": "image-09"}, 'model: image-01 or image-01-live, got "image-09"'),
    ],
)
def test_a_picture_that_cannot_be_is_refused(fields: dict[str, Any], said: str, client: Client) -> None:
    assert refusal(client, "/v1/image_generation", {**PICTURE, **fields}) == said


def test_speech_is_answered_as_hex_with_its_measures(client: Client, gateway: Working) -> None:
    gateway.makes(sound())
    told = client.post("/v1/t2a_v2", json=SPEECH).json()
    assert told["base_resp"] == OK
    assert told["data"] == {"audio": b"ID3abc".hex(), "status": 2}
    assert told["extra_info"] == {
        "audio_length": 9900,
        "audio_size": 6,
        "audio_sample_rate": 32000,
        "bitrate": 128000,
        "word_count": 2,
        "invisible_character_ratio": 0,
        "usage_characters": 11,
        "audio_format": "mp3",
        "audio_channel": 1,
    }
    assert told["trace_id"] == gateway.last.request_id


def test_every_field_of_speech_is_honoured(client: Client, gateway: Working) -> None:
    gateway.makes(sound())
    given = {
        **SPEECH,
        "voice_setting": {"voice_id": "a", "speed": 1.5, "vol": 2, "pitch": -3, "emotion": "happy", "latex_read": True},
        "audio_setting": {"sample_rate": 44100, "format": "flac", "channel": 2, "force_cbr": True},
        "pronunciation_dict": {"tone": ["Omg/Oh my god"]},
        "language_boost": "auto",
    }
    told = client.post("/v1/t2a_v2", json={**given, "output_format": "url"}).json()
    assert told["data"] == {"audio": sound().url, "status": 2}
    assert gateway.last.operation == SpeechRequest(
        model="minimax/speech-2.6-hd",
        format="minimax.speech",
        text="Hello there",
        voice="a",
        language="auto",
        emotion="happy",
        speed=1.5,
        volume=2,
        pitch=-3,
        encoding="flac",
        extra={
            "voice_setting": {"latex_read": True},
            "audio_setting": {"sample_rate": 44100, "channel": 2, "force_cbr": True},
            "pronunciation_dict": {"tone": ["Omg/Oh my god"]},
        },
    )


def test_raw_samples_are_taken_out_of_a_wav_file(client: Client, gateway: Working) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(32000)
        file.writeframes(b"\x01\x02\x03\x04")
    client.app.state.library = Files(buffer.getvalue())
    gateway.makes(sound("wav"))
    told = client.post("/v1/t2a_v2", json={**SPEECH, "audio_setting": {"format": "pcm"}}).json()
    assert told["data"]["audio"] == "01020304"
    assert (told["extra_info"]["audio_size"], told["extra_info"]["audio_format"]) == (4, "pcm")
    operation = gateway.last.operation
    assert isinstance(operation, SpeechRequest)
    assert operation.encoding == "wav"


@pytest.mark.parametrize("whole", [True, False], ids=["with the whole at the end", "without"])
def test_speech_may_come_as_events(whole: bool, client: Client, gateway: Working) -> None:
    gateway.makes(sound())
    options = {"stream": True, "stream_options": {"exclude_aggregated_audio": not whole}}
    answer = client.post("/v1/t2a_v2", json={**SPEECH, **options})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    part, last = events(answer.text)
    assert part["data"] == {"audio": b"ID3abc".hex(), "status": 1}
    assert last["data"] == {"audio": b"ID3abc".hex() if whole else "", "status": 2}
    assert last["extra_info"]["audio_length"] == 9900
    assert part["base_resp"] == last["base_resp"] == OK


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"voice_setting": {}}, "voice_setting.voice_id: required"),
        ({"voice_setting": {"voice_id": "a", "speed": 3}}, "voice_setting.speed: a number from 0.5 to 2, got 3"),
        ({"audio_setting": {"sample_rate": 1}}, "audio_setting.sample_rate: 8000, 16000, 22050, 24000, 32000 or 44100, got 1"),
        ({"text": "x" * 10_000}, "text: a text of at most 9999 characters, got 10000"),
        ({"stream": True, "output_format": "url"}, 'output_format: hex where stream is true, got "url"'),
        ({"subtitle_enable": True}, "subtitle_enable: false, for no subtitles are made here"),
    ],
)
def test_speech_that_cannot_be_is_refused(fields: dict[str, Any], said: str, client: Client, gateway: Working) -> None:
    assert refusal(client, "/v1/t2a_v2", {**SPEECH, **fields}) == said
    assert gateway.tasks == {}


def test_long_speech_is_a_task_with_numbers_for_ids(client: Client, gateway: Working) -> None:
    given = {**SPEECH, "text": "x" * 20_000, "audio_setting": {"audio_sample_rate": 44100}}
    created = client.post("/v1/t2a_async_v2", json=given).json()
    assert created["task_id"] == created["file_id"]
    assert (created["task_token"], created["usage_characters"]) == (gateway.last.id, 20_000)
    assert gateway.last.operation.extra == {"audio_setting": {"audio_sample_rate": 44100}}
    place = f"/v1/query/t2a_async_query_v2?task_id={created['task_id']}"
    gateway.change(state=State.RUNNING)
    assert client.get(place).json()["status"] == "Processing"
    gateway.change(state=State.SUCCEEDED, files=(sound(),), finished_at=7.0)
    told = client.get(place).json()
    assert (told["status"], told["file_id"], told["base_resp"]) == ("Success", created["file_id"], OK)
    assert client.get(f"/v1/query/t2a_async_query_v2?task_id={created['task_token']}").json() == told
    file = client.get(f"/v1/files/retrieve?file_id={told['file_id']}").json()["file"]
    assert (file["filename"], file["purpose"], file["download_url"]) == ("output.mp3", "t2a_async", sound().url)


def test_a_song_is_answered_in_one_call(client: Client, gateway: Working) -> None:
    gateway.makes(sound())
    told = client.post("/v1/music_generation", json=SONG).json()
    assert (told["data"], told["base_resp"]) == ({"audio": b"ID3abc".hex(), "status": 2}, OK)
    assert told["extra_info"] == {
        "music_duration": 9900,
        "music_size": 6,
        "music_sample_rate": 44100,
        "music_channel": 2,
        "bitrate": 256000,
    }
    operation = gateway.last.operation
    assert isinstance(operation, MusicRequest)
    assert (operation.prompt, operation.lyrics, operation.encoding) == (SONG["prompt"], SONG["lyrics"], "mp3")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lyrics": ""}, "lyrics: required"),
        ({"lyrics": "la"}, "lyrics: a text of 10 to 3500 characters, got 2"),
        ({"model": "music-1.5", "lyrics": "l" * 601}, "lyrics: a text of 10 to 600 characters, got 601"),
        ({"prompt": ""}, "prompt: required"),
        ({"is_instrumental": True}, "is_instrumental: music-2.0 makes no instrumental music"),
    ],
)
def test_a_song_that_cannot_be_is_refused(fields: dict[str, Any], said: str, client: Client) -> None:
    assert refusal(client, "/v1/music_generation", {**SONG, **fields}) == said


def test_a_song_may_be_instrumental_or_have_its_lyrics_written(client: Client, gateway: Working) -> None:
    gateway.makes(sound())
    client.post("/v1/music_generation", json={"model": "music-2.6", "prompt": "strings", "is_instrumental": True})
    assert gateway.last.operation == MusicRequest(
        model="minimax/music-2.6", format="minimax.music", prompt="strings", instrumental=True
    )
    client.post("/v1/music_generation", json={"model": "music-2.5", "prompt": "strings", "lyrics_optimizer": True})
    assert gateway.last.operation.extra == {"lyrics_optimizer": True}


CALLS = {"/v1/image_generation": PICTURE, "/v1/t2a_v2": SPEECH, "/v1/music_generation": SONG}


@pytest.mark.parametrize("place", CALLS)
def test_work_that_fails_is_told_by_its_code(place: str, client: Client, gateway: Working) -> None:
    gateway.does = lambda: gateway.fail(code="moderation", message="sensitive")
    answer = client.post(place, json=CALLS[place])
    assert (answer.status_code, answer.json()["base_resp"]) == (400, {"status_code": 1026, "status_msg": "sensitive"})
    gateway.does = gateway.fail
    answer = client.post(place, json=CALLS[place])
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (502, 1033)


@pytest.mark.parametrize("place", CALLS)
def test_work_that_takes_too_long_is_cancelled(place: str, client: Client, gateway: Working) -> None:
    answer = client.post(place, json=CALLS[place])
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (504, 1001)
    assert gateway.last.state is State.CANCELLED


@pytest.mark.parametrize("place", CALLS)
def test_a_task_of_each_call_can_be_told_of_elsewhere(place: str, client: Client, gateway: Working) -> None:
    gateway.makes(sound(), IMAGE)
    client.post(place, json=CALLS[place])
    told = dialect.formats[gateway.last.dialect].render(gateway.last)
    assert told["base_resp"] == OK
    assert msgspec.json.encode(told["data"]).count(b"http://gen.test/media/") == 1
