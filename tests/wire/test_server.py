"""Connections of clients: what they may do to a server, and what they may not."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genway.wire.exchange import ClientGone, Exchange
from genway.wire.server import FLOOD, LARGEST_HEAD, Server
from wire.stage import GET, Client, Connect, Serve, sweep, tell, until


async def test_a_connection_serves_one_request_after_the_other(serve: Serve, connect: Connect) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    for number in range(3):
        answer = await client.ask(b"POST /%d?q=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi" % number)
        assert (answer.status, answer.body) == (200, b"POST /%d?q=1 hi" % number)
        assert "connection" not in answer.headers
        assert answer.headers["date"].endswith("GMT")


async def test_answers_to_pipelined_requests_keep_their_order(serve: Serve, connect: Connect) -> None:
    late = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/0":
            await late.wait()
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"".join(GET % number for number in range(40)))
    late.set()
    assert [(await client.answer()).body for _ in range(40)] == [b"GET /%d? " % number for number in range(40)]


async def test_pipelined_requests_are_handled_one_at_a_time(serve: Serve, connect: Connect) -> None:
    at_once = most = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"".join(GET % number for number in range(20)))
    for _ in range(20):
        await client.answer()
    assert most == 1


async def test_a_flood_of_requests_in_one_piece_is_cut_short(serve: Serve, connect: Connect) -> None:
    handled = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal handled
        handled += 1
        await tell(exchange)

    server, port = await serve(handle)
    client = await connect(port)
    await until(lambda: server.connections)
    next(iter(server.connections)).data_received((GET % 1) * (10 * FLOOD))
    answers = [await client.answer() for _ in range(FLOOD + 2)]
    assert {answer.status for answer in answers[:-1]} == {200}
    assert answers[-1].status == 400
    assert handled == FLOOD + 1
    assert await client.closed()


@pytest.mark.parametrize(
    ("lines", "kept", "said"),
    [
        (b"", False, "close"),
        (b"connection: keep-alive\r\n", True, "keep-alive"),
        (b"connection: close\r\n", False, "close"),
    ],
)
async def test_http_1_0_is_kept_alive_only_where_it_asks(
    serve: Serve, connect: Connect, lines: bytes, kept: bool, said: str
) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    answer = await client.ask(b"GET / HTTP/1.0\r\n%b\r\n" % lines)
    assert answer.headers["connection"] == said
    assert answer.headers["content-length"] == "7"
    if kept:
        assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200
    assert await client.closed()


async def test_http_1_0_gets_no_chunks_even_where_a_later_request_may(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        exchange.start(200, b"")
        exchange.write(b"piece")
        exchange.finish(b" by piece")

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.body == b"piece by piece"


async def test_connection_close_is_honoured_and_said(serve: Serve, connect: Connect) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    answer = await client.ask(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.headers["connection"] == "close"
    assert await client.closed()


SMUGGLED = {
    "both framings": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings again": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
    "two equal lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nabcd",
    "a list of lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4, 4\r\n\r\nabcd",
    "a negative length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nabcd",
    "a length in hexadecimal": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x4\r\n\r\nabcd",
    "a length that overflows": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 4\r\n\r\nabcd",
    "a folded line": b"POST / HTTP/1.1\r\nhost: a\r\nx: 1\r\n  transfer-encoding: chunked\r\n\r\n",
    "bare line feeds": b"POST / HTTP/1.1\nhost: a\ncontent-length: 0\n\n",
    "a bare line feed in the head": b"POST / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n",
    "a bare carriage return": b"POST / HTTP/1.1\r\nhost: a\rcontent-length: 4\r\n\r\nabcd",
    "a zero byte": b"POST / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
    "a line without a name": b"POST / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n",
    "a chunk size of no number": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size that overflows": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "a chunk ended by a line feed": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    "a chunk longer than it says": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
}
BROKEN = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the beginning of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b"/ HTTP/1.1\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nhost: a\r\n\r\n",
    "an unknown version": b"GET / HTTP/3.7\r\nhost: a\r\n\r\n",
    "another protocol": b"GET / ICY/1.0\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
}


@pytest.mark.parametrize("shape", [*SMUGGLED, *BROKEN])
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(
    serve: Serve, connect: Connect, shape: str
) -> None:
    answered = []

    async def handle(exchange: Exchange) -> None:
        await tell(exchange)
        answered.append(exchange.path)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send((SMUGGLED | BROKEN)[shape] + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
    answer = await client.answer()
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert await client.closed()
    assert not answered


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("GET /模型 HTTP/1.1\r\nhost: a\r\n\r\n".encode(), b"url"),
        (SMUGGLED["both framings"], b"Content-Length"),
        (BROKEN["TLS"], b"method"),
        (SMUGGLED["a chunk size of no number"], b"chunk size"),
    ],
)
async def test_what_is_no_http_is_told_why(serve: Serve, connect: Connect, sent: bytes, reason: bytes) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    answer = await client.ask(sent)
    assert answer.status == 400
    assert answer.body.startswith(b"this is not HTTP/1.1: ")
    assert reason in answer.body


async def test_what_came_whole_is_answered_before_what_is_broken_is_refused(serve: Serve, connect: Connect) -> None:
    go = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await go.wait()
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(GET % 1 + GET % 2 + b"garbage\r\n\r\n")
    go.set()
    assert [(await client.answer()).body for _ in range(2)] == [b"GET /1? ", b"GET /2? "]
    assert (await client.answer()).status == 400
    assert await client.closed()


async def test_an_answer_under_way_is_broken_off_where_the_body_it_answers_is_broken(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"so far")
        await exchange.read()
        await exchange.read()

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
    await until(lambda: b"so far" in bytes(client.reader._buffer))  # type: ignore[attr-defined]
    await client.send(b"broken\r\n")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.answer()


async def test_an_upgrade_that_comes_to_nothing_loses_none_of_what_follows(serve: Serve, connect: Connect) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    asks = (
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    )
    await client.send(b"POST /a HTTP/1.1\r\nhost: a\r\n%bcontent-length: 2\r\n\r\nhi" % asks + GET % 1)
    await client.send(GET % 2)
    assert [(await client.answer()).body for _ in range(3)] == [b"POST /a? hi", b"GET /1? ", b"GET /2? "]


async def test_an_upgraded_connection_is_handed_over_with_what_came_already(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        assert exchange.upgrade
        transport, early = exchange.hijack()
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + early[::-1])
        transport.close()

    server, port = await serve(handle)
    client = await connect(port)
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nabc")
    assert (await client.rest()).endswith(b"\r\n\r\ncba")
    assert not server.connections


@pytest.mark.parametrize(
    "framing", [b"content-length: %d\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
async def test_a_body_behind_a_wish_to_upgrade_is_no_request(serve: Serve, connect: Connect, framing: bytes) -> None:
    upgrades = []

    async def handle(exchange: Exchange) -> None:
        upgrades.append(exchange.upgrade)
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    hidden = GET % 666
    wish = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    await client.send(wish + framing % (len(hidden), hidden) + GET % 1)
    assert [(await client.answer()).body for _ in range(2)] == [b"GET /a? " + hidden, b"GET /1? "]
    assert upgrades == [False, False]


async def test_a_tunnel_is_not_opened(serve: Serve, connect: Connect) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    answer = await client.ask(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n" + GET % 1)
    assert (answer.body, answer.headers["connection"]) == (b"CONNECT /? ", "close")
    assert await client.closed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * LARGEST_HEAD + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * LARGEST_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(300)) + b"\r\n",
    ],
    ids=["a long target", "a long line", "many lines"],
)
async def test_a_head_that_is_too_large_is_refused(serve: Serve, connect: Connect, head: bytes) -> None:
    _, port = await serve(tell)
    client = await connect(port)
    answer = await client.ask(head)
    assert answer.status == 431
    assert answer.head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert await client.closed()


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\ntrailer: ",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;extension=",
    ],
    ids=["a line", "a target", "a trailer", "an extension"],
)
async def test_a_line_that_never_ends_is_not_collected(serve: Serve, connect: Connect, begun: bytes) -> None:
    server, port = await serve(tell)
    client = await connect(port)
    await until(lambda: server.connections)
    connection = next(iter(server.connections))
    connection.take_in(begun)
    fed = 0
    while fed < 10 * LARGEST_HEAD and not connection._deaf:
        connection.take_in(b"a" * 4096)
        fed += 4096
    assert fed <= LARGEST_HEAD + 8192
    assert (await client.answer()).status == 431
    assert await client.closed()


SIZED = b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(LARGEST_HEAD - 100, 200), (LARGEST_HEAD + 100, 431), (3 * LARGEST_HEAD, 431)])
@pytest.mark.parametrize("cuts", [(), (-1,), (-4,), (60,), (1000, 2000), (60_000, 65_000, -10)])
@pytest.mark.parametrize(
    "before", [b"", GET % 1 + b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n" + b"x" * 90_000]
)
async def test_a_head_is_measured_however_it_is_cut(
    serve: Serve, connect: Connect, size: int, status: int, cuts: tuple[int, ...], before: bytes
) -> None:
    server, port = await serve(tell)
    client = await connect(port)
    await until(lambda: server.connections)
    connection = next(iter(server.connections))
    head = SIZED % (b"a" * size)
    edges = sorted({0, len(head), *(cut % len(head) for cut in cuts if cut < len(head))})
    pieces = [head[start:end] for start, end in itertools.pairwise(edges)]
    pieces[0] = before + pieces[0]
    for piece in pieces:
        connection.take_in(piece)
    answers = [await client.answer() for _ in range(3 if before else 1)]
    assert [answer.status for answer in answers] == [200, 200, status][-len(answers) :]


async def test_many_headers_come_in_their_order(serve: Serve, connect: Connect) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handle(exchange: Exchange) -> None:
        seen.extend(exchange.headers)
        assert exchange.header(b"x") == b"1"
        assert exchange.header(b"y") == b""
        exchange.whole(200, b"", b"")

    _, port = await serve(handle)
    client = await connect(port)
    assert (await client.ask(b"GET / HTTP/1.1\r\nHOST: a\r\nX: 1\r\nx:2\r\nX-\xc3\xa4:  \xff \r\n\r\n")).status == 400
    other = await connect(port)
    await other.ask(b"GET / HTTP/1.1\r\nHOST: a\r\nX: 1\r\nx:2\r\nX-A:  \xff \r\n\r\n")
    assert [(name, value.strip()) for name, value in seen] == [(b"host", b"a"), (b"x", b"1"), (b"x", b"2"), (b"x-a", b"\xff")]


async def test_a_trailer_is_no_header(serve: Serve, connect: Connect) -> None:
    names: list[bytes] = []

    async def handle(exchange: Exchange) -> None:
        await tell(exchange)
        names.extend(name for name, _ in exchange.headers)

    server, port = await serve(handle)
    client = await connect(port)
    body = b"2\r\nhi\r\n0\r\nauthorization: Bearer somebody\r\n\r\n"
    answer = await client.ask(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + body)
    assert answer.body == b"POST /? hi"
    assert names == [b"host", b"transfer-encoding"]
    sweep(server, after=100)
    assert await client.closed(), "a connection at rest is closed without a word"


async def test_stopping_lets_what_is_under_way_finish_and_takes_no_more(serve: Serve, connect: Connect) -> None:
    go = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await go.wait()
        await tell(exchange)

    server, port = await serve(handle)
    works, rests = await connect(port), await connect(port)
    await works.send(GET % 1)
    await until(lambda: len(server.connections) == 2 and server.tasks)
    stopping = asyncio.create_task(server.close(10))
    assert await rests.closed()
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await Client.open("127.0.0.1", port)
    go.set()
    answer = await works.answer()
    assert (answer.body, answer.headers["connection"]) == (b"GET /1? ", "close")
    assert await works.closed()
    await stopping


async def test_stopping_cuts_off_what_does_not_finish_and_waits_for_its_accounts(serve: Serve, connect: Connect) -> None:
    settled = []

    async def handle(exchange: Exchange) -> None:
        try:
            while True:
                await exchange.read()
                await exchange.over()
                raise ClientGone
        except ClientGone:
            await asyncio.sleep(0.01)
            settled.append(exchange.gone)

    server, port = await serve(handle)
    client = await connect(port)
    await client.send(GET % 1)
    await until(lambda: server.tasks)
    await server.close(0)
    assert settled == [True]
    assert await client.closed()


async def test_ipv6_is_served(connect: Connect, serve: Serve) -> None:
    seen = []

    async def handle(exchange: Exchange) -> None:
        seen.append((exchange.client, exchange.server))
        await tell(exchange)

    try:
        _, port = await serve(handle, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    client = await connect(port, host="::1")
    assert (await client.ask(GET % 1)).status == 200
    (asker, server), *_ = seen
    assert asker is not None
    assert asker[0] == "::1"
    assert server == ("::1", port)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%20b/%C3%A9?x=%20", "/a b/é", b"x=%20"),
        (b"/%2e%2e/a", "/../a", b""),
        (b"/%ff", "/\ufffd", b""),
        (b"/%zz", "/%zz", b""),
        (b"//evil.example/a", "//evil.example/a", b""),
        (b"http://other.example/a?b=c", "/a", b"b=c"),
        (b"http://other.example", "/", b""),
        (b"/a?b?c=/http://d", "/a", b"b?c=/http://d"),
    ],
)
async def test_a_target_is_taken_apart(serve: Serve, connect: Connect, target: bytes, path: str, query: bytes) -> None:
    seen = []

    async def handle(exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.query))
        await tell(exchange)

    _, port = await serve(handle)
    client = await connect(port)
    assert (await client.ask(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)).status == 200
    assert seen == [(path, query)]


async def test_a_handler_that_fails_is_answered_for(serve: Serve, connect: Connect) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/2":
            exchange.start(200, b"")
            exchange.write(b"half")
        if exchange.path != "/3":
            raise ValueError("secret")

    _, port = await serve(handle)
    client = await connect(port)
    answer = await client.ask(GET % 1)
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert await client.closed()
    for number in (2, 3):
        client = await connect(port)
        await client.send(GET % number)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.answer()


STREAM = (
    b"POST /a?x=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
    b"\r\nGET /b HTTP/1.1\r\nHost: b\r\nX-Long: " + b"v" * 40 + b"\r\n\r\n"
    b"POST /c HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\ntrail: er\r\n\r\n"
    b"PUT /d%20e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nz"
)
TOLD = [b"POST /a?x=1 hello", b"GET /b? ", b"POST /c? abcde", b"PUT /d e? z"]


def _told(pieces: list[bytes]) -> list[bytes]:
    """What is answered when the stream comes in these pieces, each in a turn of the loop of its own."""

    async def run() -> list[bytes]:
        server = Server(tell)
        port = await server.listen("127.0.0.1", 0)
        client = await Client.open("127.0.0.1", port)
        await until(lambda: server.connections)
        connection = next(iter(server.connections))
        for piece in pieces:
            connection.take_in(piece)
            await asyncio.sleep(0)
        bodies: list[bytes] = []
        while len(bodies) < len(TOLD):
            answer = await client.answer()
            if answer.status != 100:
                bodies.append(answer.body)
        client.abort()
        await server.close(0)
        return bodies

    return asyncio.run(run())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=8))
def test_it_does_not_matter_where_the_network_cuts(cuts: list[int]) -> None:
    ends = [*sorted(set(cuts)), len(STREAM)]
    assert _told([STREAM[start:end] for start, end in zip([0, *ends], ends, strict=False)]) == TOLD


def test_requests_may_come_byte_by_byte() -> None:
    assert _told([STREAM[number : number + 1] for number in range(len(STREAM))]) == TOLD
