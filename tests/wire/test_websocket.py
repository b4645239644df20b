"""WebSockets over plain sockets: the handshake both ways, frames cut anywhere, and how connections end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from genway.errors import GenwayError
from genway.wire import websocket
from genway.wire.exchange import Exchange
from genway.wire.pool import Pool, Unreachable
from genway.wire.upstream import BrokenOff
from genway.wire.websocket import FRAME_COST, READ_BUFFER, WRITE_BUFFER, Closed, Socket, accept, head, text
from wire.stage import DEADLINE, Client, Connect, Link, Serve, UpstreamStarted, reply, until

MOST = 1_000_000
ONE_READING = 256 * 1024  # what a loop takes off the network at once
PATIENCE = 200
HANDSHAKE = b"GET /chat HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\nconnection: Upgrade\r\n%b\r\n"
GOOD = (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", b"sec-websocket-version: 13")
Meet = Callable[[Socket], Awaitable[None]]


def handshake(*lines: bytes) -> bytes:
    return HANDSHAKE % b"".join(line + b"\r\n" for line in lines or GOOD)


def meeting(meet: Meet, *, subprotocol: str = "", keep_alive_seconds: float = 0) -> Callable[[Exchange], Awaitable[None]]:
    """A handler that takes an upgrade and does this with the connection."""

    async def handle(exchange: Exchange) -> None:
        try:
            socket, response = accept(exchange, subprotocol=subprotocol, most=MOST, keep_alive_seconds=keep_alive_seconds)
        except GenwayError as error:
            exchange.whole(error.status, b"", str(error).encode())
            return
        transport, early = exchange.hijack()
        exchange.started = True
        socket.adopt(transport, response, early)
        await meet(socket)

    return handle


async def repeat(socket: Socket) -> None:
    """Sends every frame back until the end."""
    try:
        while True:
            await socket.send(await socket.receive())
    except Closed:
        return


async def frames(client: Client, protocol: ClientProtocol, count: int) -> list[Frame]:
    """The next frames."""
    found: list[Frame] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            data = await client.reader.read(65_536)
            assert data, f"closed after {found}"
            protocol.receive_data(data)
            found += [event for event in protocol.events_received() if isinstance(event, Frame)]
    return found


def upgraded() -> ClientProtocol:
    """What reads a server's frames after the handshake."""
    from websockets.protocol import State

    return ClientProtocol(parse_uri("ws://here/"), state=State.OPEN, max_size=None)


class TestAccept:
    async def test_the_answer_is_that_of_the_standards_example(self, serve: Serve, connect: Connect) -> None:
        _, port = await serve(meeting(repeat, subprotocol="realtime"))
        client = await connect(port)
        await client.send(handshake(*GOOD, b"sec-websocket-protocol: other, realtime", b"x-long: " + b"x" * 20_000))
        answer = (await client.reader.readuntil(b"\r\n\r\n")).lower()
        assert answer.startswith(b"http/1.1 101 ")
        assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in answer
        assert b"sec-websocket-protocol: realtime\r\n" in answer
        assert b"extensions" not in answer

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"GET /chat HTTP/1.1\r\nhost: here\r\n\r\n", 426),
            (handshake(GOOD[0]), 400),
            (handshake(GOOD[1]), 400),
            (handshake(GOOD[0], b"sec-websocket-version: 8"), 400),
            (handshake(b"sec-websocket-key: short", GOOD[1]), 400),
            (handshake().replace(b"upgrade: websocket", b"upgrade: h2c"), 426),
            (handshake().replace(b"GET", b"POST", 1), 405),
        ],
    )
    async def test_what_is_no_handshake_is_refused_and_the_connection_goes_on(
        self, serve: Serve, connect: Connect, sent: bytes, status: int
    ) -> None:
        _, port = await serve(meeting(repeat))
        client = await connect(port)
        assert (await client.ask(sent)).status == status

    async def test_frames_sent_together_with_the_handshake_are_not_lost(self, serve: Serve, connect: Connect) -> None:
        _, port = await serve(meeting(repeat))
        client = await connect(port)
        await client.send(handshake() + text(b"early").serialize(mask=True))
        await client.reader.readuntil(b"\r\n\r\n")
        [frame] = await frames(client, upgraded(), 1)
        assert frame.data == b"early"

    @pytest.mark.parametrize("step", [1, 7, 4096])
    async def test_frames_cut_anywhere_come_back_whole(self, serve: Serve, connect: Connect, step: int) -> None:
        sent = [
            text(b""),
            Frame(Opcode.BINARY, bytes(range(256)), fin=False),
            Frame(Opcode.CONT, b"x" * 126, fin=False),
            Frame(Opcode.CONT, b"", fin=True),
            text(b"y" * (70_000 if step > 100 else 200)),
        ]
        _, port = await serve(meeting(repeat))
        client = await connect(port)
        raw = b"".join(frame.serialize(mask=True) for frame in sent)
        await client.send(handshake())
        await client.reader.readuntil(b"\r\n\r\n")
        for start in range(0, len(raw), step):
            await client.send(raw[start : start + step])
        assert await frames(client, upgraded(), len(sent)) == sent


