"""What a call of the relay used, and what that costs: tokens in classes that do not overlap, and things that are counted.

A vendor's totals overlap (OpenAI's input holds its cached tokens, its output the reasoning); `relay/usage.py` takes them
apart, so that here every token is in one class, has one price and is charged once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

MILLION: Final = 1_000_000

TOKENS: Final = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "cached_audio_input",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
    "image_output",
)
"""Classes that are priced by the million."""

THINGS: Final = ("images", "seconds", "characters", "calls")
"""Classes that are priced by the one."""

INSTEAD: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("output",),
    "cached_input": ("input", "output"),
    "cache_write": ("input", "output"),
    "cache_write_1h": ("cache_write", "input", "output"),
    "audio_input": ("input", "output"),
    "cached_audio_input": ("audio_input", "cached_input", "input", "output"),
    "image_input": ("input", "output"),
    "output": ("input",),
    "reasoning": ("output", "input"),
    "audio_output": ("output", "input"),
    "image_output": ("output", "input"),
}
"""Whose price counts for a class of tokens that has none: the first that has one. So a model that is sold by the token
never gives a class of tokens away because nobody priced it."""


class Used(msgspec.Struct, omit_defaults=True, gc=False):
    """What one call used. No token is in two classes.

    input: text tokens that were read anew; cached_input: read from the vendor's cache; cache_write, cache_write_1h: written
    to it, for a short time and for an hour; audio_input, cached_audio_input, image_input: tokens of sound and pictures.
    output: text tokens that were produced, without reasoning: the tokens thought and not shown; audio_output, image_output.
    images, characters: whole numbers; seconds: of sound, a fraction is fine; calls: answers of the vendor's.
    estimated: a part of this is our own count, for the vendor gave none.
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    cached_audio_input: int = 0
    image_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    images: int = 0
    seconds: float = 0
    characters: int = 0
    calls: int = 1
    estimated: bool = False

    @property
    def read(self) -> int:
        """All tokens that went in, whatever their class."""
        return (
            self.input
            + self.cached_input
            + self.cache_write
            + self.cache_write_1h
            + self.audio_input
            + self.cached_audio_input
            + self.image_input
        )

    @property
    def produced(self) -> int:
        """All tokens that came out, whatever their class."""
        return self.output + self.reasoning + self.audio_output + self.image_output

    def __add__(self, other: Used) -> Used:
        """Both together; an estimate where one of them is."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in (*TOKENS, *THINGS)}
        return Used(**sums, estimated=self.estimated or other.estimated)


class Line(msgspec.Struct, frozen=True):
    """One line of a charge: `quantity` of a class at `amount` millionths for each, or for each million tokens.

    total: its share in millionths; the shares of a charge add up to the charge exactly.
    """

    name: str
    quantity: float
    amount: int
    total: int


class Card(msgspec.Struct, frozen=True):
    """The prices of one model: millionths of the currency for a million tokens of a class, or for one image, second …"""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    cached_audio_input: int = 0
    image_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    images: int = 0
    seconds: int = 0
    characters: int = 0
    calls: int = 0

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> Card:
        """A card from the prices that were set, by class. A class of tokens without a price has that of its kin (`INSTEAD`)."""
        resolved = {name: amounts.get(name, 0) for name in THINGS}
        for name in TOKENS:
            resolved[name] = next((amounts[kin] for kin in (name, *INSTEAD[name]) if kin in amounts), 0)
        return cls(**resolved)

    def cost(self, used: Used) -> int:
        """What `used` costs, in millionths: computed exactly, and rounded up once."""
        parts = (
            used.input * self.input
            + used.output * self.output
            + used.cached_input * self.cached_input
            + used.cache_write * self.cache_write
            + used.cache_write_1h * self.cache_write_1h
            + used.reasoning * self.reasoning
            + used.audio_input * self.audio_input
            + used.cached_audio_input * self.cached_audio_input
            + used.image_input * self.image_input
            + used.audio_output * self.audio_output
            + used.image_output * self.image_output
            + (used.calls * self.calls + used.images * self.images + used.characters * self.characters) * MILLION
        )
        if used.seconds and self.seconds:
            above, below = Decimal(str(used.seconds)).as_integer_ratio()
            return -(-(parts * below + above * self.seconds * MILLION) // (below * MILLION))
        return -(-parts // MILLION)

    def likely(self, read: int, produced: int, images: int) -> int:
        """What one answer costs that reads and produces so many tokens of text, or makes so many pictures, in millionths."""
        parts = read * self.input + produced * self.output + (self.calls + images * self.images) * MILLION
        return -(-parts // MILLION)

    def lines(self, used: Used) -> tuple[Line, ...]:
        """What `used` costs line by line, without what costs nothing."""
        found = []
        exact = Fraction(0)
        charged = 0
        for name in (*TOKENS, *THINGS):
            quantity, amount = getattr(used, name), getattr(self, name)
            if not quantity or not amount:
                continue
            exact += Fraction(str(quantity)) * amount / (MILLION if name in TOKENS else 1)
            total = int(-(-exact // 1)) - charged
            charged += total
            found.append(Line(name, quantity, amount, total))
        return tuple(found)
