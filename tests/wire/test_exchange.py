"""One request and its answer: what a handler may count on."""

from __future__ import annotations

import asyncio

import pytest

from genway.wire.exchange import BODY_BUFFER, ClientGone, Exchange, lines
from genway.wire.server import LINGER_SECONDS
from wire.stage import Connect, Serve, sweep, tell, until

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
MEBIBYTE = 1024 * 1024


async def test_a_body_comes_whole_however_it_is_framed(serve: Serve, connect: Connect) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    body = bytes(range(256)) * 4096
    sized = await client.ask(POST % len(body) + body)
    assert sized.body == b"POST /? " + body
    chunks = b"".join(b"%x\r\n%b\r\n" % (1000, body[start : start + 1000]) for start in range(0, 100_000, 1000))
    chunked = await client.ask(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert chunked.body == b"POST /? " + body[:100_000]


async def test_a_client_that_asks_first_is_told_to_go_on_once_somebody_reads(serve: Serve, connect: Connect) -> None:
    read = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await read.wait()
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n")
    waiting = asyncio.create_task(client.answer())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    read.set()
    assert (await waiting).head == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"hi")).body == b"POST /? hi"


async def test_a_client_that_asks_first_may_be_refused_before_it_sends(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(413, b"", b"too much")

    _, port = await serve(handle)
    client = await connect(port)
    answer = await client.ask(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await client.closed()


async def test_an_answer_arrives_although_nobody_read_the_body(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(401, b"", b"who are you?")

    server, port = await serve(handle)
    client = await connect(port)
    size = 64 * MEBIBYTE
    client.writer.write(POST % size)
    for _ in range(size // MEBIBYTE):
        client.writer.write(bytes(MEBIBYTE))
        await client.writer.drain()
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (401, b"who are you?", "close")
    assert await client.closed()
    await until(lambda: not server.connections)


async def test_a_body_without_end_that_nobody_reads_is_not_taken_for_ever(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(401, b"", b"")

    server, port = await serve(handle)
    client = await connect(port)
    assert (await client.ask(POST % 10**9 + b"a")).status == 401
    await client.send(b"more")
    sweep(server, after=LINGER_SECONDS - 1)
    assert server.connections
    sweep(server, after=LINGER_SECONDS + 1)
    await until(lambda: not server.connections)


async def test_nothing_that_follows_an_unread_body_is_handled(serve: Serve, connect: Connect) -> None:
    handled = []

    async def handle(exchange: Exchange) -> None:
        handled.append(exchange.path)
        exchange.whole(401, b"", b"")

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
    assert (await client.answer()).status == 401
    await client.send(b"cd" + b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n")
    assert await client.closed()
    assert handled == ["/a"]


async def test_a_client_is_held_back_while_nobody_reads(serve: Serve, connect: Connect) -> None:
    read = asyncio.Event()
    sizes: list[int] = []

    async def handle(exchange: Exchange) -> None:
        await read.wait()
        while part := await exchange.read():
            sizes.append(len(part))
        exchange.whole(200, b"", b"%d" % sum(sizes))

    server, port = await serve(handle)
    client = await connect(port)
    size = 32 * MEBIBYTE
    client.writer.write(POST % size)
    client.writer.write(bytes(size))
    await until(lambda: any(not connection._reading for connection in server.connections))
    held = next(iter(server.connections))._current
    assert held is not None
    assert BODY_BUFFER < held._size <= 3 * BODY_BUFFER
    read.set()
    assert (await client.answer()).body == b"%d" % size
    assert max(sizes) <= 3 * BODY_BUFFER


async def test_a_client_that_leaves_is_noticed_also_after_a_large_body(serve: Serve, connect: Connect) -> None:
    left = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        while not exchange.complete:
            await asyncio.sleep(0.001)
        assert len(exchange.take()) == 400_000
        exchange.on_gone = left.set
        await left.wait()

    server, port = await serve(handle)
    client = await connect(port)
    await until(lambda: server.connections)
    next(iter(server.connections)).data_received(POST % 400_000 + bytes(400_000))
    await asyncio.sleep(0.01)
    client.abort()
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_client_that_leaves_in_the_middle_of_its_body_ends_the_reading(serve: Serve, connect: Connect) -> None:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(exchange: Exchange) -> None:
        try:
            while await exchange.read():
                pass
        except ClientGone:
            exchange.whole(200, b"", b"to nobody")
            gone.set_result("gone" if exchange.gone and not exchange.started else "there")

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(POST % 100 + b"a")
    client.writer.close()
    assert await gone == "gone"


async def test_a_client_that_leaves_while_it_is_answered_is_noticed_at_once(serve: Serve, connect: Connect) -> None:
    gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def handle(exchange: Exchange) -> None:
        exchange.on_gone = lambda: gone.set_result(exchange.gone)
        exchange.start(200, b"")
        exchange.write(b"first")
        await gone
        exchange.write(b"second")
        exchange.finish(b"last")

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await client.reader.readuntil(b"first")
    client.abort()
    assert await gone


async def test_a_handler_waits_for_a_client_that_does_not_read(serve: Serve, connect: Connect) -> None:
    written = 0
    told: list[bool] = []

    async def handle(exchange: Exchange) -> None:
        nonlocal written
        exchange.on_room = told.append
        exchange.start(200, b"", 24 * MEBIBYTE)
        for _ in range(384):
            exchange.write(bytes(65536))
            written += 65536
            if exchange.crowded:
                await exchange.drain()
        exchange.finish()

    server, port = await serve(handle)
    client = await connect(port, receive_buffer=4096)
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: any(connection.crowded for connection in server.connections))
    await asyncio.sleep(0.01)
    waiting = next(iter(server.connections))._transport.get_write_buffer_size()
    assert waiting < MEBIBYTE
    assert written < 16 * MEBIBYTE
    assert told[:1] == [False]
    assert len((await client.answer()).body) == 24 * MEBIBYTE
    assert True in told


async def test_waiting_for_room_ends_when_the_client_leaves(serve: Serve, connect: Connect) -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handle(exchange: Exchange) -> None:
        exchange.start(200, b"")
        try:
            while True:
                exchange.write(bytes(65536))
                await exchange.drain()
        except ClientGone:
            gone.set_result(None)

    server, port = await serve(handle)
    client = await connect(port, receive_buffer=4096)
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: any(connection.crowded for connection in server.connections))
    client.abort()
    async with asyncio.timeout(5):
        await gone


async def test_head_gets_the_length_and_no_body(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/whole":
            exchange.whole(200, b"", b"body")
        else:
            exchange.start(200, b"", 4 if exchange.path == "/sized" else None)
            exchange.write(b"bo")
            exchange.finish(b"dy")

    _, port = await serve(handle)
    client = await connect(port)
    for path, framing in ((b"/whole", "4"), (b"/sized", "4"), (b"/chunked", None)):
        await client.send(b"HEAD %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        answer = await client.answer("HEAD")
        assert answer.headers.get("content-length") == framing
        assert ("transfer-encoding" in answer.headers) is (framing is None)


@pytest.mark.parametrize("status", [204, 304])
async def test_some_answers_have_no_body_whatever_is_written(serve: Serve, connect: Connect, status: int) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/whole":
            exchange.whole(status, b"", b"body")
        else:
            exchange.start(status, b"")
            exchange.write(b"bo")
            exchange.finish(b"dy")

    _, port = await serve(handle)
    client = await connect(port)
    for path in (b"/whole", b"/pieces"):
        answer = await client.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        assert answer.status == status
        assert not {"content-length", "transfer-encoding"} & set(answer.headers)


async def test_pieces_go_in_chunks_and_empty_ones_do_not_end_the_answer(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.start(200, b"")
        for piece in (b"a", b"", b"b" * 70_000, b""):
            exchange.write(piece)
        exchange.finish()

    _, port = await serve(handle)
    client = await connect(port)
    for _ in range(2):
        answer = await client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"a" + b"b" * 70_000


async def test_an_answer_that_is_aborted_does_not_look_whole(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"half")
        exchange.abort()
        exchange.write(b"nothing")
        exchange.finish(b"nothing")

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.answer()


async def test_an_answer_is_given_once(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(200, b"", b"first")
        exchange.whole(500, b"", b"second")
        exchange.start(500, b"")
        exchange.write(b"third")
        exchange.finish(b"fourth")

    _, port = await serve(handle)
    client = await connect(port)
    for _ in range(2):
        assert (await client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")).body == b"first"


def test_no_header_can_begin_a_line_of_its_own() -> None:
    said = lines([(b"x", b"a\r\nset-cookie: b\r\n\r\n<html>"), (b"y", b"\n"), (b"z", b"\r")])
    assert said == b"x: a  set-cookie: b    <html>\r\ny:  \r\nz:  \r\n"


async def test_a_status_of_no_name_is_sent_all_the_same(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(529, b"", b"")

    _, port = await serve(handle)
    client = await connect(port)
    assert (await client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")).head.startswith(b"HTTP/1.1 529 Unknown\r\n")
