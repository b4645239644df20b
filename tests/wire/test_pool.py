"""Connections to those whom calls are sent on to: kept ready, replaced, given up."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from genway.wire.pool import Origin, Pool, Unreachable
from genway.wire.upstream import BrokenOff
from wire.stage import Link, UpstreamStarted, answering, ask, reply, said, until


@pytest.mark.parametrize("whole", [True, False])
async def test_a_connection_is_used_again(upstream: UpstreamStarted, pool: Pool, whole: bool) -> None:
    server = await upstream(answering(reply(b"1"), reply(b"2"), reply(b"3")))
    assert [await said(pool, server.url, whole=whole) for _ in range(3)] == [b"1", b"2", b"3"]
    assert len(server.links) == 1


async def test_the_answer_is_handed_on_as_it_is(upstream: UpstreamStarted, pool: Pool) -> None:
    server = await upstream(answering(reply(b"{}", b"X-One: 1", b"x-one: 2", b"Content-Type: a/b", status=b"429 Slow")))
    answer = await ask(pool, server.url, whole=True)
    assert (answer.status, answer.ended, answer.header(b"content-type"), answer.header(b"none")) == (429, True, b"a/b", b"")
    assert [value.strip() for name, value in answer.headers if name == b"x-one"] == [b"1", b"2"]


async def test_an_address_is_taken_apart() -> None:
    plain = Origin("http://Example.com/v1/")
    assert (plain.host, plain.port, plain.tls, plain.path, plain.authority) == ("example.com", 80, False, "/v1", "example.com")
    six = Origin("https://[::1]:8443")
    assert (six.host, six.port, six.tls, six.path, six.authority) == ("::1", 8443, True, "", "[::1]:8443")
    for wrong in ("example.com", "ftp://example.com", "http://"):
        with pytest.raises(ValueError, match="an address"):
            Origin(wrong)


async def test_no_more_connections_are_made_than_are_needed_at_once(upstream: UpstreamStarted, pool: Pool) -> None:
    async def act(link: Link) -> None:
        while True:
            head = await link.head()
            size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            await link.say(reply(await link.take(size)))

    server = await upstream(act)
    for _ in range(4):
        bodies = [b"%d" % number * 1000 for number in range(50)]
        assert await asyncio.gather(*(said(pool, server.url, body) for body in bodies)) == bodies
    assert len(server.links) == 50


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_connection_may_be_taken_before_the_one_who_had_it_has_gone_on(
    upstream: UpstreamStarted, pool: Pool, leaves: bool
) -> None:
    """The answer is there and the connection free, but the task that waited for it has not run yet, or has just given up."""
    server = await upstream(answering(reply(b"0")))
    await said(pool, server.url)
    connection = pool.origin(server.url).idle[0]
    first = asyncio.create_task(said(pool, server.url))
    await asyncio.sleep(0)
    connection.data_received(reply(b"1"))
    if leaves:
        first.cancel()
    asyncio.get_running_loop().call_later(0.01, connection.data_received, reply(b"2"))
    assert await said(pool, server.url) == b"2"
    assert first.cancelled() if leaves else first.result() == b"1"
    assert connection.usable


async def test_giving_up_closes_the_connection_at_once(upstream: UpstreamStarted, pool: Pool) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def act(link: Link) -> None:
        await link.head()
        asked.set()
        await link.gone()
        left.set()

    server = await upstream(act)
    waiting = asyncio.create_task(ask(pool, server.url))
    await asked.wait()
    waiting.cancel()
    async with asyncio.timeout(5):
        await left.wait()
    assert not pool.origin(server.url).idle


async def test_a_connection_that_was_closed_meanwhile_is_replaced(upstream: UpstreamStarted, pool: Pool) -> None:
    async def once(link: Link) -> None:
        await link.head()
        await link.say(reply(b"first"))
        await link.head()  # and closes instead of answering

    server = await upstream(once, answering(reply(b"second")))
    assert await said(pool, server.url) == b"first"
    assert await said(pool, server.url) == b"second"


async def test_a_request_that_makes_them_hang_up_is_repeated_once(upstream: UpstreamStarted, pool: Pool) -> None:
    asked = 0
    together = asyncio.Event()

    async def act(link: Link) -> None:
        nonlocal asked
        if link.number < 4:
            await link.head()
            await together.wait()
            await link.say(reply())
        await link.head()
        asked += 1

    server = await upstream(act)
    first = [asyncio.create_task(said(pool, server.url)) for _ in range(4)]
    await until(lambda: len(server.links) == 4)
    together.set()
    await asyncio.gather(*first)
    with pytest.raises(BrokenOff) as caught:
        await said(pool, server.url)
    assert not caught.value.began
    assert asked == 2


async def test_what_began_to_be_answered_is_not_repeated(upstream: UpstreamStarted, pool: Pool) -> None:
    async def act(link: Link) -> None:
        await link.head()
        await link.say(reply())
        await link.head()
        await link.say(b"HTTP/1.1 20")

    server = await upstream(act)
    await said(pool, server.url)
    with pytest.raises(BrokenOff) as caught:
        await said(pool, server.url)
    assert caught.value.began
    assert len(server.links) == 1


async def test_connections_that_rest_too_long_are_closed(upstream: UpstreamStarted) -> None:
    pool = Pool(idle_seconds=0)
    server = await upstream(answering(reply(b"1")), answering(reply(b"2")))
    await said(pool, server.url)
    idle = pool.origin(server.url).idle
    assert len(idle) == 1
    pool.sweep()
    assert not idle
    assert await said(pool, server.url) == b"2"
    await pool.close()


@pytest.mark.parametrize("more", [reply(b"poison"), b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart", b"garbage"])
@pytest.mark.parametrize("whole", [True, False])
async def test_what_nobody_asked_for_is_given_to_nobody(
    upstream: UpstreamStarted, pool: Pool, more: bytes, whole: bool
) -> None:
    server = await upstream(answering(reply(b"asked for") + more), answering(reply(b"the next one's")))
    assert await said(pool, server.url, whole=whole) == b"asked for"
    assert await said(pool, server.url, whole=whole) == b"the next one's"
    assert len(server.links) == 2


async def test_what_comes_while_a_connection_rests_ends_it(upstream: UpstreamStarted, pool: Pool) -> None:
    go = asyncio.Event()

    async def act(link: Link) -> None:
        await link.head()
        await link.say(reply(b"1"))
        await go.wait()
        await link.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await link.gone()

    server = await upstream(act, answering(reply(b"2")))
    assert await said(pool, server.url) == b"1"
    connection = pool.origin(server.url).idle[0]
    go.set()
    await until(lambda: not connection.usable)
    assert await said(pool, server.url) == b"2"


async def test_nobody_listens_there() -> None:
    pool = Pool()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        await ask(pool, f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable, match="cannot be reached"):
        await ask(pool, "http://nowhere.invalid")
    await pool.close()


async def test_a_connection_that_does_not_come_about_is_given_up(pool: Pool) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        with pytest.raises(Unreachable, match=r"within 0\.05 seconds"):
            await ask(pool, f"http://127.0.0.1:{port}", connect_seconds=0.05)
        for other in others:
            other.close()


async def test_tls_is_spoken_and_checked(upstream: UpstreamStarted, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await upstream(answering(reply(b"secret"), reply(b"again")), ssl=context)
    trusting = Pool(context=ssl.create_default_context(cafile=str(certificate)))
    assert [await said(trusting, server.url) for _ in range(2)] == [b"secret", b"again"]
    assert len(server.links) == 1
    with pytest.raises(Unreachable, match="cannot be reached"):
        await said(trusting, server.url.replace("localhost", "127.0.0.1"))
    await trusting.close()
    suspicious = Pool()
    with pytest.raises(Unreachable, match="cannot be reached"):
        await said(suspicious, server.url)
    await suspicious.close()


def _certificate(folder: Path) -> Path:
    """A certificate for localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
