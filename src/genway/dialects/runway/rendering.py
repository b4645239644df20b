"""What the three formats of Runway say of a task in the same way: points, times and who did the work."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Any

from genway.billing.money import MICRO
from genway.dialects.base import Asking
from genway.gateway import Gateway, Quote
from genway.tasks.model import State, Task

Points = Callable[[int], int]

PROVIDER_HEADER = "X-Genway-Provider"
USUAL_POINTS_PER_UNIT = 100

ENDINGS = {State.FAILED: "failed", State.CANCELLED: "was cancelled", State.EXPIRED: "ran out of time"}


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


def provider_header(task: Task) -> dict[str, str]:
    """Says so where the built-in provider does the work, which never poses as a vendor's model."""
    return {PROVIDER_HEADER: "local"} if task.local else {}


def provider(task: Task) -> str | None:
    """Who does the work; None while nobody does yet."""
    return "local" if task.local else task.provider


def moment(seconds: float) -> str:
    """Unix seconds as `2025-06-27T19:49:32.334Z`."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failure(task: Task) -> str:
    """Why there is no result, in words for a person; empty where there is one, or may be one yet."""
    if not task.state.ended or task.state is State.SUCCEEDED:
        return ""
    return task.error_message or f"the task {ENDINGS[task.state]}"


def link(task: Task, role: str) -> str:
    """The signed link to the first result of that role, or an empty text."""
    file = task.file(role)
    return file.url if file else ""
