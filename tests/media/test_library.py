"""The library takes files in, keeps them, and gives them only to those they belong to. Runs on both databases."""

from __future__ import annotations

import asyncio
import hashlib
import os
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import select

from genway.config import Media
from genway.db import Database, tables
from genway.errors import AddressRefused, Conflict, InvalidRequest, MediaRefused, NotFound, Unavailable
from genway.media.fetch import FetchFailed
from genway.media.library import DAY, Library, TaskFiles
from genway.media.records import StoredMedia
from genway.operations import MediaRef
from media.conftest import Clock, Serve
from media.stage import full_disk, left_in, png, redirect, whole
from standins.samples import FRAMES, HEIGHT, WIDTH, clip, picture

ME, OTHER = "acc_me", "acc_other"
BASE = "https://gen.example.com"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return file_of(clip(), tmp_path / "source")


def file_of(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


async def content(library: Library, stored: StoredMedia) -> bytes:
    return b"".join([chunk async for chunk in await library.open(stored, 0, stored.bytes)])


async def in_chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize(
    "value",
    [
        picture(),
        b64encode(picture()).decode(),
        urlsafe_b64encode(picture()).decode().rstrip("="),
        "data:image/png;base64," + b64encode(picture()).decode(),
        "data:text/html;base64," + b64encode(picture()).decode(),
    ],
)
async def test_an_inline_picture_is_stored_and_committed_before_it_is_accepted(
    library: Library, database: Database, value: str | bytes
) -> None:
    ref = await library.accept(ME, value, field="image", kinds={"image"})
    row = await database.read(lambda connection: connection.execute(select(tables.media)).one())
    assert ref == MediaRef(media_id=row.id)
    assert (row.account_id, row.role, row.content_type, row.bytes) == (ME, "input", "image/png", len(picture()))
    assert row.sha256 == hashlib.sha256(picture()).hexdigest()
    assert (row.width, row.height) == (WIDTH, HEIGHT)
    stored = await library.owned(ME, row.id)
    assert await content(library, stored) == picture()
    assert left_in(library.scratch) == []


async def test_a_public_address_is_kept_as_the_client_wrote_it(library: Library) -> None:
    url = "https://Example.com/A b.PNG?x=%2f"
    assert await library.accept(ME, f" {url}\n", field="image", kinds={"image"}) == MediaRef(url=url)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("http://10.0.0.1/x.png", AddressRefused),
        ("http://2130706434/", AddressRefused),
        ("file:///etc/passwd", AddressRefused),
        ("ftp://example.com/x.png", AddressRefused),
        ("javascript:alert(1)", AddressRefused),
        ("www.example.com/a.png", MediaRefused),
        ("", MediaRefused),
        ("/etc/passwd", MediaRefused),
        (b64encode(b"<html><script>").decode(), MediaRefused),
        ("data:image/png;base64," + b64encode(b"<svg/>").decode(), MediaRefused),
        (b64encode(png(100_000, 100_000)).decode(), MediaRefused),
        (b64encode(clip()).decode(), MediaRefused),
        ("med_" + "0" * 32, InvalidRequest),
        ("genway://med_" + "0" * 32, InvalidRequest),
        ("runway://upl_nothing", InvalidRequest),
    ],
)
async def test_what_cannot_be_accepted_is_refused_naming_the_field(
    library: Library, database: Database, value: str, error: type[InvalidRequest]
) -> None:
    with pytest.raises(error) as refusal:
        await library.accept(ME, value, field="promptImage[0].uri", kinds={"image"})
    assert refusal.value.field == "promptImage[0].uri"
    assert await database.read(lambda connection: connection.execute(select(tables.media)).all()) == []
    assert left_in(library.scratch) == []


