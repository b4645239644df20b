"""A batch is paid for before it begins, charged once when it has ended, and belongs to the account that made it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic import AsyncAnthropic
from anthropic import NotFoundError as NoMessageBatch
from openai import AsyncOpenAI, BadRequestError, NotFoundError, RateLimitError
from openai.types import Batch

from genway.billing.prices import Price, set_prices
from genway.billing.tokens import Used
from genway.db.tables import objects as table
from genway.db.tables import prices
from genway.relay import endings, forward, objects
from genway.relay.endings import LOST_SECONDS
from genway.relay.keeper import Place, take_deposit
from genway.relay.objects import About
from genway.relay.surveys import Tally
from relay.house import until
from relay.kept_stage import ANN, BOB, CLAUDE, MODEL, MONEY, TEST, Gateway, batch_lines, gateway

CHAT: Any = "/v1/chat/completions"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        yield made


def sdk(place: Gateway, key: str = ANN) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=f"{place.url}/v1", max_retries=0)


def claude(place: Gateway, key: str = ANN) -> AsyncAnthropic:
    return AsyncAnthropic(api_key=key, base_url=place.url, max_retries=0)


async def batch(place: Gateway, content: bytes, key: str = ANN) -> Batch:
    async with sdk(place, key) as client:
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        return await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def request(name: str, **more: Any) -> Any:
    params = {"model": CLAUDE, "max_tokens": 100, "messages": [{"role": "user", "content": name}]}
    return {"custom_id": name, "params": params | more}


async def test_a_batch_holds_money_and_is_charged_once_when_nobody_asks(place: Gateway) -> None:
    made = await batch(place, batch_lines("one", "two", "three"))
    [row] = place.objects("batches")
    assert row.held > 3 * 1024 * 10
    assert place.money() == (MONEY - row.held, row.held)
    assert place.spent() == (row.held, 0)
    assert await place.later() == 1
    [call] = place.calls()
    assert (call.kind, call.model, call.channel_id) == ("batches", MODEL, row.channel_id)
    assert call.cost == 10 * (call.input_tokens + call.output_tokens)
    assert json.loads(call.used)["calls"] == 3
    assert place.money() == (MONEY - call.cost, 0)
    assert place.spent() == (0, call.cost)
    assert place.audit() == []
    assert await place.later() == 0
    async with sdk(place) as ann:
        done = await ann.batches.retrieve(made.id)
        assert len((await ann.files.content(str(done.output_file_id))).text.splitlines()) == 3
    assert len(place.calls()) == 1


async def test_many_who_see_it_end_at_once_charge_it_once(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    kept = await place.application.relay.keeper.find((await holder(place)), "batches", made.id)
    endings = place.application.relay.endings
    await asyncio.gather(
        *(endings.ask(kept) for _ in range(8)), *(place.ask("GET", f"/v1/batches/{made.id}") for _ in range(8))
    )
    await place.later()
    assert len(place.calls()) == 1
    assert place.audit() == []


async def holder(place: Gateway) -> Any:
    return await place.application.gateway.identify(ANN)


async def test_the_results_belong_to_the_account_as_soon_as_it_sees_them(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    async with sdk(place) as ann, sdk(place, BOB) as bob, sdk(place, TEST) as test:
        done = await ann.batches.retrieve(made.id)
        assert (await ann.files.content(str(done.output_file_id))).text
        assert done.output_file_id in {file.id async for file in ann.files.list()}
        for other in (bob, test):
            for use in (
                other.batches.retrieve(made.id),
                other.batches.cancel(made.id),
                other.files.content(str(done.output_file_id)),
                other.batches.create(input_file_id=made.input_file_id, endpoint=CHAT, completion_window="24h"),
            ):
                with pytest.raises(NotFoundError):
                    await use
            assert [each async for each in other.batches.list()] == []


async def test_a_price_for_batches_counts_where_there_is_one(place: Gateway) -> None:
    wanted = [Price(MODEL, unit, 5_000_000, "batches") for unit in ("input_mtok", "output_mtok")]
    place.database.write_now(lambda connection: set_prices(connection, wanted, place.now))
    await place.application.relay._refresh()
    await batch(place, batch_lines("one"))
    await place.later()
    [call] = place.calls()
    assert call.cost == 5 * (call.input_tokens + call.output_tokens)


async def test_an_empty_wallet_makes_no_batch(place: Gateway) -> None:
    place.empty("ann")
    with pytest.raises(RateLimitError, match="balance"):
        await batch(place, batch_lines("one"))
    assert place.openai.asked("/v1/batches") == []
    assert place.money() == (0, 0)


async def test_what_the_vendor_refuses_gives_the_money_back(place: Gateway) -> None:
    place.openai.next(path="/v1/batches", status=400)
    with pytest.raises(BadRequestError):
        await batch(place, batch_lines("one"))
    assert place.money() == (MONEY, 0)
    assert place.spent() == (0, 0)
    assert place.objects("batches") == []


async def test_a_batch_whose_process_died_on_its_way_gives_the_money_back_in_the_end(place: Gateway) -> None:
    relay = place.application.relay
    caller = await place.application.gateway.identify(ANN)
    about = msgspec.json.encode(About(reference="dep_1")).decode()
    first = relay.board.seats[0]
    unmade = relay.keeper.row(
        caller, "unmade", "dep_1", Place(first, first.credentials[0]), held=700, about=about, next_at=place.now + 1800
    )

    def begin(connection: Any) -> None:
        take_deposit(connection, unmade, place.now)
        objects.put(connection, [unmade])

    place.database.write_now(begin)
    assert await place.later(1700) == 0
    assert place.money() == (MONEY - 700, 700)
    async with sdk(place) as ann:
        assert [each async for each in ann.batches.list()] == []
        with pytest.raises(NotFoundError):
            await ann.batches.retrieve("dep_1")
    assert await place.later(200) == 1
    assert place.money() == (MONEY, 0)
    assert place.spent() == (0, 0)
    assert place.objects() == []
    assert place.audit() == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nonsense\n", "not a line of a batch"),
        (b"\n", "no lines"),
        (batch_lines("one").replace(b"/v1/chat/completions", b"/v1/embeddings"), "the batch is for"),
        (batch_lines("one").replace(MODEL.encode(), b""), "required: the name of a model"),
    ],
)
async def test_lines_that_cannot_be_carried_out_are_refused_before(place: Gateway, content: bytes, said: str) -> None:
    for key in (ANN, TEST):
        with pytest.raises(BadRequestError, match=said):
            await batch(place, content, key)
    assert place.openai.asked("/v1/batches") == []


async def test_a_line_that_names_a_foreign_file_is_refused(place: Gateway) -> None:
    async with sdk(place) as ann:
        file = await ann.files.create(file=("a.txt", b"secret"), purpose="user_data")
    part = [{"type": "file", "file": {"file_id": file.id}}]
    with pytest.raises(NotFoundError, match=r"line 1\.body\.messages"):
        await batch(place, batch_lines(part), BOB)  # type: ignore[arg-type]


async def test_a_cancelled_batch_is_charged_for_nothing_it_did_not_do(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    async with sdk(place) as ann:
        assert (await ann.batches.cancel(made.id)).status == "cancelling"
    place.openai.files.batches[made.id] |= {"status": "cancelled"}
    await place.later()
    assert place.calls() == []
    assert place.money() == (MONEY, 0)


async def test_a_batch_waits_longer_from_time_to_time(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    place.openai.files.batches[made.id]["status"] = "validating"
    waits = []
    for _ in range(14):
        row = place.objects("batches")[0]
        waits.append(row.next_at - place.now)
        assert await place.later(waits[-1]) == 1
    assert waits == sorted(waits)
    assert waits[0] == 5
    assert waits[-1] == 300


async def test_results_that_are_gone_are_charged_by_what_the_batch_says_or_by_what_went_in(place: Gateway) -> None:
    for usage in ({"input_tokens": 50, "output_tokens": 5, "total_tokens": 55}, None):
        made = await batch(place, batch_lines("one"))
        ended = {"status": "completed", "output_file_id": "file-gone", "usage": usage}
        place.openai.files.batches[made.id] |= ended
        await place.later()
    told, guessed = place.calls()
    assert (told.cost, told.estimated) == (550, False)
    assert guessed.estimated
    assert guessed.cost > 0


async def test_results_that_cannot_be_read_now_are_read_later(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    async with sdk(place) as ann:
        output = (await ann.batches.retrieve(made.id)).output_file_id
    place.openai.next(path=f"/v1/files/{output}/content", status=500)
    await place.later()
    assert place.calls() == []
    await place.later()
    assert len(place.calls()) == 1


async def test_a_message_batch_is_charged_by_its_results(place: Gateway) -> None:
    async with claude(place) as ann, claude(place, BOB) as bob:
        made = await ann.messages.batches.create(requests=[request("one"), request("two", nonsense=1)])
        [row] = place.objects("message_batches")
        assert place.money() == (MONEY - row.held, row.held)
        ended = await ann.messages.batches.retrieve(made.id)
        assert str(ended.results_url).startswith(place.url)
        rows = {row.custom_id: row.result.type async for row in await ann.messages.batches.results(made.id)}
        assert rows == {"one": "succeeded", "two": "errored"}
        for use in (
            bob.messages.batches.retrieve(made.id),
            bob.messages.batches.cancel(made.id),
            bob.messages.batches.delete(made.id),
            bob.messages.batches.results(made.id),
        ):
            with pytest.raises(NoMessageBatch):
                await use
        assert [each async for each in bob.messages.batches.list()] == []
        await place.later()
        [call] = place.calls()
        assert call.cost == 10 * (call.input_tokens + call.output_tokens)
        assert place.money() == (MONEY - call.cost, 0)
        assert [each.id async for each in ann.messages.batches.list()] == [made.id]
        await ann.messages.batches.delete(made.id)
        with pytest.raises(NoMessageBatch):
            await ann.messages.batches.retrieve(made.id)


async def test_who_deletes_a_message_batch_before_it_is_charged_pays_all_the_same(place: Gateway) -> None:
    async with claude(place) as ann:
        made = await ann.messages.batches.create(requests=[request("one")])
        await ann.messages.batches.delete(made.id)
    assert len(place.calls()) == 1
    assert place.audit() == []


async def test_a_line_with_numbers_below_zero_brings_no_money(place: Gateway) -> None:
    sly = batch_lines("two").replace(b'"messages"', b'"max_tokens":-1000000000,"n":-1000000000,"messages"')
    await batch(place, batch_lines("one") + sly)
    [row] = place.objects("batches")
    assert row.held > 1024 * 10
    assert place.money() == (MONEY - row.held, row.held)


async def test_what_has_no_price_any_more_costs_what_was_set_aside_and_no_more(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    [row] = place.objects("batches")
    place.database.write_now(lambda connection: connection.execute(prices.delete()).rowcount)
    relay = place.application.relay
    await relay._refresh()
    kept = await relay.keeper.find(await holder(place), "batches", made.id)
    await relay.endings.charge(kept, "", [Tally(f"unheard-of-{number}", "chat", Used(input=5)) for number in range(3)])
    assert len(place.calls()) == 3
    assert row.held - 3 < sum(call.cost for call in place.calls()) <= row.held


async def test_a_batch_whose_channel_is_gone_for_good_gives_the_money_back(place: Gateway) -> None:
    made = await batch(place, batch_lines("one"))
    place.database.write_now(lambda connection: connection.execute(table.update().values(credential="none")).rowcount)
    await place.later()
    assert place.money()[1] > 0
    await place.later(LOST_SECONDS)
    assert place.money() == (MONEY, 0)
    assert place.spent() == (0, 0)
    assert place.calls() == []
    assert place.audit() == []
    assert await place.later() == 0
    async with sdk(place) as ann:
        assert [each.id async for each in ann.batches.list()] == [made.id]


async def test_a_vendor_that_takes_long_to_tell_of_one_batch_holds_no_other_up(
    place: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = await batch(place, batch_lines("one"))
    place.openai.next(path=f"/v1/batches/{slow.id}", delay=60)
    monkeypatch.setattr(endings, "EVERY_SECONDS", 0.01)
    asking = asyncio.create_task(place.application.relay.endings.run())
    place.now += 10
    await until(lambda: len(place.openai.asked(f"/v1/batches/{slow.id}")) == 1)
    other = await batch(place, batch_lines("two"))
    place.now += 5
    await until(lambda: other.id in {row.id for row in place.objects("batches") if row.ended_at is not None})
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_results_that_fall_silent_are_read_again_later(place: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await batch(place, batch_lines("one"))
    async with sdk(place) as ann:
        output = (await ann.batches.retrieve(made.id)).output_file_id
    monkeypatch.setattr(forward, "SILENT_SECONDS", 0.05)
    place.openai.next(path=f"/v1/files/{output}/content", hold_after=0)
    assert await place.later() == 1
    assert place.calls() == []
    await place.later()
    assert len(place.calls()) == 1


async def test_a_thread_of_somebody_elses_is_refused_in_a_message_batch(place: Gateway) -> None:
    asked = {"requests": [request("one", thread={"type": "continue", "previous_message_id": "msg_of_bob"})]}
    refused = await place.ask("POST", "/v1/messages/batches", asked)
    assert (refused.status, refused.json["error"]["type"]) == (404, "not_found_error")
    assert place.anthropic.requests == []


@pytest.mark.parametrize("endpoint", ["/v1/videos", "/v1/messages", "/v1/nowhere", "/v1/audio/speech"])
async def test_an_endpoint_that_is_for_no_batch_is_refused(place: Gateway, endpoint: str) -> None:
    asked = {"input_file_id": "file-1", "endpoint": endpoint, "completion_window": "24h"}
    refused = await place.ask("POST", "/v1/batches", asked)
    assert (refused.status, refused.json["error"]["param"]) == (400, "endpoint")


async def test_a_test_keys_batch_is_carried_out_at_once(place: Gateway) -> None:
    made = await batch(place, batch_lines("one", "genway:fail=server_error"), TEST)
    assert made.status == "completed"
    assert made.request_counts is not None
    assert (made.request_counts.completed, made.request_counts.failed) == (1, 1)
    async with sdk(place, TEST) as test:
        assert (await test.batches.retrieve(made.id)) == made
        [row] = [json.loads(line) for line in (await test.files.content(str(made.output_file_id))).text.splitlines()]
        assert "one" in row["response"]["body"]["choices"][0]["message"]["content"]
        [failed] = [json.loads(line) for line in (await test.files.content(str(made.error_file_id))).text.splitlines()]
        assert failed["response"]["status_code"] == 500
        assert [each.id async for each in test.batches.list()] == [made.id]
    [call] = place.calls()
    assert (call.mode, call.kind, call.channel_id) == ("test", "batches", "local")
    assert place.money() == (MONEY, 0)
    assert place.audit() == []
    assert place.openai.requests == []


async def test_a_test_keys_message_batch_is_carried_out_at_once(place: Gateway) -> None:
    async with claude(place, TEST) as test:
        made = await test.messages.batches.create(requests=[request("one"), request("genway:fail=overloaded")])
        assert made.processing_status == "ended"
        rows = {row.custom_id: row.result async for row in await test.messages.batches.results(made.id)}
        assert rows["one"].type == "succeeded"
        assert rows["genway:fail=overloaded"].error.error.type == "overloaded_error"  # type: ignore[union-attr]
        await test.messages.batches.delete(made.id)
        with pytest.raises(NoMessageBatch):
            await test.messages.batches.retrieve(made.id)
    assert place.anthropic.requests == []
