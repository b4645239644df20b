"""How hard a model should think: an effort in words, or a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LEAST_BUDGET = 1024

# What other gateways give for low, medium and high; no vendor states an equivalence.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}


def nearest(effort: str, accepted: Sequence[str]) -> str | None:
    """The greatest of the `accepted` efforts that is no greater than `effort`, else the least; None where there is none."""
    ordered = sorted((each for each in accepted if each != "none"), key=EFFORTS.index)
    lower = [each for each in ordered if EFFORTS.index(each) <= EFFORTS.index(effort)]
    candidates = lower[-1:] or ordered[:1]
    return candidates[0] if candidates else None


def of_budget(tokens: int) -> str:
    """The effort, low to max, whose budget is the greatest within `tokens`."""
    return max((effort for effort, budget in BUDGETS.items() if budget <= tokens), key=EFFORTS.index, default="low")
