"""Embeddings."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from genway.errors import InvalidRequest
from genway.providers.local.echo.embeddings import embedding
from providers.local.echo.asking import ask, openai_sdk, told


def vectors(**body: Any) -> list[list[float]]:
    found = CreateEmbeddingResponse.model_validate(told("embeddings", model="m", **body))
    assert [each.index for each in found.data] == list(range(len(found.data)))
    return [each.embedding for each in found.data]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@given(st.text(min_size=1), st.integers(1, 300))
def test_every_text_has_a_vector_of_length_one(text: str, dimensions: int) -> None:
    vector = embedding(text, dimensions)
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


def test_equal_texts_are_alike_and_shared_words_bring_texts_closer() -> None:
    query = "The cat sits on the mat"
    same, order, near, far = vectors(
        input=[query, "On the mat sits the cat", "A cat on a sofa", "Quarterly revenue grew strongly"]
    )
    ranked = [likeness(vectors(input=query)[0], each) for each in (same, order, near, far)]
    assert ranked[0] == pytest.approx(1, abs=1e-6)
    assert all(one > other + 0.001 for one, other in pairwise(ranked))
    assert abs(ranked[-1]) < 0.2


def test_characters_are_the_words_of_chinese() -> None:
    cat, kitten, money = vectors(input=["一只猫坐在窗边", "一只小猫", "季度收入增长"])
    assert likeness(cat, kitten) > likeness(cat, money) + 0.2


def test_both_encodings_are_the_same_vector() -> None:
    client = openai_sdk()
    packed = client.embeddings.create(model="m", input="hello there", dimensions=64)
    plain = client.embeddings.create(model="m", input="hello there", dimensions=64, encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert (packed.model, packed.usage.prompt_tokens, len(packed.data[0].embedding)) == ("local-embedding", 2, 64)
    assert isinstance(told("embeddings", input="x", encoding_format="base64")["data"][0]["embedding"], str)


def test_tokens_can_be_handed_in() -> None:
    assert len(vectors(input=[[1, 2], [3]])) == 2
    assert vectors(input=[1, 2]) == vectors(input="1 2")
    assert len(vectors(input="x")[0]) == 1536


@pytest.mark.parametrize(
    "body", [{"input": ""}, {"input": []}, {"input": ["a", ""]}, {"input": ["x"] * 2049}, {"input": "x " * 8193}, {}]
)
def test_inputs_that_the_vendor_refuses_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("embeddings", **body)
    assert caught.value.field == "input"