async def test_inline_data_beyond_the_limit_is_refused(library: Library) -> None:
    library.limits = Media(max_image_bytes=100, max_video_bytes=200)
    for value in (picture(), b64encode(picture()).decode()):
        with pytest.raises(MediaRefused, match="too large"):
            await library.accept(ME, value, field="image", kinds={"image"})


async def test_a_media_id_of_ones_own_is_accepted_and_of_somebody_else_is_unknown(library: Library, source: Path) -> None:
    stored = await library.add(ME, "task", "video", source)
    for value in (stored.id, f"genway://{stored.id}"):
        assert await library.accept(ME, value, field="video", kinds={"video"}) == MediaRef(media_id=stored.id)
        with pytest.raises(InvalidRequest, match="no such file") as foreign:
            await library.accept(OTHER, value, field="video", kinds={"video"})
        with pytest.raises(InvalidRequest) as unknown:
            await library.accept(OTHER, "med_" + "0" * 32, field="video", kinds={"video"})
        assert str(foreign.value) == str(unknown.value)
    with pytest.raises(MediaRefused, match="must be image"):
        await library.accept(ME, stored.id, field="image", kinds={"image"})
    with pytest.raises(NotFound):
        await library.owned(OTHER, stored.id)


async def test_one_of_our_own_links_is_the_file_itself_even_when_it_has_expired(
    library: Library, source: Path, clock: Clock
) -> None:
    stored = await library.add(ME, "task", "video", source)
    for base in (BASE, "http://127.0.0.1:8700/behind/a/proxy/"):
        url = library.url(base, stored)
        assert await library.accept(ME, url, field="video", kinds={"video"}) == MediaRef(media_id=stored.id)
    clock.now += 10 * DAY
    assert await library.accept(ME, url, field="video", kinds={"video"}) == MediaRef(media_id=stored.id)


async def test_a_forged_or_foreign_link_is_an_address_like_any_other(library: Library, source: Path) -> None:
    stored = await library.add(ME, "task", "video", source)
    url = library.url(BASE, stored)
    assert await library.accept(OTHER, url, field="video", kinds={"video"}) == MediaRef(url=url)
    forged = url.replace("signature=", "signature=A")
    assert await library.accept(ME, forged, field="video", kinds={"video"}) == MediaRef(url=forged)


async def test_a_result_is_measured_and_kept(library: Library, source: Path) -> None:
    stored = await library.add(ME, "task", "video", source)
    assert (stored.content_type, stored.extension, stored.width, stored.height) == ("video/mp4", "mp4", WIDTH, HEIGHT)
    assert stored.seconds == pytest.approx(FRAMES / 24, abs=0.01)
    assert stored.sha256 == hashlib.sha256(clip()).hexdigest()
    assert await library.get(stored.id) == stored
    assert await content(library, stored) == clip()


async def test_a_result_added_again_after_a_crash_is_the_one_that_was_kept(
    library: Library, source: Path, tmp_path: Path
) -> None:
    first = await library.add(ME, "task", "video", source, media_id="med_" + "a" * 34)
    file_of(b"something else by now", source)
    assert await library.add(ME, "task", "video", source, media_id=first.id) == first
    assert await library.add(ME, "task", "video", tmp_path / "gone", media_id=first.id) == first


async def test_two_processes_that_keep_the_same_result_agree_on_one_and_leave_no_other(
    library: Library, source: Path, tmp_path: Path
) -> None:
    """The second is already past its look-up when the first commits, and has another content."""
    other = file_of(clip() + bytes(8), tmp_path / "other")
    put, media_id = library.store.put, "med_" + "b" * 32

    async def put_late(path: Path, key: str, content_type: str) -> None:
        library.store.put = put  # type: ignore[method-assign]
        await put(path, key, content_type)
        await library.add(ME, "task", "video", source, media_id=media_id)

    library.store.put = put_late  # type: ignore[method-assign]
    kept = await library.add(ME, "task", "video", other, media_id=media_id)
    assert kept.sha256 == hashlib.sha256(clip()).hexdigest()
    assert await content(library, kept) == clip()
    assert left_in(tmp_path / "store") == [kept.key]


