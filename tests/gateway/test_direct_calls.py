"""Small things that a vendor does at once, and what earlier tasks made that later ones use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from genway.access.model import Asked, Caller
from genway.billing import prices
from genway.billing.prices import Price
from genway.errors import Conflict, GenwayError, InvalidRequest, NoChannel, NotFound, RateLimited, TaskNotFound, Unavailable
from genway.operations import DirectCall, Parent, VideoRequest, VoiceRequest
from genway.providers.base import (
    Finished,
    ProviderError,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorRefused,
)
from genway.tasks.model import State, Task
from stage import Scripted, ScriptedLocal, Stage

VOICES = DirectCall(model="acme/one", call="acme/voices")
VOICE = VoiceRequest(model="acme/one", name="Me", prompt="deep")


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vendors that answer, and keep voices."""

    async def answer(self: Scripted, asked: DirectCall) -> dict[str, Any]:
        return {"by": self.channel.name, "kept": [parent.kept for parent in asked.uses]}

    for kind in (Scripted, ScriptedLocal):
        monkeypatch.setattr(kind, "answer", answer, raising=False)
        monkeypatch.setattr(kind, "calls", ("acme/voices",), raising=False)
        monkeypatch.setattr(kind, "operations", (VideoRequest, VoiceRequest))
    monkeypatch.setattr(ScriptedLocal, "refusal", lambda self, operation: None)


@pytest.fixture(autouse=True)
def priced(stage: Stage) -> None:
    stage.database.write_now(lambda connection: prices.set_price(connection, Price("acme/*", "call", 5), 1.0))


async def voice(stage: Stage, caller: Caller, kept: str) -> Task:
    """A voice of the caller's that the channel `vendor` keeps under this id."""
    Scripted.scripts["vendor"] = {"submit": [Finished((), {"kept": kept})]}
    async with stage.running():
        task = await stage.submit(caller, VOICE)
        return await stage.until(caller, task, State.SUCCEEDED)


async def test_a_live_key_is_answered_by_a_channel_and_a_test_key_by_the_built_in_provider(stage: Stage) -> None:
    live, test = stage.account(), stage.account(mode="test")
    assert (await stage.gateway.ask(Asked(caller=live), VOICES)).data["by"] == "vendor"
    told = await stage.gateway.ask(Asked(caller=test), VOICES)
    assert (told.data["by"], told.local) == ("local", True)


async def test_what_nobody_answers_is_said_so(stage: Stage) -> None:
    with pytest.raises(NoChannel, match="none answers acme/dreams"):
        await stage.gateway.ask(Asked(caller=stage.account()), DirectCall(model="acme/one", call="acme/dreams"))


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (VendorRefused("no such page"), InvalidRequest),
        (VendorModerated("rude"), InvalidRequest),
        (VendorLost("gone"), NotFound),
        (VendorBusy("slow down", retry_after=9), RateLimited),
        (VendorDown("503"), Unavailable),
        (VendorKeyRefused("401"), Unavailable),
    ],
)
async def test_a_vendors_refusal_becomes_ours(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: ProviderError, ours: type[GenwayError]
) -> None:
    async def fails(self: Scripted, asked: DirectCall) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(Scripted, "answer", fails)
    with pytest.raises(ours) as caught:
        await stage.gateway.ask(Asked(caller=stage.account()), VOICES)
    assert caught.value.retry_after == error.retry_after
    assert bool(stage.router.set_aside()) == isinstance(error, VendorBusy | VendorDown | VendorKeyRefused)


async def test_what_names_an_earlier_task_goes_to_the_channel_that_keeps_it(stage: Stage) -> None:
    owner = stage.account()
    made = await voice(stage, owner, "v-77")
    stage.channel("better", priority=9)
    stage.clock.now += 1
    assert (await stage.gateway.ask(Asked(caller=owner), VOICES)).data["by"] == "better"
    named = msgspec.structs.replace(VOICES, uses=(Parent(made.id, name="41"),))
    assert (await stage.gateway.ask(Asked(caller=owner), named)).data == {"by": "vendor", "kept": ["v-77"]}
    video = VideoRequest(model="acme/one", prompt="a", uses=(Parent(made.id, name="41"),))
    task = await stage.submit(owner, video)
    assert task.operation.uses == (Parent(made.id, channel_id="chn_vendor", name="41", kind="voice", kept="v-77"),)
    candidates = await stage.router.candidates(task.operation, local=False, tried=(), seed="s")
    assert [seat.channel.name for seat in candidates] == ["vendor"]


async def test_nobody_uses_what_another_account_made(stage: Stage) -> None:
    made = await voice(stage, stage.account(), "v-77")
    stranger = stage.account()
    named = msgspec.structs.replace(VOICES, uses=(Parent(made.id),))
    with pytest.raises(TaskNotFound):
        await stage.gateway.ask(Asked(caller=stranger), named)
    with pytest.raises(TaskNotFound):
        await stage.submit(stranger, VideoRequest(model="acme/one", prompt="a", uses=(Parent(made.id),)))


async def test_what_is_not_made_yet_cannot_be_used(stage: Stage) -> None:
    owner = stage.account()
    task = await stage.submit(owner, VideoRequest(model="acme/one", prompt="a"))
    with pytest.raises(Conflict, match="no result to go on from"):
        await stage.gateway.ask(Asked(caller=owner), msgspec.structs.replace(VOICES, uses=(Parent(task.id),)))
