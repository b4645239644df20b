"""A realtime session begins: who may have one, where it goes, and what is answered where nothing comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from relay.house import SECRET, House
from relay.parlour import CREATED, MODEL, Vendor, answering, error, event, said, session

ASK = event("response.create")


pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(autouse=True)
def patient(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries pass at once."""
    monkeypatch.setattr(house.app.realtime, "wait", house._wait)


@pytest_asyncio.fixture(loop_scope="session")
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor(answering) as vendor:
        yield vendor


async def refused(house: House, *arguments: Any, **more: Any) -> tuple[int, dict[str, Any]]:
    """The status and the error of a session that does not come about."""
    with pytest.raises(InvalidStatus) as caught:
        async with session(house, *arguments, **more):
            pass
    response = caught.value.response
    return response.status_code, msgspec.json.decode(response.body)["error"]


async def test_the_key_may_be_in_the_header(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url)
    async with session(house) as client:
        assert await client.recv() == CREATED
        assert client.response is not None
        assert client.response.headers["x-genway-channel"] == "east"
        assert client.subprotocol is None
    [request] = vendor.seen
    assert request.headers["Authorization"] == "Bearer sk-channel"
    assert request.path == f"/v1/realtime?model={MODEL}"
    assert "openai-beta" not in request.headers


@pytest.mark.parametrize("path", ["/v1/realtime", "/realtime", "/openai/realtime", "/v1/realtime/"])
async def test_the_key_may_be_in_a_subprotocol_as_browsers_send_it(house: House, vendor: Vendor, path: str) -> None:
    await house.channel("east", vendor.url)
    offered = ("realtime", f"openai-insecure-api-key.{SECRET}", "openai-beta.realtime-v1")
    async with session(house, key="", protocols=offered, path=path) as client:
        assert client.subprotocol == "realtime"
        assert await client.recv() == CREATED
    [request] = vendor.seen
    assert request.headers["OpenAI-Beta"] == "realtime=v1"
    assert SECRET not in str(request.headers)


async def test_a_deployment_and_its_key_are_named_as_azure_has_it(house: House, vendor: Vendor) -> None:
    await house.channel("azure", vendor.url, "azure-openai", models={"gpt-realtime": "my-deployment"})
    query = f"api-version=2025-04-01-preview&deployment=gpt-realtime&api-key={SECRET}"
    async with session(house, query, key="", path="/openai/realtime"):
        pass
    async with session(house, "deployment=gpt-realtime", key="", headers={"api-key": SECRET}):
        pass
    for request in vendor.seen:
        assert request.path == "/openai/realtime?api-version=2025-04-01-preview&deployment=my-deployment"
        assert request.headers["api-key"] == "sk-channel"


async def test_two_keys_at_once_are_refused(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url)
    status, told = await refused(house, protocols=("realtime", f"openai-insecure-api-key.{SECRET}"))
    assert (status, told["code"]) == (401, "invalid_api_key")
    assert vendor.seen == []


@pytest.mark.parametrize(
    ("query", "key", "status", "code"),
    [
        (f"model={MODEL}", "gw_live_of_nobody", 401, "invalid_api_key"),
        (f"model={MODEL}", "", 401, "invalid_api_key"),
        (f"model={MODEL}&api-key=%E2%82%AC", "", 401, "invalid_api_key"),
        ("", SECRET, 400, "invalid_request"),
        ("model=claude-x", SECRET, 404, "model_not_found"),
        (f"model={MODEL}&call_id=rtc_1", SECRET, 400, "invalid_request"),
    ],
)
async def test_what_cannot_be_is_an_http_error_in_the_format(
    house: House, vendor: Vendor, query: str, key: str, status: int, code: str
) -> None:
    await house.channel("east", vendor.url, models={MODEL: MODEL})
    answered, told = await refused(house, query, key=key)
    assert (answered, told["code"]) == (status, code)
    assert told["message"]
    assert vendor.seen == []


async def test_a_plain_request_is_told_to_upgrade(house: House) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    async with house.http.get(f"{house.url}/v1/realtime?model={MODEL}", headers=headers) as answer:
        assert answer.status == 426
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_the_model_is_an_alias_and_the_channel_may_be_named(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url, models={"house-voice": "gpt-realtime-2026"})
    await house.channel("west", vendor.url, models={"house-voice": "gpt-realtime-mini"})
    async with session(house, "model=west/house-voice&trace=yes"):
        pass
    async with session(house, "model=east%2Fhouse-voice"):
        pass
    assert [request.path for request in vendor.seen] == [
        "/v1/realtime?trace=yes&model=gpt-realtime-mini",
        "/v1/realtime?model=gpt-realtime-2026",
    ]


async def test_a_channel_that_refuses_is_followed_by_the_next(house: House, vendor: Vendor) -> None:
    async with Vendor(answering, (500, error(None, "server_error"))) as failing:
        await house.channel("first", failing.url, priority=9)
        await house.channel("second", vendor.url)
        async with session(house) as client:
            assert await client.recv() == CREATED
            assert client.response is not None
            assert client.response.headers["x-genway-channel"] == "second"
            assert client.response.headers["x-genway-attempts"] == "2"


