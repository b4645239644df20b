from __future__ import annotations

import json
from typing import Any

import pytest

from genway.relay.translate import unsigned

HI = {"role": "user", "content": "hi"}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
UNSIGNED = {"type": "thinking", "thinking": "hm", "signature": ""}
SUN = {"type": "text", "text": 'Sun, "signature":"" and all.'}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def left(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.dumps({"model": "m", "messages": messages, "max_tokens": 9}).encode()
    assert unsigned.possible(body)
    made = json.loads(unsigned.without(body))
    assert list(made) == ["model", "messages", "max_tokens"]
    messages_left: list[dict[str, Any]] = made["messages"]
    return messages_left


def test_thinking_without_a_signature_is_left_out_and_signed_thinking_is_not() -> None:
    assert left(HI, assistant(UNSIGNED, SUN), HI, assistant(SIGNED, SUN), HI) == [
        HI,
        assistant(SUN),
        HI,
        assistant(SIGNED, SUN),
        HI,
    ]


def test_a_message_of_nothing_else_is_left_out() -> None:
    assert left(HI, assistant(UNSIGNED), HI) == [HI, HI]


def test_arguments_and_results_that_look_like_it_stay() -> None:
    use = {"type": "tool_use", "id": "a", "name": "sign", "input": UNSIGNED}
    result = {"type": "tool_result", "tool_use_id": "a", "content": json.dumps(UNSIGNED)}
    talk = [HI, assistant(UNSIGNED, use), {"role": "user", "content": [result]}]
    assert left(*talk) == [HI, assistant(use), talk[2]]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"signature":""}', True),
        (b'{"signature": ""}', True),
        (b'{"signature":"a"},{"signature":""}', True),
        (b'{"signature":"a"},{"signature": "b"}', False),
        (b'{"signature":', False),
        (b"{}", False),
    ],
)
def test_what_has_none_need_not_be_read(body: bytes, found: bool) -> None:
    assert unsigned.possible(body) is found


def test_what_stands_around_it_keeps_its_bytes() -> None:
    body = (
        b'{"messages":[{"role":"user","content":"\\u00e9  1.50"},{"content":[{"type":"thinking","signature":"","thinking":"x"},'
        b'{"type":"tool_use","id":"a","name":"f","input":{"b":1.50,  "a":1e3}}],"role":"assistant"}],"x":{ "y" : 1.0 }}'
    )
    made = unsigned.without(body)
    assert b'{"role":"user","content":"\\u00e9  1.50"}' in made
    assert b'"content":[{"type":"tool_use","id":"a","name":"f","input":{"b":1.50,  "a":1e3}}],"role":"assistant"' in made
    assert made.endswith(b'"x":{ "y" : 1.0 }}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"assistant","content":[{"type":"text","text":"x","signature":""}]}]}',
        b'{"messages":[{"role":"assistant","content":"x"}],"signature":""}',
        b'{"messages":"signature","signature":""}',
        b'{"messages":[[1]],"signature":""}',
        b'{"messages":[5,{"content":[{"signature":"","type":7}]}]}',
        b'{"signature":""}',
        b'not JSON, "signature":""',
    ],
)
def test_what_holds_none_is_sent_as_it_came(body: bytes) -> None:
    assert unsigned.without(body) is body
