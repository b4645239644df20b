"""Calls that come as forms: byte for byte through a real gateway, however large they are and whatever goes wrong."""

from __future__ import annotations

import base64
import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import openai
import psutil
import pytest
import requests

from relay.forms_stage import (
    BOUNDARY,
    CONTENT_TYPE,
    JSON_ANSWER,
    LISTENING,
    MEBIBYTE,
    Part,
    Stage,
    answer_of,
    around,
    form,
    hashed,
    staged,
    until,
)
from standins.openai_media import png, wav

EDITS, VARIATIONS, TRANSLATIONS = "/v1/images/edits", "/v1/images/variations", "/v1/audio/translations"
SOUND: Part = ("file", ("a.wav", wav()))
PICTURE: Part = ("image", ("a.png", png()))
EMPTY: Part = ("file", ("a.wav", b""))
LARGE: Part = ("file", ("large.wav", bytes(range(256)) * 8192))
numbers = itertools.count()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("forms") / "data") as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    yield standing
    for sink in (standing.sink, standing.first, standing.second):
        sink.forget()
    standing.vendor.forget()
    until(lambda: not standing.kept_files())


@pytest.fixture
def number() -> str:
    """A request id of the test's own."""
    return f"form-{next(numbers)}"


def post(stage: Stage, body: Any, path: str = LISTENING, key: str = "", **headers: str) -> requests.Response:
    sent = {"Authorization": f"Bearer {key or stage.server.key}", "Content-Type": CONTENT_TYPE}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(stage.server.url + path, data=body, headers=sent, timeout=60)


def test_a_small_form_travels_as_it_came(stage: Stage) -> None:
    body = b"a preamble\r\n" + form(("model", "deep"), SOUND, ("prompt", "Grüße")) + b"an epilogue"
    assert post(stage, body).json()["text"] == "heard"
    (taken,) = stage.sink.taken
    assert (taken.size, taken.digest) == (len(body), hashed(body))
    assert taken.headers["content-type"] == CONTENT_TYPE
    assert taken.head.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")


