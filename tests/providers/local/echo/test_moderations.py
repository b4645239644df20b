"""Moderations."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import ModerationCreateResponse

from genway.errors import InvalidRequest
from genway.providers.local.echo.moderations import CATEGORIES
from providers.local.echo.asking import ask, told


def judged(given: Any) -> ModerationCreateResponse:
    return ModerationCreateResponse.model_validate(told("moderations", input=given), strict=True)


def found(given: Any, index: int = 0) -> set[str]:
    """The categories that are found, whose scores must say the same."""
    result = judged(given).results[index]
    categories, scores = result.categories.model_dump(by_alias=True), result.category_scores.model_dump(by_alias=True)
    assert set(categories) == set(scores) == set(CATEGORIES)
    names = {name for name, value in categories.items() if value}
    assert names == {name for name, score in scores.items() if score > 0.5}
    assert result.flagged == bool(names)
    return names


def test_nothing_is_found_without_a_marker() -> None:
    assert found("I will kill this process") == set()
    assert judged("x").model == "local-moderation"


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_marker_finds_its_category_and_the_one_above(category: str) -> None:
    assert found(f"text genway:flag={category} more") == {category, category.partition("/")[0]}


def test_several_texts_are_judged_each_by_itself() -> None:
    texts = ["fine", "genway:flag=hate,sexual", "genway:fail=moderation"]
    assert [found(texts, index) for index in range(3)] == [set(), {"hate", "sexual"}, {"illicit"}]


def test_parts_are_judged_together_and_pictures_looked_at() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    (result,) = judged([{"type": "text", "text": "genway:flag=violence"}, picture]).results
    assert result.flagged
    assert result.category_applied_input_types.violence == ["text", "image"]
    assert result.category_applied_input_types.hate == ["text"]


@pytest.mark.parametrize("given", ["", [], ["a", {"type": "text", "text": "b"}], "genway:flag=rudeness", 7])
def test_what_cannot_be_judged_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("moderations", input=given)
    assert caught.value.field == "input"
