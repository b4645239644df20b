"""What an answer makes at its vendor is the asking account's; what only the operator makes there is for whom it is shared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from genway.relay import makings
from genway.relay.makings import Gathering
from genway.routing.channels import change_channel, get_channel
from genway.vault import open_vault
from relay.house import House
from relay.kept_stage import ANN, BOB, CLAUDE, MESSAGE, MODEL, TEST, Answer, Gateway, batch_lines, gateway
from relay.parlour import Vendor, answering, event, said, session

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
RAN = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "container_id": "cntr_1",
    "code": "1",
    "status": "completed",
    "outputs": [],
}
SHELL = {"type": "shell_call", "id": "sh_1", "environment": {"type": "container_reference", "container_id": "cntr_2"}}
USED = {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "model": MODEL, "output": [RAN, SHELL], "usage": USED}
RESULT = {
    "type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1",
    "content": {"type": "bash_code_execution_result", "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}]},
}  # fmt: skip
CONTAINER = {"id": "container_1", "expires_at": "2027-01-01T00:00:00Z"}
BLOCKS = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "bash_code_execution", "input": {"file_id": "file_of_a_model"}},
    RESULT,
    {"type": "text_editor_code_execution_tool_result", "content": {"type": "x", "content": "file_id"}},
    {"type": "text", "text": "Done", "citations": None},
]
SAID = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "content": BLOCKS, "container": CONTAINER,
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1},
}  # fmt: skip
AUDIO = {"id": "audio_1", "data": "AAAA", "expires_at": 1, "transcript": "Hi"}
CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "audio": AUDIO}, "finish_reason": "stop"}],
}  # fmt: skip
ASKED_CODE = {"type": "code_execution_20250825", "name": "code_execution"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        yield made


async def respond(place: Gateway, key: str = ANN, **more: Any) -> Answer:
    return await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", "store": False, **more}, key)


async def say(place: Gateway, key: str = ANN, **more: Any) -> Answer:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": MESSAGE, **more}
    return await place.ask("POST", "/v1/messages", body, key, anthropic_version="2023-06-01")


async def chat(place: Gateway, key: str = ANN, **more: Any) -> Answer:
    return await place.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGE, **more}, key)


def on_record(place: Gateway) -> set[tuple[str, str]]:
    return {(row.kind, row.id) for row in place.objects()}


def events(*bodies: Any, named: bool = True) -> bytes:
    lines = []
    for body in bodies:
        name = b"event: %b\n" % body["type"].encode() if named else b""
        lines.append(name + b"data: " + msgspec.json.encode(body) + b"\n\n")
    return b"".join(lines)


async def share(place: Gateway, channel: str, what: str) -> None:
    vault = open_vault(place.config)

    def write(connection: Any) -> None:
        found = get_channel(connection, channel)
        change_channel(connection, vault, msgspec.structs.replace(found, options={"shared": what}))

    place.database.write_now(write)
    await place.application.relay.board.refresh()


@pytest.mark.parametrize("stored", [True, False])
async def test_a_container_belongs_to_the_account_whose_answer_made_it(place: Gateway, stored: bool) -> None:
    place.openai.next(body=RESPONSE)
    made = await respond(place, store=stored, tools=[CODE])
    assert made.status == 200
    assert on_record(place) >= {("containers", "cntr_1"), ("containers", "cntr_2")}
    named = {"type": "code_interpreter", "container": "cntr_1"}
    shell = {"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_2"}}
    for use in ({"tools": [named]}, {"tools": [shell]}, {"input": [RAN, {"role": "user", "content": "on"}], "tools": [CODE]}):
        asked = len(place.openai.requests)
        for other in (BOB, TEST):
            refused = await respond(place, other, **use)
            assert (refused.status, refused.json["error"]["type"]) == (404, "invalid_request_error")
        assert len(place.openai.requests) == asked, "the vendor saw nothing of it"
        place.openai.next(body=RESPONSE)
        assert (await respond(place, **use)).status == 200
    unknown = await respond(place, BOB, tools=[named | {"container": "cntr_9"}])
    assert (
        unknown.json["error"]["message"].replace("cntr_9", "cntr_1")
        == (await respond(place, BOB, tools=[named])).json["error"]["message"]
    )


async def test_a_later_call_goes_to_the_channel_whose_container_it_names(place: Gateway) -> None:
    place.openai.next(body=RESPONSE)
    await respond(place, model=f"second/{MODEL}", tools=[CODE])
    place.openai.next(body=RESPONSE)
    later = await respond(place, tools=[{"type": "code_interpreter", "container": "cntr_1"}])
    assert later.headers["x-genway-channel"] == "second"


async def test_a_streamed_response_tells_of_its_containers_as_well(place: Gateway) -> None:
    begun = {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}}
    item = {"type": "response.output_item.added", "item": RAN}
    place.openai.next(raw=events(begun, item, {"type": "response.completed", "response": RESPONSE}))
    streamed = await respond(place, stream=True, tools=[CODE])
    assert b"cntr_1" in streamed.body
    assert on_record(place) == {("containers", "cntr_1"), ("containers", "cntr_2")}


async def test_a_response_in_the_background_tells_of_its_containers_when_it_has_ended(place: Gateway) -> None:
    place.openai.next(body={**RESPONSE, "status": "queued", "output": [], "usage": None})
    await respond(place, store=True, background=True, tools=[CODE])
    place.openai.next(path="/v1/responses/resp_1", body=RESPONSE)
    await place.later()
    assert ("containers", "cntr_1") in on_record(place)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_message_has_its_container_and_the_files_that_code_wrote(place: Gateway, streamed: bool) -> None:
    start = {"type": "message_start", "message": {**SAID, "content": [], "container": None, "stop_reason": None}}
    block = {"type": "content_block_start", "index": 0, "content_block": RESULT}
    delta = {
        "type": "message_delta",
        "delta": {"container": CONTAINER, "stop_reason": "end_turn"},
        "usage": {"output_tokens": 1},
    }
    whole = {"raw": events(start, block, delta, {"type": "message_stop"})} if streamed else {"body": SAID}
    place.anthropic.next(**whole)
    assert (await say(place, tools=[ASKED_CODE], stream=streamed)).status == 200
    assert on_record(place) == {("message_containers", "container_1"), ("message_files", "file_1")}
    for use in ({"container": "container_1"}, {"container": {"id": "container_1", "skills": []}}):
        refused = await say(place, BOB, **use)
        assert (refused.status, refused.json["error"]["type"]) == (404, "not_found_error")
        place.anthropic.next(body=SAID)
        assert (await say(place, **use)).status == 200
    file = await place.ask("GET", "/v1/files/file_1", anthropic_version="2023-06-01", key=BOB)
    assert file.status == 404


@pytest.mark.parametrize("streamed", [False, True])
async def test_audio_is_gone_on_from_by_whom_it_was_said_to(place: Gateway, streamed: bool) -> None:
    wanted: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"audio": AUDIO}}]}
    raw = events(chunk, named=False) + b"data: [DONE]\n\n"
    place.openai.next(**({"raw": raw} if streamed else {"body": CHAT}))
    assert (await chat(place, stream=streamed, **wanted)).status == 200
    assert on_record(place) == {("audio", "audio_1")}
    turns = [*MESSAGE, {"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "two"}]
    refused = await chat(place, BOB, messages=turns, **wanted)
    assert (refused.status, refused.json["error"]["param"]) == (404, "messages[1].audio.id")
    place.openai.next(body=CHAT)
    assert (await chat(place, messages=turns, **wanted)).status == 200


async def test_what_the_calls_of_a_batch_have_made_is_on_record_when_it_has_ended(place: Gateway) -> None:
    request = {"custom_id": "c0", "params": {"model": CLAUDE, "max_tokens": 9, "messages": MESSAGE, "tools": [ASKED_CODE]}}
    made = await place.ask("POST", "/v1/messages/batches", {"requests": [request]}, anthropic_version="2023-06-01")
    name = made.json["id"]
    row = {"custom_id": "c0", "result": {"type": "succeeded", "message": SAID}}
    place.anthropic.next(path=f"/v1/messages/batches/{name}/results", raw=msgspec.json.encode(row) + b"\n")
    for _ in range(5):
        await place.later()
    assert on_record(place) >= {("message_containers", "container_1"), ("message_files", "file_1")}


def test_what_a_model_or_a_client_could_have_written_is_not_taken_for_made() -> None:
    forged = {**SAID, "container": None, "content": [BLOCKS[0], {"type": "text", "text": '"file_id"', "file_id": "file_2"}]}
    assert makings.of("messages", msgspec.json.encode(forged)) == set()
    call = {"type": "function_call", "id": "fc_1", "arguments": '{"container_id": "cntr_9"}', "container_id": "cntr_8"}
    assert makings.of("responses", msgspec.json.encode({"output": [call]})) == set()


@pytest.mark.parametrize(
    "told", [b'{"container"', b'{"container": 5}', b'{"container": null}', b'["container"]', b'"container"']
)
def test_what_is_not_to_be_understood_has_made_nothing(told: bytes) -> None:
    assert makings.of("messages", told) == set()


def test_events_are_gathered_however_many_come_at_once() -> None:
    gathering = Gathering("responses")
    gathering(events({"type": "response.created"}, {"type": "response.output_item.done", "item": RAN}))
    gathering(events({"type": "response.output_item.done", "item": SHELL}))
    assert gathering.found == {("containers", "cntr_1"), ("containers", "cntr_2")}


SEARCH = {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}
SKILL = {"type": "container_auto", "skills": [{"type": "skill_reference", "skill_id": "skill_1"}]}
TUNNEL = {"tools": [{"type": "mcp", "server_label": "x", "tunnel_id": "tunnel_1"}]}


@pytest.mark.parametrize(
    ("use", "field"),
    [
        (SEARCH, "tools[0].vector_store_ids"),
        ({"prompt": {"id": "pmpt_1", "variables": {"container": "box"}}}, "prompt.id"),
        ({"tools": [{"type": "shell", "environment": SKILL}]}, "tools[0].environment.skills[0].skill_id"),
        (TUNNEL, "tools[0].tunnel_id"),
    ],
)
async def test_what_only_the_operator_makes_is_for_whom_its_channel_shares_it_with(
    place: Gateway, use: dict[str, Any], field: str
) -> None:
    for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"):
        refused = await place.ask("POST", path, {"model": MODEL, "input": "one", **use})
        assert (refused.status, refused.json["error"]["param"]) == (404, field)
    assert place.openai.requests == []
    await share(place, "second", "vs_1, pmpt_* skill_1 tunnel_*")
    place.openai.next(body=RESPONSE)
    answer = await respond(place, BOB, **use)
    assert (answer.status, answer.headers["x-genway-channel"]) == (200, "second")


async def test_skills_that_vendors_give_to_everybody_need_no_leave(place: Gateway) -> None:
    skills = [{"type": "skill_reference", "skill_id": "openai-spreadsheets"}]
    place.openai.next(body=RESPONSE)
    own = {"tools": [{"type": "shell", "environment": {"type": "container_auto", "skills": skills}}]}
    assert (await respond(place, **own)).status == 200
    place.anthropic.next(body=SAID)
    assert (await say(place, container={"skills": [{"type": "anthropic", "skill_id": "pdf"}]})).status == 200
    assert (await say(place, container={"skills": [{"type": "custom", "skill_id": "skill_9"}]})).status == 404


async def test_a_voice_of_the_operators_is_shared_like_all_else(place: Gateway) -> None:
    body = {"model": "gpt-4o-mini-tts", "input": "Hi", "voice": {"id": "voice_1"}}
    refused = await place.ask("POST", "/v1/audio/speech", body)
    assert (refused.status, refused.json["error"]["param"]) == (404, "voice.id")
    assert (await chat(place, audio={"voice": {"id": "voice_1"}, "format": "wav"})).status == 404
    await share(place, "first", "voice_*")
    place.openai.next(raw=b"sound", content_type="audio/mpeg")
    assert (await place.ask("POST", "/v1/audio/speech", body)).status == 200


async def test_a_batch_names_only_what_its_channel_shares(place: Gateway) -> None:
    line = msgspec.json.decode(batch_lines("one"))
    line |= {"url": "/v1/responses", "body": {"model": MODEL, "input": "one", **SEARCH}}
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", msgspec.json.encode(line) + b"\n", filename="b.jsonl")
    file = (await place.ask("POST", "/v1/files", form)).json["id"]
    wanted = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
    refused = await place.ask("POST", "/v1/batches", wanted)
    assert (refused.status, refused.json["error"]["param"]) == (404, "input_file_id.line 1.body.tools[0].vector_store_ids")


async def test_a_test_key_may_name_what_would_be_the_operators(place: Gateway) -> None:
    assert (await respond(place, TEST, **SEARCH)).status == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_a_session_that_names_what_is_not_shared_ends(house: House) -> None:
    update = event("session.update", session={"type": "realtime", "prompt": {"id": "pmpt_1"}})
    async with Vendor(answering) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            await client.send([update[:40], "", update[40:]])
            told = (await said(client, "error"))["error"]
            assert "pmpt_1" in told["message"]
        assert vendor.messages == []


@pytest.mark.asyncio(loop_scope="session")
async def test_a_session_may_name_what_its_channel_shares(house: House) -> None:
    update = event("session.update", session={"audio": {"output": {"voice": {"id": "voice_1"}}}})
    async with Vendor(answering) as vendor:
        await house.channel("east", vendor.url, options={"shared": "voice_1"})
        async with session(house) as client:
            await client.send(update)
            await said(client, "session.update")
        assert vendor.messages == [update]
