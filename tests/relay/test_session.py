"""A realtime session under way: frames travel as they are, answers are on record before they end, both ends end together."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy.exc import OperationalError
from websockets.asyncio.server import ServerConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from genway.billing import ledger
from genway.billing.prices import Price, set_price
from genway.db.tables import leases
from relay.house import SECRET, House, opened, until
from relay.parlour import CREATED, DONE, MODEL, USAGE, Vendor, answering, event, said, session

ASK = event("response.create")


pytestmark = pytest.mark.asyncio(loop_scope="session")


def failing(*_: object) -> None:
    raise OperationalError("the disk is full", {}, Exception())


async def repeating(vendor: Vendor, connection: ServerConnection) -> None:
    """Sends back what comes, in the fragments it comes in."""
    await connection.send(CREATED)
    try:
        while True:
            parts = [part async for part in connection.recv_streaming()]
            whole = parts[0][:0].join(parts)  # type: ignore[arg-type]
            vendor.messages.append(whole)
            await connection.send(parts if len(parts) > 1 else whole)  # type: ignore[arg-type]
    except ConnectionClosed:
        return


async def closing_of(client: Any) -> tuple[int | None, str | None]:
    async for _ in told(client):
        pass
    return client.close_code, client.close_reason


async def told(client: Any) -> AsyncIterator[Any]:
    """The messages until the end, whatever that is like."""
    try:
        while True:
            yield await client.recv()
    except ConnectionClosed:
        return


class TestFrames:
    async def test_text_and_binary_messages_travel_unchanged(self, house: House) -> None:
        messages: list[str | bytes] = [
            '{ "a" : 1.0,  "b":"\\u00e9" }',
            "Grüß dich 🌍",
            b"\x00\xff" * 99,
            "",
            b"",
            "x" * 3_000_000,
        ]
        async with Vendor(repeating) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                assert await client.recv() == CREATED
                for message in messages:
                    await client.send(message)
                    assert await client.recv() == message
            assert vendor.messages == messages

    async def test_a_message_in_fragments_stays_in_fragments(self, house: House) -> None:
        async with Vendor(repeating) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                await client.send(["one ", "two ", "three"])
                assert [part async for part in client.recv_streaming() if part] == ["one ", "two ", "three"]
                await client.send([b"\xff", b"\x00"])
                assert [part async for part in client.recv_streaming() if part] == [b"\xff", b"\x00"]

    async def test_pings_are_answered_here(self, house: House) -> None:
        async with Vendor(repeating) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await (await client.ping(b"are you there"))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    async def test_frames_of_any_size_cut_anywhere_arrive_intact(self, house: House, data: st.DataObject) -> None:
        sizes = st.one_of(st.integers(0, 130), st.integers(65_530, 65_540), st.integers(0, 300_000))
        messages = data.draw(
            st.lists(st.tuples(st.booleans(), st.lists(sizes, min_size=1, max_size=3)), min_size=1, max_size=4)
        )
        sent = []
        for number, (binary, parts) in enumerate(messages):
            for index, size in enumerate(parts):
                opcode = Opcode.CONT if index else Opcode.BINARY if binary else Opcode.TEXT
                payload = (bytes(range(256)) if binary else b"abc{}\"'") * (size // 7 + 1)
                sent.append(Frame(opcode, payload[number : number + size], index == len(parts) - 1))
        raw = b"".join(frame.serialize(mask=True) for frame in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
        async with Vendor(repeating_frames) as vendor:
            if not house.board.seats:
                await house.channel("east", vendor.url, models={MODEL: MODEL})
            seat = house.board.seats[0]
            seat.origin = house.app._pool.origin(f"{vendor.url}/v1")
            assert await through(house, raw, cuts, len(sent)) == [(frame.opcode, frame.data, frame.fin) for frame in sent]


async def repeating_frames(_: Vendor, connection: ServerConnection) -> None:
    """Sends back every frame as it is, from below the library's notion of messages."""
    await connection.send(CREATED)
    kept = connection.protocol.recv_frame

    def mirror(frame: Frame) -> None:
        kept(frame)
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            connection.protocol.send_frame(Frame(frame.opcode, frame.data, frame.fin))

    connection.protocol.recv_frame = mirror  # type: ignore[method-assign]
    async for _message in connection:
        pass