async def test_a_channel_that_refuses_in_its_first_event_is_followed_by_the_next(house: House, vendor: Vendor) -> None:
    async def poor(_: Vendor, connection: ServerConnection) -> None:
        await connection.send(event("error", **error("insufficient_quota", "insufficient_quota")))
        await connection.close(4000, "insufficient_quota")

    async with Vendor(poor) as failing:
        first = await house.channel("first", failing.url, priority=9)
        await house.channel("second", vendor.url)
        async with session(house) as client:
            assert await client.recv() == CREATED
        assert first.credentials[0].aside_until > house.now, "its key is out of credit"


async def test_a_channel_that_cannot_be_reached_is_followed_by_the_next(house: House, vendor: Vendor) -> None:
    await house.channel("nowhere", "http://127.0.0.1:1", priority=9)
    await house.channel("second", vendor.url)
    async with session(house) as client:
        assert await client.recv() == CREATED


async def test_a_request_that_is_at_fault_is_refused_in_the_vendors_words(house: House, vendor: Vendor) -> None:
    async def unknown(_: Vendor, connection: ServerConnection) -> None:
        await connection.send(event("error", **error("model_not_found", message="There is no such model.")))

    async with Vendor(answering, (400, error("invalid_model", message="Not for talking."))) as strict, Vendor(unknown) as late:
        await house.channel("strict", strict.url, priority=9)
        await house.channel("late", late.url)
        await house.channel("spare", vendor.url, priority=-1)
        assert (await refused(house, f"model=strict/{MODEL}"))[1]["message"] == "Not for talking."
        status, told = await refused(house, f"model=late/{MODEL}")
        assert (status, told["code"]) == (404, "model_not_found")
        assert vendor.seen == []
    assert house.recorded() == []


async def test_where_no_channel_answers_the_client_is_told_so(house: House) -> None:
    async with Vendor(answering, *[(503, error(None, "server_error", "Down."))] * 9) as failing:
        await house.channel("only", failing.url)
        status, told = await refused(house)
    assert (status, told["message"]) == (503, "Down.")
    assert house.waited, "it was tried again after a while"


async def test_a_vendor_that_waits_for_the_client_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: Vendor, connection: ServerConnection) -> None:
        await connection.send(await connection.recv())

    monkeypatch.setattr("genway.relay.dialing.FIRST_SECONDS", 0.02)
    async with Vendor(silent) as vendor:
        await house.channel("shy", vendor.url)
        async with session(house) as client:
            await client.send("hello")
            assert await client.recv() == "hello"


async def test_a_session_counts_as_a_stream_and_as_one_request(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url)
    house.key("gw_live_one_at_a_time", concurrent_streams=1, requests_per_minute=100)
    async with session(house, key="gw_live_one_at_a_time") as client:
        status, told = await refused(house, key="gw_live_one_at_a_time")
        assert (status, told["code"]) == (429, "rate_limit_exceeded")
        for _ in range(3):
            await client.send(ASK)
            await said(client, "response.done")
        assert client.response is not None
        assert client.response.headers["x-ratelimit-remaining-requests"] == "99"
    async with session(house, key="gw_live_one_at_a_time") as client:
        assert client.response is not None
        assert client.response.headers["x-ratelimit-remaining-requests"] == "98"


async def test_a_key_without_money_gets_no_session(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url)
    house.purse("gw_live_poor", 0)
    status, told = await refused(house, key="gw_live_poor")
    assert (status, told["code"]) == (429, "insufficient_quota")
    assert vendor.seen == []


async def test_transcription_needs_no_model_and_names_none_to_the_vendor(house: House, vendor: Vendor) -> None:
    await house.channel("east", vendor.url)
    async with session(house, "intent=transcription"):
        pass
    assert vendor.seen[0].path == "/v1/realtime?intent=transcription"