@pytest.mark.parametrize("parts", [(LARGE, ("model", "deep")), (("model", "deep"), LARGE), (LARGE, ("model", "deep"), LARGE)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_form_travels_as_it_came_wherever_the_model_stands(
    stage: Stage, parts: tuple[Part, ...], chunked: bool
) -> None:
    body = form(*parts)
    pieces = (body[start : start + 70_001] for start in range(0, len(body), 70_001))
    assert post(stage, pieces if chunked else body).status_code == 200
    (taken,) = stage.sink.taken
    through = chunked and parts[0][0] == "model"
    assert ("content-length" in taken.headers) is not through
    if not through:
        assert (taken.size, taken.digest) == (len(body), hashed(body))
    else:
        assert taken.size > len(body)


@pytest.mark.parametrize("size", [100, 2 * MEBIBYTE])
@pytest.mark.parametrize("last", [False, True])
def test_a_model_of_another_name_changes_just_that_part(stage: Stage, size: int, last: bool) -> None:
    decoy = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n'

    def made(model: str) -> bytes:
        sound: Part = ("file", ("a.wav", decoy + bytes(size) + decoy))
        parts: list[Part] = [("language", "en"), ("model", model)]
        return form(sound, *parts) if last else form(*parts, sound)

    assert post(stage, made("alias")).status_code == 200
    expected = made("a-much-longer-name-at-the-vendor")
    (taken,) = stage.sink.taken
    assert (taken.size, taken.digest) == (len(expected), hashed(expected))


def test_the_vendor_gets_what_has_come_before_the_client_has_sent_all(stage: Stage, number: str) -> None:
    body = form(("model", "deep"), LARGE)
    with stage.connect() as client:
        client.sendall(stage.head(len(body), number) + body[: MEBIBYTE + 1])
        until(lambda: stage.sink.taken and stage.sink.taken[0].size > MEBIBYTE - 65536)
        client.sendall(body[MEBIBYTE + 1 :])
        assert answer_of(client).endswith(JSON_ANSWER)
    assert stage.sink.taken[0].digest == hashed(body)


def test_a_client_is_held_back_by_a_vendor_that_does_not_read(stage: Stage, number: str) -> None:
    stage.sink.gate.clear()
    size = 100 * MEBIBYTE
    before, after = around(("model", "deep"), EMPTY)
    with stage.connect() as client:
        client.sendall(stage.head(len(before) + size + len(after), number) + before)
        sent = sent_until_held_back(client, size)
        assert sent < 40 * MEBIBYTE
        stage.sink.gate.set()
        client.settimeout(30)
        client.sendall(bytes(size - sent) + after)
        assert answer_of(client).startswith(b"HTTP/1.1 200")
    assert stage.sink.taken[0].size == len(before) + size + len(after)


def sent_until_held_back(client: socket.socket, most: int) -> int:
    """How many bytes are taken before nobody takes more for half a second."""
    client.settimeout(0.5)
    sent = 0
    while sent < most:
        try:
            sent += client.send(bytes(min(MEBIBYTE, most - sent)))
        except TimeoutError:
            break
    return sent


@pytest.mark.parametrize("parts", [(("model", "both"), SOUND), (LARGE, ("model", "both"))])
def test_what_is_kept_whole_is_tried_on_another_channel(stage: Stage, parts: tuple[Part, ...]) -> None:
    stage.first.status = b"500 Internal Server Error"
    answer = post(stage, form(*parts))
    assert (answer.status_code, answer.headers["x-genway-attempts"]) == (200, "2")
    renamed = form(*(("model", "another-name") if name == "model" else (name, value) for name, value in parts))
    assert stage.first.taken[0].digest == hashed(form(*parts))
    assert stage.second.taken[0].digest == hashed(renamed)


def test_what_went_through_is_not_tried_again(stage: Stage, number: str) -> None:
    stage.first.status, stage.first.answer = b"503 Busy", b'{"error": {"message": "full"}}'
    answer = post(stage, form(("model", "both"), LARGE), x_request_id=number)
    assert (answer.status_code, answer.headers["x-genway-attempts"]) == (503, "1")
    assert not stage.second.taken
    assert stage.recorded(number) is None


@pytest.mark.parametrize(("status", "seen"), [(b"413 Too Large", 413), (b"400 Bad Request", 400)])
def test_a_refusal_before_all_was_sent_reaches_the_client(stage: Stage, number: str, status: bytes, seen: int) -> None:
    stage.sink.status, stage.sink.early = status, True
    stage.sink.answer = b'{"error": {"message": "no"}}'
    body = form(("model", "deep"), LARGE)
    with stage.connect() as client:
        client.sendall(stage.head(100 * MEBIBYTE, number) + body)
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 %d" % seen)
    assert answer.endswith(b'{"error": {"message": "no"}}')
    assert stage.recorded(number) is None


@pytest.mark.parametrize("parts", [(("model", "deep"), LARGE), (LARGE, ("prompt", "no model yet"))])
def test_a_client_that_leaves_while_it_sends_pays_nothing(stage: Stage, number: str, parts: tuple[Part, ...]) -> None:
    body = form(*parts)
    with stage.connect() as client:
        client.sendall(stage.head(len(body) + MEBIBYTE, number) + body)
        if parts[0][0] == "model":
            until(lambda: stage.sink.taken and stage.sink.taken[0].size >= len(body))
        else:
            until(stage.kept_files)
    until(lambda: not stage.kept_files())
    if parts[0][0] == "model":
        until(lambda: stage.sink.taken[0].closed)
    else:
        assert not stage.sink.taken
    assert stage.recorded(number) is None


def test_a_client_that_leaves_while_it_is_listened_to_pays_by_the_size(stage: Stage, number: str) -> None:
    body = form(("model", "deep"), LARGE)
    stage.sink.answers.clear()
    with stage.connect() as client:
        client.sendall(stage.head(len(body), number) + body)
        until(lambda: stage.sink.taken and stage.sink.taken[0].digest)
    until(lambda: stage.recorded(number) is not None)
    call = stage.recorded(number)
    assert (call.outcome, call.estimated) == ("client_gone", True)
    assert call.cost == pytest.approx(len(body) / 16_000 * 100, abs=2)


def test_a_form_that_is_too_large_is_refused_before_it_is_sent(stage: Stage, number: str) -> None:
    with stage.connect() as client:
        client.sendall(stage.head(171 * MEBIBYTE, number))
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("first", [("model", "deep"), ("prompt", "no model")])
def test_a_form_without_a_length_is_cut_off_where_it_is_too_large(stage: Stage, number: str, first: Part) -> None:
    begun, _ = around(first, EMPTY)
    chunk = b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n"
    with stage.connect() as client:
        client.sendall(stage.head(None, number) + b"%x\r\n%b\r\n" % (len(begun), begun))
        for _ in range(175):
            client.sendall(chunk)
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 413")
    if first[0] == "model":
        until(lambda: stage.sink.taken[0].closed)
    else:
        assert not stage.sink.taken
    assert stage.recorded(number) is None


@pytest.mark.parametrize("name", ["录音.wav".encode("gbk"), "录音.wav".encode(), "é.wav".encode("latin-1")])
def test_a_file_may_be_named_in_any_code_page(stage: Stage, number: str, name: bytes) -> None:
    body = form(("model", "deep"), SOUND).replace(b"a.wav", name)
    assert post(stage, body, x_request_id=number).status_code == 200
    assert stage.sink.taken[0].digest == hashed(body)


def test_a_form_is_read_by_the_same_boundary_here_and_at_the_vendor(stage: Stage, number: str) -> None:
    body = form(("model", "deep"), SOUND)
    twice = post(stage, body, x_request_id=number, Content_Type=f"{CONTENT_TYPE}; Boundary=other")
    assert twice.status_code == 400
    assert "one boundary" in twice.json()["error"]["message"]
    with stage.connect() as client:
        more = b"content-type: multipart/form-data; boundary=other\r\n\r\n"
        client.sendall(stage.head(len(body), number)[:-2] + more + body)
        assert answer_of(client).startswith(b"HTTP/1.1 200")
    assert stage.sink.taken[0].headers["content-type"] == CONTENT_TYPE


END = f"--{BOUNDARY}--\r\n".encode()
BROKEN = {
    "nothing": (b"", "not a valid form"),
    "no form": (b"model=deep", "not a valid form"),
    "cut off": (form(("model", "deep"), SOUND)[:-20], "not a valid form"),
    "cut off and large": (form(LARGE, ("model", "deep"))[:-20], "not a valid form"),
    "no name": (b"--%b\r\nX: 1\r\n\r\n1\r\n" % BOUNDARY.encode() + END, "not a valid form"),
    "no model": (form(SOUND), "model"),
    "an empty model": (form(SOUND, ("model", "")), "model"),
    "two models": (form(("model", "deep"), SOUND, ("model", "deep")), "given twice"),
    "a second model behind a large file": (form(("model", "deep"), LARGE, ("model", "whisper-1")), "given twice"),
    "a model in other letters": (form(("model", "x")).replace(b"\r\nx\r\n", b"\r\n\xff\r\n"), "not valid UTF-8"),
    "no number": (form(("model", "deep"), ("n", "many"), SOUND), "n:"),
    "many parts": (form(("model", "deep"), *[("x", "1")] * 200), "not a valid form"),
    "much text": (form(("model", "deep"), ("prompt", "x" * 1_100_000)), "at most"),
}


@pytest.mark.parametrize("shape", BROKEN)
def test_a_broken_form_is_refused_in_words_and_costs_nothing(stage: Stage, number: str, shape: str) -> None:
    body, why = BROKEN[shape]
    answer = post(stage, body, x_request_id=number)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]
    assert not [taken for taken in stage.sink.taken if taken.digest], "no channel has seen all of it"
    assert stage.recorded(number) is None


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (LISTENING, "application/json"),
        (LISTENING, ""),
        (TRANSLATIONS, "application/x-www-form-urlencoded"),
        (VARIATIONS, "application/json"),
        (LISTENING, "multipart/form-data"),
        (EDITS, "text/plain"),
    ],
)
def test_what_is_no_form_is_refused_where_one_is_needed(stage: Stage, path: str, content_type: str) -> None:
    answer = post(stage, b'{"model": "deep"}', path, Content_Type=content_type)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Content-Type"


