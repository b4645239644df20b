from __future__ import annotations

import pytest

from genway.errors import NoChannel
from genway.operations import ImageRequest, MediaRef, PerformanceRequest, RestyleRequest, VideoRequest
from genway.providers.base import VendorBusy, VendorDown, VendorKeyRefused
from stage import Scripted, Stage

VIDEO = VideoRequest(model="acme/one", prompt="a cat")
PICTURE = MediaRef(url="https://example.com/a.mp4")


async def names(stage: Stage, seed: str = "t", tried: tuple[str, ...] = ()) -> list[str]:
    return [s.channel.name for s in await stage.router.candidates(VIDEO, local=False, tried=tried, seed=seed)]


async def test_a_higher_priority_goes_first(stage: Stage) -> None:
    stage.channel("better", priority=5)
    assert await names(stage) == ["better", "vendor"]


async def test_among_equals_work_is_shared_by_weight(stage: Stage) -> None:
    stage.channel("heavy", weight=3)
    first = [(await names(stage, seed=str(n)))[0] for n in range(400)]
    assert 0.65 < first.count("heavy") / 400 < 0.85


async def test_a_channel_that_was_tried_comes_last(stage: Stage) -> None:
    stage.channel("better", priority=5)
    assert await names(stage, tried=("chn_better",)) == ["vendor", "better"]


async def test_an_unwell_channel_is_left_alone_and_longer_each_time(stage: Stage) -> None:
    (seat,) = await stage.router.seats()
    for expected in (20, 40, 80):
        stage.router.trouble(seat, VendorDown("503"))
        assert await names(stage) == []
        assert stage.router.soonest() == pytest.approx(min(expected, 30))
        stage.clock.now += expected - 1
        assert await names(stage) == []
        stage.clock.now += 1
        assert await names(stage) == ["vendor"]
    stage.router.recovered(seat)
    stage.router.trouble(seat, VendorBusy("429", retry_after=3))
    stage.clock.now += 3
    assert await names(stage) == ["vendor"]
    stage.router.trouble(seat, VendorKeyRefused("401"))
    assert list(stage.router.set_aside()) == ["chn_vendor"]


async def test_a_change_of_the_channels_is_noticed_within_a_second(stage: Stage) -> None:
    assert await names(stage) == ["vendor"]
    stage.database.write_now(lambda c: c.exec_driver_sql("UPDATE channels SET disabled_at = 1, version = 2").rowcount)
    stage.clock.now += 1
    assert await names(stage) == []


async def test_a_channel_may_have_models_of_its_own(stage: Stage) -> None:
    stage.channel("other", models='{"acme/three": "three-2026"}')
    operation = VideoRequest(model="acme/three", prompt="a cat")
    (seat,) = await stage.router.candidates(operation, local=False, tried=(), seed="t")
    assert (seat.channel.name, seat.vendor_model("acme/three"), seat.vendor_model("acme/one")) == ("other", "three-2026", "one")


async def test_live_work_uses_the_local_provider_only_while_no_channel_does_that_kind_of_work(stage: Stage) -> None:
    assert (await stage.router.admit(VIDEO, test=False)).seat.channel.name == "vendor"
    restyle = RestyleRequest(model="acme/one", video=PICTURE)
    assert (await stage.router.admit(restyle, test=False)).seat.channel.name == "local"


async def test_once_a_channel_exists_live_work_never_falls_back_to_the_local_provider(stage: Stage) -> None:
    with pytest.raises(NoChannel, match="vendor: scripted has no model acme/unknown"):
        await stage.router.admit(VideoRequest(model="acme/unknown"), test=False)
    stage.database.write_now(lambda c: c.exec_driver_sql("UPDATE channels SET disabled_at = 1, version = 2").rowcount)
    stage.clock.now += 1
    with pytest.raises(NoChannel, match="vendor: disabled by the operator"):
        await stage.router.admit(VIDEO, test=False)


async def test_the_local_provider_may_be_asked_for_by_name(stage: Stage) -> None:
    seat = (await stage.router.admit(VideoRequest(model="local/animate"), test=False)).seat
    assert seat.channel.name == "local"


async def test_a_test_key_is_always_served_by_the_local_provider(stage: Stage) -> None:
    assert (await stage.router.admit(VIDEO, test=True)).seat.channel.name == "local"


async def test_what_nobody_can_do_is_refused_with_the_reason(stage: Stage) -> None:
    performance = PerformanceRequest(model="acme/one", performance=PICTURE, character=PICTURE)
    for test in (True, False):
        with pytest.raises(NoChannel, match="no channel can do this: the renderer does not do performance"):
            await stage.router.admit(performance, test=test)


async def test_without_the_local_provider_and_without_channels_there_is_nobody(stage: Stage) -> None:
    stage.local = False
    await stage.close()
    await stage.build()
    with pytest.raises(NoChannel, match="switched off"):
        await stage.router.admit(RestyleRequest(model="acme/one", video=PICTURE), test=False)
    with pytest.raises(NoChannel, match="switched off"):
        await stage.router.admit(ImageRequest(model="acme/one"), test=True)
    assert Scripted.seen == {}