class TestClientSecrets:
    async def test_one_opens_a_session_with_its_settings_in_both_ways(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        settings = {"type": "realtime", "model": MODEL, "instructions": "Be brief. " * 800}
        asked = {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": settings}
        told = (await house.post("/v1/realtime/client_secrets", asked)).json
        assert told["value"].startswith("ek_")
        assert told["expires_at"] == int(house.now) + 60
        assert told["session"] | settings == told["session"]
        assert told["session"]["object"] == "realtime.session"
        offered = ("realtime", f"openai-insecure-api-key.{told['value']}")
        for way in ({"key": told["value"]}, {"key": "", "protocols": offered}):
            async with session(house, "", **way) as client:
                assert await client.recv() == CREATED
                update = await said(client, "session.update")  # the vendor here repeats what it gets
                assert update["session"]["instructions"] == settings["instructions"]
                await client.send(ASK)
                await said(client, "response.done")
        assert [row.key_id for row in house.recorded()] == [house.key_id] * 2

    async def test_it_ends_in_time(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        made = (await house.post("/v1/realtime/client_secrets", {"session": {"model": MODEL}})).json
        assert made["expires_at"] == int(house.now) + 600
        house.now += 601
        assert (await refused(house, key=made["value"]))[0] == 401

    async def test_it_ends_with_the_key_it_was_made_with(self, house: House, vendor: Vendor) -> None:
        from genway.access.store import revoke_key

        await house.channel("east", vendor.url)
        key_id = house.key("gw_live_soon_gone")
        made = (await house.post("/v1/realtime/client_secrets", {}, "gw_live_soon_gone")).json
        house.write(lambda connection: revoke_key(connection, key_id, house.now))
        assert (await refused(house, key=made["value"]))[0] == 401

    async def test_it_is_good_for_nothing_else(self, house: House) -> None:
        made = (await house.post("/v1/realtime/client_secrets", {})).json["value"]
        assert (await house.post("/v1/realtime/client_secrets", {}, made)).status == 401

    @pytest.mark.parametrize("forged", ["ek_", "ek_x", "ek_" + "A" * 200, "ek_" + "A" * 30_000, "ek_é"])
    async def test_what_was_not_made_here_is_refused(self, house: House, vendor: Vendor, forged: str) -> None:
        await house.channel("east", vendor.url)
        headers = {"Authorization": f"Bearer {forged}".encode().decode("latin-1")}
        assert (await refused(house, key="", headers=headers))[0] == 401

    async def test_the_older_form_makes_one_too(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        made = (await house.post("/v1/realtime/sessions", {"model": MODEL, "voice": "verse"})).json
        assert (made["object"], made["voice"]) == ("realtime.session", "verse")
        async with session(house, "", key=made["client_secret"]["value"]) as client:
            update = await said(client, "session.update")
            assert update["session"] == {"voice": "verse"}, "the model is chosen already"
        assert vendor.seen[0].headers["OpenAI-Beta"] == "realtime=v1"

    async def test_the_older_form_says_in_its_own_place_how_long_it_lasts(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        wanted = {"voice": "verse", "client_secret": {"expires_after": {"anchor": "created_at", "seconds": 300}}}
        made = (await house.post("/v1/realtime/sessions", wanted)).json["client_secret"]
        assert made["expires_at"] == int(house.now) + 300
        async with session(house, key=made["value"]) as client:
            assert (await said(client, "session.update"))["session"] == {"voice": "verse"}, "it is no setting of the session"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"client_secret": {"expires_after": {"seconds": 9}}}, "client_secret.expires_after.seconds"),
            ({"client_secret": "soon"}, "client_secret"),
            ({"input_audio_transcription": "whisper-1"}, "input_audio_transcription"),
        ],
    )
    async def test_what_is_wrong_in_the_older_form_is_named(self, house: House, body: Any, field: str) -> None:
        told = await house.post("/v1/realtime/sessions", body)
        assert (told.status, told.json["error"]["param"]) == (400, field)

    async def test_the_older_form_for_transcription_begins_in_its_own_words(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        listening = {"input_audio_transcription": {"model": "whisper-1"}}
        made = (await house.post("/v1/realtime/transcription_sessions", listening)).json
        assert made["object"] == "realtime.transcription_session"
        async with session(house, "", key=made["client_secret"]["value"]) as client:
            assert (await said(client, "transcription_session.update"))["session"] == listening
        assert vendor.seen[0].path == "/v1/realtime?intent=transcription"

    async def test_one_for_transcription_opens_that(self, house: House, vendor: Vendor) -> None:
        await house.channel("east", vendor.url)
        listening = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        made = (await house.post("/v1/realtime/client_secrets", {"session": listening})).json
        assert made["session"]["object"] == "realtime.transcription_session"
        async with session(house, "", key=made["value"]):
            pass
        assert vendor.seen[0].path == "/v1/realtime?intent=transcription"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
            ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
            ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after.anchor"),
            ({"session": {"type": "chat"}}, "session.type"),
            ({"session": {"instructions": "x" * 20_000}}, "session"),
            ({"session": []}, "session"),
            ({"session": {"type": []}}, "session.type"),
            ({"session": {"model": 5}}, "session.model"),
            ({"session": {"type": "transcription", "audio": 5}}, "session.audio"),
            (b"{", None),
        ],
    )
    async def test_what_is_wrong_is_named(self, house: House, body: Any, field: str | None) -> None:
        told = await house.post("/v1/realtime/client_secrets", body)
        assert (told.status, told.json["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    "path", ["/v1/realtime/calls", "/realtime/calls/rtc_1/hangup", "/v1/realtime/translations/client_secrets"]
)
async def test_calls_over_webrtc_are_refused_with_what_to_do_instead(house: House, path: str) -> None:
    told = await house.post(path, b"v=0")
    assert told.status == 404
    assert "WebSocket" in told.json["error"]["message"]
