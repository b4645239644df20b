"""How words are counted and cut, and the words that force outcomes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.providers.local.echo.words import BARE, FAILURES, LISTS, MOST, Forced, chunks, count, forced, pieces


@given(st.text())
def test_pieces_and_chunks_put_together_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == "".join(chunks(text)) == text
    assert count(text) == (len(pieces(text)) if text.strip() else 0)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), (" \n", 0), ("one, two!", 2), ("一只猫", 3), ("GPT是 模型 ok", 5), ("한국", 2), ("🙂🙂", 1)]
)
def test_tokens_are_words_and_single_characters(text: str, tokens: int) -> None:
    assert count(text) == tokens


@pytest.mark.parametrize("text", ["a" + " " * 2_000_000, "é" + "\u3000" * 2_000_000, " " * 2_000_000, "é \x1c" * 300_000])
def test_spaces_without_end_are_no_work(text: str) -> None:
    before = time.process_time()
    assert "".join(chunks(text)) == "".join(pieces(text)) == text
    count(text)
    assert time.process_time() - before < 5


def test_all_words_are_read() -> None:
    text = (
        'Do genway:delay=2, genway:pause=0.5 genway:length=9. genway:fail_after=0 genway:reasoning genway:tool=a:{"b": [1, {}]}'
        " genway:tools=c,d genway:flag=hate/threatening,sexual genway:fail=timeout."
    )
    assert forced(text, "f") == Forced(
        fail="timeout",
        fail_after=0,
        delay=2,
        pause=0.5,
        length=9,
        reasoning=True,
        tools=[("a", {"b": [1, {}]}), ("c", None), ("d", None)],
        flag=["hate/threatening", "sexual"],
    )


@pytest.mark.parametrize("text", ["", "hello", "genway: a gateway", "ask genway:something", "genway"])
def test_other_words_force_nothing(text: str) -> None:
    assert forced(text, "f") == Forced()


@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
def test_every_word_is_explained(folder: str) -> None:
    guide = (Path(__file__).parents[4] / folder / "keys.md").read_text()
    known = [*(f"genway:fail={name}`" for name in FAILURES), *(f"genway:{name}=" for name in (*MOST, *LISTS, "tool")), BARE]
    assert [word for word in known if f"`{word}" not in guide] == []
