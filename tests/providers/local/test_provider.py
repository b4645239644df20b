"""The built-in provider: what it takes on, and how it keeps its processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import aiohttp
import psutil
import pytest

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    Camera,
    EffectRequest,
    ExtendRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    MusicRequest,
    Parent,
    PerformanceRequest,
    RestyleRequest,
    Size,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers import discover
from genway.providers.base import ChannelSettings, Failed, Finished, ResultFile, Running, Submission, VendorLost
from genway.providers.local import LocalProvider
from genway.providers.local.provider import CANNOT, job_of, seed_of
from providers.local.views import decoded, dotted

SIZE = Size(128, 96)
PICTURE = MediaRef(media_id="a.png")
LAST = MediaRef(media_id="b.png")
EARLIER = Parent("earlier", result=MediaRef(media_id="a.mp4"))
DEADLINE = 30.0


class Folder:
    """The files of a request, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def path(self, ref: MediaRef) -> Path:
        return self.folder / str(ref.media_id)

    async def address(self, ref: MediaRef, *, inline_bytes: int, https_only: bool = False) -> str:
        raise AssertionError("the built-in provider works with files")


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    dotted(tmp_path / "a.png")
    dotted(tmp_path / "b.png", disc=True)
    return Folder(tmp_path)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., LocalProvider]]:
    made: list[LocalProvider] = []
    async with aiohttp.ClientSession() as http:

        def build(**options: str) -> LocalProvider:
            settings = ChannelSettings("local", options={"work_dir": str(tmp_path / "work"), **options})
            made.append(LocalProvider(settings, http))
            return made[-1]

        yield build
        for provider in made:
            await provider.close()


def video(**more: Any) -> VideoRequest:
    values: dict[str, Any] = {"model": "runway/gen3", "seconds": 0.25, "size": SIZE, "camera": Camera(pan=3)} | more
    return VideoRequest(**values)


def submission(
    files: Folder, operation: AnyOperation | None = None, task: str = "task1", reference: str = "1", **options: str
) -> Submission:
    operation = operation or video(first_frame=PICTURE)
    return Submission(task_id=task, reference=reference, operation=operation, model="", files=files, options=options)


async def outcome(provider: LocalProvider, task: str = "task1") -> Finished | Failed:
    async with asyncio.timeout(DEADLINE):
        while isinstance(answer := await provider.check(task), Running):
            await asyncio.sleep(0.02)
    return answer


async def started(provider: LocalProvider, count: int = 1) -> list[psutil.Process]:
    """The worker processes, once there are so many."""
    async with asyncio.timeout(DEADLINE):
        while len(found := workers()) < count:
            await asyncio.sleep(0.02)
    return found


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if "genway.providers.local.worker" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def there(file: ResultFile) -> bool:
    return file.path is not None and Path(file.path).is_file()


def content(file: ResultFile) -> bytes:
    assert file.path is not None
    return Path(file.path).read_bytes()


