"""What the three formats of Runway say of a task in the same way: points, times and who did the work."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Any

from genway.billing.money import MICRO
from genway.dialects.base import Asking
from genway.gateway import Gateway, Quote
from genway.tasks.model import Task

Points = Callable[[int], int]

USUAL_POINTS_PER_UNIT = 100


def context(gateway: Gateway, **more: Any) -> dict[str, Any]:
    """What has to stay with a task for it to be told of where there is no gateway at hand, as in a callback."""
    return {"points_per_unit": gateway.points_per_unit, **more}


def points_of(task: Task) -> Points:
    """Turns millionths of the currency into points, rounded up, at the rate of the time when the task was made."""
    per_unit = int(task.context.get("points_per_unit", USUAL_POINTS_PER_UNIT))
    return lambda amount: ceil(Fraction(amount * per_unit, MICRO))


def quoted_points(quote: Quote, asking: Asking) -> int:
    """What a price is in points."""
    gateway: Gateway | None = asking.request.app.state.gateway if asking.request else None
    return gateway.points(quote.total) if gateway else 0


def provider(task: Task) -> str | None:
    """Who does the work; None while nobody does yet."""
    return "local" if task.local else task.provider
