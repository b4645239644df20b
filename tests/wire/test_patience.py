"""How long a server waits for a client, and what it does for one that takes nothing."""

from __future__ import annotations

import asyncio

from genway.wire.exchange import Exchange
from wire.stage import GET, Connect, Serve, sweep, tell, until


async def test_a_slow_head_is_refused_in_time(serve: Serve, connect: Connect) -> None:
    server, port = await serve(tell, head_seconds=30)
    client = await connect(port)
    await client.send(b"GET / HTTP/1.1\r\nho")
    await until(lambda: server.connections and next(iter(server.connections))._in_head)
    sweep(server, after=29)
    await client.send(b"st: a\r\n")
    sweep(server, after=31)
    assert (await client.answer()).status == 408
    assert await client.closed()


async def test_one_who_says_nothing_at_all_is_left(serve: Serve, connect: Connect) -> None:
    server, port = await serve(tell, head_seconds=30)
    client = await connect(port)
    await until(lambda: server.connections)
    sweep(server, after=29)
    assert len(server.connections) == 1
    sweep(server, after=31)
    assert await client.closed()
    await until(lambda: not server.connections)


async def test_empty_lines_buy_no_time(serve: Serve, connect: Connect) -> None:
    server, port = await serve(tell, head_seconds=30)
    client = await connect(port)
    await until(lambda: server.connections)
    before = next(iter(server.connections))._deadline
    await client.send(b"\r\n\r\n")
    await client.ask(b"\r\n" + GET % 1)
    await client.send(b"\r\n")
    await until(lambda: server.connections)
    assert next(iter(server.connections))._deadline - before < server.idle_seconds + 1
    sweep(server, after=server.idle_seconds + 1)
    assert await client.closed()


async def test_a_connection_at_rest_is_closed_in_time_and_a_busy_one_is_not(serve: Serve, connect: Connect) -> None:
    go = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/2":
            await go.wait()
        await tell(exchange)

    server, port = await serve(handle, idle_seconds=75)
    rests, works = await connect(port), await connect(port)
    await rests.ask(GET % 1)
    await works.send(GET % 2)
    await until(lambda: any(connection._current for connection in server.connections))
    sweep(server, after=74)
    assert len(server.connections) == 2
    sweep(server, after=76)
    assert await rests.closed()
    go.set()
    assert (await works.answer()).status == 200


async def test_a_client_that_takes_nothing_is_given_up(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.whole(200, b"", bytes(8 * 1024 * 1024))

    server, port = await serve(handle, stall_seconds=120)
    client = await connect(port, receive_buffer=4096)
    await client.send(GET % 1)
    await until(lambda: any(connection.crowded for connection in server.connections))
    sweep(server, after=80)
    assert len(server.connections) == 1, "closing once the rest is taken"
    sweep(server, after=110)
    sweep(server, after=240)
    await until(lambda: not server.connections)


async def test_a_slow_client_that_takes_something_is_not(serve: Serve, connect: Connect) -> None:
    size = 16 * 1024 * 1024

    async def handle(exchange: Exchange) -> None:
        exchange.whole(200, b"", bytes(size))

    server, port = await serve(handle, stall_seconds=120)
    client = await connect(port, receive_buffer=65536)
    await client.send(GET % 1)
    await until(lambda: any(connection.crowded for connection in server.connections))
    head = await client.reader.readuntil(b"\r\n\r\n")
    taken, after = 0, 0.0
    while taken < size:
        taken += len(await client.reader.readexactly(min(2**20, size - taken)))
        await asyncio.sleep(0.01)
        after += 10
        sweep(server, after=after)
    assert (head[:12], taken) == (b"HTTP/1.1 200", size)


async def test_nothing_new_is_begun_for_a_client_that_does_not_take_what_it_asked_for(serve: Serve, connect: Connect) -> None:
    begun = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal begun
        begun += 1
        exchange.whole(200, b"", bytes(4 * 1024 * 1024))

    server, port = await serve(handle)
    client = await connect(port, receive_buffer=4096)
    await client.send((GET % 1) * 12)
    await until(lambda: any(connection.crowded for connection in server.connections))
    for _ in range(20):
        await asyncio.sleep(0)
    assert begun == 1
    for _ in range(12):
        assert len((await client.answer()).body) == 4 * 1024 * 1024
    assert begun == 12
