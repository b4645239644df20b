"""How a channel fares: left alone after faults, found out by one call, and never given more than it may have."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from genway.errors import RateLimited, Unavailable
from genway.relay.seats import FIRST_PAUSE, KEY_PAUSE, LONGEST_PAUSE, Choice
from genway.routing.channels import set_enabled
from relay.house import House, chat_answer, chat_events, until
from standins.raw_vendor import Answer, RawVendor, Taken, hang_up, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

WELL = whole(chat_answer())
DOWN = whole(b'{"error": {"message": "down for repair"}}', 500)


class Held:
    """Answers when it is told to."""

    def __init__(self, then: Answer = WELL) -> None:
        self.go = asyncio.Event()
        self.then = then

    async def __call__(self, taken: Taken, writer: asyncio.StreamWriter) -> None:
        await self.go.wait()
        await self.then(taken, writer)


def choice_of(house: House, model: str = "gpt-5") -> Choice:
    (choice,) = house.board.choices("chat", model)
    return choice


async def fail(house: House, times: int, model: str = "gpt-5") -> None:
    """So many faults in a row, each of a call that is tried once."""
    for _ in range(times):
        house.board.failed(choice_of(house, model), "a fault")


async def test_a_model_is_left_alone_after_three_faults_in_a_row(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = DOWN
    told = await house.chat()
    assert (told.status, len(vendor.requests)) == (500, 3), "the third fault ends it"
    vendor.answer = WELL
    refused = await house.chat()
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "down for repair" in refused.json["error"]["message"]
    assert len(vendor.requests) == 3
    assert (await house.chat("gpt-5-mini")).status == 200, "another model of the channel is well"
    house.now += FIRST_PAUSE + 1
    assert (await house.chat()).status == 200


async def test_what_is_well_now_and_then_is_not_left_alone(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    for _ in range(4):
        await fail(house, 2)
        assert (await house.chat()).status == 200


async def test_refusals_of_requests_are_no_faults(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = whole(b'{"error": {"message": "wrong"}}', 400)
    assert [(await house.chat()).status for _ in range(5)] == [400] * 5


async def test_after_a_pause_one_call_at_a_time_finds_out(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    await fail(house, 3)
    house.now += FIRST_PAUSE
    held = vendor.answer = Held()
    probe = asyncio.ensure_future(house.chat())
    await until(lambda: len(vendor.requests) == 1)
    assert [(await house.chat()).status for _ in range(3)] == [503] * 3
    assert len(vendor.requests) == 1
    held.go.set()
    assert (await probe).status == 200
    assert {told.status for told in await asyncio.gather(*[house.chat() for _ in range(5)])} == {200}


async def test_pauses_grow_with_every_probe_that_fails(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    await fail(house, 3)
    vendor.answer = hang_up
    pauses = []
    for _ in range(9):
        health = choice_of(house).health
        pauses.append(health.until - house.now)
        house.now = health.until
        assert (await house.chat()).status == 502
    assert pauses == [pytest.approx(each, abs=0.3) for each in (5, 10, 20, 40, 80, 160, 300, 300, 300)]
    assert LONGEST_PAUSE == 300
    house.now += LONGEST_PAUSE
    vendor.answer = WELL
    assert (await house.chat()).status == 200
    await fail(house, 3)
    assert choice_of(house).health.until - house.now == pytest.approx(FIRST_PAUSE), "all is forgotten"


async def test_many_calls_that_fail_together_are_no_reason_for_a_longer_pause(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    held = vendor.answer = Held(DOWN)
    calls = [asyncio.ensure_future(house.chat()) for _ in range(12)]
    await until(lambda: len(vendor.requests) == 12)
    held.go.set()
    await asyncio.gather(*calls)
    assert choice_of(house).health.until - house.now <= FIRST_PAUSE


async def test_a_channel_whose_streams_break_off_is_left_alone(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    broken, good = pieces(chat_events("Hi")[:2], end=False), pieces(chat_events("Hi"))
    for answer in (broken, broken, good, broken, broken):
        vendor.answer = answer
        assert (await house.chat(stream=True)).status == 200
    vendor.answer = broken
    await house.chat(stream=True)
    assert (await house.chat()).status == 503, "three in a row"
    house.now += FIRST_PAUSE
    vendor.answer = good
    assert (await house.chat(stream=True)).status == 200
    assert (await house.chat(stream=True)).status == 200


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_channel_gets_no_more_at_once_than_it_may_have(
    house: House, vendor: RawVendor, another: RawVendor, streamed: bool
) -> None:
    answer = pieces(chat_events("Hi")) if streamed else WELL
    await house.channel("small", vendor.url, priority=1, concurrency=2)
    held = vendor.answer = Held(answer)
    calls = [asyncio.ensure_future(house.chat(stream=streamed)) for _ in range(2)]
    await until(lambda: len(vendor.requests) == 2)
    refused = await house.chat(stream=streamed)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    await house.channel("spare", another.url)
    another.answer = answer
    assert (await house.chat(stream=streamed)).channel == "spare"
    held.go.set()
    assert {told.channel for told in await asyncio.gather(*calls)} == {"small"}
    assert (await house.chat(stream=streamed)).channel == "small"


async def test_another_try_keeps_to_what_a_channel_may_have_too(house: House, vendor: RawVendor, another: RawVendor) -> None:
    await house.channel("bad", another.url, priority=1)
    seat = await house.channel("small", vendor.url, concurrency=1)
    held = vendor.answer = Held()
    another.answer = DOWN
    first = asyncio.ensure_future(house.chat())
    await until(lambda: len(vendor.requests) == 1)
    assert (await house.chat("bad/gpt-5-mini")).status == 500
    assert (await house.chat()).status == 500, "the only other channel is at work"
    assert (len(vendor.requests), seat.busy) == (1, 1)
    held.go.set()
    assert (await first).channel == "small"


async def test_the_only_seat_of_a_channel_can_be_tried_again_by_the_call_that_had_it(house: House, vendor: RawVendor) -> None:
    seat = await house.channel("only", vendor.url, concurrency=1)
    vendor.answer = DOWN
    await house.chat()
    assert (len(vendor.requests), seat.busy) == (3, 0)


async def test_a_client_that_goes_frees_its_seat(house: House, vendor: RawVendor) -> None:
    seat = await house.channel("only", vendor.url, concurrency=1)
    vendor.answer = Held()
    call = asyncio.ensure_future(house.chat())
    await until(lambda: len(vendor.requests) == 1)
    assert seat.busy == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: seat.busy == 0)
    await until(lambda: vendor.open == 0)


async def test_requests_a_minute_of_a_channel(house: House, vendor: RawVendor, another: RawVendor) -> None:
    await house.channel("slow", vendor.url, priority=1, options={"requests_per_minute": "2"})
    await house.channel("spare", another.url)
    assert [(await house.chat()).channel for _ in range(4)] == ["slow", "slow", "spare", "spare"]
    house.now += 30
    assert [(await house.chat()).channel for _ in range(2)] == ["slow", "spare"]


async def test_tokens_a_minute_of_a_channel(house: House, vendor: RawVendor) -> None:
    await house.channel("slow", vendor.url, options={"tokens_per_minute": "20"})
    assert [(await house.chat()).status for _ in range(3)] == [200, 200, 429], "15 tokens each, of which the second makes debts"
    house.now += 40
    assert (await house.chat()).status == 200


async def test_keys_that_are_aside_say_when_they_will_be_tried(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url, secret="one,two")
    choice = choice_of(house)
    for credential in choice.seat.credentials:
        house.board.refused(choice, credential, "out of credit")
    house.now += 100
    with pytest.raises(Unavailable, match="operator") as refused:
        house.board.order([choice])
    assert refused.value.retry_after == pytest.approx(KEY_PAUSE - 100)


async def test_a_channel_that_said_it_is_busy_is_a_limit_and_no_fault(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    choice = choice_of(house)
    house.board.busy(choice, 7)
    with pytest.raises(RateLimited) as refused:
        house.board.order([choice])
    assert refused.value.retry_after == pytest.approx(7)


async def test_keys_alike_of_different_channels_are_different_keys(house: House, vendor: RawVendor, another: RawVendor) -> None:
    await house.channel("first", vendor.url, priority=1, secret="")
    await house.channel("second", another.url, secret="")
    vendor.answer = DOWN
    assert (await house.chat()).channel == "second"


async def test_a_channel_with_wrong_options_is_left_out_and_told_of(
    house: House, vendor: RawVendor, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        await house.channel("wrong", vendor.url, options={"requests_per_minute": "many"})
    await house.channel("right", vendor.url)
    assert (await house.chat()).channel == "right"
    written = capfd.readouterr()
    assert "channel.unusable" in written.out + written.err


async def test_a_channel_that_is_switched_off_gets_nothing(house: House, vendor: RawVendor, another: RawVendor) -> None:
    seat = await house.channel("off", vendor.url, priority=1)
    await house.channel("on", another.url)
    house.write(lambda connection: set_enabled(connection, seat.channel.id, False, house.now))
    await house.board.refresh()
    assert (await house.chat()).channel == "on"
    house.write(lambda connection: set_enabled(connection, seat.channel.id, True, house.now))
    await house.board.refresh()
    assert (await house.chat()).channel == "off"


@pytest.mark.parametrize(
    ("models", "address", "model", "rank"),
    [
        ({"a": "b"}, True, "a", 3),
        ({"a": "b"}, True, "gpt-5", 0),
        ({"*": "*"}, True, "anything", 3),
        ({}, True, "gpt-5", 2),
        ({}, True, "llama", 1),
    ],
)
async def test_how_surely_a_channel_has_a_model(
    house: House, vendor: RawVendor, models: dict[str, str], address: bool, model: str, rank: int
) -> None:
    assert (await house.channel("it", vendor.url, models=models)).rank(model) == rank


async def test_the_vendors_own_address_takes_only_what_the_vendor_has(house: House) -> None:
    assert (await house.channel("openai", "https://api.openai.com")).rank("llama") == 0


async def test_a_star_takes_any_name_as_it_is(house: House, vendor: RawVendor) -> None:
    await house.channel("star", vendor.url, models={"*": "*", "small": "tiny-1"})
    await house.chat("anything")
    await house.chat("small")
    models: list[Any] = [msgspec.json.decode(taken.body)["model"] for taken in vendor.requests]
    assert models == ["anything", "tiny-1"]
