"""Moderations: nothing is judged, marker words say what is found."""

from __future__ import annotations

from typing import Any

import msgspec

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import Whole, identifier, joined, read, whole

NAME = "local-moderation"
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
SEEN = ("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic")
"""The categories for which pictures are looked at too."""
FOUND, NOT_FOUND = 0.99, 0.0001
REFUSED = "illicit"
"""What is found in a text that has `genway:fail=moderation`."""


class Part(msgspec.Struct):
    type: str
    text: str = ""


class Request(msgspec.Struct):
    input: str | list[str | Part]


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole:
    """One result for each text, or one for all the parts. created: unused, the format has no time. Raises InvalidRequest."""
    given = read(_decoder, body).input
    if not given:
        raise InvalidRequest("must not be empty", field="input")
    texts, pictures = _texts(given)
    found = [words.forced(text, "input") for text in texts]
    for forced in found:
        if forced.fail not in (None, "moderation"):
            return failures.openai(forced.fail or "", "moderations", forced.delay)
    flags = [[*forced.flag, *([REFUSED] if forced.fail else [])] for forced in found]
    results = [_result(each, pictures) for each in flags]
    id_ = identifier("modr-", request_id)
    return whole({"id": id_, "model": NAME, "results": results}, delay=max(forced.delay for forced in found))


def _texts(given: str | list[str | Part]) -> tuple[list[str], bool]:
    """The texts that are judged each by itself, and whether there are pictures."""
    if isinstance(given, str):
        return [given], False
    parts = [each for each in given if isinstance(each, Part)]
    texts = [each for each in given if isinstance(each, str)]
    if parts and texts:
        raise InvalidRequest("texts or parts, not a mixture", field="input")
    if texts:
        return texts, False
    return [joined(part.text for part in parts)], any(part.type == "image_url" for part in parts)


def _result(flags: list[str], pictures: bool) -> dict[str, Any]:
    for flag in flags:
        if flag not in CATEGORIES:
            raise InvalidRequest(f"genway:flag= some of {', '.join(CATEGORIES)}, got {flag}", field="input")
    found = {*flags, *(flag.split("/")[0] for flag in flags)}
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: FOUND if name in found else NOT_FOUND for name in CATEGORIES},
        "category_applied_input_types": {
            name: ["text", "image"] if pictures and name in SEEN else ["text"] for name in CATEGORIES
        },
    }
