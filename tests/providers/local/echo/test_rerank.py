"""Reranking."""

from __future__ import annotations

from typing import Any

import pytest

from genway.errors import InvalidRequest
from providers.local.echo.asking import ask, told

DOCUMENTS = ["Bananas are yellow.", "The capital of Norway is Oslo.", {"text": "Norway has fjords."}, "the capital"]


def test_documents_come_in_the_order_of_the_words_they_share() -> None:
    found = told("rerank", model="m", query="capital of Norway", documents=DOCUMENTS)
    assert [result["index"] for result in found["results"]] == [1, 3, 2, 0]
    scores = [result["relevance_score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (pytest.approx(3 / (3 * 6) ** 0.5, abs=1e-6), 0)
    assert found["usage"] == {"prompt_tokens": 3 + 3 + 6 + 3 + 2, "total_tokens": 17}
    assert found["model"] == "local-rerank"
    assert found["id"]
    assert all("document" not in result for result in found["results"])


def test_the_best_are_told_with_their_texts_where_that_is_asked_for() -> None:
    found = told("rerank", query="Norway", documents=DOCUMENTS, top_n=1, return_documents=True)
    assert [result["document"] for result in found["results"]] == [{"text": "Norway has fjords."}]
    assert len(told("rerank", query="Norway", documents=DOCUMENTS, top_n=99)["results"]) == 4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": [{"title": "b"}]}, "documents[0].text"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("rerank", **body)
    assert caught.value.field == field
