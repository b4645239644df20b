from __future__ import annotations

from pathlib import Path

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate import traits
from genway.relay.translate.traits import Traits


def test_a_model_nobody_knows_takes_everything_and_thinks_by_nothing() -> None:
    assert traits.of("acme-1") == Traits()


@pytest.mark.parametrize("name", ["claude-opus-4-8", "claude-sonnet-5-5", "claude-haiku-5-5-20261101", "claude-opus-9"])
def test_new_claudes_think_adaptively_and_take_no_sampling(name: str) -> None:
    found = traits.of(name)
    assert (found.thinking, found.sampling, found.prefill) == (("adaptive",), False, False)


@pytest.mark.parametrize("name", ["claude-sonnet-4-5-20250929", "claude-haiku-4-5", "us.anthropic.claude-opus-4-5-v1:0"])
def test_the_claudes_before_think_by_budget_and_take_one_sampling_parameter(name: str) -> None:
    found = traits.of(name)
    assert (found.thinking, found.sampling, found.temperature_and_top_p) == (("budget",), True, False)


def test_between_them_both_ways_of_thinking_work() -> None:
    assert traits.of("claude-sonnet-4-6").thinking == ("adaptive", "budget")
    assert traits.of("anthropic/claude-opus-4.6").ceiling == 128000


def test_the_longest_pattern_wins_whatever_stands_in_its_brackets() -> None:
    assert traits.of("claude-opus-4-1-20250805").structured
    assert not traits.of("claude-opus-4-20250514").structured
    assert traits.of("claude-3-5-haiku-20241022").ceiling == 8192
    assert traits.of("claude-3-haiku-20240307").ceiling == 4096


@pytest.mark.parametrize(("name", "reasoning"), [("o3", True), ("gpt-5.2", True), ("GPT-6-sol", True), ("gpt-4o", False)])
def test_openais_thinking_models_are_known(name: str, reasoning: bool) -> None:
    assert traits.of(name).reasoning is reasoning
    assert traits.of(name).sampling is not reasoning


@pytest.mark.parametrize("name", ["deepseek-v4-pro", "deepseek/deepseek-chat", "kimi-k2.5", "moonshotai/kimi-k3", "glm-5"])
def test_models_that_want_their_reasoning_back_are_known(name: str) -> None:
    assert traits.of(name).reasoning_content


def test_a_channels_options_replace_what_is_known() -> None:
    options = {
        "traits.thinking": "budget, adaptive",
        "traits.max_tokens": "512",
        "traits.sampling": "true",
        "traits.efforts": "",
        "region": "eu",
    }
    found = traits.of("claude-opus-4-8", options)
    assert (found.thinking, found.max_tokens, found.sampling, found.efforts) == (("budget", "adaptive"), 512, True, ())
    assert found.ceiling == traits.of("claude-opus-4-8").ceiling


@pytest.mark.parametrize(
    ("option", "value"), [("traits.colour", "red"), ("traits.max_tokens", "many"), ("traits.thinking", "aloud")]
)
def test_an_option_that_makes_no_sense_is_named(option: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        traits.of("gpt-4o", {option: value})
    assert refused.value.field == f"options.{option}"


def test_a_channel_that_refuses_to_be_asked_for_usage_says_so_for_its_models() -> None:
    assert traits.of("acme-1", {"stream_usage": "yes"}).stream_usage
    assert not traits.of("acme-1", {"stream_usage": "no"}).stream_usage
    assert traits.of("acme-1", {"stream_usage": "no", "traits.stream_usage": "true"}).stream_usage


def test_limits_count_only_where_they_are_known() -> None:
    assert Traits(ceiling=100).within_ceiling(200) == 100
    assert Traits().within_ceiling(200) == 200


@pytest.mark.parametrize("guide", ["docs/translation.md", "docs/zh/translation.md"])
def test_every_trait_is_in_the_guides(guide: str) -> None:
    text = (Path(__file__).parents[3] / guide).read_text()
    assert [name for name in Traits.__struct_fields__ if f"| `traits.{name}` |" not in text] == []
