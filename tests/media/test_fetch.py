"""Fetching from an address that somebody else wrote, where that somebody means harm."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from pathlib import Path

import psutil
import pytest

from genway.config import Media
from genway.errors import AddressRefused, MediaRefused, Unavailable
from genway.media.fetch import FetchFailed
from media.conftest import MakeFetcher, Serve
from media.stage import DEADLINE, Names, endless, full_disk, left_in, redirect, trickle, whole
from standins.samples import clip, picture

MIB = 1024 * 1024


async def test_a_file_is_fetched_whole_with_its_digest(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(whole(picture(), Content_Type="text/plain"))
    fetched = await make_fetcher("127.0.0.1").fetch(server.url("/a b.png?x=ü"), tmp_path / "new" / "file", max_bytes=MIB)
    assert fetched.path.read_bytes() == picture()
    assert fetched.bytes == len(picture())
    assert fetched.sha256 == hashlib.sha256(picture()).hexdigest()
    assert fetched.content_type_claimed == "text/plain"
    assert "accept-encoding: identity" in server.requests[0].lower()
    assert "cookie" not in server.requests[0].lower()


async def test_a_redirect_to_another_public_address_is_followed(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    there = await serve(whole(picture()), "127.0.0.2")
    here = await serve(redirect(there.url("/b.png")))
    fetched = await make_fetcher("127.0.0.0/8").fetch(here.url(), tmp_path / "file", max_bytes=MIB)
    assert fetched.final_url == there.url("/b.png")


async def test_a_relative_redirect_is_followed(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await (redirect("../b.png") if path == "/x/a" else whole(picture()))(path, writer)

    server = await serve(answer)
    fetched = await make_fetcher("127.0.0.1").fetch(server.url("/x/a"), tmp_path / "file", max_bytes=MIB)
    assert fetched.final_url == server.url("/b.png")


@pytest.mark.parametrize("status", ["301 A", "302 A", "303 A", "307 A", "308 A"])
async def test_a_redirect_to_a_private_address_is_refused_unseen(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path, status: str
) -> None:
    inside = await serve(whole(picture()))
    outside = await serve(redirect(inside.url(), status), "127.0.0.2")
    with pytest.raises(AddressRefused):
        await make_fetcher("127.0.0.2").fetch(outside.url(), tmp_path / "file", max_bytes=MIB)
    assert inside.requests == []
    assert left_in(tmp_path) == []


async def test_a_redirect_to_a_name_that_leads_inside_is_refused_unseen(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    inside = await serve(whole(picture()))
    outside = await serve(redirect(f"http://evil.example:{inside.port}/"), "127.0.0.2")
    names = Names(evil__example=[["127.0.0.1"]])
    with pytest.raises(AddressRefused, match=r"evil\.example leads to"):
        await make_fetcher("127.0.0.2", names=names).fetch(outside.url(), tmp_path / "file", max_bytes=MIB)
    assert inside.requests == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.2/", "http://[", "//"])
async def test_a_redirect_to_something_else_than_a_plain_address_is_refused(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path, location: str
) -> None:
    server = await serve(redirect(location))
    with pytest.raises((AddressRefused, FetchFailed)):
        await make_fetcher("127.0.0.0/8").fetch(server.url(), tmp_path / "file", max_bytes=MIB)


async def test_redirects_end(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(redirect("/again"))
    with pytest.raises(FetchFailed, match="redirects more than 5 times") as failure:
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    assert not failure.value.retryable
    assert len(server.requests) == 6


async def test_a_name_that_changes_its_answer_is_called_where_it_was_checked(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    """The first look-up answers with the allowed server, every later one with the server inside."""
    outside = await serve(whole(picture()), "127.0.0.2")
    inside = await serve(whole(b"secret"), "127.0.0.1", outside.port)
    names = Names(rebind__example=[["127.0.0.2"], ["127.0.0.1"]])
    fetcher = make_fetcher("127.0.0.2", names=names)
    url = f"http://rebind.example:{outside.port}/"
    await fetcher.fetch(url, tmp_path / "first", max_bytes=MIB)
    assert names.asked == ["rebind.example"]
    with pytest.raises(AddressRefused):
        await fetcher.fetch(url, tmp_path / "second", max_bytes=MIB)
    assert len(outside.requests) == 1
    assert inside.requests == []


async def test_a_trusted_origin_may_be_private(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(whole(picture()))
    fetcher, trusted = make_fetcher(), frozenset({f"http://{server.authority}"})
    await fetcher.fetch(server.url("/r.png"), tmp_path / "trusted", max_bytes=MIB, trusted_origins=trusted)
    with pytest.raises(AddressRefused):
        await fetcher.fetch(server.url("/r.png"), tmp_path / "not", max_bytes=MIB)
    assert len(server.requests) == 1


async def test_a_trusted_origin_gives_no_trust_to_where_it_redirects(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    inside = await serve(whole(picture()))
    server = await serve(redirect(inside.url()))
    trusted = frozenset({f"http://{server.authority}"})
    with pytest.raises(AddressRefused):
        await make_fetcher().fetch(server.url(), tmp_path / "file", max_bytes=MIB, trusted_origins=trusted)
    assert inside.requests == []


async def test_a_body_announced_as_too_large_is_not_even_waited_for(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    server = await serve(whole(b"", Content_Length=str(10 * 1024 * MIB)))
    with pytest.raises(MediaRefused, match=r"too large: at most 1048576 bytes \(1\.0 MiB\)"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    await asyncio.wait_for(server.gone.wait(), DEADLINE)
    assert left_in(tmp_path) == []


async def test_a_body_without_end_is_cut_off_at_the_limit(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(endless(picture()))
    with pytest.raises(MediaRefused, match="too large"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=8 * MIB)
    await asyncio.wait_for(server.gone.wait(), DEADLINE)
    assert left_in(tmp_path) == []


async def test_memory_stays_flat_however_large_the_file(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(endless(clip()))
    before = psutil.Process().memory_info().rss
    with pytest.raises(MediaRefused, match="too large"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=150 * MIB)
    assert psutil.Process().memory_info().rss - before < 40 * MIB


async def test_a_server_that_stops_sending_is_given_up(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(trickle(picture()[:600]))
    with pytest.raises(FetchFailed, match="next to nothing") as failure:
        await make_fetcher("127.0.0.1", stall_seconds=0.1).fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    assert failure.value.retryable
    assert left_in(tmp_path) == []


async def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    """Each byte comes in time by itself; the clock that the fetcher reads moves ten seconds with every one."""
    times = iter(range(0, 10_000, 10))

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + picture()[:600])
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.001)

    server = await serve(answer)
    fetcher = make_fetcher("127.0.0.1", clock=lambda: float(next(times)))
    with pytest.raises(FetchFailed, match="next to nothing"):
        await fetcher.fetch(server.url(), tmp_path / "file", max_bytes=MIB)


async def test_the_deadline_holds_for_everything_together(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    async def silent(_: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = await serve(silent)
    with pytest.raises(FetchFailed, match=r"within 0\.1 seconds") as failure:
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB, deadline_seconds=0.1)
    assert failure.value.retryable


async def test_a_compressed_answer_is_refused_unopened(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    bomb = gzip.compress(picture() + bytes(50 * MIB))
    server = await serve(whole(bomb, Content_Encoding="gzip"))
    with pytest.raises(FetchFailed, match="gzip compression"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "retryable"),
    [("404 Not Found", False), ("403 No", False), ("500 Oh", True), ("503 Oh", True), ("429 Slow", True), ("204 None", False)],
)
async def test_a_status_other_than_ok_fails_and_says_which(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path, status: str, retryable: bool
) -> None:
    server = await serve(whole(b"", status))
    with pytest.raises(FetchFailed, match=f"the address answered {status[:3]}") as failure:
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    assert failure.value.retryable is retryable


async def test_a_dead_host_may_come_back(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(whole(b""))
    url = server.url()
    await server.close()
    with pytest.raises(FetchFailed) as failure:
        await make_fetcher("127.0.0.1").fetch(url, tmp_path / "file", max_bytes=MIB)
    assert failure.value.retryable


async def test_an_unknown_host_is_named(make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"nowhere\.example is not known") as failure:
        await make_fetcher(names=Names()).fetch("http://nowhere.example/", tmp_path / "file", max_bytes=MIB)
    assert failure.value.retryable


async def test_a_body_that_breaks_off_leaves_nothing(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(whole(picture()[:-100], Content_Length=str(len(picture()))))
    with pytest.raises(FetchFailed, match="broke off") as failure:
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=MIB)
    assert failure.value.retryable
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<svg onload=alert(1)>", "an SVG drawing"),
        (b"%PDF-1.7", "a PDF"),
        (b"#EXTM3U\nfile:///etc/passwd", "a playlist"),
        (b'{"error":"gone"}', "JSON"),
        (b"", "empty"),
    ],
)
async def test_what_is_no_media_is_refused_whatever_it_claims_to_be(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path, body: bytes, what: str
) -> None:
    server = await serve(whole(body, Content_Type="image/png"))
    with pytest.raises(MediaRefused, match=what):
        await make_fetcher("127.0.0.1").fetch(server.url("/a.png"), tmp_path / "file", max_bytes=MIB)
    assert left_in(tmp_path) == []


async def test_a_long_file_of_the_wrong_kind_is_refused_by_its_beginning(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    server = await serve(endless(clip()))
    with pytest.raises(MediaRefused, match="must be a picture"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=2**40, accept={"image"})
    await asyncio.wait_for(server.gone.wait(), DEADLINE)


async def test_a_full_disk_is_the_servers_fault_and_leaves_nothing(
    serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path
) -> None:
    server = await serve(endless(clip()))
    with full_disk(3 * MIB), pytest.raises(Unavailable, match="no room"):
        await make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=2**40)
    assert left_in(tmp_path) == []


async def test_a_cancelled_fetch_leaves_nothing(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    under_way = asyncio.Event()

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + clip() + bytes(8 * MIB))
        await writer.drain()
        under_way.set()
        await asyncio.Event().wait()

    server = await serve(answer)
    fetching = asyncio.create_task(make_fetcher("127.0.0.1").fetch(server.url(), tmp_path / "file", max_bytes=2**40))
    await asyncio.wait_for(under_way.wait(), DEADLINE)
    assert left_in(tmp_path) == ["file"]
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert left_in(tmp_path) == []
    assert not [file for file in psutil.Process().open_files() if file.path.startswith(os.fspath(tmp_path))]


async def test_the_setting_of_redirects_is_honoured(serve: Serve, make_fetcher: MakeFetcher, tmp_path: Path) -> None:
    server = await serve(redirect("/again"))
    with pytest.raises(FetchFailed, match="more than 0 times"):
        await make_fetcher("127.0.0.1", limits=Media(max_redirects=0)).fetch(server.url(), tmp_path / "f", max_bytes=MIB)
    assert len(server.requests) == 1
