"""Requests over a connection that is ready, whose answers are told and not awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from genway.wire.pool import Pool
from genway.wire.upstream import WHOLE_LIMIT, BrokenOff, Reply, Stale, Upstream
from wire.stage import HEAD, Act, Link, UpstreamStarted, answering, reply, request, until

BEGUN = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok"


class Asked:
    """What was told of one request. early: whether it came before `ask` returned."""

    def __init__(self) -> None:
        self.told: list[Reply | Exception] = []

    def __call__(self, outcome: Reply | Exception) -> None:
        self.told.append(outcome)

    async def reply(self) -> Reply:
        await until(lambda: self.told)
        (outcome,) = self.told
        assert isinstance(outcome, Reply)
        return outcome

    async def problem(self) -> Exception:
        await until(lambda: self.told)
        (outcome,) = self.told
        assert isinstance(outcome, Exception)
        return outcome


async def warmed(pool: Pool, url: str) -> Upstream:
    """A connection that has served one request and is taken now."""
    origin = pool.origin(url)
    await (await pool.send(origin, request(), whole=True)).body(100)
    ready = pool.ready(origin)
    assert ready is not None
    assert pool.ready(origin) is None, "it is nobody else's from now on"
    return ready


def then(act: Act) -> Act:
    """Answers one request, and does something with those that follow."""

    async def both(link: Link) -> None:
        await link.head()
        await link.say(reply(b"1"))
        await act(link)

    return both


def saying(*pieces: bytes, close: bool = False) -> Act:
    """Takes one request and says this; then it waits until the other side leaves, or hangs up."""

    async def act(link: Link) -> None:
        await link.head()
        for piece in pieces:
            await link.say(piece)
        if not close:
            await link.gone()

    return then(act)


@pytest.mark.parametrize("whole", [True, False])
async def test_the_answer_is_told_once(upstream: UpstreamStarted, pool: Pool, whole: bool) -> None:
    server = await upstream(answering(reply(b"1"), reply(b"2"), reply(b"3")))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 5.0, whole, asked)
    assert asked.told == [], "never before it returns"
    answer = await asked.reply()
    assert await answer.body(100) == b"2"
    assert pool.ready(pool.origin(server.url)) is connection
    again = Asked()
    connection.ask(request(), b"", 5.0, whole, again)
    assert await (await again.reply()).body(100) == b"3"
    assert len(asked.told) == 1
    assert len(server.links) == 1


async def test_head_and_body_are_sent_together(upstream: UpstreamStarted, pool: Pool) -> None:
    async def take(link: Link) -> None:
        await link.head()
        await link.say(reply(await link.take(5)))
        await link.gone()

    server = await upstream(then(take))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(HEAD % 5, b"hello", 5.0, True, asked)
    assert (await asked.reply()).here == b"hello"


async def test_a_connection_that_was_closed_in_the_meantime_is_stale(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(saying(close=True))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 5.0, True, asked)
    assert isinstance(await asked.problem(), Stale)
    assert not connection.usable


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 2", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"]
)
async def test_what_is_no_answer_is_a_broken_one(upstream: UpstreamStarted, pool: Pool, said: bytes, whole: bool) -> None:
    server = await upstream(saying(said, close=True))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 5.0, whole, asked)
    problem = await asked.problem()
    assert isinstance(problem, BrokenOff)
    assert problem.began
    assert not connection.usable


async def test_a_whole_answer_that_breaks_off_is_told_as_broken(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(saying(BEGUN, close=True))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 5.0, True, asked)
    assert isinstance(await asked.problem(), BrokenOff)


# --- dropped


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncont", BEGUN])
async def test_nobody_is_told_of_what_was_dropped(upstream: UpstreamStarted, pool: Pool, said: bytes) -> None:
    left = asyncio.Event()

    async def act(link: Link) -> None:
        await link.head()
        await link.say(said)
        await link.gone()
        left.set()

    server = await upstream(then(act))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 0.05, True, asked)
    await until(lambda: connection._began or not said)
    connection.drop()
    async with asyncio.timeout(5):
        await left.wait()
    await until(lambda: connection not in pool._all)
    assert asked.told == []
    assert (connection.late_at, connection._timer, connection.usable) == (0.0, None, False)
    assert pool.ready(pool.origin(server.url)) is None


# --- too late


async def test_a_short_time_is_kept_to_the_point(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(saying())
    connection = await warmed(pool, server.url)
    asked = Asked()
    began = time.monotonic()
    connection.ask(request(), b"", 0.05, True, asked)
    problem = await asked.problem()
    assert 0.04 < time.monotonic() - began < 0.9, "sooner than the sweep comes by"
    assert (str(problem), connection.usable) == ("no answer within 0.05 seconds", False)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_long_time_is_up_when_the_sweep_sees_it(upstream: UpstreamStarted, pool: Pool, whole: bool) -> None:
    server = await upstream(saying(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 10.0, whole, asked)
    assert connection._timer is None
    assert connection.late_at == pytest.approx(time.monotonic() + 10, abs=1)
    pool.sweep()
    assert asked.told == []
    connection.late_at = time.monotonic()
    pool.sweep()
    assert str(await asked.problem()) == "no answer within 10 seconds"
    assert (connection.late_at, connection.usable) == (0.0, False)
    pool.sweep()
    assert len(asked.told) == 1


@pytest.mark.parametrize("seconds", [5.0, 60.0])
@pytest.mark.parametrize("whole", [True, False])
async def test_no_time_runs_on_a_connection_at_rest(upstream: UpstreamStarted, pool: Pool, whole: bool, seconds: float) -> None:
    server = await upstream(answering(reply(b"1"), reply(b"2")))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", seconds, whole, asked)
    assert await (await asked.reply()).body(100) == b"2"
    assert list(pool.origin(server.url).idle) == [connection]
    assert (connection.late_at, connection._timer) == (0.0, None)


async def test_one_late_answer_leaves_the_others_alone(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(saying(), saying())
    origin = pool.origin(server.url)
    first, second = await warmed(pool, server.url), await warmed(pool, server.url)
    asked, other = Asked(), Asked()
    first.ask(request(), b"", 60.0, True, asked)
    second.ask(request(), b"", 60.0, True, other)
    first.late_at = time.monotonic()
    pool.sweep()
    assert isinstance(await asked.problem(), BrokenOff)
    assert (other.told, second.usable, list(origin.idle)) == ([], True, [])


# --- an answer that nobody listens to any more


async def flowing(pool: Pool, connection: Upstream) -> tuple[Reply, list[bytes], list[str | None]]:
    asked = Asked()
    connection.ask(request(), b"", 60.0, False, asked)
    answer = await asked.reply()
    pieces: list[bytes] = []
    ends: list[str | None] = []
    answer.flow(pieces.append, ends.append)
    return answer, pieces, ends


async def test_one_that_ends_by_itself_keeps_its_connection(upstream: UpstreamStarted, pool: Pool) -> None:
    go_on = asyncio.Event()

    async def act(link: Link) -> None:
        await link.head()
        await link.say(BEGUN)
        await go_on.wait()
        await link.say(b"ok")
        await link.gone()

    server = await upstream(then(act))
    connection = await warmed(pool, server.url)
    answer, pieces, ends = await flowing(pool, connection)
    answer.linger(5)
    assert connection.late_at == pytest.approx(time.monotonic() + 5, abs=1)
    pool.sweep()
    go_on.set()
    await until(lambda: ends)
    assert (b"".join(pieces), ends, connection.late_at) == (b"okok", [None], 0.0)
    assert list(pool.origin(server.url).idle) == [connection]
    answer.linger(5)
    answer.pause(True)
    answer.abort()
    assert (connection.late_at, connection._paused, connection.usable) == (0.0, False, True), "it is not this answer's any more"


async def test_one_that_does_not_end_is_broken_off(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(saying(BEGUN))
    connection = await warmed(pool, server.url)
    answer, _, ends = await flowing(pool, connection)
    answer.linger(5)
    connection.late_at -= 5
    pool.sweep()
    await until(lambda: ends)
    assert ends == ["the connection broke off"]
    assert (answer.ended, connection.usable, connection in pool._all) == (True, False, False)


# --- what comes after an answer


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "more",
    [reply(b"forged"), b"x", b"HTTP/1.1 200", b"\0", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["a second answer", "a letter", "half an answer", "a zero", "an early word"],
)
async def test_an_answer_counts_and_what_follows_it_in_the_same_piece_ends_the_connection(
    upstream: UpstreamStarted, pool: Pool, more: bytes, whole: bool
) -> None:
    server = await upstream(saying(reply(b"mine") + more), answering(reply(b"theirs")))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 5.0, whole, asked)
    answer = await asked.reply()
    assert await answer.body(100) == b"mine"
    await until(lambda: connection not in pool._all)
    assert pool.ready(pool.origin(server.url)) is None
    other = await pool.send(pool.origin(server.url), request(), whole=True)
    assert await other.body(100) == b"theirs"
    assert len(server.links) == 2


async def test_the_answer_is_told_when_the_parser_is_done_with_its_piece(upstream: UpstreamStarted, pool: Pool) -> None:
    """Whoever is told may send the next request over the very same connection at once."""
    server = await upstream(answering(reply(b"1"), reply(b"2"), reply(b"3")))
    origin = pool.origin(server.url)
    connection = await warmed(pool, server.url)
    second = Asked()

    def go_on(outcome: Reply | Exception) -> None:
        assert isinstance(outcome, Reply)
        assert outcome.here == b"2"
        assert pool.ready(origin) is connection
        connection.ask(request(), b"", 60.0, True, second)

    connection.ask(request(), b"", 60.0, True, go_on)
    assert (await second.reply()).here == b"3"
    assert list(origin.idle) == [connection]
    assert connection.late_at == 0.0


def failing(_: Any) -> None:
    raise RuntimeError("a fault of the listener's")


@pytest.mark.parametrize("take", [failing, lambda _: None])
async def test_a_listener_that_fails_ends_its_answer_and_no_other(
    upstream: UpstreamStarted, pool: Pool, take: Callable[[bytes], None]
) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(BEGUN)
        await link.gone()

    server = await upstream(then(act), answering(reply(b"fine")))
    connection = await warmed(pool, server.url)
    ends: list[str | None] = []

    def told(outcome: Reply | Exception) -> None:
        assert isinstance(outcome, Reply)
        outcome.flow(take, ends.append)

    connection.ask(request(), b"", 5.0, False, told)
    if take is failing:
        await until(lambda: ends)
        assert ends != [None]
    else:
        await until(lambda: connection._reply is not None and connection._reply.on_data is not None)
        connection.abort()
        await until(lambda: ends)
    assert not connection.usable
    assert await (await pool.send(pool.origin(server.url), request(), whole=True)).body(100) == b"fine"


# --- very large


async def test_a_very_large_answer_is_told_before_its_end(upstream: UpstreamStarted, pool: Pool) -> None:
    size = WHOLE_LIMIT + 3_000_000
    server = await upstream(saying(reply(b"x" * size)))
    connection = await warmed(pool, server.url)
    asked = Asked()
    connection.ask(request(), b"", 60.0, True, asked)
    answer = await asked.reply()
    assert connection.late_at == 0.0, "the rest is timed by whoever reads it"
    assert len(await answer.body(2 * size)) == size
    assert len(asked.told) == 1
    assert list(pool.origin(server.url).idle) == [connection]


async def test_a_fresh_connection_passes_by_those_that_are_ready(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(reply(b"1"), reply(b"old")), answering(reply(b"new")))
    origin = pool.origin(server.url)
    await (await pool.send(origin, request(), whole=True)).body(100)
    assert (await pool.send(origin, request(), whole=True, fresh=True)).here == b"new"
    assert (len(server.links), len(origin.idle)) == (2, 2)
