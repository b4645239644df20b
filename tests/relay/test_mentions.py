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
        ("responses", {"prompt": {"id": "p1"}}, ("prompts", "p1", "prompt.id")),
        ("responses", {"tools": [{"container": "c1"}]}, ("containers", "c1", "tools[0].container")),
        ("responses", {"input": [{"type": "code_interpreter_call", "id": "ci", "container_id": "c1"}]},
         ("containers", "c1", "input[0].container_id")),
        ("responses", {"input": [{"type": "shell_call", "environment": {"container_id": "c1"}}]},
         ("containers", "c1", "input[0].environment.container_id")),
        ("messages", {"container": {"id": "c1"}}, ("message_containers", "c1", "container.id")),
        ("messages", {"messages": [{"content": [{"type": "container_upload", "file_id": "f1"}]}]},
         ("message_files", "f1", "messages[0].content[0].file_id")),
        ("chat", {"messages": [{"audio": {"id": "a1"}}]}, ("audio", "a1", "messages[0].audio.id")),
        ("realtime", {"session": {"prompt": {"id": "p1"}}}, ("prompts", "p1", "session.prompt.id")),
        ("speech", {"voice": {"id": "v1"}}, ("voices", "v1", "voice.id")),
    ],
)  # fmt: skip
def test_what_a_body_names_is_found(kind: str, body: Any, expected: tuple[str, str, str]) -> None:
    assert found(kind, body) == [expected]


def test_earlier_output_that_is_sent_again_is_no_reference() -> None:
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    assert found("responses", {"input": [message, {"type": "function_call", "id": "fc_1", "call_id": "c"}]}) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("messages", {"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "x", "container": "x"}}]}]}),
        ("messages", {"tools": [{"input_schema": {"examples": [{"file_id": "x"}]}, "input_examples": [{"file_id": "x"}]}]}),
        ("messages", {"messages": [{"content": [{"type": "bash_code_execution_tool_result", "content": {
            "content": [{"type": "bash_code_execution_output", "file_id": "x"}]}}]}]}),
        ("chat", {"metadata": {"file_id": "x"}, "tools": [{"function": {"parameters": {"default": {"file_id": "x"}}}}]}),
        ("chat", {"audio": {"voice": "alloy"}, "messages": [{"audio": None}]}),
        ("responses", {"input": [{"type": "file_search_call", "id": "fs", "results": [{"file_id": "x"}]}]}),
        ("responses", {"input": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "annotations": [
            {"type": "container_file_citation", "container_id": "x", "file_id": "x"}]}]}]}),
        ("responses", {"prompt": {"variables": {"container": "x", "file_id": "x"}}}),
        ("responses", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    ],
)  # fmt: skip
def test_what_is_no_vendors_id_is_left_alone(kind: str, body: Any) -> None:
    assert found(kind, body) == []


def test_a_file_beside_what_is_left_alone_is_found() -> None:
    hidden = {"type": "file_citation", "file_id": "f1"}
    assert found("chat", {"messages": [{"content": [{"file": hidden}]}]}) == [
        ("files", "f1", "messages[0].content[0].file.file_id")
    ]
    variables = {"page": {"type": "input_file", "file_id": "f1"}}
    assert found("responses", {"prompt": {"variables": variables}}) == [("files", "f1", "prompt.variables.page.file_id")]


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
