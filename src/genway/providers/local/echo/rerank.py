"""Reranking by the words that a document shares with the query."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import Whole, identifier, read, whole

NAME = "local-rerank"


class Document(msgspec.Struct):
    text: str


class Request(msgspec.Struct):
    query: str
    documents: Annotated[list[str | Document], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole:
    """The documents in Jina's shape, the best first, equal ones as they came. created: unused, the format has no time.

    `relevance_score` is 0…1: the words in common by the geometric mean of both numbers of words. Raises InvalidRequest.
    """
    request = read(_decoder, body)
    forced = words.forced(request.query, "query")
    if forced.fail is not None:
        return failures.openai(forced.fail, "rerank", forced.delay)
    texts = [each if isinstance(each, str) else each.text for each in request.documents]
    scores = [_score(set(words.terms(request.query)), set(words.terms(text))) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])[: request.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if request.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    tokens = words.count(request.query) + sum(map(words.count, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return whole(
        {"id": identifier("rerank-", request_id), "model": NAME, "results": results, "usage": usage}, delay=forced.delay
    )


def _score(query: set[str], document: set[str]) -> float:
    if not query or not document:
        return 0.0
    return round(len(query & document) / math.sqrt(len(query) * len(document)), 6)
