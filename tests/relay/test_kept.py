"""Responses that the vendor keeps belong to the account that made them, and what goes on in the background is charged once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from yarl import URL

from genway.relay import sse
from genway.relay.keeper import HeldBack
from relay.kept_stage import ANN, BOB, MODEL, MONEY, TEST, Gateway, gateway


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        yield made


def sdk(place: Gateway, key: str = ANN) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=f"{place.url}/v1", max_retries=0)


async def test_a_foreign_response_does_not_exist(place: Gateway) -> None:
    async with sdk(place) as ann, sdk(place, BOB) as bob, sdk(place, TEST) as test:
        made = await ann.responses.create(model=MODEL, input="one")
        for other in (bob, test):
            for use in (
                other.responses.retrieve(made.id),
                other.responses.delete(made.id),
                other.responses.cancel(made.id),
                other.responses.input_items.list(made.id),
                other.responses.create(model=MODEL, input="two", previous_response_id=made.id),
                other.responses.create(model=MODEL, input=[{"type": "item_reference", "id": made.output[0].id or ""}]),
            ):
                with pytest.raises(NotFoundError):
                    await use
        assert (await ann.responses.retrieve(made.id)).output_text == "You said: one"
    assert [seen.method for seen in place.openai.requests] == ["POST", "GET"]


async def test_an_unknown_id_and_a_foreign_one_answer_alike(place: Gateway) -> None:
    made = (await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one"})).json
    foreign = await place.ask("GET", f"/v1/responses/{made['id']}", key=BOB)
    unknown = await place.ask("GET", "/v1/responses/resp_nobody", key=BOB)
    assert foreign.status == unknown.status == 404
    assert foreign.body.replace(made["id"].encode(), b"resp_nobody") == unknown.body
    assert unknown.json["error"]["type"] == "invalid_request_error"


async def test_a_stream_is_on_record_before_its_first_event_is_seen(place: Gateway) -> None:
    async with sdk(place) as ann:
        async for event in await ann.responses.create(model=MODEL, input="one two", stream=True):
            if event.type == "response.created":
                assert [row.id for row in place.objects("responses")] == [event.response.id]
        again = await ann.responses.create(model=MODEL, input="two", previous_response_id=event.response.id)  # type: ignore[union-attr]
    assert again.output_text == "You said: two"
    assert len(place.objects("items")) == 2


async def test_what_is_not_stored_is_not_recorded(place: Gateway) -> None:
    await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", "store": False})
    assert place.objects() == []


async def test_a_later_call_goes_to_the_channel_that_has_what_it_names(place: Gateway) -> None:
    async with sdk(place) as ann:
        raw = await ann.responses.with_raw_response.create(model=f"second/{MODEL}", input="one")
        assert raw.headers["x-genway-channel"] == "second"
        made: Any = raw.parse()
        for more in ({"previous_response_id": made.id, "input": "two"}, {"input": [{"id": made.output[0].id}]}):
            later: Any = await ann.responses.with_raw_response.create(model=MODEL, **more)
            assert later.headers["x-genway-channel"] == "second"


async def test_an_item_of_ones_own_may_be_referred_to(place: Gateway) -> None:
    made = (await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one"})).json
    hidden = b'{"model":"gpt-4.1","input":[{"\\u0069d":"%b","t\\u0079pe":"item_reference"}]}' % made["output"][0]["id"].encode()
    body = b'{"model":"gpt-4.1","input":[{"role":"user","content":[{"type":"input_file","fil\\u0065_id":"file-9"}]}]}'
    assert (await place.ask("POST", "/v1/responses", hidden, key=BOB)).status == 404
    refused = await place.ask("POST", "/v1/responses", body)
    assert refused.status == 404
    assert refused.json["error"]["param"] == "input[0].content[0].file_id"


async def test_a_deleted_response_is_gone(place: Gateway) -> None:
    async with sdk(place) as ann:
        made = await ann.responses.create(model=MODEL, input="one")
        await ann.responses.delete(made.id)
        with pytest.raises(NotFoundError):
            await ann.responses.retrieve(made.id)
    assert place.openai.responses.kept == {}


async def test_a_stored_response_is_streamed_again_from_where_one_was(place: Gateway) -> None:
    async with sdk(place) as ann:
        made = await ann.responses.create(model=MODEL, input="one")
        events = [event async for event in await ann.responses.retrieve(made.id, stream=True, starting_after=3)]
    assert events[0].sequence_number == 4
    assert events[-1].type == "response.completed"


async def test_input_tokens_are_counted_for_nothing(place: Gateway) -> None:
    async with sdk(place) as ann:
        counted = await ann.responses.input_tokens.count(model=MODEL, input="one two three")
    assert counted.input_tokens > 0
    assert place.calls() == []


async def test_a_compacted_response_is_charged(place: Gateway) -> None:
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    said = {"id": "resp_c", "object": "response.compaction", "created_at": 1, "output": [], "usage": usage}
    place.openai.next(path="/v1/responses/compact", body=said)
    async with sdk(place) as ann:
        assert (await ann.responses.compact(model=MODEL, input="one")).id == "resp_c"
    [call] = place.calls()
    assert (call.input_tokens, call.output_tokens, call.cost) == (100, 10, 1100)


async def test_a_response_in_the_background_is_charged_once_when_nobody_asks(place: Gateway) -> None:
    async with sdk(place) as ann:
        made = await ann.responses.create(model=MODEL, input="one", background=True)
    assert made.status == "queued"
    assert place.calls() == []
    [row] = place.objects("responses")
    assert row.held > 0
    assert await place.later() == 1
    assert place.calls() == []
    assert await place.later() == 1
    [call] = place.calls()
    assert call.input_tokens > 0
    assert call.cost == 10 * (call.input_tokens + call.output_tokens)
    assert await place.later() == 0
    async with sdk(place) as ann:
        assert (await ann.responses.retrieve(made.id)).status == "completed"
    assert len(place.calls()) == 1
    await place.settled()
    assert place.money() == (MONEY - call.cost, 0)
    assert place.spent() == (0, call.cost)
    assert place.audit() == []


async def test_a_background_response_that_the_client_sees_end_is_charged_then(place: Gateway) -> None:
    async with sdk(place) as ann:
        made = await ann.responses.create(model=MODEL, input="one", background=True)
        await ann.responses.retrieve(made.id)
        assert place.calls() == []
        assert (await ann.responses.retrieve(made.id)).status == "completed"
    assert len(place.calls()) == 1
    assert await place.later() == 0


@pytest.mark.parametrize("way", ["cancel", "delete"])
async def test_who_takes_a_background_response_back_pays_for_what_went_in(place: Gateway, way: str) -> None:
    async with sdk(place) as ann:
        made = await ann.responses.create(model=MODEL, input="one", background=True)
        await getattr(ann.responses, way)(made.id)
    [call] = place.calls()
    assert call.estimated
    assert call.cost > 0
    await place.settled()
    assert place.money() == (MONEY - call.cost, 0)


async def test_a_background_stream_is_charged_once(place: Gateway) -> None:
    async with sdk(place) as ann:
        stream = await ann.responses.create(model=MODEL, input="one", background=True, stream=True)
        assert [event async for event in stream][-1].type == "response.completed"
    [call] = place.calls()
    assert call.kind == "responses"
    assert await place.later() == 0
    assert len(place.calls()) == 1
    await place.settled()
    assert place.money() == (MONEY - call.cost, 0)


async def test_a_background_response_that_the_vendor_lost_is_charged_for_what_went_in(place: Gateway) -> None:
    await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", "background": True})
    place.openai.responses.kept.clear()
    await place.later()
    assert place.calls() == [], "what was made a moment ago may not be seen everywhere yet"
    await place.later(3600)
    [call] = place.calls()
    assert call.estimated
    assert place.objects("responses")[0].ended_at is not None


async def test_a_vendor_that_does_not_answer_is_asked_again_later(place: Gateway) -> None:
    made = (await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", "background": True})).json
    place.openai.next(path=f"/v1/responses/{made['id']}", status=503)
    assert await place.later(10) == 1
    assert await place.later(1) == 0
    assert place.calls() == []
    for _ in range(3):
        await place.later()
    assert len(place.calls()) == 1


@pytest.mark.parametrize(("kind", "shape"), [("responses", b'"code":"server_error"'), ("messages", b'"type":"api_error"')])
async def test_a_stream_that_cannot_be_put_on_record_says_so_in_its_own_format(kind: str, shape: bytes) -> None:
    async def keep(_: bytes) -> None:
        raise RuntimeError("no disk")

    source = Still(b'data: {"type": "first"}\n\n')
    seen: list[bytes] = []
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    HeldBack(source, keep, kind, "req_1").flow(seen.append, ended.set_result)
    assert await asyncio.wait_for(ended, 5) is None
    [told] = seen
    assert shape in told
    assert b"first" not in told
    assert source.aborted


async def test_a_first_event_without_end_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(_: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(sse, "LONGEST_EVENT", 10)
    source = Still(b"data: " + b"x" * 100)
    problems: list[str | None] = []
    HeldBack(source, keep, "responses", "req_1").flow(lambda data: None, problems.append)
    assert problems[0] is not None
    assert source.aborted


class Still:
    """A source that gives one piece and then waits."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.aborted = self.ended = False

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        on_data(self.piece)

    def pause(self, paused: bool) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def linger(self, seconds: float) -> None:
        pass