def test_a_stranger_is_refused_before_his_form_is_read(stage: Stage) -> None:
    answer = post(stage, form(("model", "deep"), LARGE), key="gw_live_nobody")
    assert answer.status_code == 401
    assert not stage.sink.taken


def test_a_body_that_drips_is_refused_in_time(stage: Stage, number: str) -> None:
    lines = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {stage.server.key}\r\n"
    with stage.connect() as client:
        client.sendall(lines.encode() + b'content-length: 100\r\n\r\n{"model":')
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"body_too_slow"' in answer


def client(stage: Stage, key: str = "") -> openai.OpenAI:
    return openai.OpenAI(api_key=key or stage.server.key, base_url=f"{stage.server.url}/v1", max_retries=0)


def test_a_picture_without_a_model_gets_the_one_that_is_charged_for(stage: Stage, number: str) -> None:
    for body in (form(("prompt", "A cat"), PICTURE), form(PICTURE, ("prompt", "A cat"), ("user", "x" * 600_000))):
        answer = post(stage, body.replace(b"application/octet-stream", b"image/png"), EDITS, x_request_id=number)
        assert answer.status_code == 200, answer.text
        assert stage.vendor.asked(EDITS)[-1].parsed.fields["model"] == ["gpt-image-2"], "its name at the vendor"
    varied = client(stage).images.create_variation(image=("a.png", png(), "image/png"))
    assert varied.data
    assert stage.vendor.asked(VARIATIONS)[-1].parsed.fields["model"] == ["dall-e-2"]


