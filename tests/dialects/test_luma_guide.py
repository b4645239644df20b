"""The guide, in both languages, against what is served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from genway.dialects.luma import concepts, dialect, models, official, own, works

DOCS = Path(__file__).parents[2] / "docs"
BODIES = (own.Create, own.Extend, official.NewVideo, works.ReframeVideo, works.Modify, works.Upscale, works.Audio)
# Vercel's names for the references of a picture.
OTHER_NAMES = {"image", "style", "character", "modify_image"}


@pytest.fixture(params=[DOCS / "luma.md", DOCS / "zh" / "luma.md"], ids=["en", "zh"])
def guide(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_place_is_in_the_guide(guide: str) -> None:
    for route in dialect.routes:
        place = route.paths[0].replace("{task_id:str}", "{task_id}").replace("{generation_id:str}", "{id}")
        assert place in guide, place


def test_every_field_is_in_the_guide(guide: str) -> None:
    names = {name for body in (*BODIES, works.NewImage) for name in body.__struct_fields__}
    for name in names - {"extra"} - OTHER_NAMES:
        assert f"`{name}`" in guide, name


def test_every_model_with_its_seconds_is_in_the_guide(guide: str) -> None:
    for name, seconds in models.VIDEO.items():
        [line] = re.findall(rf"^\| `{name}` \|.*$", guide, re.MULTILINE)
        assert re.findall(r"\d+", line.split("|")[2]) == [str(each) for each in seconds]
    assert all(f"`{name}`" in guide for name in (*models.IMAGE, *models.ALIASES))


def test_every_choice_is_in_the_guide(guide: str) -> None:
    for choices in (models.AspectRatio, models.Resolution):
        assert all(f"`{choice}`" in guide for choice in get_args(choices))
    words = {*own.STATES.values(), *own.ROW_STATUS.values(), *official.STATES.values(), *concepts.KEYS}
    assert all(f"`{word}`" in guide for word in words)
