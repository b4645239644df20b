"""The guide, in both languages, against what is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from genway.dialects.runway import dialect, models, pro, web

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [DOCS / "runway.md", DOCS / "zh" / "runway.md"]
LIMITED = {
    name: takes
    for table in (models.IMAGE_TO_VIDEO, models.TEXT_TO_VIDEO, models.VIDEO_TO_VIDEO, models.CHARACTER_PERFORMANCE)
    for name, takes in table.items()
    if takes.ratios or takes.seconds
}


@pytest.fixture(params=GUIDES, ids=["en", "zh"])
def guide(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_place_is_in_the_guide(guide: str) -> None:
    for route in dialect.routes:
        place = route.paths[0].replace("{task_id:str}", "{id}").replace("{upload_id:str}", "{id}")
        if route.method == "PUT" or place.endswith("/uploads/{id}"):
            continue  # the addresses that an upload is sent to are given by the answer before
        assert place in guide or place.replace("/runwayml/v1", "…") in guide, place


def test_every_model_with_limits_is_in_the_guide_with_its_sizes(guide: str) -> None:
    for name, takes in LIMITED.items():
        assert f"`{name}`" in guide
        assert all(ratio in guide or ratio.replace(":", "x") in guide for ratio in takes.ratios if name != "kling2.5_turbo_pro")


def test_every_field_of_the_pages_dialect_is_in_the_guide(guide: str) -> None:
    structs = (pro.Generate, pro.GenerateOptions, pro.MotionVector, pro.Video2Video, pro.Video2VideoOptions, pro.ActOneOptions)
    names = {name for struct in structs for name in struct.__struct_fields__} - {"extra", "options"}
    for name in names | set(web.Options.__struct_encode_fields__) - {"name", "init_video"}:
        assert f"`{name}`" in guide or f"`options.{name}`" in guide, name


def test_every_status_and_word_is_in_the_guide(guide: str) -> None:
    assert all(f'`"{status}"`' in guide for status in pro.STATUS.values())
