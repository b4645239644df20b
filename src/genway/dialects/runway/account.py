"""The official API's organization: credits, limits, and what was used by day and model."""

from __future__ import annotations

import contextlib
import datetime
from collections import defaultdict

from genway.access.model import Asked, Caller
from genway.billing.money import MICRO
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body, shown
from genway.dialects.runway import models
from genway.dialects.runway.official import PREFIX
from genway.errors import InvalidRequest
from genway.gateway import Gateway

DAY = datetime.timedelta(days=1)
USUAL_DAYS = 30
MOST_DAYS = 90
YEARS = range(2000, 2100)
# The type is a whole number and there is no word for "without limit".
UNLIMITED = 2**31 - 1

route = Router()


class Usage(Body, rename="camel"):
    """A span of days in UTC, `YYYY-MM-DD`; the last one is not included."""

    start_date: str = ""
    before_date: str = ""

    def span(self, today: datetime.date) -> tuple[datetime.date, datetime.date]:
        """The first day, and the day after the last. Without a start it begins 30 days ago, without an end it has 30."""
        start = _date(self.start_date, "startDate") if self.start_date else today - USUAL_DAYS * DAY
        before = _date(self.before_date, "beforeDate") if self.before_date else start + USUAL_DAYS * DAY
        if not DAY <= before - start <= MOST_DAYS * DAY:
            raise InvalidRequest(f"a day 1 to {MOST_DAYS} days after startDate, got {before}", field="beforeDate")
        return start, before


@route.get(f"{PREFIX}/v1/organization")
async def organization(gateway: Gateway, asked: Asked) -> Answer:
    """The account's credits, limits and generations of the last day."""
    view = await gateway.account(asked.caller)
    left = UNLIMITED * MICRO if view.unlimited else view.available
    if view.budget_left is not None:
        left = min(left, view.budget_left)
    credits = min(left * gateway.points_per_unit // MICRO, UNLIMITED)
    most = asked.caller.concurrent_tasks or None
    limits = {name: {"maxConcurrentGenerations": most, "maxDailyGenerations": None} for name in models.NAMES}
    now = datetime.datetime.now(datetime.UTC)
    daily: dict[str, int] = defaultdict(int)
    for row in await gateway.usage(asked.caller, since=(now - DAY).timestamp(), before=now.timestamp()):
        if row.tasks:
            daily[row.model.removeprefix(models.SYSTEM)] += row.tasks
    return Answer(
        {
            "creditBalance": credits,
            "tier": {"maxMonthlyCreditSpend": UNLIMITED, "models": limits},
            "usage": {"models": {name: {"dailyGenerations": count} for name, count in daily.items()}},
        }
    )


@route.post(f"{PREFIX}/v1/organization/usage")
async def usage(body: Usage, gateway: Gateway, asked: Asked) -> Answer:
    """The credits charged, by day and model; days without any are left out."""
    start, before = body.span(datetime.datetime.now(datetime.UTC).date())
    days = await _by_day(gateway, asked.caller, start, before)
    results = [
        {"date": day, "usedCredits": [{"model": model, "amount": amount} for model, amount in sorted(by_model.items())]}
        for day, by_model in sorted(days.items())
    ]
    return Answer({"results": results, "models": sorted({model for by_model in days.values() for model in by_model})})


async def _by_day(gateway: Gateway, caller: Caller, start: datetime.date, before: datetime.date) -> dict[str, dict[str, int]]:
    days: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await gateway.usage(caller, since=_midnight(start), before=_midnight(before)):
        days[row.day][row.model.removeprefix(models.SYSTEM)] = gateway.points(row.charged)
    return days


def _date(text: str, field: str) -> datetime.date:
    with contextlib.suppress(ValueError):
        day = datetime.date.fromisoformat(text.strip()[:10])
        if day.year in YEARS:
            return day
    raise InvalidRequest(f"a day like 2025-06-27, got {shown(text)}", field=field)


def _midnight(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()
