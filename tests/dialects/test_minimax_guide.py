"""The guide, in both languages, against what is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from genway.dialects.minimax import answers, camera, dialect, image, lyrics, models, music, speech, video, video_v2, voices

DOCS = Path(__file__).parents[2] / "docs"
BODIES = (
    *(video.VideoGeneration, video.TemplateGeneration, image.ImageGeneration, speech.Speech, music.MusicGeneration),
    *(video_v2.VideoGenerationV2, video_v2.Page),
    *(speech.LongSpeech, lyrics.LyricsGeneration, voices.VoiceClone, voices.VoiceDesign, voices.GetVoice, voices.DeleteVoice),
)


@pytest.fixture(params=[DOCS / "minimax.md", DOCS / "zh" / "minimax.md"], ids=["en", "zh"])
def guide(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_place_and_prefix_is_in_the_guide(guide: str) -> None:
    for place in [*(route.paths[0] for route in dialect.routes), *answers.PREFIXES]:
        assert place.replace(":str", "") in guide, place


def test_every_model_is_in_the_guide(guide: str) -> None:
    for name in (*models.VIDEOS, *models.VIDEOS_V2, *models.IMAGES, *models.SPEECH, *models.MUSIC):
        assert f"`{name}`" in guide, name


def test_every_field_is_in_the_guide(guide: str) -> None:
    for name in {name for body in BODIES for name in body.__struct_encode_fields__} - {"extra"}:
        assert f"`{name}`" in guide, name


def test_every_camera_command_is_in_the_guide(guide: str) -> None:
    for command in (*camera.MOVES, *camera.CHINESE, *camera.MANNERS):
        assert f"`[{command.capitalize()}]`" in guide, command


def test_every_status_is_in_the_guide(guide: str) -> None:
    words = {*video.STATUS.values(), *video_v2.STATUS.values(), *video.CALLBACK_STATUS.values(), *speech.LONG_STATUS.values()}
    assert all(f"`{word}`" in guide for word in words)


def test_every_code_is_in_the_guide(guide: str) -> None:
    codes = (
        *(answers.UNKNOWN, answers.TIMED_OUT, answers.RATE, answers.UNAUTHORIZED, answers.BALANCE),
        *(answers.SENSITIVE_INPUT, answers.SENSITIVE_OUTPUT, answers.DOWNSTREAM, answers.INVALID, answers.BAD_KEY),
    )
    assert all(str(code) in guide for code in codes)


def test_every_role_and_ratio_of_the_second_format_is_in_the_guide(guide: str) -> None:
    for word in (*(role for roles in video_v2.ROLES.values() for role in roles), video_v2.ADAPTIVE, *models.RATIOS_V2):
        assert f"`{word}`" in guide, word
    for name, takes in models.VIDEOS_V2.items():
        assert f"`{name}`" in guide
        assert all(f"`{resolution}`" in guide for resolution in takes.resolutions)
