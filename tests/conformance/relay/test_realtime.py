"""Realtime with OpenAI's own SDK at a gateway: short-lived keys, and the built-in session that a test key gets."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from conformance.relay.stage import Vendors
from running import Running

MODEL = "gpt-realtime-2"


def user(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def client_of(server: Running, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0)


async def test_a_short_lived_key_opens_a_session_with_its_settings_as_browsers_do(
    relay_server: Running, vendors: Vendors
) -> None:
    async with client_of(relay_server, relay_server.key) as client:
        secret = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": MODEL, "instructions": "Be brief."},
        )
    assert secret.value.startswith("ek_")
    assert secret.session.type == "realtime"
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{secret.value}")]
    address = relay_server.url.replace("http", "ws", 1)
    async with connect(f"{address}/v1/realtime", subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        events = [msgspec.json.decode(await socket.recv()) for _ in range(2)]
    assert [event["type"] for event in events] == ["session.created", "session.updated"]
    assert events[1]["session"]["instructions"] == "Be brief."
    [seen] = vendors.openai.asked("/v1/realtime")
    assert (seen.status, seen.query) == (101, {"model": MODEL})


async def test_a_model_that_nobody_has_is_an_http_error(relay_server: Running, vendors: Vendors) -> None:
    async with client_of(relay_server, relay_server.key) as client:
        with pytest.raises(InvalidStatus) as caught:
            async with client.realtime.connect(model="gpt-of-nobody"):
                pass
    assert caught.value.response.status_code == 404
    assert msgspec.json.decode(caught.value.response.body)["error"]["code"] == "model_not_found"
    assert vendors.openai.work == []


async def test_a_test_key_talks_to_the_built_in_session_in_text_and_sound(relay_server: Running, vendors: Vendors) -> None:
    async with client_of(relay_server, relay_server.test_key) as client, client.realtime.connect(model=MODEL) as connection:
        created: Any = await connection.recv()
        assert (created.type, created.session.model) == ("session.created", "local-echo")
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        assert (await connection.recv()).type == "session.updated"
        await connection.conversation.item.create(item=user("one 🌍"))
        await connection.response.create()
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.done":
                assert event.response.usage is not None
                assert event.response.usage.total_tokens == 4
                break
        assert text == "one 🌍"
        await connection.response.create(response={"output_modalities": ["audio"]})
        sound = b""
        async for event in connection:
            if event.type == "response.output_audio.delta":
                sound += b64decode(event.delta)
            elif event.type == "response.done":
                break
        assert len(sound) > 10_000
        await connection.conversation.item.create(item=user("genway:fail=rate_limit"))
        await connection.response.create()
        async for event in connection:
            if event.type == "response.done":
                assert event.response.status == "failed"
                break
        await connection.input_audio_buffer.commit()
        refused: Any = await connection.recv()
        assert (refused.type, refused.error.code) == ("error", "input_audio_buffer_commit_empty")
    assert vendors.openai.work == []


def test_the_synchronous_client_talks_too(relay_server: Running) -> None:
    with (
        OpenAI(api_key=relay_server.test_key, base_url=f"{relay_server.url}/v1", max_retries=0) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        assert connection.recv().type == "session.created"
        connection.conversation.item.create(item=user("hello"))
        connection.response.create()
        types = []
        for event in connection:
            types.append(event.type)
            if event.type == "response.done":
                break
    assert types[0] == "conversation.item.added"
    assert "response.output_audio_transcript.delta" in types


async def test_calls_over_webrtc_are_not_found(relay_server: Running) -> None:
    async with client_of(relay_server, relay_server.key) as client:
        with pytest.raises(NotFoundError, match="WebSocket"):
            await client.realtime.calls.create(sdp="v=0")


async def test_a_session_is_counted_while_it_is_open(relay_server: Running) -> None:
    async with client_of(relay_server, relay_server.test_key) as client, client.realtime.connect(model=MODEL) as connection:
        await connection.recv()
        async with client._client as http:
            shown = (await http.get(f"{relay_server.url}/metrics")).text
    assert "genway_relay_sessions 1.0" in shown