@pytest.mark.parametrize("several", [False, True])
def test_pictures_are_edited_from_one_or_several(stage: Stage, several: bool) -> None:
    file = ("a.png", png(), "image/png")
    made = client(stage).images.edit(image=[file, file] if several else file, prompt="A hat", model="gpt-image-2", n=2)
    assert made.data is not None
    assert len(made.data) == 2
    assert set(stage.vendor.asked(EDITS)[-1].parsed.files) == {"image[]" if several else "image"}


def test_pictures_are_edited_from_json_too(stage: Stage, number: str) -> None:
    address = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    body = {"prompt": "A hat", "images": [{"image_url": address}]}
    answer = post(stage, msgspec.json.encode(body), EDITS, Content_Type="application/json", x_request_id=number)
    assert answer.status_code == 200, answer.text
    assert stage.vendor.asked(EDITS)[-1].parsed["model"] == "gpt-image-2"
    assert stage.recorded(number).model == "gpt-image-1.5"


def test_a_picture_comes_as_events(stage: Stage, number: str) -> None:
    body = form(("model", "gpt-image-2"), ("prompt", "A hat"), ("stream", "true"), ("partial_images", "1"), PICTURE)
    body = body.replace(b"application/octet-stream", b"image/png")
    answer = post(stage, body, EDITS, x_request_id=number)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("event: image_edit.partial_image") == 1
    assert answer.text.count("event: image_edit.completed") == 1
    used = msgspec.json.decode(stage.recorded(number).used)
    assert used["images"] == 1
    assert "estimated" not in used


@pytest.mark.parametrize(
    ("wanted", "seconds", "estimated"),
    [("json", 2, False), ("verbose_json", 2, False), ("srt", 2, True), ("vtt", 2, True), ("text", None, True)],
)
def test_a_transcript_is_charged_by_the_second_in_every_format(
    stage: Stage, number: str, wanted: str, seconds: int | None, estimated: bool
) -> None:
    body = form(("model", "whisper-1"), ("response_format", wanted), ("file", ("a.wav", wav(2.0))))
    answer = post(stage, body, x_request_id=number)
    assert answer.status_code == 200, answer.text
    assert answer.content == stage.vendor.asked(LISTENING)[-1].answered
    call = stage.recorded(number)
    used = msgspec.json.decode(call.used)
    assert call.estimated is estimated
    assert seconds is None or used["seconds"] == seconds
    assert call.cost == pytest.approx(used["seconds"] * 100, abs=1)
    assert used["seconds"] > 0


def test_a_translation_is_relayed(stage: Stage) -> None:
    heard = client(stage).audio.translations.create(file=("a.wav", wav(), "audio/wav"), model="whisper-1")
    assert heard.text.startswith("You said something")


def test_a_transcript_comes_as_events(stage: Stage, number: str) -> None:
    events = client(stage).audio.transcriptions.create(
        file=("a.wav", wav(), "audio/wav"), model="my-ears", stream=True, extra_headers={"x-request-id": number}
    )
    kinds = [event.type for event in events]
    assert kinds[-1] == "transcript.text.done"
    assert set(kinds[:-1]) == {"transcript.text.delta"}
    assert stage.vendor.asked(LISTENING)[-1].parsed.fields["model"] == ["gpt-4o-transcribe"]
    call = stage.recorded(number)
    assert (call.vendor_model, call.outcome, call.estimated) == ("gpt-4o-transcribe", "done", False)
    assert msgspec.json.decode(call.used)["audio_input"] == 25