class TestEnds:
    async def open(self, serve: Serve, connect: Connect, meet: Meet, **options: Any) -> tuple[Client, ClientProtocol]:
        server, port = await serve(meeting(meet, **options))
        client = await connect(port)
        await client.send(handshake())
        await client.reader.readuntil(b"\r\n\r\n")
        assert not server.connections, "the server has let go of it"
        return client, upgraded()

    async def test_a_ping_is_answered_with_what_it_holds(self, serve: Serve, connect: Connect) -> None:
        client, protocol = await self.open(serve, connect, repeat)
        await client.send(Frame(Opcode.PING, b"there?").serialize(mask=True))
        assert await frames(client, protocol, 1) == [Frame(Opcode.PONG, b"there?")]

    async def test_a_close_is_answered_and_told_after_the_last_frame(self, serve: Serve, connect: Connect) -> None:
        told: list[Any] = []

        async def listen(socket: Socket) -> None:
            try:
                while True:
                    told.append((await socket.receive()).data)
            except Closed as closed:
                told.append((closed.code, closed.reason, closed.end is socket, closed.faulty))

        client, protocol = await self.open(serve, connect, listen)
        close = Frame(Opcode.CLOSE, Close(4001, "bye").serialize())
        await client.send(text(b"last").serialize(mask=True) + close.serialize(mask=True))
        assert await frames(client, protocol, 1) == [close]
        assert await client.closed()
        await until(lambda: len(told) == 2)
        assert told == [b"last", (4001, "bye", True, False)]

    async def test_a_close_of_ours_is_cut_to_what_a_frame_holds(self, serve: Serve, connect: Connect) -> None:
        async def leave(socket: Socket) -> None:
            socket.close(1011, "ä" * 100)
            socket.close(1000, "only the first counts")
            with pytest.raises(Closed):
                await socket.send(text(b"too late"))

        client, protocol = await self.open(serve, connect, leave)
        [frame] = await frames(client, protocol, 1)
        assert Close.parse(frame.data) == Close(1011, "ä" * 61)
        await client.send(Frame(Opcode.CLOSE, frame.data).serialize(mask=True))
        assert await client.closed()

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (text(b"x" * (MOST + 1)).serialize(mask=True), 1009),
            (text(b"unmasked").serialize(mask=False), 1002),
            (Frame(Opcode.CONT, b"of nothing").serialize(mask=True), 1002),
            (b"\x83\x80\x00\x00\x00\x00", 1002),
        ],
        ids=["too long", "unmasked", "a piece of nothing", "a kind that there is not"],
    )
    async def test_what_breaks_the_protocol_is_told_and_ends_it(
        self, serve: Serve, connect: Connect, raw: bytes, code: int
    ) -> None:
        ended: list[Closed] = []

        async def listen(socket: Socket) -> None:
            try:
                await socket.receive()
            except Closed as closed:
                ended.append(closed)

        client, protocol = await self.open(serve, connect, listen)
        client.writer.write(raw)
        [frame] = await frames(client, protocol, 1)
        assert Close.parse(frame.data).code == code
        await until(lambda: ended)
        assert (ended[0].code, ended[0].faulty) == (code, True)

    async def test_a_client_that_vanishes_is_noticed_by_who_receives_and_by_who_sends(
        self, serve: Serve, connect: Connect
    ) -> None:
        ended: list[int] = []

        async def listen(socket: Socket) -> None:
            try:
                await socket.receive()
            except Closed as closed:
                ended.append(closed.code)

        async def flood(socket: Socket) -> None:
            try:
                while True:
                    await socket.send(text(b"x" * 65_536))
            except Closed as closed:
                ended.append(closed.code)

        for number, meet in enumerate((listen, flood), 1):
            client, _ = await self.open(serve, connect, meet)
            client.abort()
            await until(lambda expected=number: len(ended) == expected)  # type: ignore[misc]
        assert ended == [1006, 1006]

    async def test_silence_is_pinged_and_then_given_up(self, serve: Serve, connect: Connect) -> None:
        ended: list[str] = []

        async def listen(socket: Socket) -> None:
            try:
                await socket.receive()
            except Closed as closed:
                ended.append(closed.reason)

        client, protocol = await self.open(serve, connect, listen, keep_alive_seconds=0.03)
        assert (await frames(client, protocol, 1))[0].opcode is Opcode.PING
        assert await client.closed() or ended
        await until(lambda: ended)
        assert "no answer to pings" in ended[0]

    async def test_who_answers_pings_stays(self, serve: Serve, connect: Connect) -> None:
        client, protocol = await self.open(serve, connect, repeat, keep_alive_seconds=0.1)
        for _ in range(4):
            ping = (await frames(client, protocol, 1))[0]
            await client.send(Frame(Opcode.PONG, ping.data).serialize(mask=True))
        await client.send(text(b"still here").serialize(mask=True))
        heard = [frame for frame in await frames(client, protocol, 1) if frame.opcode is not Opcode.PING]
        assert (heard or await frames(client, protocol, 1))[0].data == b"still here"


