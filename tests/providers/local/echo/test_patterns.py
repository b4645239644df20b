"""Texts for regular expressions, judged by `re`."""

from __future__ import annotations

import re

import pytest

from genway.providers.local.echo.patterns import NoText, text_for

PATTERNS = [
    "",
    "abc",
    "^abc$",
    r"^\d{3}-\d{4}$",
    r"^[a-z0-9]+(-[a-z0-9]+)*$",
    r"^(cat|dog)s?$",
    r"^[^a-z]+$",
    r"^[^\w\s]$",
    r"^\S+@\S+\.\S+$",
    r"^.{5,}$",
    r"^(a|b)\1$",
    r"^[\d\s]+\D\W\S$",
    r"^(?:x{2}){3}$",
    r"^\u4e00[\u4e00-\u9fff]*$",
    "[^a]b",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_text_matches(pattern: str, variant: int) -> None:
    assert re.search(pattern, text_for(pattern, variant=variant))


@pytest.mark.parametrize("least", [0, 5, 13, 40])
def test_the_text_is_as_long_as_it_must_be(least: int) -> None:
    for pattern in (r"^[a-z]+$", "abc", r"^x(-x)*$"):
        made = text_for(pattern, least)
        assert len(made) >= least
        assert re.search(pattern, made)


@pytest.mark.parametrize(
    "pattern", ["(", "[z-a]", "a{99999999}", "(a{9999}){9999}", r"^(?!x).*$", r"(?<=a)b", "\\ud800", r"\p{L}"]
)
def test_what_cannot_be_made_is_refused(pattern: str) -> None:
    with pytest.raises(NoText):
        text_for(pattern)


def test_a_length_that_cannot_be_is_refused() -> None:
    with pytest.raises(NoText):
        text_for("^abc$", least=4)
    with pytest.raises(NoText):
        text_for("^abc$", most=2)


def test_a_cunning_pattern_costs_nothing() -> None:
    assert text_for("^(a+)+$", least=30, most=40)
