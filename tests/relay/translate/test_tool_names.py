from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genway.relay.translate import tool_names
from genway.relay.translate.tool_names import LONGEST, Names

MCP = "mcp__plugin_yt-content-strategist_youtube-analytics__get_video_enhanced_transcript"


def test_a_name_that_fits_stays() -> None:
    assert tool_names.to_chat("x" * LONGEST) == "x" * LONGEST


def test_a_long_name_is_shortened_always_in_the_same_way() -> None:
    short = tool_names.to_chat(MCP)
    assert len(short) == LONGEST
    assert short.startswith("mcp__plugin_yt-content-strategist_youtube-analytics__ge_")
    assert short == tool_names.to_chat(MCP)


@given(st.lists(st.from_regex(r"[a-zA-Z0-9_-]{1,128}", fullmatch=True), max_size=5))
def test_every_name_comes_back(given_names: list[str]) -> None:
    names = Names(lambda: given_names)
    assert [names.full(tool_names.to_chat(each)) for each in given_names] == given_names


def test_names_alike_at_their_beginning_stay_apart() -> None:
    assert len({tool_names.to_chat(f"{'x' * 100}{each}") for each in range(50)}) == 50


def test_a_short_name_that_the_request_does_not_know_stays() -> None:
    assert Names(list).full(tool_names.to_chat(MCP)) == tool_names.to_chat(MCP)


def test_names_that_cannot_be_short_are_not_looked_for() -> None:
    def never() -> list[str]:
        raise AssertionError

    assert Names(never).full("weather") == "weather"
