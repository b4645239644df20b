from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.errors import InvalidRequest
from genway.relay import kinds, surveys
from genway.relay.objects import About
from relay.kept_stage import batch_lines


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 9), st.sampled_from(["\n", "\r\n", "\n\n"]))
async def test_lines_are_whole_however_the_file_is_cut(texts: list[str], size: int, ending: str) -> None:
    lines = [msgspec.json.encode(text) for text in texts]
    content = ending.encode().join(lines)
    assert [line.strip() async for line in surveys.lines(pieces(content, size))] == lines


async def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "LONGEST_LINE", 100)
    with pytest.raises(InvalidRequest, match="more than 100 bytes"):
        [line async for line in surveys.lines(pieces(b"x" * 200, 10))]


async def test_what_the_lines_may_cost_is_counted_by_model() -> None:
    content = batch_lines("one", "two") + batch_lines("three", model="other")
    survey = await surveys.of_file(pieces(content, 50), "chat", "/v1/chat/completions", 1000)
    assert {model: (used.calls, used.output) for model, used in survey.likely.items()} == {
        "gpt-4.1": (2, 2000),
        "other": (1, 1000),
    }
    assert survey.lines == 3
    assert survey.tokens > 30


async def test_no_more_output_is_counted_than_is_asked_for() -> None:
    bodies = [msgspec.json.encode({"model": "m", "max_tokens": most}) for most in (10, 5000)]
    assert (await surveys.of_requests(bodies, 1000)).likely["m"].output == 1010


async def test_numbers_below_zero_make_no_batch_cheaper() -> None:
    honest = msgspec.json.encode({"model": "m", "max_tokens": 100})
    sly = msgspec.json.encode({"model": "m", "max_tokens": -(10**9), "n": -(10**9)})
    used = (await surveys.of_requests([honest, sly], 1000)).likely["m"]
    assert (used.output, used.images) == (100 + 1000, 2)


async def test_no_number_of_things_is_beyond_all_measure() -> None:
    body = msgspec.json.encode({"model": "m", "n": kinds.MOST_ANSWERS})
    assert (await surveys.of_requests([body], 1000)).likely["m"].images == surveys.MOST_THINGS


async def test_a_thread_that_a_message_goes_on_with_is_named() -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    survey = await surveys.of_requests([msgspec.json.encode({"model": "m", "thread": thread})], 1000)
    assert [(each.kind, each.id) for each in survey.names.values()] == [("threads", "msg_1")]


async def test_a_result_may_be_longer_than_a_line_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "LONGEST_LINE", 10)
    found = await surveys.results(pieces(line("m", 5), 8), About(call="chat", models=("m",)), set())
    assert found["m"].used.input == 5


def line(model: str, tokens: int, status: int = 200) -> bytes:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
    return msgspec.json.encode({"response": {"status_code": status, "body": {"model": model, "usage": usage}}}) + b"\n"


async def test_results_are_counted_under_the_name_that_the_client_gave() -> None:
    about = About(call="chat", models=("gpt-5", "gpt-5-mini"))
    content = (
        line("gpt-5-2026-01-01", 10) + line("gpt-5-mini-2026-01-01", 20) + line("gpt-5-2026-01-01", 1) + line("gpt-5", 9, 500)
    )
    found = await surveys.results(pieces(content + b"cut off", 30), about, set())
    assert {model: (tally.used.input, tally.used.calls) for model, tally in found.items()} == {
        "gpt-5": (11, 2),
        "gpt-5-mini": (20, 1),
    }


async def test_an_answer_without_usage_is_estimated() -> None:
    body = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "one two three"}}]}
    content = msgspec.json.encode({"response": {"status_code": 200, "body": body}})
    found = await surveys.results(pieces(content, 1000), About(call="chat", models=("m",)), set())
    assert found["m"].used.estimated
    assert found["m"].used.output >= 3
