"""Stored files over a real socket: by link only, whole or in part, and never as a page of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.datastructures import State
from yarl import URL

from genway.db import Database
from genway.db.tables import metadata
from genway.media.library import OUTPUT_LIMITS, Library
from genway.media.links import LinkSigner
from genway.media.records import StoredMedia, keep
from genway.media.routes import RangeNotSatisfiable, parse_range, stored_media
from genway.media.store import Store
from genway.wire import asgi
from genway.wire.server import Server
from media.conftest import SECRET, Clock, MakeFetcher
from media.stage import DEADLINE
from standins.samples import clip

ME = "acc_me"
SIZE = len(clip())
MIB = 1024 * 1024


@pytest.fixture
def database(sqlite_url: str) -> Any:
    opened = Database(sqlite_url)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


async def serving(library: Library) -> AsyncIterator[str]:
    """The base address of a gateway that has nothing but this route, until the iteration goes on."""
    app = Litestar([stored_media], state=State({"library": library}), openapi_config=None)
    server = Server(lambda exchange: asgi.serve(app, exchange))
    port = await server.listen("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await server.close(DEADLINE)


@pytest.fixture
async def served(library: Library) -> AsyncIterator[str]:
    async for base in serving(library):
        yield base


@pytest.fixture
async def stored(library: Library, tmp_path: Path) -> StoredMedia:
    source = tmp_path / "source"
    source.write_bytes(clip())
    return await library.add(ME, "task", "video", source)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_link_gives_the_whole_file(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession
) -> None:
    async with http.get(library.url(served, stored)) as answer:
        assert (answer.status, await answer.read()) == (200, clip())
        headers = answer.headers
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Length"] == str(SIZE)
    assert headers["Content-Disposition"] == f'inline; filename="{stored.id}.mp4"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["ETag"] == f'"{stored.sha256}"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Cache-Control"].startswith("private, max-age=3")
    assert "Set-Cookie" not in headers


async def test_head_gives_the_same_headers_and_no_body(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession
) -> None:
    url = library.url(served, stored)
    async with http.head(url) as head, http.get(url) as get:
        assert (head.status, await head.read()) == (200, b"")
        different = {"date"}
        assert {k.lower(): v for k, v in head.headers.items() if k.lower() not in different} == {
            k.lower(): v for k, v in get.headers.items() if k.lower() not in different
        }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        ("bytes=0-999999", 0, SIZE),
    ],
)
async def test_a_range_gives_that_part(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession, asked: str, start: int, end: int
) -> None:
    async with http.get(library.url(served, stored), headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (206, clip()[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize(
    "asked", [f"bytes={SIZE}-", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=a-b", "bytes=--1", "bytes=9" + "9" * 30 + "-"]
)
async def test_a_range_that_is_not_there_is_416(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession, asked: str
) -> None:
    async with http.get(library.url(served, stored), headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (416, b"")
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "nonsense"])
async def test_several_ranges_and_other_units_give_the_whole_file(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession, asked: str
) -> None:
    async with http.get(library.url(served, stored), headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (200, clip())


async def test_a_client_that_has_the_file_already_is_told_so(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession
) -> None:
    url, tag = library.url(served, stored), f'"{stored.sha256}"'
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        async with http.get(url, headers={"If-None-Match": header}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
    async with http.get(url, headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


async def test_a_range_of_another_version_gives_the_whole_file(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession
) -> None:
    url = library.url(served, stored)
    for condition, status in ((f'"{stored.sha256}"', 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        async with http.get(url, headers={"Range": "bytes=0-3", "If-Range": condition}) as answer:
            assert answer.status == status


async def test_a_forged_or_expired_link_is_forbidden_and_an_unknown_file_not_found(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession, clock: Clock
) -> None:
    url = library.url(served, stored)
    path, _, query = url.partition("?")

    async def answer_to(address: str, method: str = "GET") -> tuple[int, Any]:
        async with http.request(method, address) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, (await answer.json())["error"]["code"] if method == "GET" else await answer.read()

    assert await answer_to(path) == (403, "forbidden")
    assert await answer_to(f"{path}?{query[:-1]}") == (403, "forbidden")
    assert await answer_to(url.replace("expires=1", "expires=2")) == (403, "forbidden")
    assert await answer_to(url.replace(stored.id, "med_" + "0" * 32)) == (404, "not_found")
    assert await answer_to(f"{served}/media/x.mp4?{query}") == (404, "not_found")
    async with http.get(URL(f"{served}/media/..%2f..%2fetc%2fpasswd?{query}", encoded=True)) as answer:
        assert answer.status == 404
    assert await answer_to(path, "HEAD") == (403, b"")
    clock.now += 2 * 3600
    assert await answer_to(url) == (403, "forbidden")


async def test_a_deleted_file_is_not_found_even_with_a_valid_link(
    library: Library, served: str, stored: StoredMedia, http: aiohttp.ClientSession
) -> None:
    url = library.url(served, stored)
    await library.store.delete(stored.key)
    async with http.get(url) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")
    await library.remove(stored.id)
    async with http.get(url) as answer:
        assert answer.status == 404


async def test_memory_stays_flat_and_a_client_that_leaves_is_noticed(
    database: Database, make_fetcher: MakeFetcher, tmp_path: Path, clock: Clock, http: aiohttp.ClientSession
) -> None:
    class Counting(Store):
        read = 0

        async def _read(self, key: str, start: int, end: int) -> bytes:
            data = await super()._read(key, start, end)
            self.read += len(data)
            return data

    store = Counting((tmp_path / "store").as_uri())
    library = Library(database, store, make_fetcher(), LinkSigner(SECRET), OUTPUT_LIMITS, tmp_path / "scratch", clock)
    large = StoredMedia("med_" + "c" * 32, ME, None, "video", "large.mp4", "video/mp4", 160 * MIB, "0" * 64, 1, 1, 1.0, 0.0)
    with open(tmp_path / "store" / "large.mp4", "wb") as file:  # noqa: ASYNC230
        file.truncate(large.bytes)
    await database.write(lambda connection: keep(connection, large))
    async for base in serving(library):
        before, most, total = psutil.Process().memory_info().rss, 0, 0
        async with http.get(library.url(base, large)) as answer:
            async for chunk in answer.content.iter_chunked(MIB):
                total += len(chunk)
                most = max(most, psutil.Process().memory_info().rss)
        assert total == large.bytes
        assert most - before < 48 * MIB
        store.read = 0
        async with http.get(library.url(base, large)) as answer:
            await answer.content.readexactly(MIB)
            answer.close()
    assert store.read < large.bytes


sizes = st.integers(0, 10_000)


@given(st.integers(0, 12_000), st.integers(0, 12_000) | st.none(), sizes)
@settings(deadline=None)
def test_a_range_is_always_inside_the_file(first: int, last: int | None, size: int) -> None:
    try:
        part = parse_range(f"bytes={first}-{'' if last is None else last}", size)
    except RangeNotSatisfiable:
        assert first >= size or (last is not None and last < first)
    else:
        assert part is not None
        assert 0 <= part[0] < part[1] <= size
        assert part == (first, size if last is None else min(last + 1, size))


@given(st.integers(0, 12_000), sizes)
@settings(deadline=None)
def test_a_range_from_the_end_is_the_end(count: int, size: int) -> None:
    try:
        part = parse_range(f"bytes=-{count}", size)
    except RangeNotSatisfiable:
        assert count == 0 or size == 0
    else:
        assert part == (max(size - count, 0), size)


@given(st.text(max_size=30) | st.text("bytes=0123456789-, ", max_size=30), sizes)
@settings(deadline=None)
def test_no_header_breaks_the_parser(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part[0] < part[1] <= size
