from __future__ import annotations

from typing import Any

import msgspec
import pytest

from genway.errors import Conflict, NoChannel
from genway.operations import Camera, ExtendRequest, MediaRef, Parent, VideoRequest
from genway.providers.base import ChannelSettings, Finished
from genway.routing.lenient import lighten
from genway.tasks.model import State
from stage import Scripted, ScriptedLocal, Stage

RICH = VideoRequest(
    model="acme/one",
    prompt="a cat",
    camera=Camera(zoom=3),
    seed=7,
    loop=True,
    last_frame=MediaRef(url="https://a.example/b.png"),
)


class Picky(Scripted):
    """Refuses what it is told to."""

    cannot: tuple[str, ...] = ()

    def refusal(self, operation: Any) -> str | None:
        plain = VideoRequest(model="acme/one")
        asked = [name for name in self.cannot if getattr(operation, name) != getattr(plain, name)]
        return f"no {asked[0]}" if asked else None


def picky(*cannot: str) -> Picky:
    provider = Picky(ChannelSettings(name="vendor"), None)  # type: ignore[arg-type]
    provider.cannot = cannot
    return provider


def test_only_what_is_in_the_way_is_left_out_and_told_of() -> None:
    found = lighten(picky("loop"), RICH)
    assert found is not None
    light, warnings = found
    assert light == VideoRequest(
        model="acme/one", prompt="a cat", camera=Camera(zoom=3), seed=7, last_frame=MediaRef(url="https://a.example/b.png")
    )
    assert warnings == ("loop was left out: scripted cannot do it for this model",)


def test_several_things_may_be_left_out() -> None:
    found = lighten(picky("camera", "last_frame"), RICH)
    assert found is not None
    light, warnings = found
    assert (light.camera, light.last_frame, light.seed, light.loop) == (Camera(), None, 7, True)  # type: ignore[union-attr]
    assert [warning.partition(" ")[0] for warning in warnings] == ["camera", "last_frame"]


def test_what_a_request_is_about_is_never_left_out() -> None:
    assert lighten(picky("prompt"), RICH) is None


async def test_a_lenient_client_is_served_with_a_warning_and_another_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "refusal", lambda self, operation: "no loop" if operation.loop else None)
    with pytest.raises(NoChannel, match="no loop"):
        await stage.router.admit(RICH, test=False)
    admission = await stage.router.admit(RICH, test=False, lenient=True)
    assert admission.seat.channel.name == "vendor"
    assert admission.operation.loop is False  # type: ignore[union-attr]
    assert len(admission.warnings) == 1


async def test_work_on_an_earlier_task_goes_to_the_channel_that_holds_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "operations", (VideoRequest, ExtendRequest))
    stage.channel("better", priority=9)
    extend = ExtendRequest(model="acme/one", parent=Parent("t-1", channel_id="chn_vendor", vendor_id="v-1"))
    assert (await stage.router.admit(extend, test=False)).seat.channel.name == "vendor"
    found = await stage.router.candidates(extend, local=False, tried=(), seed="t")
    assert [seat.channel.name for seat in found] == ["vendor"]
    gone = ExtendRequest(model="acme/one", parent=Parent("t-1", channel_id="chn_gone"))
    with pytest.raises(NoChannel, match="holds the earlier task"):
        await stage.router.admit(gone, test=False)


async def test_the_door_fills_in_what_is_known_of_the_earlier_task(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedLocal, "operations", (VideoRequest, ExtendRequest))
    caller = stage.account(mode="test")
    Scripted.scripts["local"] = {"check": [Finished((stage.picture(),))]}
    video = VideoRequest(model="local/animate", prompt="a cat")
    parent = await stage.submit(caller, video)
    extend = ExtendRequest(model="local/animate", parent=Parent(parent.id))
    with pytest.raises(Conflict, match="no result to go on from"):
        await stage.submit(caller, extend)
    assert (await stage.until(caller, parent)).state == State.SUCCEEDED
    accepted = await stage.submit(caller, extend)
    resolved = accepted.operation.continues
    assert resolved is not None
    assert (resolved.channel_id, resolved.vendor_id) == ("local", f"v-{parent.id}")
    assert resolved.result is not None
    assert str(resolved.result.media_id).startswith("med_")


def test_what_the_format_assumed_is_left_out_without_a_word_for_anybody() -> None:
    assumed = VideoRequest(model="acme/one", prompt="a cat", style="cinematic", loop=True, assumed=("style",))
    assert lighten(picky("style"), assumed, lenient=False) == (msgspec.structs.replace(assumed, style=""), ())
    assert lighten(picky("style", "loop"), assumed, lenient=False) is None
    found = lighten(picky("style", "loop"), assumed)
    assert found is not None
    assert [warning.partition(" ")[0] for warning in found[1]] == ["loop"]


async def test_a_style_that_the_client_chose_is_refused_and_an_assumed_one_is_dropped(stage: Stage) -> None:
    (seat,) = await stage.router.seats()
    seat.provider.refusal = picky("style").refusal  # type: ignore[method-assign]
    chosen = VideoRequest(model="acme/one", prompt="a cat", style="cinematic")
    with pytest.raises(NoChannel, match="no style"):
        await stage.router.admit(chosen, test=False)
    admitted = await stage.router.admit(msgspec.structs.replace(chosen, assumed=("style",)), test=False)
    assert (admitted.operation.style, admitted.warnings) == ("", ())  # type: ignore[union-attr]
