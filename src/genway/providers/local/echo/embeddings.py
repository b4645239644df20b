"""Embeddings: each word of a text adds to a few places of the vector, so texts that share words point the same way."""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import Whole, read, whole
from genway.providers.local.echo.completions import texts

NAME = "local-embedding"
DIMENSIONS = 1536
MOST_INPUTS, MOST_TOKENS, MOST_TOKENS_TOGETHER = 2048, 8192, 300_000
PLACES = 8
"""How many places of the vector a word changes."""
OWN = 0.25
"""What the text as a whole adds, against 1 for a word: texts of the same words in another order differ a little."""


class Request(msgspec.Struct):
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole:
    """A vector of length 1 for each text. request_id, created: unused, the answer holds neither. Raises InvalidRequest."""
    request = read(_decoder, body)
    given = texts(request.input, "input")
    if len(given) > MOST_INPUTS:
        raise InvalidRequest(f"at most {MOST_INPUTS} texts, got {len(given)}", field="input")
    counts = [words.count(text) for text in given]
    if max(counts) > MOST_TOKENS or sum(counts) > MOST_TOKENS_TOGETHER:
        allowed = f"at most {MOST_TOKENS} tokens in a text and {MOST_TOKENS_TOGETHER} together"
        raise InvalidRequest(f"{allowed}, got {max(counts)} and {sum(counts)}", field="input")
    forced = words.forced(given[-1], "input")
    if forced.fail is not None:
        return failures.openai(forced.fail, "embeddings", forced.delay)
    dimensions = request.dimensions or DIMENSIONS
    packed = request.encoding_format == "base64"
    data = []
    for index, text in enumerate(given):
        vector = embedding(text, dimensions)
        shown = _base64(vector) if packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return whole({"object": "list", "data": data, "model": NAME, "usage": usage}, delay=forced.delay)


def embedding(text: str, dimensions: int) -> array[float]:
    """A vector of length 1 (within the precision of 32 bits) that equal texts share. dimensions: 1…4096."""
    sums: dict[int, float] = {}
    found = words.terms(text)
    for weight, word in [(1.0, each) for each in found] + [(OWN, f" {text}")]:
        for place, sign in _places(word, dimensions):
            sums[place] = sums.get(place, 0.0) + weight * sign
    length = math.hypot(*sums.values())
    if not length:
        sums[0] = length = 1.0
    vector = array("f", bytes(4 * dimensions))
    for place, value in sums.items():
        vector[place] = value / length
    return vector


def _places(word: str, dimensions: int) -> Iterator[tuple[int, int]]:
    digest = blake2b(word.encode("utf-8", "replace"), digest_size=4 * PLACES).digest()
    for start in range(0, len(digest), 4):
        number = int.from_bytes(digest[start : start + 4], "little")
        yield (number >> 1) % dimensions, 1 if number & 1 else -1


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()
