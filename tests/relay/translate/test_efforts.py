from __future__ import annotations

import pytest

from genway.relay.translate import efforts


@pytest.mark.parametrize(
    ("effort", "accepted", "taken"),
    [
        ("high", ["low", "medium", "high"], "high"),
        ("max", ["low", "medium", "high"], "high"),
        ("xhigh", ["low", "max", "high"], "high"),
        ("minimal", ["low", "high"], "low"),
        ("none", ["none", "medium", "high"], "medium"),
        ("high", [], None),
        ("low", ["none"], None),
    ],
)
def test_the_greatest_effort_that_is_taken_counts(effort: str, accepted: list[str], taken: str | None) -> None:
    assert efforts.nearest(effort, accepted) == taken


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(500, "low"), (1024, "low"), (8191, "low"), (8192, "medium"), (16384, "high"), (31999, "xhigh"), (200_000, "max")],
)
def test_a_budget_is_an_effort(budget: int, effort: str) -> None:
    assert efforts.of_budget(budget) == effort
