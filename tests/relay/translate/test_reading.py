from __future__ import annotations

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate.chat_bodies import request_decoder
from genway.relay.translate.reading import one_of, read, whole_characters


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b'{"messages":[{"role":"user","content":[{"type":1}]}]}', "messages[0].content[0].type", "expected str, got int"),
        (b'{"messages":[],"n":"x"}', "n", "expected int | null, got str"),
        (b"{}", None, "missing required field messages"),
        (b"[]", None, "expected object, got array"),
        (b'{"messages":', None, "not valid JSON"),
        (b'{"messages":[],"user":"\xff"}', None, "not valid JSON"),
        (b'{"tools":' + b"[" * 9000, None, ""),
        (b'{"extra":' + b"[" * 9000, None, ""),
    ],
)
def test_a_body_that_does_not_fit_says_where(body: bytes, field: str | None, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(request_decoder, body)
    assert words in refused.value.message
    if words:
        assert refused.value.field == field


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uD83D\uDE00"', rb'"\uD83D\uDE00"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\u00e9\n"', rb'"\u00e9\n"'),
    ],
)
def test_half_a_character_is_replaced_and_a_whole_one_is_not(written: bytes, whole: bytes) -> None:
    assert whole_characters(written) == whole


def test_a_word_that_is_not_allowed_is_shown_with_those_that_are() -> None:
    assert one_of("a", ("a", "b"), "x") == "a"
    with pytest.raises(InvalidRequest, match=r"^x: a, b or c, got d$"):
        one_of("d", ("a", "b", "c"), "x")
    with pytest.raises(InvalidRequest, match=r"^x: a, got d$"):
        one_of("d", ("a",), "x")