async def test_a_result_of_the_wrong_kind_is_refused(library: Library, source: Path) -> None:
    file_of(b"<html>The link has expired</html>", source)
    with pytest.raises(MediaRefused, match="a web page"):
        await library.add(ME, "task", "video", source)
    file_of(clip(), source)
    with pytest.raises(MediaRefused, match="must be a picture"):
        await library.add(ME, "task", "poster", source)


async def test_a_full_disk_keeps_neither_file_nor_row(
    library: Library, database: Database, source: Path, tmp_path: Path
) -> None:
    file_of(clip() + bytes(4 * 1024 * 1024), source)
    with full_disk(1024 * 1024), pytest.raises(Unavailable):
        await library.add(ME, "task", "video", source)
    assert await database.read(lambda connection: connection.execute(select(tables.media)).all()) == []
    assert left_in(tmp_path / "store") == []


async def test_a_vendors_result_is_fetched_from_the_operators_own_address(library: Library, serve: Serve) -> None:
    server = await serve(whole(clip()), "127.0.0.3")
    for trusted, media_id in ((f"http://{server.authority}/v1", "med_" + "1" * 32), ("", "med_" + "2" * 32)):
        result = library.take_result(
            account_id=ME, task_id="task", media_id=media_id, role="video", url=server.url(), trusted=trusted
        )
        if trusted:
            assert await content(library, await result) == clip()
        else:
            with pytest.raises(AddressRefused):
                await result
    assert left_in(library.folder("task")) == []


async def test_a_result_on_this_machine_is_kept_or_said_to_be_gone(library: Library, source: Path) -> None:
    async def take(number: int, path: Path) -> StoredMedia:
        media_id = f"med_{number:032x}"
        return await library.take_result(account_id=ME, task_id="task", media_id=media_id, role="video", path=path)

    assert await content(library, await take(1, source)) == clip()
    with pytest.raises(FileNotFoundError):
        await take(2, source.with_name("gone"))
    assert (await take(1, source.with_name("gone"))).bytes == len(clip())


async def test_a_tasks_file_is_fetched_once_and_gone_when_the_task_is_released(library: Library, serve: Serve) -> None:
    server = await serve(whole(picture()))
    files, ref = TaskFiles(ME, "task-1", library, BASE), MediaRef(url=server.url("/x"))
    path = await files.path(ref)
    assert path.suffix == ".png"
    assert path.read_bytes() == picture()
    assert await files.path(ref) == path
    assert len(server.requests) == 1
    library.release("task-1")
    library.release("task-1")
    assert left_in(library.scratch) == []


async def test_a_tasks_stored_file_is_a_copy(library: Library, source: Path) -> None:
    stored = await library.add(ME, None, "input", source)
    files = TaskFiles(ME, "task-1", library, BASE)
    path = await files.path(MediaRef(media_id=stored.id))
    path.write_bytes(b"spoilt")
    assert await content(library, stored) == clip()
    with pytest.raises(MediaRefused, match="no such file"):
        await TaskFiles(OTHER, "task-2", library, BASE).path(MediaRef(media_id=stored.id))


async def test_a_fetched_file_is_checked_and_its_field_named(library: Library, serve: Serve) -> None:
    async def path_of(body: bytes, status: str = "200 OK") -> Path:
        server = await serve(whole(body, status))
        ref = MediaRef(url=server.url())
        return await library.path(ME, ref, task_id="task", kinds={"image"}, field="image")

    for body, what in ((png(100_000, 100_000), "too many pixels"), (clip(), "must be a picture")):
        with pytest.raises(MediaRefused, match=f"image: .*{what}"):
            await path_of(body)
    with pytest.raises(FetchFailed, match="image: the address answered 404"):
        await path_of(b"", "404 Not Found")
    inside = await serve(redirect("http://127.0.0.9/"))
    with pytest.raises(AddressRefused, match="image: "):
        await library.path(ME, MediaRef(url=inside.url()), task_id="task", field="image")
    assert left_in(library.scratch) == []


