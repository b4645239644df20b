"""Money and keys under a crowd: what many ask for at the same instant is given as if they had stood in a queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp

from durability.conftest import MakeSite
from durability.stage import FUNDS, LIVE, Site, Vendor, Work, page_work
from genway.access import store as access
from genway.billing import ledger

CROWD = 200
FEW = 50
PRICE = 250_000
NEVER = "vendor:poll_error=99999"


async def _at_once(site: Site, works: list[Work], secret: str, tokens: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """Submit all at the same time; status and body of each answer."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as http:

        async def one(work: Work, token: str) -> tuple[int, dict[str, Any]]:
            headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": token} if token else {})
            async with http.post(f"{site.url}/runway/pro/generate", json=work.body, headers=headers) as answer:
                return answer.status, await answer.json()

        return await asyncio.gather(*(one(work, token) for work, token in zip(works, tokens, strict=True)))


def _balance(site: Site) -> tuple[int, int]:
    found: tuple[int, int] = site.read(lambda connection: ledger.balance(connection, site.account_id, "live"))
    return found


def _audit(site: Site) -> list[str]:
    faults: list[str] = site.read(ledger.audit)
    return faults


async def test_a_crowd_cannot_spend_more_than_there_is(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runway_compat": vendor.url}, funds=FEW * PRICE)
    site.serve()
    works = [page_work(f"crowd {number:03} {NEVER}") for number in range(CROWD)]
    answers = await _at_once(site, works, LIVE, [""] * CROWD)
    assert Counter(status for status, _ in answers) == {200: FEW, 402: CROWD - FEW}
    for status, body in answers:
        if status == 402:
            assert (body["code"], body["data"], body["error"]["code"]) == (402, None, "insufficient_balance")
    assert _balance(site) == (0, FEW * PRICE)
    assert len(site.tasks()) == FEW
    assert _audit(site) == []


async def test_a_crowd_cannot_spend_more_than_the_keys_budget(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runway_compat": vendor.url})
    secret = "gw_live_with_a_budget"
    site.write(
        lambda connection: access.create_key(
            connection, site.vault, site.account_id, name="budget", budget=FEW * PRICE + 1, secret=secret, now=site.now()
        )
    )
    site.serve()
    works = [page_work(f"budget {number:03} {NEVER}") for number in range(CROWD)]
    answers = await _at_once(site, works, secret, [""] * CROWD)
    assert Counter(status for status, _ in answers) == {200: FEW, 402: CROWD - FEW}
    assert {body["error"]["code"] for status, body in answers if status == 402} == {"budget_exceeded"}
    assert _balance(site) == (FUNDS - FEW * PRICE, FEW * PRICE)
    key = site.read(lambda connection: access.get_key(connection, "budget"))
    assert (key.held, key.spent, key.active_tasks) == (FEW * PRICE, 0, FEW)
    assert _audit(site) == []


async def test_the_same_request_many_times_at_once_is_one_task(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runway_compat": vendor.url})
    site.serve()
    works = [page_work(f"same {number} {NEVER}") for number in range(4) for _ in range(25)]
    answers = await _at_once(site, works, LIVE, [work.prompt for work in works])
    assert {status for status, _ in answers} == {200}
    assert len({body["data"]["task_id"] for _, body in answers}) == len(site.tasks()) == 4
    assert _balance(site) == (FUNDS - 4 * PRICE, 4 * PRICE)
    other = await _at_once(site, [page_work("another request")], LIVE, [works[0].prompt])
    assert other[0][0] == 422
    assert _audit(site) == []