async def test_a_conversation_belongs_to_its_account(place: Gateway) -> None:
    place.openai.next(
        path="/v1/conversations", body={"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
    )
    async with sdk(place) as ann, sdk(place, BOB) as bob:
        made = await ann.conversations.create(metadata={"topic": "demo"})
        place.openai.next(path="/v1/conversations/conv_1", body=made.to_dict())
        assert (await ann.conversations.retrieve(made.id)).id == "conv_1"
        for use in (
            bob.conversations.retrieve(made.id),
            bob.conversations.items.list(made.id),
            bob.responses.create(model=MODEL, input="one", conversation=made.id),
            bob.responses.create(model=MODEL, input="one", conversation={"id": made.id}),
        ):
            with pytest.raises(NotFoundError):
                await use


@pytest.mark.parametrize(
    "rest", ["../files/file-1/content", "%2e%2e/files/file-1", "items/../../files", "items/%2E%2E", "items/a%3Fb"]
)
async def test_a_conversations_path_leads_nowhere_else(place: Gateway, rest: str) -> None:
    place.openai.next(path="/v1/conversations", body={"id": "conv_1", "object": "conversation", "created_at": 1})
    await place.ask("POST", "/v1/conversations", {})
    asked = len(place.openai.requests)
    url = URL(f"{place.url}/v1/conversations/conv_1/{rest}", encoded=True)
    async with place.http.get(url, headers={"authorization": f"Bearer {ANN}"}) as answer:
        assert answer.status == 404
    assert len(place.openai.requests) == asked


async def test_the_items_of_a_conversation_are_the_accounts_own(place: Gateway) -> None:
    place.openai.next(path="/v1/conversations", body={"id": "conv_1", "object": "conversation", "created_at": 1})
    await place.ask("POST", "/v1/conversations", {}, BOB)
    made = (await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one"})).json
    foreign = {"items": [{"id": made["output"][0]["id"]}]}
    asked = len(place.openai.requests)
    for path in ("/v1/conversations", "/v1/conversations/conv_1/items"):
        refused = await place.ask("POST", path, foreign, BOB)
        assert (refused.status, refused.json["error"]["param"]) == (404, "items[0]")
    assert len(place.openai.requests) == asked
    place.openai.next(path="/v1/conversations/conv_1/items/msg_1", body={"id": "msg_1", "type": "message"})
    assert (await place.ask("GET", "/v1/conversations/conv_1/items/msg_1", key=BOB)).json["id"] == "msg_1"
    assert (await place.ask("GET", "/v1/conversations/conv_1/items/msg_1")).status == 404


async def test_an_item_that_has_the_name_of_unpaid_work_does_not_hide_it(place: Gateway) -> None:
    async with sdk(place) as ann:
        going = await ann.responses.create(model=MODEL, input="one", background=True)
        made = await ann.responses.create(model=MODEL, input="two")
    items = {"object": "list", "data": [{"id": going.id, "type": "message"}]}
    place.openai.next(path=f"/v1/responses/{made.id}/input_items", body=items)
    await place.ask("GET", f"/v1/responses/{made.id}/input_items")
    for _ in range(2):
        await place.later()
    assert len(place.calls("responses")) == 2
    await place.settled()
    assert place.money() == (MONEY - sum(call.cost for call in place.calls()), 0)


async def test_work_that_the_vendor_gives_twice_has_one_deposit(place: Gateway) -> None:
    said = {"id": "resp_same", "object": "response", "status": "queued", "output": []}
    for _ in range(2):
        place.openai.next(path="/v1/responses", body=said)
        await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", "background": True})
    await place.settled()
    [row] = place.objects("responses")
    assert place.money() == (MONEY - row.held, row.held)


async def test_a_test_key_has_its_responses_kept_here(place: Gateway) -> None:
    async with sdk(place, TEST) as test:
        made = await test.responses.create(model=MODEL, input="one two")
        assert (await test.responses.retrieve(made.id)).output_text == made.output_text
        items: Any = [item async for item in test.responses.input_items.list(made.id)]
        assert items[0].content[0].text == "one two"
        events = [event async for event in await test.responses.retrieve(made.id, stream=True)]
        assert events[-1].response.id == made.id  # type: ignore[union-attr]
        streamed = [event async for event in await test.responses.create(model=MODEL, input="three", stream=True)][-1]
        assert (await test.responses.retrieve(streamed.response.id)).status == "completed"  # type: ignore[union-attr]
        assert (await test.responses.input_tokens.count(model=MODEL, input="one")).input_tokens > 0
        assert (await test.responses.compact(model=MODEL, input="one")).output
        await test.responses.delete(made.id)
        with pytest.raises(NotFoundError):
            await test.responses.retrieve(made.id)
    assert place.openai.requests == []


@pytest.mark.parametrize("background", [True, False])
async def test_a_stream_that_a_test_key_leaves_goes_on_from_where_it_was_left(place: Gateway, background: bool) -> None:
    """As programs do that lose their connection: the rest of the events, or asking until it has ended."""
    said = "genway:pause=0.01 genway:length=200 one two"
    async with sdk(place, TEST) as test:
        stream = await test.responses.create(model=MODEL, input=said, background=background, stream=True)
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        name, last = seen[0].response.id, seen[-1].sequence_number
        rest: list[Any] = [each async for each in await test.responses.retrieve(name, stream=True, starting_after=last)]
        assert [each.sequence_number for each in rest] == list(range(last + 1, last + 1 + len(rest)))
        assert rest[-1].type == "response.completed"
        ended = await test.responses.retrieve(name)
        assert (ended.status, ended.background) == ("completed", background)
        assert rest[-1].response.output_text == ended.output_text
        deltas = [each.delta for each in (*seen, *rest) if each.type == "response.output_text.delta"]
        assert "".join(deltas) == ended.output_text


async def test_a_test_keys_response_in_the_background_has_ended_when_it_is_cancelled(place: Gateway) -> None:
    async with sdk(place, TEST) as test:
        made = await test.responses.create(model=MODEL, input="one", background=True)
        assert (made.background, (await test.responses.cancel(made.id)).status) == (True, "completed")
        at_once = await test.responses.create(model=MODEL, input="one")
        with pytest.raises(BadRequestError, match="background"):
            await test.responses.cancel(at_once.id)