async def through(house: House, raw: bytes, cuts: list[int], most: int) -> list[tuple[Opcode, bytes, bool]]:
    """The data frames that come back for these bytes, written in pieces."""
    address = urlsplit(house.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    protocol = ClientProtocol(parse_uri(f"ws://{address.netloc}/v1/realtime?model={MODEL}"), max_size=None)
    request = protocol.connect()
    request.headers["Authorization"] = f"Bearer {SECRET}"
    protocol.send_request(request)
    writer.writelines(protocol.data_to_send())
    found: list[Frame] = []

    async def read(enough: int) -> None:
        while len(found) < enough:
            protocol.receive_data(await reader.read(65_536))
            found.extend(frame for frame in protocol.events_received() if isinstance(frame, Frame) and frame.opcode < 8)

    async with asyncio.timeout(10):
        await read(1)
        reading = asyncio.create_task(read(1 + most))
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            writer.write(raw[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        await reading
    writer.close()
    return [(frame.opcode, bytes(frame.data), frame.fin) for frame in found[1:]]


class TestAccounting:
    async def test_an_answer_is_on_record_before_its_last_frame(self, house: House) -> None:
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                for number in (1, 2, 3):
                    await client.send(ASK)
                    assert (await said(client, "response.done"))["response"]["usage"] == USAGE
                    rows = house.recorded()
                    assert len(rows) == number
        row = rows[0]
        assert (row.kind, row.model, row.outcome, row.cost, row.estimated) == ("realtime", MODEL, "done", 7, False)
        assert (row.input_tokens, row.output_tokens) == (10, 5)
        used = msgspec.json.decode(row.used)
        assert (used["audio_input"], used["audio_output"], used["input"], used["output"]) == (6, 3, 4, 2)

    async def test_what_is_spent_comes_off_the_balance_to_the_millionth(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as house, Vendor(answering) as vendor:
            account = house.purse("gw_live_some", 100)
            await house.channel("east", vendor.url)
            async with session(house, key="gw_live_some") as client:
                for _ in range(3):
                    await client.send(ASK)
                    await said(client, "response.done")
            await until(lambda: not house.server.tasks)
            await house.relay.meter.stop()
            assert house.database.read_now(lambda c: ledger.balance(c, account, "live")) == (100 - 21, 0)
            assert not house.database.read_now(lambda c: c.execute(leases.select().where(leases.c.closed_at.is_(None))).all())

    async def test_an_account_that_runs_out_is_told_in_an_event_and_the_session_ends(self, house: House) -> None:
        house.purse("gw_live_little", 15)
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house, key="gw_live_little") as client:
                for _ in range(2):
                    await client.send(ASK)
                    await said(client, "response.done")
                told = (await said(client, "error"))["error"]
                assert (told["type"], told["code"]) == ("insufficient_quota", "insufficient_quota")
                assert (await closing_of(client))[0] == 1008
            await until(lambda: bool(vendor.closed))
            assert vendor.closed[0][0] == 1001
        assert [row.cost for row in house.recorded()] == [7, 7]

    async def test_a_spent_budget_ends_it_as_well(self, house: House) -> None:
        house.key("gw_live_budget", budget=10)
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house, key="gw_live_budget") as client:
                await client.send(ASK)
                await said(client, "response.done")
                assert "budget" in (await said(client, "error"))["error"]["message"]

    async def test_what_cannot_be_recorded_does_not_reach_the_client(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await said(client, "session.created")
                with monkeypatch.context() as broken:
                    broken.setattr(
                        "genway.billing.leases.record",
                        lambda *_: (_ for _ in ()).throw(OperationalError("disk", {}, Exception())),
                    )
                    await client.send(ASK)
                    seen = [msgspec.json.decode(message)["type"] async for message in told(client)]
                assert seen[-1] == "error"
                assert "response.done" not in seen
                assert client.close_code == 1011
        await house.relay.meter.flush()
        assert len(house.recorded()) == 1, "it is written once that is possible again"

    async def test_a_client_that_leaves_in_the_middle_is_charged_for_what_was_said(self, house: House) -> None:
        async def chatty(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            await connection.send(event("response.created", response={"id": "resp_1"}))
            for _number in range(9):
                await connection.send(event("response.output_text.delta", response_id="resp_1", delta="word "))
                await connection.send(event("response.output_audio.delta", response_id="resp_1", delta="AAAA"))
            await connection.wait_closed()

        async with Vendor(chatty) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                for _ in range(20):
                    await client.recv()
            await until(lambda: bool(house.recorded()))
        [row] = house.recorded()
        assert (row.outcome, row.estimated, row.cost) == ("client_gone", True, 7)
        assert 9 <= row.output_tokens <= 20

    async def test_what_was_heard_is_charged_as_the_model_that_wrote_it_down(self, house: House) -> None:
        heard = {"type": "session.updated", "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}}
        name = "conversation.item.input_audio_transcription.completed"

        async def listening(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            await connection.send(msgspec.json.encode(heard).decode())
            await connection.send(event(name, transcript="Hi", usage={"type": "duration", "seconds": 12.5}))
            tokens = {"type": "tokens", "input_tokens": 20, "output_tokens": 4, "total_tokens": 24}
            await connection.send(event(name, transcript="Hi", usage=tokens))
            await connection.wait_closed()

        house.write(lambda connection: set_price(connection, Price("whisper-1", "second", 100), house.now))
        await house.relay._refresh()
        async with Vendor(listening) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                for _ in range(2):
                    await said(client, name)
        first, second = house.recorded()
        assert (first.model, first.cost) == ("whisper-1", 1250)
        assert (second.model, second.cost, second.input_tokens, second.output_tokens) == ("whisper-1", 0, 20, 4)

    async def test_the_time_of_a_session_is_charged_where_it_has_a_price(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.write(lambda connection: set_price(connection, Price("gpt-realtime-timed", "second", 1_000_000), house.now))
        await house.relay._refresh()
        monkeypatch.setattr("genway.relay.session.CHARGE_SECONDS", 0.05)
        monkeypatch.setattr("genway.relay.session.WATCH_SECONDS", 0.02)
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            before = asyncio.get_running_loop().time()
            async with session(house, "model=gpt-realtime-timed"):
                await until(lambda: len(house.recorded()) >= 2)
            await until(lambda: house.recorded()[-1].outcome == "done" and not sessions())
            lasted = asyncio.get_running_loop().time() - before
        charged = sum(row.cost for row in house.recorded()) / 1_000_000
        assert 0.1 <= charged <= lasted

    async def test_sessions_are_counted_while_they_are_open(self, house: House) -> None:
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house), session(house):
                await until(lambda: sessions() == 2)
            await until(lambda: sessions() == 0)
            assert house.board.seats[0].busy == 0


def sessions() -> float:
    return REGISTRY.get_sample_value("genway_relay_sessions") or 0.0


class TestEnds:
    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "over"), (1013, "later"), (4001, "session_expired")])
    async def test_the_vendors_closing_reaches_the_client(self, house: House, code: int, reason: str) -> None:
        async def leaving(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            await connection.recv()
            await connection.send("the last word")
            await connection.close(code, reason)

        async with Vendor(leaving) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                await client.send("go")
                assert await client.recv() == "the last word"
                assert await closing_of(client) == (code, reason)

    @pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (4002, "")])
    async def test_the_clients_closing_reaches_the_vendor(self, house: House, code: int, reason: str) -> None:
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.send("the last word")
                await client.close(code, reason)
            await until(lambda: bool(vendor.closed))
            assert vendor.closed == [(code, reason)]
            assert vendor.messages == ["the last word"]

    async def test_a_vendor_that_breaks_off_is_told_of_and_closes_the_client(self, house: House) -> None:
        async def breaking(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            await connection.recv()
            connection.transport.abort()

        async with Vendor(breaking) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                await client.send("go")
                assert (await said(client, "error"))["error"]["code"] == "upstream_failed"
                code, reason = await closing_of(client)
        assert code == 1011
        assert reason is not None
        assert "broke off" in reason

    async def test_a_client_that_vanishes_ends_the_vendors_session_at_once(self, house: House) -> None:
        async with Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                client.transport.abort()
            await until(lambda: bool(vendor.closed))
            assert vendor.closed == [(1001, "")]

    async def test_a_message_that_is_too_large_ends_it(self, tmp_path: Path) -> None:
        async with opened(tmp_path, server={"max_body_bytes": 4_000_000}) as house, Vendor(repeating) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                await client.send([b"x" * 3_000_000, b"y" * 3_000_000])
                assert (await closing_of(client))[0] == 1009
            await until(lambda: bool(vendor.closed))
            assert vendor.closed[0][0] == 1001
            assert vendor.messages == []

    async def test_a_vendors_message_that_is_too_large_ends_it(self, tmp_path: Path) -> None:
        async def shouting(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            await connection.send(b"x" * 5_000_000)
            await connection.wait_closed()

        async with opened(tmp_path, server={"max_body_bytes": 4_000_000}) as house, Vendor(shouting) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                assert (await closing_of(client))[0] == 1011
            await until(lambda: bool(vendor.closed))
            assert vendor.closed[0][0] == 1009

    async def test_a_session_in_which_nothing_is_said_ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("genway.relay.session.WATCH_SECONDS", 0.02)
        async with opened(tmp_path, relay={"idle_seconds": 0.1}) as house, Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                code, reason = await closing_of(client)
            assert (code, reason) == (1001, "nothing was said for 0.1 seconds")

    async def test_who_does_not_answer_pings_is_given_up(self, tmp_path: Path) -> None:
        async with opened(tmp_path, relay={"keep_alive_seconds": 0.05}) as house, Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                client.transport.pause_reading()  # as if the line were cut
                await until(lambda: bool(vendor.closed))
                client.transport.abort()
            assert vendor.closed == [(1001, "")]

    async def test_a_server_that_stops_asks_clients_to_come_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("genway.relay.session.WATCH_SECONDS", 0.02)
        async with opened(tmp_path) as house, Vendor(answering) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                closing = asyncio.create_task(house.server.close(5))
                assert "restarts" in (await said(client, "error"))["error"]["message"]
                assert (await closing_of(client))[0] == 1012
                await closing


class TestBackpressure:
    async def test_a_client_that_does_not_read_slows_the_vendor(self, house: House) -> None:
        sent = 0

        async def flooding(_: Vendor, connection: ServerConnection) -> None:
            nonlocal sent
            await connection.send(CREATED)
            for _number in range(1000):
                await connection.send(b"x" * 65_536)
                sent += 1

        async with Vendor(flooding) as vendor:
            await house.channel("east", vendor.url)
            async with session(house, max_queue=1) as client:
                await client.recv()
                client.transport.pause_reading()
                stalled = -1
                while stalled != sent:
                    stalled = sent
                    await asyncio.sleep(0.1)
                assert sent < 500, "64 MB do not wait in here"
                client.transport.resume_reading()
                for _ in range(1000):
                    assert len(await client.recv()) == 65_536

    async def test_a_vendor_that_does_not_read_slows_the_client_and_learns_when_it_leaves(self, house: House) -> None:
        over = asyncio.Event()

        async def deaf(_: Vendor, connection: ServerConnection) -> None:
            await connection.send(CREATED)
            connection.transport.pause_reading()
            await over.wait()
            connection.transport.abort()

        async with Vendor(deaf) as vendor:
            await house.channel("east", vendor.url)
            async with session(house) as client:
                await client.recv()
                sent = 0

                async def flood() -> None:
                    nonlocal sent
                    while sent < 1000:
                        await client.send(b"x" * 65_536)
                        sent += 1

                flooding = asyncio.create_task(flood())
                await asyncio.wait({flooding}, timeout=0.5)
                assert sent < 500
                flooding.cancel()
                plug = client.transport.get_extra_info("socket")
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.transport.abort()
            await until(lambda: not sessions())
            over.set()


async def test_the_last_frame_of_an_answer_in_fragments_waits_for_the_record(house: House) -> None:
    async def slicing(_: Vendor, connection: ServerConnection) -> None:
        await connection.send(CREATED)
        await connection.send([DONE[:30], DONE[30:60], DONE[60:]])
        await connection.wait_closed()

    async with Vendor(slicing) as vendor:
        await house.channel("east", vendor.url)
        async with session(house) as client:
            await client.recv()
            assert await client.recv() == DONE
            assert len(house.recorded()) == 1
