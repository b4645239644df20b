"""The camera commands that MiniMax's prompts hold in brackets: `[Push in]`, `[左移,上升]`.

Source: platform.minimax.io/docs/api-reference/video-generation-t2v (English), platform.minimaxi.com (Chinese).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from genway.operations import Camera

STRENGTH = 5.0  # a command has no number of its own

MOVES: Mapping[str, tuple[str, float]] = {
    "truck left": ("horizontal", -STRENGTH),
    "truck right": ("horizontal", STRENGTH),
    "pan left": ("pan", -STRENGTH),
    "pan right": ("pan", STRENGTH),
    "push in": ("zoom", STRENGTH),
    "pull out": ("zoom", -STRENGTH),
    "pedestal up": ("vertical", STRENGTH),
    "pedestal down": ("vertical", -STRENGTH),
    "tilt up": ("tilt", STRENGTH),
    "tilt down": ("tilt", -STRENGTH),
    "zoom in": ("zoom", STRENGTH),
    "zoom out": ("zoom", -STRENGTH),
}
# No number of a camera stands for these; they stay in the prompt as words.
MANNERS = ("shake", "tracking shot", "static shot", "晃动", "跟随", "固定")
CHINESE = {
    "左移": "truck left",
    "右移": "truck right",
    "左摇": "pan left",
    "右摇": "pan right",
    "推进": "push in",
    "拉远": "pull out",
    "上升": "pedestal up",
    "下降": "pedestal down",
    "上摇": "tilt up",
    "下摇": "tilt down",
    "变焦推近": "zoom in",
    "变焦拉远": "zoom out",
}

_BRACKET = re.compile(r"[\[【]([^\[\]【】]{1,200})[\]】]")
_COMMA = re.compile(r"[,，、]")


def read(prompt: str) -> tuple[str, Camera]:
    """The prompt without its camera commands, and the motion that they ask for together.

    Where commands at different places contradict each other the first one counts: one camera motion has no order in time. What
    is in brackets and is not made of commands alone stays as it is.
    """
    motion: dict[str, float] = {}

    def taken(match: re.Match[str]) -> str:
        commands = [" ".join(command.split()) for command in _COMMA.split(match[1])]
        names = [CHINESE.get(command, command.lower()) for command in commands]
        if not all(name in MOVES or name in MANNERS for name in names):
            return match[0]
        for name in names:
            if name in MOVES:
                member, value = MOVES[name]
                motion.setdefault(member, value)
        return ", ".join(command for command, name in zip(commands, names, strict=True) if name in MANNERS)

    text = re.sub(r"[ \t]{2,}", " ", _BRACKET.sub(taken, prompt)).strip()
    return text, Camera(**motion)
