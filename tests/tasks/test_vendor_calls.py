"""A vendor that calls when something has changed is asked at once, and believed nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from genway.billing import prices
from genway.dialects.genway import vendor_calls
from genway.errors import NotFound
from genway.providers.base import Finished, OutcomeUnknown, Running, Submitted
from genway.tasks.model import State
from stage import VAULT, Scripted, Stage


async def reached(stage: Stage, caller: Any, task_id: str, state: State) -> None:
    async with asyncio.timeout(5):
        while (await stage.gateway.get(caller, task_id)).state != state:
            await asyncio.sleep(0.005)


@pytest.fixture
def frozen(stage: Stage) -> None:
    """Nobody polls by himself any more."""
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("acme/*", "second", 10_000), 1.0))
    stage.clock.now += 2
    stage.runner._sleep = lambda seconds: asyncio.sleep(3600)


@pytest.mark.usefixtures("frozen")
async def test_a_call_makes_us_ask_at_once(stage: Stage) -> None:
    caller = stage.account()
    Scripted.scripts["vendor"] = {"check": [Running(0.1), Finished((stage.picture(),))]}
    task = await stage.submit(caller)
    async with stage.running():
        await reached(stage, caller, task.id, State.RUNNING)
        while ("running.checked", task.id) not in stage.told:
            await asyncio.sleep(0.005)
        stage.gateway.vendor_called(f"{task.id}-1", VAULT.sign(f"vendor:{task.id}-1"), {"state": "failed"})
        await reached(stage, caller, task.id, State.SUCCEEDED)


@pytest.mark.usefixtures("frozen")
async def test_a_call_finds_an_attempt_whose_answer_was_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "from_callback", lambda self, operation, body: Submitted(body["id"]))
    caller = stage.account()
    Scripted.scripts["vendor"] = {"submit": [OutcomeUnknown("lost")], "check": [Finished((stage.picture(),))]}
    task = await stage.submit(caller)
    async with stage.running():
        await reached(stage, caller, task.id, State.PARKED)
        await asyncio.sleep(0.05)
        stage.gateway.vendor_called(f"{task.id}-1", VAULT.sign(f"vendor:{task.id}-1"), {"id": "v-7"})
        await reached(stage, caller, task.id, State.SUCCEEDED)
    assert (await stage.gateway.get(caller, task.id)).vendor_id == "v-7"
    assert len(Scripted.seen["vendor"]) == 1


@pytest.mark.usefixtures("frozen")
async def test_a_call_without_words_keeps_what_one_before_it_has_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor asks for an echo at any time."""
    monkeypatch.setattr(Scripted, "from_callback", lambda self, operation, body: Submitted(body["id"]))
    caller = stage.account()
    task = await stage.submit(caller)

    async def submit(provider: Scripted, submission: object) -> Submitted:
        for body in ({"id": "v-7"}, None):
            stage.gateway.vendor_called(f"{task.id}-1", VAULT.sign(f"vendor:{task.id}-1"), body)
        raise OutcomeUnknown("lost")

    monkeypatch.setattr(Scripted, "submit", submit)
    Scripted.scripts["vendor"] = {"check": [Finished((stage.picture(),))]}
    async with stage.running():
        await reached(stage, caller, task.id, State.SUCCEEDED)
    assert (await stage.gateway.get(caller, task.id)).vendor_id == "v-7"


async def test_an_address_that_was_not_given_out_is_nothing(stage: Stage) -> None:
    for signature in ("", "0" * 32, VAULT.sign("vendor:other-1")):
        with pytest.raises(NotFound):
            stage.gateway.vendor_called("mine-1", signature, None)


def test_vendors_get_an_address_only_where_this_server_has_a_public_one() -> None:
    assert vendor_calls.address("", VAULT, "t-1") == ""
    given = vendor_calls.address("https://gen.example.com/", VAULT, "t-1")
    assert given == f"https://gen.example.com/vendor/t-1/{VAULT.sign('vendor:t-1')}"