class Crowd:
    """What a server's end of a connection held at most, while a client poured bytes into it and read nothing.

    unsent: bytes that the client did not take; frames: how many nobody had received yet.
    """

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.unsent = 0
        self.frames = 0

    async def pour(self, client: Client, data: bytes, times: int) -> None:
        """Until all has been sent, or nothing more of it is taken for many turns of the loop."""
        transport = client.writer.transport
        for _ in range(times):
            client.writer.write(data)
            turns = 0
            while transport.get_write_buffer_size() > 0 and turns < PATIENCE:
                before = transport.get_write_buffer_size()
                await self.turn()
                turns = turns + 1 if transport.get_write_buffer_size() == before else 0
            if turns == PATIENCE:
                return
        for _ in range(PATIENCE):
            await self.turn()

    async def turn(self) -> None:
        await asyncio.sleep(0)
        self.unsent = max(self.unsent, self.socket._transport.get_write_buffer_size())
        self.frames = max(self.frames, len(self.socket._frames))


class TestThoseWhoTakeNothing:
    """Each floods some megabytes, of which no more is held than buffers take and one reading of the network brings."""

    async def meet(self, serve: Serve, connect: Connect, meet: Meet, **options: Any) -> tuple[Client, Crowd]:
        """A client with little room of its own."""
        met: list[Socket] = []

        async def keep(socket: Socket) -> None:
            met.append(socket)
            await meet(socket)

        _, port = await serve(meeting(keep, **options))
        client = await connect(port, receive_buffer=4096)
        await client.send(handshake())
        await client.reader.readuntil(b"\r\n\r\n")
        await until(lambda: met)
        return client, Crowd(met[0])

    async def read_to(self, client: Client, last: Frame) -> None:
        """Read until this frame has come."""
        protocol = upgraded()
        async with asyncio.timeout(DEADLINE):
            while data := await client.reader.read(65_536):
                protocol.receive_data(data)
                if last in protocol.events_received():
                    return
        raise AssertionError("closed before it came")

    async def crowd(self, serve: Serve, connect: Connect, meet: Meet) -> tuple[Client, Crowd]:
        """A client that has pinged until nothing more of the answers fits anywhere."""
        client, crowd = await self.meet(serve, connect, meet)
        await crowd.pour(client, Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 500, 120)
        assert crowd.unsent > WRITE_BUFFER, "it was not enough to crowd it"
        return client, crowd

    async def test_answers_to_pings_do_not_pile_up_and_all_goes_on_once_they_are_taken(
        self, serve: Serve, connect: Connect
    ) -> None:
        client, crowd = await self.crowd(serve, connect, repeat)
        assert crowd.unsent < WRITE_BUFFER + ONE_READING
        client.writer.write(Frame(Opcode.PING, b"the last").serialize(mask=True) + text(b"still here").serialize(mask=True))
        await self.read_to(client, text(b"still here"))
        client.writer.write(Frame(Opcode.PING, b"there?").serialize(mask=True))
        await self.read_to(client, Frame(Opcode.PONG, b"there?"))

    async def test_the_last_ping_of_many_is_answered(self, serve: Serve, connect: Connect) -> None:
        client, _ = await self.crowd(serve, connect, repeat)
        client.writer.write(Frame(Opcode.PING, b"the last").serialize(mask=True))
        await self.read_to(client, Frame(Opcode.PONG, b"the last"))

    async def test_fragments_of_nothing_do_not_pile_up_and_none_is_lost(self, serve: Serve, connect: Connect) -> None:
        listened = asyncio.Event()

        async def count(socket: Socket) -> None:
            await listened.wait()
            number = 1
            while not (await socket.receive()).fin:
                number += 1
            await socket.send(text(b"%d" % number))
            await repeat(socket)

        client, crowd = await self.meet(serve, connect, count)
        client.writer.write(Frame(Opcode.TEXT, b"{", fin=False).serialize(mask=True))
        empty = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
        await crowd.pour(client, empty * 10_000, 12)
        assert 1_000 < crowd.frames < (READ_BUFFER // FRAME_COST) + ONE_READING // len(empty)
        client.writer.write(Frame(Opcode.CONT, b"}", fin=True).serialize(mask=True))
        listened.set()
        await self.read_to(client, text(b"120002"))
        client.writer.write(text(b"still here").serialize(mask=True))
        await self.read_to(client, text(b"still here"))

    async def test_a_close_in_a_crowd_is_waited_for_no_longer_than_any(
        self, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.05)
        client, crowd = await self.crowd(serve, connect, repeat)
        crowd.socket.close(1001, "going")
        await crowd.pour(client, Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 500, 60)
        assert crowd.unsent < WRITE_BUFFER + ONE_READING, "pings are no more after the close than before it"
        await until(lambda: crowd.socket.lost)
        assert crowd.socket.gone

    async def test_a_close_in_a_crowd_reaches_who_listens_again(self, serve: Serve, connect: Connect) -> None:
        client, crowd = await self.crowd(serve, connect, repeat)
        crowd.socket.close(1001, "going")
        await self.read_to(client, Frame(Opcode.CLOSE, Close(1001, "going").serialize()))
        client.writer.write(Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=True))
        await until(lambda: crowd.socket.lost)

    @pytest.mark.parametrize("politely", [True, False])
    async def test_who_leaves_a_crowd_is_noticed(
        self, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, politely: bool
    ) -> None:
        monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.05)

        async def flood(socket: Socket) -> None:
            try:
                while True:
                    await socket.send(text(b"x" * 65_536))
            except Closed:
                return

        client, crowd = await self.meet(serve, connect, flood)
        await until(lambda: crowd.socket._room is not None)
        assert not crowd.socket.gone
        if politely:
            client.writer.write_eof()
        else:
            client.abort()
        await until(lambda: crowd.socket.gone)


