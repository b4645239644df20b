"""Files are kept whole and for good, in a folder and in a real S3 server alike."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer

from genway.errors import NotFound, Unavailable
from genway.media import store as store_module
from genway.media.store import PARTIAL_FOLDER, Store
from media.stage import full_disk, left_in

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with a bucket named `results`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="results")
    yield address
    server.stop()


def s3_options(address: str) -> dict[str, str]:
    return {
        "endpoint": address,
        "access_key_id": "id",
        "secret_access_key": "secret",
        "region": "us-east-1",
        "allow_http": "true",
    }


@pytest.fixture(params=["folder", "s3", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store((tmp_path / "a folder").as_uri())
    if request.param == "memory":
        return Store("memory:///")
    return Store("s3://results/some/prefix", s3_options(request.getfixturevalue("s3")))


async def read(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_a_file_comes_back_as_it_was_whole_and_in_part(any_store: Store, tmp_path: Path) -> None:
    content = os.urandom(20 * MIB + 17)  # several parts of a multipart upload
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    await any_store.put(source, "acc_1/a/x.bin", "video/mp4")
    assert await any_store.size("acc_1/a/x.bin") == len(content)
    assert await read(any_store.read_range("acc_1/a/x.bin", 0, len(content))) == content
    assert await read(any_store.read_range("acc_1/a/x.bin", 5 * MIB - 1, 9 * MIB + 3)) == content[5 * MIB - 1 : 9 * MIB + 3]
    assert await read(any_store.read_range("acc_1/a/x.bin", 7, 7)) == b""
    await any_store.to_path("acc_1/a/x.bin", back)
    assert back.read_bytes() == content
    assert source.read_bytes() == content


async def test_the_same_file_may_be_put_again(any_store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    await any_store.put(source, "k", "text/plain")
    await any_store.put(source, "k", "text/plain")
    assert await read(any_store.read_range("k", 0, 7)) == b"content"


async def test_a_deleted_file_is_gone_and_may_be_deleted_again(any_store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    await any_store.put(source, "a/k", "text/plain")
    await any_store.delete("a/k")
    await any_store.delete("a/k")
    for reading in (any_store.size("a/k"), any_store.open("a/k", 0, 7), any_store.to_path("a/k", tmp_path / "to")):
        with pytest.raises(NotFound):
            await reading
    assert left_in(tmp_path) == ["source"]


@pytest.mark.parametrize("key", ["../x", "a/../x", "/etc/passwd", "a//b", "", ".hidden", "a/.b", "a b", "a\\b", "a\0b"])
async def test_a_key_cannot_lead_out_of_the_store(tmp_path: Path, key: str) -> None:
    store = Store((tmp_path / "store").as_uri())
    with pytest.raises(ValueError, match="not a key"):
        await store.put(tmp_path, key, "text/plain")
    with pytest.raises(ValueError, match="not a key"):
        store.local_path(key)


async def test_a_full_disk_leaves_nothing_and_is_the_servers_fault(tmp_path: Path) -> None:
    source, store = tmp_path / "source", Store((tmp_path / "store").as_uri())
    source.write_bytes(bytes(4 * MIB))
    with full_disk(MIB), pytest.raises(Unavailable, match="no room"):
        await store.put(source, "a/k", "video/mp4")
    with full_disk(MIB), pytest.raises(Unavailable, match="no room"):
        await _put_and_copy_out(store, source, tmp_path / "out")
    assert left_in(tmp_path) == ["source"]


async def _put_and_copy_out(store: Store, source: Path, into: Path) -> None:
    remote = Store("memory:///")
    await remote.put(source, "k", "video/mp4")
    await remote.to_path("k", into)


async def test_an_object_store_that_is_not_there_is_unavailable(tmp_path: Path, s3: str) -> None:
    source, store = tmp_path / "source", Store("s3://no-such-bucket", s3_options(s3))
    source.write_bytes(b"content")
    with pytest.raises(Unavailable):
        await store.put(source, "k", "video/mp4")


async def test_a_file_is_on_disk_before_its_name_and_its_name_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watches the very calls that a power loss would come between."""
    calls: list[str] = []

    def watched(name: str, real: object) -> object:
        def call(*args: object, **options: object) -> object:
            where = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else os.fspath(args[1])  # type: ignore[call-overload]
            calls.append(f"{name} {os.path.relpath(where, tmp_path)}")
            return real(*args, **options)  # type: ignore[operator]

        return call

    source, store = tmp_path / "source", Store((tmp_path / "store").as_uri())
    source.write_bytes(b"content")
    monkeypatch.setattr(store_module.os, "fsync", watched("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", watched("name", Path.replace))
    await store.put(source, "acc_1/b/k.mp4", "video/mp4")
    data, named, folder = calls[-3:]
    assert data.startswith(f"fsync store/{PARTIAL_FOLDER}/")
    assert named == "name store/acc_1/b/k.mp4"
    assert folder == "fsync store/acc_1/b"
    assert {"fsync store", "fsync store/acc_1"} <= set(calls[:-3])


async def test_what_a_crash_left_half_written_is_swept_up_later(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    partials = tmp_path / "store" / PARTIAL_FOLDER
    partials.mkdir()
    for name, at in (("old", 1000), ("new", 3000)):
        (partials / name).write_bytes(b"half")
        os.utime(partials / name, (at, at))
    await asyncio.to_thread(store.sweep, 2000)
    assert left_in(partials) == ["new"]


async def test_memory_stays_flat_however_large_the_file(tmp_path: Path) -> None:
    store, source = Store((tmp_path / "store").as_uri()), tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(128 * MIB)
    before, most, total = psutil.Process().memory_info().rss, 0, 0
    await store.put(source, "large", "video/mp4")
    async for chunk in store.read_range("large", 0, 128 * MIB):
        total += len(chunk)
        most = max(most, psutil.Process().memory_info().rss)
    assert total == 128 * MIB
    assert most - before < 32 * MIB


async def test_a_folder_that_vanishes_is_unavailable_and_not_a_crash(tmp_path: Path) -> None:
    store, source = Store((tmp_path / "store").as_uri()), tmp_path / "source"
    source.write_bytes(b"content")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_bytes(b"a file in its place")
    with pytest.raises(Unavailable):
        await store.put(source, "a/k", "video/mp4")
