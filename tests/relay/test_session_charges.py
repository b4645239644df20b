"""What a realtime session is charged where its end, or the client's own words, could hide it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from genway.billing.prices import Price, set_price
from genway.db.tables import prices
from relay.house import House, opened, until
from relay.parlour import CREATED, USAGE, Talk, Vendor, event, said, session

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK = event("response.create")
TRANSCRIPT = "conversation.item.input_audio_transcription.completed"
BEGUN = event("response.created", response={"id": "resp_1", "status": "in_progress"})


def answer(**members: Any) -> str:
    return event("response.done", response={"id": "resp_1", "status": "completed", "usage": USAGE, **members})


def saying(*messages: str) -> Talk:
    """A vendor that greets and says these messages, and then waits for the end."""

    async def talk(_: Vendor, connection: ServerConnection) -> None:
        for message in (CREATED, *messages):
            await connection.send(message)
        await connection.wait_closed()

    return talk


async def priced(house: House, **amounts: int) -> None:
    """Prices by the second for models, with `_` for `-`."""

    def write(connection: Any) -> None:
        for name, amount in amounts.items():
            set_price(connection, Price(name.replace("_", "-"), "second", amount), house.now)

    house.write(write)
    await house.relay._refresh()


def listening(model: str) -> Talk:
    """A vendor that writes down ten seconds with this model."""
    settings = {"audio": {"input": {"transcription": {"model": model}}}}
    usage = {"type": "duration", "seconds": 10}
    return saying(event("session.updated", session=settings), event(TRANSCRIPT, transcript="Hi", usage=usage))


@pytest.mark.parametrize("echoed", [{"metadata": {"note": ".delta"}}, {"output": [{"content": [{"text": "say .delta"}]}]}])
async def test_words_that_look_like_a_piece_of_an_answer_do_not_hide_its_end(house: House, echoed: dict[str, Any]) -> None:
    async with Vendor(saying(BEGUN, answer(**echoed))) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            await said(client, "response.done")
            [row] = house.recorded()
    assert (row.input_tokens, row.output_tokens, row.estimated) == (10, 5, False)


async def test_a_session_that_transcribes_pays_for_the_model_that_does_it_not_for_the_one_it_named(house: House) -> None:
    await priced(house, cheap_ear=1, dear_ear=100)
    async with Vendor(listening("dear-ear")) as vendor:
        await house.channel("east", vendor.url)
        async with session(house, "intent=transcription&model=cheap-ear") as client:
            await said(client, TRANSCRIPT)
    [row] = house.recorded()
    assert (row.model, row.cost) == ("dear-ear", 1000)


async def test_an_alias_that_transcribes_keeps_its_own_price(house: House) -> None:
    await priced(house, our_ear=3, dear_ear=100)
    async with Vendor(listening("dear-ear")) as vendor:
        await house.channel("east", vendor.url, models={"our-ear": "dear-ear"})
        async with session(house, "intent=transcription&model=our-ear") as client:
            await said(client, TRANSCRIPT)
    [row] = house.recorded()
    assert (row.model, row.vendor_model, row.cost) == ("our-ear", "dear-ear", 30)


async def test_who_leaves_in_the_middle_pays_for_reading_again_what_was_read_before(house: House) -> None:
    piece = event("response.output_text.delta", response_id="resp_2", delta="word ")
    async with Vendor(saying(BEGUN, answer(), BEGUN, piece)) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            await said(client, "response.done")
            await said(client, "response.output_text.delta")
        await until(lambda: len(house.recorded()) == 2)
    whole, cut = house.recorded()
    assert (whole.estimated, cut.estimated, cut.outcome) == (False, True, "client_gone")
    assert (cut.input_tokens, 0 < cut.output_tokens < 5) == (whole.input_tokens, True)
    assert msgspec.json.decode(cut.used)["audio_input"] == 6, "in the classes that it was read in"


async def test_a_long_answer_that_is_cut_off_is_counted_to_its_end(house: House) -> None:
    pieces = [event("response.output_text.delta", response_id="resp_1", delta="one more word ")] * 5000
    async with Vendor(saying(BEGUN, *pieces)) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            for _ in pieces:
                await said(client, "response.output_text.delta")
        await until(lambda: bool(house.recorded()))
    [row] = house.recorded()
    assert 15_000 <= row.output_tokens <= 16_000


async def test_an_answer_that_the_servers_end_cuts_off_is_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genway.relay.session.WATCH_SECONDS", 0.02)
    monkeypatch.setattr("genway.relay.session.STOP_SECONDS", 0.0)
    piece = event("response.output_text.delta", response_id="resp_1", delta="word ")
    async with opened(tmp_path) as house, Vendor(saying(BEGUN, piece)) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            await said(client, "response.output_text.delta")
            await house.server.close(5)
            assert "restarts" in (await said(client, "error"))["error"]["message"]
        [row] = house.recorded()
    assert (row.outcome, row.estimated, row.cost) == ("broken_off", True, 7)


async def test_in_a_session_that_is_paid_by_time_what_was_heard_is_not_time_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genway.relay.session.CHARGE_SECONDS", 3600.0)
    async with opened(tmp_path) as house, Vendor(listening("unpriced-ear")) as vendor:
        house.write(lambda connection: connection.execute(prices.delete()))
        await priced(house, gpt_timed=1_000_000)
        await house.channel("east", vendor.url)
        async with session(house, "model=gpt-timed") as client:
            await said(client, TRANSCRIPT)
        await until(lambda: len(house.recorded()) == 2)
        heard, rest = house.recorded()
    assert heard.cost + rest.cost < 5_000_000, "the ten seconds that it heard are part of its own"
