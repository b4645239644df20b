"""Legacy completions."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import Completion

from genway.errors import InvalidRequest
from providers.local.echo.asking import ask, openai_sdk, streamed, told


def completion(**body: Any) -> Completion:
    return Completion.model_validate(told("completions", model="m", **body), strict=True)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("a b", ["a b"]), (["a", "b c"], ["a", "b c"]), ([5, 6, 7], ["5 6 7"]), ([[5, 6], [7]], ["5 6", "7"])],
)
def test_every_prompt_is_followed_by_itself(prompt: Any, said: list[str]) -> None:
    found = completion(prompt=prompt, n=2)
    assert [choice.text for choice in found.choices] == [text for text in said for _ in range(2)]
    tokens = sum(len(text.split()) for text in said)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (tokens, 2 * tokens)


def test_sixteen_tokens_are_said_unless_more_are_asked_for() -> None:
    text = "word " * 20
    choice = completion(prompt=text).choices[0]
    assert (len(choice.text.split()), choice.finish_reason) == (16, "length")
    assert completion(prompt=text, max_tokens=20).choices[0].finish_reason == "stop"


def test_the_prompt_stands_in_front_where_it_is_to_be_echoed() -> None:
    assert completion(prompt="a b", echo=True).choices[0].text == "a ba b"


def test_log_probabilities_tell_where_each_token_stands() -> None:
    found = completion(prompt="one two 三", logprobs=1).choices[0].logprobs
    assert found is not None
    assert (found.tokens, found.text_offset) == (["one", " two", " 三"], [0, 3, 7])


@pytest.mark.parametrize("body", [{}, {"echo": True, "logprobs": 0}, {"n": 2, "stream_options": {"include_usage": True}}])
def test_the_stream_put_together_is_the_whole(body: dict[str, Any]) -> None:
    whole = completion(prompt="one two three", **body)
    *events, (_, end) = streamed("completions", prompt="one two three", **body)
    parts = [data["choices"][0] for _, data in events if data["choices"]]
    for choice in whole.choices:
        own = [part for part in parts if part["index"] == choice.index]
        assert "".join(part["text"] for part in own) == choice.text
        assert [part["finish_reason"] for part in own] == [*[None] * (len(own) - 1), "stop"]
    assert end == "[DONE]"
    assert ("stream_options" in body) == (not events[-1][1]["choices"])


def test_the_sdk_reads_the_stream() -> None:
    stream = openai_sdk().completions.create(model="m", prompt="one two", stream=True)
    assert "".join(part.choices[0].text for part in stream) == "one two"


@pytest.mark.parametrize(
    "body", [{}, {"prompt": ""}, {"prompt": []}, {"prompt": ["a", 1]}, {"prompt": "a", "n": 3, "best_of": 2}]
)
def test_what_is_wrong_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("completions", **body)
    assert caught.value.field in ("prompt", "best_of")
