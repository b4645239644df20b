"""A text that a regular expression matches, made from the expression itself; nothing is ever searched with it."""

from __future__ import annotations

import importlib
import math
import re
from itertools import chain
from typing import Any

# The parser of `re` has no public name. A client's expression is only read, never run: a cunning one could run for years.
_parser: Any = importlib.import_module("re._parser")

LONGEST = 10_000
ENDS = ("$", "\\Z", "\\z")
MORE = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
CATEGORIES = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
OUTSIDE = {"CATEGORY_NOT_DIGIT": "a", "CATEGORY_NOT_WORD": "-", "CATEGORY_NOT_SPACE": "a"}
PLAIN = "a0A-_ .,!"
_half = re.compile(r"[\ud800-\udfff]")
"""Halves of surrogate pairs, which no JSON can hold."""


class NoText(Exception):
    """No text can be made: the expression is broken, looks around or back, or asks for too long a text."""


def text_for(pattern: str, least: int = 0, most: float = math.inf, variant: int = 0) -> str:
    """A text of least to most characters that the pattern matches. variant: others give other texts where they can.

    Raises NoText.
    """
    try:
        parsed = _parser.parse(pattern)
    except (_parser.error, RecursionError, OverflowError):
        raise NoText(f"the pattern {pattern} cannot be read") from None
    shortest = ""
    for more in MORE:
        made = _Writer(more, variant).sequence(parsed)
        if least <= len(made) <= most and not _half.search(made):
            return made
        shortest = shortest or made
    if not pattern.endswith(ENDS) and len(shortest) < least <= most:
        return shortest.ljust(least, "a")
    raise NoText(f"no text of the asked length was found for the pattern {pattern}")


class _Writer:
    """more: how often what may be repeated is, beyond what it must."""

    def __init__(self, more: int, variant: int) -> None:
        self._more = more
        self._variant = variant
        self._groups: dict[int, str] = {}

    def sequence(self, parsed: Any) -> str:
        made = ""
        for code, value in parsed:
            made += self._one(str(code), value)
            if len(made) > LONGEST:
                raise NoText(f"the pattern asks for more than {LONGEST} characters")
        return made

    def _one(self, code: str, value: Any) -> str:
        match code:
            case "LITERAL":
                return chr(value)
            case "NOT_LITERAL":
                return PLAIN[0] if chr(value) != PLAIN[0] else PLAIN[1]
            case "ANY":
                return "a"
            case "AT":
                return ""
            case "IN":
                return self._member(value)
            case "BRANCH":
                choices = value[1]
                return self.sequence(choices[self._variant % len(choices)])
            case "SUBPATTERN":
                made = self.sequence(value[3])
                if value[0] is not None:
                    self._groups[value[0]] = made
                return made
            case "ATOMIC_GROUP":
                return self.sequence(value)
            case "GROUPREF":
                return self._groups.get(value, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                fewest, most, inner = value
                times = min(int(most), int(fewest) + self._more)
                made = self.sequence(inner) if times else ""
                if len(made) * times > LONGEST:
                    raise NoText(f"the pattern asks for more than {LONGEST} characters")
                return made * times
        raise NoText(f"the pattern looks around, which is not followed ({code.lower()})")

    def _member(self, members: Any) -> str:
        """A character of a set such as `[a-z_]` or `[^/]`."""
        if str(members[0][0]) == "NEGATE":
            for character in chain(PLAIN, map(chr, range(33, 0x250))):
                if not any(_holds(str(code), value, character) for code, value in members[1:]):
                    return character
            raise NoText("a set of the pattern leaves nothing")
        code, value = members[0]
        match str(code):
            case "LITERAL":
                return chr(value)
            case "RANGE":
                low, high = value
                return chr(int(low) + self._variant % int(high - low + 1))
        return str({**CATEGORIES, **OUTSIDE}[str(value)])


def _holds(code: str, value: Any, character: str) -> bool:
    match code:
        case "LITERAL":
            return bool(chr(value) == character)
        case "RANGE":
            return bool(value[0] <= ord(character) <= value[1])
    kind = str(value).replace("NOT_", "")
    tests = {"CATEGORY_DIGIT": character.isdigit(), "CATEGORY_SPACE": character.isspace()}
    inside = tests.get(kind, character.isalnum() or character == "_")
    return inside != ("NOT_" in str(value))