async def test_a_task_cannot_name_a_folder_outside_scratch(library: Library) -> None:
    for name in ("../x", "", "a/b", "."):
        with pytest.raises(ValueError, match="not a task id"):
            library.folder(name)


async def test_a_vendor_gets_the_clients_own_address(library: Library) -> None:
    files = TaskFiles(ME, "task", library, BASE)
    assert await files.address(MediaRef(url="http://example.com/a.png"), inline_bytes=0) == "http://example.com/a.png"
    https = MediaRef(url="https://example.com/a.png")
    assert await files.address(https, inline_bytes=0, https_only=True) == https.url


async def test_a_vendor_gets_a_small_file_inline_and_a_large_one_as_a_link(library: Library, source: Path) -> None:
    stored = await library.add(ME, None, "input", source)
    files, ref = TaskFiles(ME, "task", library, BASE), MediaRef(media_id=stored.id)
    inline = await files.address(ref, inline_bytes=stored.bytes)
    assert inline.startswith("data:video/mp4;base64,")
    assert b64decode(inline.partition(",")[2]) == clip()
    link = urlsplit(await files.address(ref, inline_bytes=stored.bytes - 1, https_only=True))
    assert f"{link.scheme}://{link.netloc}" == BASE
    library.signer.verify(stored.id, dict(parse_qsl(link.query)), library.clock(), account_id=ME)
    plain = TaskFiles(ME, "task", library, "http://10.0.0.5:8700")
    with pytest.raises(MediaRefused, match=r"server\.public_url"):
        await plain.address(ref, inline_bytes=0, https_only=True)


async def test_a_plain_http_address_becomes_our_file_where_the_vendor_wants_https(
    library: Library, serve: Serve, database: Database
) -> None:
    server = await serve(whole(picture()))
    files, ref = TaskFiles(ME, "task", library, BASE), MediaRef(url=server.url())
    assert (await files.address(ref, inline_bytes=10**6, https_only=True)).startswith("data:image/png;base64,")
    links = {await files.address(ref, inline_bytes=10, https_only=True) for _ in range(2)}
    assert len(links) == 1
    assert links.pop().startswith(f"{BASE}/media/med_")
    assert len(await database.read(lambda connection: connection.execute(select(tables.media)).all())) == 1


def test_a_link_stays_the_same_for_a_while_and_works_as_long_as_set(library: Library, clock: Clock) -> None:
    stored = StoredMedia("med_x", ME, None, "video", "k", "video/mp4", 1, "", None, None, None, 0.0)
    links = []
    for _ in range(4):
        links.append(library.url(BASE, stored))
        clock.now += 5
    assert len(set(links)) <= 2
    expires = int(dict(parse_qsl(urlsplit(links[0]).query))["expires"])
    assert clock.now - 20 + 3600 <= expires <= clock.now + 3600 * 1.05


async def test_an_upload_is_taken_once_and_used_by_its_own_account(library: Library, clock: Clock) -> None:
    upload = await library.create_upload(ME, "a.png")
    for value in (f"runway://{upload.id}", f"genway://{upload.id}"):
        with pytest.raises(InvalidRequest, match="send its file first"):
            await library.accept(ME, value, field="image", kinds={"image"})
    with pytest.raises(Conflict):
        await library.finish_upload(ME, upload.id)
    stored = await library.put_upload(upload.id, in_chunks(picture()))
    assert await library.finish_upload(ME, upload.id) == stored
    assert (stored.role, stored.account_id) == ("upload", ME)
    for value in (f"runway://{upload.id}", f"genway://{upload.id}"):
        assert await library.accept(ME, value, field="image", kinds={"image"}) == MediaRef(media_id=stored.id)
        with pytest.raises(InvalidRequest, match="no such upload"):
            await library.accept(OTHER, value, field="image", kinds={"image"})
    with pytest.raises(Conflict):
        await library.put_upload(upload.id, in_chunks(picture()))
    with pytest.raises(NotFound):
        await library.finish_upload(OTHER, upload.id)
    clock.now += DAY
    with pytest.raises(InvalidRequest, match="expired"):
        await library.accept(ME, f"runway://{upload.id}", field="image", kinds={"image"})


