"""Answers of those whom calls are sent on to, who may answer in any way they like; and bodies on their way there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from genway.wire.pool import Pool
from genway.wire.upstream import LARGEST_HEAD, READ_BUFFER, WHOLE_LIMIT, BrokenOff
from wire.stage import CHUNKED, MEBIBYTE, Link, UpstreamStarted, answering, ask, reply, said, until


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_that_does_not_come_is_given_up(upstream: UpstreamStarted, pool: Pool, begun: bytes) -> None:
    server = await upstream(answering(begun))
    with pytest.raises(BrokenOff, match=r"no answer within 0\.05 seconds") as caught:
        await ask(pool, server.url, seconds=0.05)
    assert caught.value.began is bool(begun)
    await until(lambda: not pool._all)


async def test_a_whole_answer_has_to_be_whole_in_time(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"))
    with pytest.raises(BrokenOff, match="no answer within"):
        await ask(pool, server.url, seconds=0.05, whole=True)
    flowing = await ask(pool, server.url, seconds=0.05)
    await asyncio.sleep(0.06)
    assert not flowing.ended, "the time is for the answer to begin"
    flowing.abort()


FRAMED = {
    "sized": reply(b"hello"),
    "chunked": CHUNKED + b"2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\nx-trailer: 1\r\n\r\n",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"hello"),
    "after 103": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + reply(b"hello"),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("framing", FRAMED)
async def test_every_framing_is_read(upstream: UpstreamStarted, pool: Pool, framing: str, whole: bool) -> None:
    server = await upstream(answering(FRAMED[framing]))
    answer = await ask(pool, server.url, whole=whole)
    assert (answer.status, await answer.body(100)) == (200, b"hello")
    assert b"x-trailer" not in dict(answer.headers)
    assert bool(pool.origin(server.url).idle) is (framing != "HTTP/1.0")


@pytest.mark.parametrize("framing", FRAMED)
async def test_answers_may_come_byte_by_byte(upstream: UpstreamStarted, pool: Pool, framing: str) -> None:
    async def act(link: Link) -> None:
        await link.head()
        for byte in FRAMED[framing]:
            await link.say(bytes([byte]))
            await asyncio.sleep(0)
        await link.gone()

    server = await upstream(act)
    assert await said(pool, server.url) == b"hello"


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_without_a_length_ends_with_the_connection(upstream: UpstreamStarted, pool: Pool, whole: bool) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
        await link.say(b"the end")

    server = await upstream(act)
    assert await said(pool, server.url, whole=whole) == b"until the end"


CUT = {"sized": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "chunked": CHUNKED + b"4\r\nhalf\r\n"}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", CUT)
@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_that_breaks_off_is_not_taken_for_whole(
    upstream: UpstreamStarted, pool: Pool, how: str, framing: str, whole: bool
) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(CUT[framing])
        if how == "reset":
            link.reset()

    server = await upstream(act)
    with pytest.raises(BrokenOff) as caught:
        await said(pool, server.url, whole=whole)
    assert caught.value.began
    assert not pool.origin(server.url).idle


async def test_a_flow_is_told_that_its_source_broke_off(upstream: UpstreamStarted, pool: Pool) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(CUT["chunked"])

    server = await upstream(act)
    answer = await ask(pool, server.url)
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    pieces: list[bytes] = []
    answer.flow(pieces.append, ended.set_result)
    assert "broke off" in str(await ended)
    assert pieces == [b"half"]


GARBAGE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no HTTP at all": b"\x15\x03\x01\x00\x02\x02\x16",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "both framings": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\r\nx: 1\nset: 2\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"v" * 100) for n in range(2000)) + b"\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nx: " + b"v" * (4 * LARGEST_HEAD) + b"\r\n\r\n",
}


@pytest.mark.parametrize("shape", GARBAGE)
async def test_what_is_no_answer_is_refused(upstream: UpstreamStarted, pool: Pool, shape: str) -> None:
    server = await upstream(answering(GARBAGE[shape]))
    with pytest.raises(BrokenOff, match=r"not HTTP/1\.1|too large"):
        await said(pool, server.url)
    await until(lambda: not pool._all)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, GZIP"])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_compressed_answer_is_refused_since_nobody_asked_for_one(
    upstream: UpstreamStarted, pool: Pool, coding: bytes, whole: bool
) -> None:
    server = await upstream(answering(reply(b"\x1f\x8b", b"content-encoding: " + coding)))
    with pytest.raises(BrokenOff, match="compressed"):
        await said(pool, server.url, whole=whole)
    await until(lambda: not pool._all)


@pytest.mark.parametrize("coding", [b"identity", b"utf-8", b"none", b""])
async def test_an_answer_that_is_only_said_to_have_a_coding_is_taken_as_it_is(
    upstream: UpstreamStarted, pool: Pool, coding: bytes
) -> None:
    server = await upstream(answering(reply(b"plain", b"content-encoding: " + coding)))
    assert await said(pool, server.url) == b"plain"


async def test_a_head_that_is_too_large_is_told_as_that(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(GARBAGE["many headers"]))
    with pytest.raises(BrokenOff, match="too large"):
        await said(pool, server.url)


async def test_a_header_that_never_ends_is_not_collected(upstream: UpstreamStarted, pool: Pool) -> None:
    sent = 0

    async def act(link: Link) -> None:
        nonlocal sent
        await link.head()
        await link.say(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            await link.say(bytes([97]) * 65536)
            sent += 65536

    server = await upstream(act)
    with pytest.raises(BrokenOff, match="too large"):
        await said(pool, server.url)
    assert sent < 64 * MEBIBYTE


@pytest.mark.parametrize("size", [READ_BUFFER - 1, READ_BUFFER + 1, 4 * MEBIBYTE, WHOLE_LIMIT + 4 * MEBIBYTE])
async def test_whole_answers_may_be_large(upstream: UpstreamStarted, pool: Pool, size: int) -> None:
    server = await upstream(answering(reply(bytes(size))))
    answer = await ask(pool, server.url, whole=True, seconds=20)
    assert answer.ended is (size < WHOLE_LIMIT)
    assert len(await answer.body(64 * MEBIBYTE)) == size
    assert len(pool.origin(server.url).idle) == 1


async def test_an_answer_that_is_larger_than_wanted_is_broken_off(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(reply(bytes(8 * MEBIBYTE))))
    answer = await ask(pool, server.url)
    with pytest.raises(BrokenOff, match="more than 1000000 bytes"):
        await answer.body(1_000_000)
    await until(lambda: not pool._all)


async def test_one_who_stops_waiting_for_a_body_closes_the_connection(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"))
    answer = await ask(pool, server.url)
    waiting = asyncio.create_task(answer.body(100))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await until(lambda: not pool._all)


async def test_an_answer_that_nobody_takes_is_held_back(upstream: UpstreamStarted, pool: Pool) -> None:
    sent = 0

    async def act(link: Link) -> None:
        nonlocal sent
        await link.head()
        await link.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MEBIBYTE))
        for _ in range(1024):
            await link.say(bytes(65536))
            sent += 65536
        await link.gone()

    server = await upstream(act)
    answer = await ask(pool, server.url)
    await until(lambda: answer._connection._paused)
    await asyncio.sleep(0.01)
    assert answer.size < MEBIBYTE
    assert sent < 32 * MEBIBYTE
    taken = 0
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def take(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)
        if taken < 2 * MEBIBYTE:
            answer.pause(True)
            asyncio.get_running_loop().call_soon(answer.pause, False)

    answer.flow(take, ended.set_result)
    assert await ended is None
    assert taken == 64 * MEBIBYTE


async def test_aborting_an_answer_closes_the_connection_at_once(upstream: UpstreamStarted, pool: Pool) -> None:
    left = asyncio.Event()

    async def act(link: Link) -> None:
        await link.head()
        await link.say(CHUNKED + b"5\r\nfirst\r\n")
        await link.gone()
        left.set()

    server = await upstream(act)
    answer = await ask(pool, server.url)
    ends: list[str | None] = []
    answer.flow(lambda _: answer.abort(), ends.append)
    async with asyncio.timeout(5):
        await left.wait()
    await until(lambda: ends)
    assert len(ends) == 1


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_body_may_come_in_pieces(upstream: UpstreamStarted, pool: Pool) -> None:
    taken = []

    async def act(link: Link) -> None:
        taken.append(await link.head())
        taken.append(await link.take(5 + 1 + 5 + 2 + 5))
        await link.say(reply(b"thanks"))
        await link.gone()

    server = await upstream(act)
    answer = await ask(pool, server.url, pieces(b"a", b"", b"bc"), whole=True)
    assert await answer.body(100) == b"thanks"
    assert taken[1] == b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"[:18]
    assert len(pool.origin(server.url).idle) == 1


async def test_a_body_of_known_length_travels_as_it_is(upstream: UpstreamStarted, pool: Pool) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(reply(await link.take(6)))
        await link.gone()

    server = await upstream(act)
    answer = await pool.send(
        pool.origin(server.url), b"POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\n", pieces(b"abc", b"def"), whole=True, sized=True
    )
    assert await answer.body(100) == b"abcdef"


async def test_pieces_are_made_no_faster_than_they_are_taken(upstream: UpstreamStarted, pool: Pool) -> None:
    go = asyncio.Event()
    made = 0

    async def many() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(1024):
            made += 65536
            yield bytes(65536)

    async def act(link: Link) -> None:
        await link.head()
        await go.wait()
        await link.take(1024 * (65536 + 9) + 5)
        await link.say(reply())
        await link.gone()

    server = await upstream(act)
    sending = asyncio.create_task(ask(pool, server.url, many(), whole=True))
    await until(lambda: made)
    while True:
        before = made
        await asyncio.sleep(0.05)
        if made == before:
            break
    assert made < 32 * MEBIBYTE
    go.set()
    assert (await sending).status == 200


async def test_an_answer_that_comes_before_the_body_is_sent_ends_the_sending(upstream: UpstreamStarted, pool: Pool) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            ended.set()

    async def act(link: Link) -> None:
        await link.head()
        await link.say(reply(b"too much", status=b"413 Too Large"))
        await link.gone()

    server = await upstream(act)
    answer = await ask(pool, server.url, endless(), whole=True)
    assert (answer.status, await answer.body(100)) == (413, b"too much")
    async with asyncio.timeout(5):
        await ended.wait()
    assert not pool.origin(server.url).idle


async def test_a_body_goes_on_after_the_answer_has_begun(upstream: UpstreamStarted, pool: Pool) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await begun.wait()
        yield b"second"

    async def act(link: Link) -> None:
        await link.head()
        await link.take(10)
        await link.say(CHUNKED + b"5\r\nhello\r\n")
        await link.take(16)
        await link.say(b"0\r\n\r\n")
        await link.gone()

    server = await upstream(act)
    answer = await ask(pool, server.url, slow())
    begun.set()
    assert await answer.body(100) == b"hello"


async def test_a_fault_of_the_bodys_source_is_the_callers(upstream: UpstreamStarted, pool: Pool) -> None:
    class Gone(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise Gone

    server = await upstream(answering())
    with pytest.raises(Gone):
        await ask(pool, server.url, broken())
    await until(lambda: not pool._all)


async def test_a_connection_with_a_rest_of_a_body_to_send_is_not_used_again(upstream: UpstreamStarted, pool: Pool) -> None:
    async def hasty(link: Link) -> None:
        await link.head()
        await link.say(reply(b"no", status=b"413 Too Large"))
        await asyncio.Event().wait()

    server = await upstream(hasty, answering(reply(b"yes")))
    assert await said(pool, server.url, bytes(64 * MEBIBYTE)) == b"no"
    assert await said(pool, server.url) == b"yes"
