"""The guide, in both languages, against what is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from genway.dialects.kling import audio, dialect, fields, images, library, people, queries, sessions, videos
from genway.operations import Camera
from genway.providers import _kling_models

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(params=[DOCS / "kling.md", DOCS / "zh" / "kling.md"], ids=["en", "zh"])
def guide(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_place_is_in_the_guide(guide: str) -> None:
    for endpoint in queries.ENDPOINTS:
        assert f"`/{endpoint}`" in guide
    for route in dialect.routes:
        for path in route.paths if route.submits else route.paths[:1]:
            place = path.removeprefix(fields.V1).partition("/{")[0]
            assert place in guide, place


def test_every_field_of_its_own_is_in_the_guide(guide: str) -> None:
    for struct in (
        *(videos.TextToVideo, videos.ImageToVideo, videos.OmniVideo, videos.VideoExtend, videos.Effects),
        *(
            people.LipSync,
            people.LipSyncInput,
            people.AdvancedLipSync,
            people.Avatar,
            people.MotionControl,
        ),
        *(sessions.MultiElements, sessions.Marks, sessions.Picture, library.CustomVoice, library.CustomElement),
        *(images.Generations, images.MultiImage, images.OmniImage, images.Expand, images.TryOn),
        *(audio.TextToAudio, audio.VideoToAudio, audio.Speech),
    ):
        for name in set(struct.__struct_fields__) - {"extra"}:
            assert f"`{name}`" in guide, name


def test_every_preset_is_in_the_guide_and_means_the_same_to_both_sides(guide: str) -> None:
    assert all(f"`{name}`" in guide for name in fields.PRESETS)
    assert fields.PRESETS == _kling_models.PRESETS
    assert set(_kling_models.AXES) <= set(Camera.__struct_fields__)


def test_every_route_that_can_be_asked_for_a_lost_task_is_one_of_the_format() -> None:
    assert set(_kling_models.PATHS) == set(queries.ENDPOINTS) - {"audio/tts"}