async def test_a_picture_becomes_a_video(make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    assert (await provider.submit(submission(files))).vendor_id == "task1"
    done = await outcome(provider)
    assert isinstance(done, Finished)
    assert [file.role for file in done.files] == ["video", "poster", "last_frame"]
    assert all(there(file) for file in done.files)
    frames = decoded(str(done.files[0].path))
    assert (len(frames), frames[0].shape) == (6, (96, 128, 3))
    assert not workers()


async def test_it_stands_in_for_any_model_but_says_what_it_cannot_do(make: Callable[..., LocalProvider]) -> None:
    provider = make()
    clip = MediaRef(url="https://example.com/a.mp4")
    for operation in (
        video(),
        video(model="kling/v2"),
        RestyleRequest(model="runway/gen3", video=clip),
        ImageRequest(model="runway/gen4_image"),
        UpscaleRequest(model="runway/upscale_v1", video=clip),
        ExtendRequest(model="luma/ray-2", parent=EARLIER),
        video(audio=True, loop=True, sequence=(PICTURE, LAST)),
    ):
        assert provider.refusal(operation) is None
    refusals: list[tuple[AnyOperation, str]] = [
        (PerformanceRequest(model="m", performance=clip, character=PICTURE), "cannot transfer a performance"),
        (EffectRequest(model="m", effect="hug"), "cannot play a vendor's effects and templates"),
        (LipSyncRequest(model="m", video=clip, text="hello"), "cannot move lips to a sound"),
        (AvatarRequest(model="m", picture=PICTURE), "cannot make a person in a picture speak"),
        (TryOnRequest(model="m", person=PICTURE, garment=LAST), "cannot put a garment on a person"),
        (SoundRequest(model="m", prompt="rain"), "cannot make sounds"),
        (SpeechRequest(model="m", text="hello"), "cannot speak"),
        (MusicRequest(model="m"), "cannot make music"),
        (video(count=2), "makes one video at a time"),
    ]
    for refused, reason in refusals:
        assert provider.refusal(refused) == f"the built-in renderer {reason}"


def test_for_every_operation_it_is_said_whether_it_can_be_done() -> None:
    assert {*LocalProvider.operations, *CANNOT} == set(get_args(AnyOperation))
    assert not set(LocalProvider.operations) & set(CANNOT)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (video(), {"kind": "storyboard", "images": ()}),
        (video(first_frame=PICTURE), {"kind": "camera", "images": ("a.png",), "towards_image": False}),
        (video(last_frame=PICTURE), {"kind": "camera", "images": ("a.png",), "towards_image": True}),
        (video(references=(PICTURE,)), {"kind": "camera", "images": ("a.png",), "towards_image": False}),
        (video(references=(PICTURE, LAST)), {"kind": "sequence", "images": ("a.png", "b.png")}),
        (video(first_frame=PICTURE, last_frame=LAST), {"kind": "between", "images": ("a.png",), "last_image": "b.png"}),
        (
            RestyleRequest(model="m", video=LAST, references=(PICTURE,), strength=0.7, size=SIZE),
            {"kind": "restyle", "video": "b.png", "images": ("a.png",), "strength": 0.7, "width": 128},
        ),
        (
            ImageRequest(model="m", count=3, references=(PICTURE,), size=SIZE),
            {"kind": "still", "count": 3, "images": ("a.png",)},
        ),
        (UpscaleRequest(model="m", video=LAST, factor=2), {"kind": "upscale", "video": "b.png", "factor": 2}),
        (UpscaleRequest(model="m", parent=EARLIER), {"kind": "upscale", "video": "a.mp4"}),
        (RestyleRequest(model="m", parent=EARLIER), {"kind": "restyle", "video": "a.mp4"}),
        (
            video(first_frame=PICTURE, last_frame=LAST, loop=True),
            {"kind": "between", "images": ("a.png",), "last_image": "b.png", "loop": True},
        ),
        (video(sequence=(PICTURE, LAST)), {"kind": "sequence", "images": ("a.png", "b.png"), "seconds": 0.25}),
        (
            video(sequence=(LAST,), first_frame=PICTURE, last_frame=PICTURE),
            {"kind": "sequence", "images": ("a.png", "b.png", "a.png")},
        ),
        (video(sequence=(LAST,)), {"kind": "camera", "images": ("b.png",)}),
        (
            ExtendRequest(model="m", parent=EARLIER, seconds=3, last_frame=LAST, first_frame=PICTURE, camera=Camera(pan=3)),
            {"kind": "extend", "video": "a.mp4", "last_image": "b.png", "before": False, "seconds": 3, "camera": Camera(pan=3)},
        ),
        (
            ExtendRequest(model="m", parent=EARLIER, before=True, first_frame=PICTURE, loop=True),
            {"kind": "extend", "last_image": "a.png", "before": True, "loop": True, "width": 0, "height": 0},
        ),
    ],
)
async def test_an_operation_becomes_the_right_kind_of_job(operation: AnyOperation, expected: dict[str, Any]) -> None:
    job = await job_of(operation, Folder(Path()), "out", {"max_pixels": 5})
    assert {name: getattr(job, name) for name in expected} == expected
    assert (job.out_dir, job.max_pixels) == ("out", 5)


def test_the_seed_follows_from_the_request_where_none_is_given() -> None:
    assert seed_of(video(seed=7)) == 7
    assert seed_of(video(prompt="a")) == seed_of(video(prompt="a")) != seed_of(video(prompt="b"))


async def test_no_more_run_at_once_than_allowed_and_all_get_their_turn(
    make: Callable[..., LocalProvider], files: Folder
) -> None:
    provider = make(processes="1")
    long = video(first_frame=PICTURE, seconds=3600)
    await provider.submit(submission(files, long, task="first"))
    await provider.submit(submission(files, task="second"))
    assert len(await started(provider)) == 1
    assert await provider.check("second") == Running(0.0)
    await provider.cancel("first")
    assert isinstance(await outcome(provider, "second"), Finished)


async def test_cancel_kills_the_process_and_deletes_its_files(
    make: Callable[..., LocalProvider], files: Folder, tmp_path: Path
) -> None:
    provider = make()
    await provider.submit(submission(files, video(first_frame=PICTURE, seconds=3600)))
    (worker,) = await started(provider)
    assert (tmp_path / "work" / "task1").is_dir()
    await provider.cancel("task1")
    assert not worker.is_running()
    assert not (tmp_path / "work" / "task1").exists()
    with pytest.raises(VendorLost):
        await provider.check("task1")
    await provider.cancel("task1")