async def test_of_two_files_for_one_upload_the_second_is_thrown_away(library: Library, tmp_path: Path) -> None:
    upload = await library.create_upload(ME, "a.png")
    outcomes = await asyncio.gather(
        library.put_upload(upload.id, in_chunks(picture(1))),
        library.put_upload(upload.id, in_chunks(picture(2))),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "StoredMedia"]
    kept = await library.finish_upload(ME, upload.id)
    assert left_in(tmp_path / "store") == [kept.key]


async def test_an_upload_that_is_too_large_or_no_media_is_refused_and_may_be_tried_again(library: Library) -> None:
    library._max_upload_bytes = len(picture())
    upload = await library.create_upload(ME, "a.png")
    with pytest.raises(MediaRefused, match="too large"):
        await library.put_upload(upload.id, in_chunks(picture() + b"x"))
    with pytest.raises(MediaRefused, match="a web page"):
        await library.put_upload(upload.id, in_chunks(b"<html>"))
    assert left_in(library.scratch) == []
    assert (await library.put_upload(upload.id, in_chunks(picture()))).content_type == "image/png"
    with pytest.raises(NotFound):
        await library.put_upload("upl_unknown", in_chunks(picture()))


async def test_old_files_go_and_young_ones_stay(library: Library, source: Path, clock: Clock, tmp_path: Path) -> None:
    library._keep_days = 3
    old = await library.add(ME, "t", "video", source)
    clock.now += 2 * DAY
    young = await library.add(ME, "t", "video", source)
    assert await library.expire() == 0
    clock.now += 1.5 * DAY
    assert await library.expire() == 1
    assert await library.get(old.id) is None
    assert await library.get(young.id) == young
    assert left_in(tmp_path / "store") == [young.key]


async def test_without_a_limit_files_stay_for_good_but_old_uploads_go(
    library: Library, source: Path, clock: Clock, tmp_path: Path
) -> None:
    stored = await library.add(ME, "t", "video", source)
    upload = await library.create_upload(ME, "a.png")
    await library.put_upload(upload.id, in_chunks(picture()))
    clock.now += DAY + 60
    assert await library.expire() == 0
    clock.now += DAY
    assert await library.expire() == 1
    assert left_in(tmp_path / "store") == [stored.key]


async def test_a_file_whose_deletion_was_interrupted_is_deleted_the_next_time(
    library: Library, source: Path, clock: Clock
) -> None:
    library._keep_days = 1
    stored = await library.add(ME, "t", "video", source)
    await library.store.delete(stored.key)
    with pytest.raises(NotFound):
        await library.open(stored, 0, 1)
    clock.now += 2 * DAY
    assert await library.expire() == 1
    assert await library.get(stored.id) is None


async def test_what_a_crash_left_in_scratch_is_swept_up_when_it_is_old(library: Library, clock: Clock) -> None:
    left = [library.folder(task) / "frame.png" for task in ("task-old", "task-new")]
    left += [library.scratch / "incoming" / name for name in ("old", "new")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        file_of(b"half", path)
        at = clock.now - (0 if "new" in str(path) else 10 * DAY)
        os.utime(path, (at, at))
        if "task" in path.parent.name:
            os.utime(path.parent, (at, at))
    await library.expire()
    assert left_in(library.scratch) == ["incoming/new", "tasks/task-new/frame.png"]
