"""Transcriptions and translations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionStreamEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)
from pydantic import TypeAdapter

from genway.errors import InvalidRequest
from genway.providers.local import echo
from genway.providers.local.echo import Streamed, Whole
from genway.providers.local.echo.tones import as_wav, encoded, melody
from genway.providers.local.echo.transcriptions import seconds
from providers.local.echo.asking import event

SAMPLES = melody("word " * 40, "alloy", 1)
WAV = as_wav(SAMPLES)
SAID = "This is talk.wav, 6.0 seconds long."
EVENT: TypeAdapter[Any] = TypeAdapter(TranscriptionStreamEvent)


def heard(kind: str = "transcriptions", file: bytes = WAV, name: str = "talk.wav", **fields: str) -> Whole:
    answer = echo.answer_form(kind, fields, {"file": [(name, len(file), file[:65536])]})
    assert isinstance(answer, Whole)
    return answer


@pytest.mark.parametrize("format_", ["wav", "mp3", "opus", "aac", "flac"])
def test_the_length_is_read_from_the_whole_file_or_from_its_beginning(format_: str) -> None:
    file = WAV if format_ == "wav" else encoded(SAMPLES, format_)
    assert seconds(len(file), file) == pytest.approx(6, abs=0.1)
    # Ogg tells the time only once a page, so the beginning of such a file says it less exactly.
    assert seconds(len(file), file[:20_000]) == pytest.approx(6, rel=0.2 if format_ == "opus" else 0.02)


def test_a_wav_file_that_was_streamed_and_one_with_other_chunks_are_read_too() -> None:
    endless = WAV[:40] + b"\xff\xff\xff\xff" + WAV[44:]
    assert seconds(len(endless), endless[:100]) == pytest.approx(6)
    other = WAV[:12] + b"LIST\x03\0\0\0abc\0" + WAV[12:]
    assert seconds(len(other), other[:100]) == pytest.approx(6)


def test_the_transcript_tells_name_and_length() -> None:
    found = Transcription.model_validate_json(heard().body, strict=True)
    assert found.text == SAID
    assert found.usage is not None
    assert found.usage.type == "tokens"
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (60, 6, 66)


def test_plain_formats_are_plain() -> None:
    assert heard(response_format="text").body.decode() == f"{SAID}\n"
    srt, vtt = heard(response_format="srt"), heard(response_format="vtt")
    assert srt.body.decode() == f"1\n00:00:00,000 --> 00:00:06,000\n{SAID}\n\n"
    assert vtt.body.decode() == f"WEBVTT\n\n00:00:00.000 --> 00:00:06.000\n{SAID}\n\n"
    assert [each.content_type.split(";")[0] for each in (srt, vtt)] == ["text/plain", "text/vtt"]


def test_a_verbose_transcript_has_segments_or_words_as_asked() -> None:
    plain = TranscriptionVerbose.model_validate_json(heard(response_format="verbose_json", language="de").body)
    assert (plain.text, plain.duration, plain.language, plain.words) == (SAID, 6.0, "de", None)
    assert plain.segments is not None
    assert plain.segments[0].end == 6
    fields: dict[str, Any] = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    words = TranscriptionVerbose.model_validate_json(heard(**fields).body)
    assert words.segments is None
    assert [word.word for word in words.words or []] == SAID.split()
    assert (words.words or [])[-1].end == 6


def test_a_translation_is_one() -> None:
    found = TranslationVerbose.model_validate_json(heard("translations", response_format="verbose_json").body)
    assert (found.language, found.text) == ("english", SAID)
    assert json.loads(heard("translations").body)["text"] == SAID


def test_speakers_are_told_apart_where_that_is_asked_for() -> None:
    found = TranscriptionDiarized.model_validate_json(heard(response_format="diarized_json").body)
    assert [(segment.speaker, segment.text) for segment in found.segments] == [("A", SAID)]


@pytest.mark.parametrize("format_", ["json", "diarized_json"])
def test_a_stream_put_together_is_the_transcript(format_: str) -> None:
    answer = echo.answer_form(
        "transcriptions", {"stream": "true", "response_format": format_}, {"file": [("talk.wav", len(WAV), WAV)]}
    )
    assert isinstance(answer, Streamed)
    found = [EVENT.validate_python(event(raw)[1]) for raw in answer.events]
    assert "".join(each.delta for each in found if each.type == "transcript.text.delta") == SAID == found[-1].text
    assert ("transcript.text.segment" in [each.type for each in found]) == (format_ == "diarized_json")


def test_a_beginning_that_is_too_short_leaves_the_length_untold() -> None:
    flac = encoded(SAMPLES, "flac")
    answer = echo.answer_form("transcriptions", {}, {"file": [("a.flac", len(flac), flac[:1024])]})
    assert isinstance(answer, Whole)
    assert json.loads(answer.body)["text"] == "This is a.flac."


@pytest.mark.parametrize("file", [b"", b"not a sound at all", b"RIFF\0\0\0\0WAVE", WAV[:30]])
def test_what_is_no_sound_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        heard(file=file)
    assert caught.value.field == "file"


@pytest.mark.parametrize(("kind", "format_"), [("transcriptions", "docx"), ("translations", "diarized_json")])
def test_a_format_that_is_not_there_is_refused(kind: str, format_: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        heard(kind, response_format=format_)
    assert caught.value.field == "response_format"
    with pytest.raises(InvalidRequest, match="file: required"):
        echo.answer_form(kind, {}, {})
