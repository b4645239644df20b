"""What a model takes beyond its format: data by name pattern in `traits.toml`, which a channel's options replace."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

from genway.errors import InvalidRequest

OPTION = "traits."

_CHOICE = re.compile(r"\[[^]]*\]")

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Traits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model takes.

    thinking: the ways to ask for it, `adaptive` (by effort) and `budget` (of tokens); none: it cannot think by request.
    thinking_off: takes `thinking: disabled`. efforts: what it takes as effort. sampling: takes temperature, top_p and
    top_k; temperature_and_top_p: both at once. prefill: continues a last message of the assistant. structured: takes
    `output_config.format`. max_tokens: asked for where the client states none; ceiling: the most it takes, 0 unknown.
    reasoning: OpenAI's rules for models that think (`max_completion_tokens`, role developer, no `stop`).
    effort_with_tools: thinks although tools are sent. reasoning_content: wants its earlier reasoning sent back under that
    name. stream_usage: takes `stream_options`. longest_id: the most letters of a call's id, 0 unlimited. signed_thinking:
    refuses earlier thinking that has no signature.
    """

    thinking: tuple[Literal["adaptive", "budget"], ...] = ()
    thinking_off: bool = True
    efforts: tuple[Effort, ...] = ()
    sampling: bool = True
    temperature_and_top_p: bool = True
    prefill: bool = True
    structured: bool = True
    max_tokens: int = 4096
    ceiling: int = 0
    reasoning: bool = False
    effort_with_tools: bool = True
    reasoning_content: bool = False
    stream_usage: bool = True
    longest_id: int = 0
    signed_thinking: bool = False

    def within_ceiling(self, tokens: int) -> int:
        return min(tokens, self.ceiling) if self.ceiling else tokens


def of(model: str, options: Mapping[str, str] | None = None) -> Traits:
    """The traits of the vendor's model `model`.

    options: a channel's; those named `traits.<trait>` count, lists with commas between, and `stream_usage`. Raises
    InvalidRequest for a trait that does not exist, or a value that it cannot have.
    """
    stated = {name: value for name, value in (options or {}).items() if name.startswith(OPTION)}
    if options and (asked := options.get("stream_usage")):
        stated.setdefault(f"{OPTION}stream_usage", str(asked != "no"))
    return _of(model, tuple(sorted(stated.items())))


@lru_cache(maxsize=1024)
def _of(model: str, options: tuple[tuple[str, str], ...]) -> Traits:
    name = model.lower().rpartition("/")[2]
    merged: dict[str, Any] = {}
    for pattern, traits in _table():
        if fnmatchcase(name, pattern):
            merged |= traits
    for option, text in options:
        trait = option.removeprefix(OPTION)
        if trait not in Traits.__struct_fields__:
            raise InvalidRequest(f"one of {', '.join(Traits.__struct_fields__)}", field=f"options.{option}")
        value = [each for each in text.replace(" ", "").split(",") if each] if trait in {"thinking", "efforts"} else text
        try:
            stated = msgspec.convert({trait: value}, Traits, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error).partition(" - at ")[0].replace("`", ""), field=f"options.{option}") from None
        merged[trait] = getattr(stated, trait)
    return msgspec.convert(merged, Traits)


@cache
def _table() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Patterns with what they say, the longest last."""
    rows = tomllib.loads(files("genway.relay.translate").joinpath("traits.toml").read_text("utf-8"))["model"]
    return tuple(sorted(((row.pop("match"), row) for row in rows), key=lambda row: len(_CHOICE.sub("?", row[0]))))