class TestBothTalk:
    async def test_two_that_talk_and_listen_at_once_never_wait_for_each_other(self, serve: Serve, pool: Pool) -> None:
        """Each says far more than all buffers between them hold, and listens all the while."""
        count, piece = 400, b"x" * 65_536

        async def talk(socket: Socket) -> None:
            for _ in range(count):
                await socket.send(text(piece))

        async def both(socket: Socket) -> int:
            talking = asyncio.create_task(talk(socket))
            heard = 0
            while heard < count:
                heard += len((await socket.receive()).data) == len(piece)
            await talking
            return heard

        heard: list[int] = []

        async def answer(socket: Socket) -> None:
            heard.append(await both(socket))

        _, port = await serve(meeting(answer))
        late = asyncio.get_running_loop().time() + DEADLINE
        socket, _ = await websocket.connect(
            pool, pool.origin(f"http://127.0.0.1:{port}/v1"), "/chat", [], most=MOST, keep_alive_seconds=0,
            connect_seconds=5.0, until=late,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            heard.append(await both(socket))
            await until(lambda: len(heard) == 2)
        assert heard == [count, count]
        socket.abort()


class TestConnect:
    async def dial(self, pool: Pool, url: str, **options: Any) -> tuple[Socket, Any]:
        limits = {"most": MOST, "keep_alive_seconds": 0.0, "connect_seconds": 5.0} | options
        late = asyncio.get_running_loop().time() + limits.pop("seconds", 5.0)
        headers = [("authorization", "Bearer x"), ("host", "elsewhere")]
        return await websocket.connect(pool, pool.origin(url), "/v1/realtime?model=a%20b", headers, until=late, **limits)

    async def test_it_asks_with_the_headers_and_talks(self, pool: Pool, upstream: UpstreamStarted) -> None:
        heads: list[bytes] = []

        async def agree(link: Link) -> None:
            protocol = ServerProtocol()
            heads.append(await link.head())
            protocol.receive_data(heads[0])
            [request] = protocol.events_received()
            protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
            protocol.send_text(b"hello")  # in one piece with the answer
            await link.say(b"".join(protocol.data_to_send()))
            await link.gone()

        server = await upstream(agree)
        socket, response = await self.dial(pool, server.url)
        assert response.status_code == 101
        assert heads[0].startswith(b"GET /v1/realtime?model=a%20b HTTP/1.1\r\n")
        assert b"authorization: Bearer x\r\n" in heads[0]
        assert heads[0].lower().count(b"host: ") == 1
        assert await socket.receive() == text(b"hello")
        socket.close(1000)
        socket.abort()

    async def test_a_refusal_is_handed_back_with_its_body(self, pool: Pool, upstream: UpstreamStarted) -> None:
        async def refuse(link: Link) -> None:
            await link.head()
            await link.say(reply(b'{"error":{}}', b"Retry-After: 7", status=b"429 Too Many Requests"))
            await link.gone()

        server = await upstream(refuse)
        _, response = await self.dial(pool, server.url)
        assert (response.status_code, response.body) == (429, b'{"error":{}}')
        assert (b"retry-after", b"7") in head(response)

    @pytest.mark.parametrize(
        "said", [b"", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-le"]
    )
    async def test_what_is_no_answer_is_a_connection_broken_off(
        self, pool: Pool, upstream: UpstreamStarted, said: bytes
    ) -> None:
        async def mumble(link: Link) -> None:
            await link.head()
            await link.say(said)

        server = await upstream(mumble)
        with pytest.raises(BrokenOff):
            await self.dial(pool, server.url)

    async def test_an_answer_that_does_not_come_in_time_is_not_waited_for(self, pool: Pool, upstream: UpstreamStarted) -> None:
        server = await upstream(Link.gone)
        with pytest.raises(BrokenOff, match="within its time"):
            await self.dial(pool, server.url, seconds=0.05)

    async def test_where_nobody_listens_nothing_was_sent(self, pool: Pool) -> None:
        with pytest.raises(Unreachable):
            await self.dial(pool, "http://127.0.0.1:1/v1")
