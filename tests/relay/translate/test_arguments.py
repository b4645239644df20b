from __future__ import annotations

import msgspec
import pytest

from genway.relay.translate import arguments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        (None, {}),
        ({"already": True}, {"already": True}),
        ("[1]", {"arguments": [1]}),
        ('"Oslo"', {"arguments": "Oslo"}),
        ('{"face": "\\ud83d"}', {"face": "\ufffd"}),
        ('{"city": "Os', {"arguments": '{"city": "Os'}),
        ("[" * 9000, {"arguments": "[" * 9000}),
    ],
)
def test_arguments_are_an_object(text: str | None, value: dict[str, object]) -> None:
    assert arguments.to_object(text) == value


def test_arguments_are_compact_text() -> None:
    assert arguments.to_text(msgspec.Raw(b'{ "a" :\n 1, "b": "x y" }')) == '{"a":1,"b":"x y"}'
    assert arguments.to_text({"a": [1, "é"]}) == '{"a":[1,"é"]}'
    assert arguments.to_text(msgspec.Raw()) == arguments.to_text(msgspec.Raw(b"null")) == "{}"


@pytest.mark.parametrize(
    ("text", "whole"), [("{}", True), ('{"a":{}}\n', True), ('{"a":{}', False), ("", False), ("1", False), ('{"a":"}', False)]
)
def test_arguments_are_whole_when_they_are_an_object(text: str, whole: bool) -> None:
    assert arguments.complete(text) is whole