def test_a_stream_that_is_asked_for_behind_a_large_file_comes_as_events_all_the_same(stage: Stage, number: str) -> None:
    sound = ("file", ("a.wav", wav(40.0)))
    answer = post(stage, form(("model", "gpt-4o-transcribe"), sound, ("stream", "true")), x_request_id=number)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().splitlines()[-1].startswith('data: {"type":"transcript.text.done"')
    call = stage.recorded(number)
    assert (call.outcome, call.estimated) == ("done", False)
    assert call.cost > 0


def test_a_client_that_leaves_in_the_middle_of_a_transcript_pays_for_what_was_heard(stage: Stage, number: str) -> None:
    stage.vendor.next(hold_after=2)
    body = form(("model", "gpt-4o-transcribe"), ("stream", "true"), ("file", ("a.wav", wav(4.0))))
    with stage.connect() as client:
        client.sendall(stage.head(len(body), number) + body)
        while b"transcript.text.delta" not in client.recv(65536):
            pass
    until(lambda: stage.recorded(number) is not None)
    call = stage.recorded(number)
    used = msgspec.json.decode(call.used)
    assert (call.outcome, call.estimated) == ("client_gone", True)
    assert used["seconds"] == pytest.approx(len(body) / 16_000, abs=0.01)
    assert used["output"] > 0
    stage.vendor.release()


@pytest.mark.parametrize("size", [0, 2 * MEBIBYTE])
@pytest.mark.parametrize("last", [False, True])
def test_a_test_key_is_answered_here(stage: Stage, size: int, last: bool) -> None:
    sound: Part = ("file", ("a.wav", wav(1.5) + bytes(size)))
    parts: tuple[Part, ...] = (("model", "whisper-1"), ("response_format", "text"))
    body = form(sound, *parts) if last else form(*parts, sound)
    answer = post(stage, body, key=stage.server.test_key)
    assert answer.text.strip() == "This is a.wav, 1.5 seconds long."
    assert answer.headers["x-genway-channel"] == "local"


def test_a_test_keys_pictures_are_made_here(stage: Stage) -> None:
    here = client(stage, stage.server.test_key)
    file = ("a.png", png(), "image/png")
    made = here.images.edit(image=[file, file], prompt="A hat", size="256x256").data
    varied = here.images.create_variation(image=file, size="256x256").data
    assert made is not None
    assert varied is not None
    assert base64.b64decode(made[0].b64_json or "").startswith(b"\x89PNG")


@pytest.mark.parametrize("last", [False, True])
def test_a_form_of_150_megabytes_takes_no_memory(stage: Stage, number: str, last: bool) -> None:
    model: Part = ("model", "deep")
    before, after = around(*((EMPTY, model) if last else (model, EMPTY)))
    size = 150 * MEBIBYTE
    gateway = psutil.Process(stage.server.process.pid)
    taken = []
    with stage.connect() as connection:
        connection.sendall(stage.head(len(before) + size + len(after), number) + before)
        for _ in range(150):
            connection.sendall(bytes(MEBIBYTE))
            taken.append(gateway.memory_info().rss)
        connection.sendall(after)
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
    assert stage.sink.taken[0].size == len(before) + size + len(after)
    assert max(taken) - taken[0] < 24 * MEBIBYTE


def test_many_forms_at_once_do_not_mix(stage: Stage) -> None:
    bodies = [form(("model", "deep"), ("file", (f"{n}.wav", bytes([n]) * 700_000))) for n in range(12)]
    with ThreadPoolExecutor(12) as threads:
        assert {answer.status_code for answer in threads.map(lambda body: post(stage, body), bodies)} == {200}
    assert sorted(taken.digest for taken in stage.sink.taken) == sorted(hashed(body) for body in bodies)


def test_a_vendor_that_hangs_up_in_the_middle_is_told_of(stage: Stage, number: str) -> None:
    stage.sink.hangs_up = True
    body = form(("model", "deep"), LARGE)
    with stage.connect() as client:
        client.sendall(stage.head(len(body) + MEBIBYTE, number) + body)
        answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 502")
    assert b'"upstream_failed"' in answer
    assert stage.recorded(number) is None