async def test_close_stops_what_runs_and_keeps_what_is_done(make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    await provider.submit(submission(files, task="done"))
    done = await outcome(provider, "done")
    await provider.submit(submission(files, video(first_frame=PICTURE, seconds=3600), task="running"))
    await started(provider)
    await provider.close()
    assert not workers()
    assert isinstance(done, Finished)
    assert there(done.files[0])


async def test_a_rendering_of_an_earlier_process_is_lost_and_can_be_done_again(
    make: Callable[..., LocalProvider], files: Folder
) -> None:
    before = make()
    await before.submit(submission(files))
    first = await outcome(before)
    assert isinstance(first, Finished)
    bytes_before = content(first.files[0])
    after = make()
    with pytest.raises(VendorLost):
        await after.check("task1")
    await after.submit(submission(files, reference="2"))
    again = await outcome(after)
    assert isinstance(again, Finished)
    assert content(again.files[0]) == bytes_before


async def test_the_same_submit_twice_is_one_rendering_and_a_new_attempt_replaces_it(
    make: Callable[..., LocalProvider], files: Folder
) -> None:
    provider = make()
    long = video(first_frame=PICTURE, seconds=3600)
    await provider.submit(submission(files, long))
    (worker,) = await started(provider)
    await provider.submit(submission(files, long))
    assert workers() == [worker]
    await provider.submit(submission(files, reference="2"))
    assert not worker.is_running()
    assert isinstance(await outcome(provider), Finished)


@pytest.mark.parametrize(
    ("word", "code"), [("moderation", "moderation"), ("vendor", "vendor_error"), ("invalid", "invalid_request")]
)
async def test_a_test_prompt_forces_a_failure(word: str, code: str, make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    await provider.submit(submission(files, fail=word))
    failed = await outcome(provider)
    assert isinstance(failed, Failed)
    assert failed.code == code


async def test_a_test_prompt_delays_the_work_which_can_be_cancelled_meanwhile(
    make: Callable[..., LocalProvider], files: Folder
) -> None:
    provider = make()
    await provider.submit(submission(files, delay="3600", fail="vendor"))
    await provider.submit(submission(files, task="soon", delay="0.05", fail="vendor"))
    assert isinstance(await outcome(provider, "soon"), Failed)
    assert await provider.check("task1") == Running(0.0)
    await provider.cancel("task1")
    with pytest.raises(VendorLost):
        await provider.check("task1")


async def test_unknown_forced_words_change_nothing(make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    await provider.submit(submission(files, delay="soon", fail="maybe", colour="red"))
    assert isinstance(await outcome(provider), Finished)


async def test_a_picture_that_cannot_be_read_fails_with_the_reason(make: Callable[..., LocalProvider], files: Folder) -> None:
    (files.folder / "a.png").write_bytes(b"nothing")
    provider = make()
    await provider.submit(submission(files))
    failed = await outcome(provider)
    assert isinstance(failed, Failed)
    assert failed.code == "invalid_request"
    assert "picture" in failed.message


async def test_a_worker_that_dies_is_a_failure(make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    await provider.submit(submission(files, video(first_frame=PICTURE, seconds=3600)))
    (worker,) = await started(provider)
    worker.kill()
    assert await outcome(provider) == Failed("vendor_error", "the renderer ended unexpectedly")


async def test_what_an_earlier_process_left_behind_long_ago_is_deleted(
    make: Callable[..., LocalProvider], files: Folder, tmp_path: Path
) -> None:
    old, new = tmp_path / "work" / "old", tmp_path / "work" / "new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    await make().submit(submission(files, fail="vendor"))
    assert not old.exists()
    assert new.exists()


async def test_what_it_made_can_be_extended_restyled_and_enlarged(make: Callable[..., LocalProvider], files: Folder) -> None:
    provider = make()
    await provider.submit(submission(files))
    made = await outcome(provider)
    assert isinstance(made, Finished)
    (files.folder / "a.mp4").write_bytes(content(made.files[0]))
    results = []
    for operation in (
        ExtendRequest(model="m", parent=EARLIER, seconds=0.5),
        RestyleRequest(model="m", parent=EARLIER, size=SIZE),
        UpscaleRequest(model="m", parent=EARLIER, factor=2),
        video(sequence=(PICTURE, LAST), seconds=0.5, loop=True),
    ):
        await provider.submit(submission(files, operation, task=operation.kind))
        done = await outcome(provider, operation.kind)
        assert isinstance(done, Finished)
        assert [file.role for file in done.files] == ["video", "poster", "last_frame"]
        frames = decoded(str(done.files[0].path))
        results.append((len(frames), frames[0].shape))
    assert results == [(18, (96, 128, 3)), (6, (96, 128, 3)), (6, (192, 256, 3)), (12, (96, 128, 3))]


async def test_a_file_that_cannot_be_had_starts_nothing(make: Callable[..., LocalProvider], files: Folder) -> None:
    class Refusing(Folder):
        async def path(self, ref: MediaRef) -> Path:
            raise ValueError("refused")

    provider = make()
    with pytest.raises(ValueError, match="refused"):
        await provider.submit(submission(Refusing(files.folder)))
    with pytest.raises(VendorLost):
        await provider.check("task1")


def test_it_is_discovered_and_costs_no_picture_library() -> None:
    assert discover()["local"] is LocalProvider
    script = (
        "import sys, genway.providers.local\nprint(sorted({'cv2', 'av', 'numpy', 'onnxruntime', 'PIL'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
