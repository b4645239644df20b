"""What both formats can say survives the way there and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from genway.relay import usage
from genway.relay.translate import chat_to_messages, messages_to_chat
from genway.relay.translate.traits import Traits
from relay.translate.stage import read_by_anthropic, read_by_openai, told

TRAITS = Traits(ceiling=0)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda text: text.strip() == text)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
IDS = st.from_regex(r"[a-zA-Z0-9_.:/-]{1,16}", fullmatch=True)
SAFE_IDS = NAMES.filter(lambda name: not name.startswith("wrapped_"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=3)
COUNTS = st.integers(0, 10**6)


def tool_use(ids: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda i, n, a: {"type": "tool_use", "id": i, "name": n, "input": a}, ids, NAMES, OBJECTS)


CALLS = st.lists(tool_use(SAFE_IDS), max_size=3, unique_by=lambda block: block["id"])
TOOLS = st.lists(st.tuples(NAMES, WORDS, OBJECTS), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    """A request in chat completions whose every part the other format can say."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(WORDS)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(WORDS)})
        calls = draw(st.lists(tool_use(IDS), max_size=2, unique_by=lambda block: block["id"]))
        answer: dict[str, Any] = {"role": "assistant", "content": draw(WORDS if not calls else WORDS | st.none())}
        if calls:
            answer["tool_calls"] = [
                {
                    "id": each["id"],
                    "type": "function",
                    "function": {"name": each["name"], "arguments": json.dumps(each["input"])},
                }
                for each in calls
            ]
        messages.append(answer)
        messages += [{"role": "tool", "tool_call_id": each["id"], "content": draw(WORDS)} for each in calls]
    messages.append({"role": "user", "content": draw(WORDS)})
    body: dict[str, Any] = {"messages": messages, "max_tokens": draw(st.integers(1, 9999))}
    if tools := draw(TOOLS):
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": name, "description": words, "parameters": schema | {"type": "object", "properties": {}}},
            }
            for name, words, schema in tools
        ]
        body["tool_choice"] = draw(st.sampled_from(["auto", "required", "none"]))
    return body


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """A request with arguments as values: their spacing is not kept."""
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {"model": "m"} | body


@settings(max_examples=60, deadline=None)
@given(conversations())
def test_a_conversation_comes_back(body: dict[str, Any]) -> None:
    there = chat_to_messages.request(json.dumps(body).encode(), model="m", traits=TRAITS)
    back = messages_to_chat.request(there, model="m", traits=TRAITS)
    assert meaning(json.loads(back)) == meaning(body)


@settings(max_examples=60, deadline=None)
@given(WORDS | st.none(), CALLS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_an_answer_comes_back(
    text: str | None, calls: list[dict[str, Any]], fresh: int, read: int, written: int, out: int
) -> None:
    content = ([{"type": "text", "text": text, "citations": None}] if text else []) + calls
    usage = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": out,
        "output_tokens_details": {"thinking_tokens": 0},
    }
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage,
    }
    there = chat_to_messages.answer(json.dumps(message).encode(), model="m")
    assert json.loads(messages_to_chat.answer(there, model="m")) == message


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_counts_that_a_client_is_told_are_those_that_it_is_charged_for(
    fresh: int, read: int, written: int, out: int, thought: int
) -> None:
    counts = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": out + thought,
        "output_tokens_details": {"thinking_tokens": thought},
    }
    upstream = json.dumps({"content": [], "usage": counts}).encode()
    in_chat = chat_to_messages.answer(upstream, model="m")
    charged = usage.from_answer("messages", upstream)
    assert usage.from_answer("chat", in_chat) == charged
    assert usage.from_answer("messages", messages_to_chat.answer(in_chat, model="m")) == charged


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, max_size=4), CALLS, st.data())
def test_a_stream_says_there_and_back_what_it_said(texts: list[str], calls: list[dict[str, Any]], data: st.DataObject) -> None:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 5}}}]
    blocks = [({"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in texts])] if texts else []
    for call in calls:
        written = json.dumps(call["input"])
        cut = data.draw(st.integers(0, len(written)))
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", written[:cut], written[cut:])]
        blocks.append((call | {"input": {}}, pieces))
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    reason = "tool_use" if calls else "end_turn"
    events += [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]

    there = told(chat_to_messages.Stream(model="m", include_usage=True, created=0), events)
    chunks = [event.partition(b"data: ")[2] for event in there.split(b"\n\n") if event.startswith(b"data: ")]
    back = told(messages_to_chat.Stream(model="m", include_usage=True, created=0), chunks)

    completion, message = read_by_openai(there), read_by_anthropic(back)
    assert (completion.choices[0].message.content or "") == "".join(texts)
    assert "".join(block.text for block in message.content if block.type == "text") == "".join(texts)
    found = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert found == [(call["id"], call["name"], call["input"]) for call in calls]
    assert message.stop_reason == reason
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 7)
