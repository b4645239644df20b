from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.errors import InvalidRequest
from genway.relay import mentions
from genway.relay.mentions import Mention

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def found(kind: str, body: Any, previous: str | None = None) -> list[tuple[str, str, str]]:
    named = mentions.of(kind, msgspec.json.encode(body), previous)
    return [(mention.kind, mention.id, mention.field) for mention in named]


def test_a_body_that_names_nothing_is_not_decoded() -> None:
    assert mentions.of("chat", b'{"model": "m", "messages": [}') == []


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("chat", {"messages": [{"content": [{"file": {"file_id": "f1"}}]}]},
         ("files", "f1", "messages[0].content[0].file.file_id")),
        ("responses", {"tools": [{"container": {"file_ids": ["f1"]}}]}, ("files", "f1", "tools[0].container.file_ids")),
        ("responses", {"input": [{"type": "item_reference", "id": "i1"}]}, ("items", "i1", "input[0]")),
        ("responses", {"input": [{"role": "user"}, {"id": "i1"}]}, ("items", "i1", "input[1]")),
        ("responses", {"input": [{"type": None, "id": "i1"}]}, ("items", "i1", "input[0]")),
        ("responses", {"input": [5, {"id": "i1"}]}, ("items", "i1", "input[1]")),
        ("responses", {"items": [{"id": "i1"}]}, ("items", "i1", "items[0]")),
        ("responses", {"items": [{"type": "item_reference", "id": "i1"}]}, ("items", "i1", "items[0]")),
        ("responses", {"items": [5, {"id": "i1"}]}, ("items", "i1", "items[1]")),
        ("count_tokens", {"thread": {"previous_message_id": "m1"}}, ("threads", "m1", "thread.previous_message_id")),
        ("responses", {"conversation": "c1"}, ("conversations", "c1", "conversation")),
        ("responses", {"conversation": {"id": "c1"}}, ("conversations", "c1", "conversation")),
        ("messages", {"messages": [{"content": [{"source": {"file_id": "f1"}}]}]},
         ("message_files", "f1", "messages[0].content[0].source.file_id")),
        ("image_edits", {"images": [{"file_id": "f1"}]}, ("files", "f1", "images[0].file_id")),
    ],
)  # fmt: skip
def test_what_a_body_names_is_found(kind: str, body: Any, expected: tuple[str, str, str]) -> None:
    assert found(kind, body) == [expected]


def test_earlier_output_that_is_sent_again_is_no_reference() -> None:
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    assert found("responses", {"input": [message, {"type": "function_call", "id": "fc_1", "call_id": "c"}]}) == []


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="too deep"):
        mentions.of("chat", b'{"file_id": ' + b"[" * 5000 + b"]" * 5000 + b"}")


def test_the_response_before_is_named() -> None:
    assert found("responses", {"input": "one"}, "resp_1") == [("responses", "resp_1", "previous_response_id")]


@given(JSON, st.sampled_from(["file_id", "file_ids"]), st.lists(st.text("ab", max_size=3) | st.integers(0, 3), max_size=4))
def test_a_file_is_found_wherever_it_stands_and_however_it_is_written(around: Any, name: str, path: list[str | int]) -> None:
    value: Any = {name: "file-x" if name == "file_id" else ["file-x"], "beside": around}
    for step in path:
        value = {step: value} if isinstance(step, str) else [around, value]
    body = msgspec.json.encode({"model": "m", "input": value})
    escaped = body.replace(b"file_id", b"\\u0066ile\\u005fid")
    for written in (body, escaped):
        assert Mention("files", "file-x", "") in [
            msgspec.structs.replace(each, field="") for each in mentions.of("chat", written)
        ]
