"""The built-in provider: carries out operations in worker processes on this machine.

Nothing here imports a picture library: the gateway loads this module, and only the workers pay for those.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    DirectCall,
    EffectRequest,
    ExtendRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    MusicRequest,
    Operation,
    PerformanceRequest,
    ReferenceRequest,
    RestyleRequest,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    UpscaleRequest,
    VideoRequest,
    to_json,
)
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Files,
    Finished,
    Poll,
    Provider,
    ResultFile,
    Role,
    Running,
    Submission,
    Submitted,
    VendorLost,
    VendorRefused,
)
from genway.providers.local import answers
from genway.providers.local.job import Kind, RenderJob, RenderResult

if TYPE_CHECKING:
    import aiohttp

WORKER = "genway.providers.local.worker"
MODELS = {f"local/{model}": model for model in ("animate", "storyboard", "restyle", "still", "upscale")}
CANNOT: Mapping[type[Operation], str] = {
    AvatarRequest: "make a person in a picture speak",
    EffectRequest: "play a vendor's effects and templates",
    LipSyncRequest: "move lips to a sound",
    MusicRequest: "make music",
    PerformanceRequest: "transfer a performance",
    ReferenceRequest: "go by clips and sounds",
    SoundRequest: "make sounds",
    SpeechRequest: "speak",
    TryOnRequest: "put a garment on a person",
}
FORCED_FAILURES = {
    "moderation": Failed("moderation", "the test prompt asked to be refused by moderation"),
    "vendor": Failed("vendor_error", "the test prompt asked for a failure"),
    "invalid": Failed("invalid_request", "the test prompt asked to be found invalid"),
}
# For libraries that would start a thread for each core in each worker.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NOTES = "worker.log"
KEPT_SECONDS = 3600
LEFT_SECONDS = 24 * 3600
LONGEST_DELAY = 3600.0

log = structlog.get_logger(__name__)


class _Answer(msgspec.Struct):
    """One line of a worker."""

    progress: float | None = None
    done: RenderResult | None = None
    failed: dict[str, str] | None = None


_answers: msgspec.json.Decoder[_Answer] = msgspec.json.Decoder(_Answer)


class _Work:
    """One rendering, from submit until its outcome is no longer of interest."""

    def __init__(self, reference: str, folder: Path) -> None:
        self.reference = reference
        self.folder = folder
        self.progress = 0.0
        self.outcome: Finished | Failed | None = None
        self.ended = 0.0
        self.process: asyncio.subprocess.Process | None = None
        self.runner: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Kill the process, now, and delete what it made."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
        if self.runner is not None:
            self.runner.cancel()
            await asyncio.wait([self.runner])
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


class LocalProvider(Provider):
    """Renders on this machine, several at once, each in a process of low priority that ends with this one.

    Options: `work_dir`, where files are made; `processes`, how many render at once (default: one a core);
    `max_pixels` and `max_seconds`, the most a source may have. Its videos are silent, also where sound was asked for: several
    vendors' formats ask for it unless told otherwise.
    """

    name = "local"
    repeatable = True
    operations = (VideoRequest, ExtendRequest, RestyleRequest, ImageRequest, UpscaleRequest, *answers.ANSWERED)
    calls = answers.CALLS
    poll = Poll(first=0.2, factor=1.2, longest=1.0, per_second=0)
    models = MODELS

    def __init__(self, channel: ChannelSettings, http: aiohttp.ClientSession) -> None:
        super().__init__(channel, http)
        options = channel.options
        self._work_dir = Path(options.get("work_dir") or "genway-data/rendering")
        self._slots = asyncio.Semaphore(int(options.get("processes") or 0) or os.cpu_count() or 1)
        self._limits = {
            name: kind(options[name]) for name, kind in (("max_pixels", int), ("max_seconds", float)) if options.get(name)
        }
        self._works: dict[str, _Work] = {}
        self._swept = False

    def refusal(self, operation: AnyOperation) -> str | None:
        """Judged by the operation alone: this provider stands in for every model whose own vendor is not configured."""
        if isinstance(operation, VideoRequest) and operation.count > 1:
            return "the built-in renderer makes one video at a time"
        if isinstance(operation, self.operations):
            return None
        return f"the built-in renderer cannot {CANNOT[type(operation)]}"

    async def submit(self, submission: Submission) -> Submitted:
        """Start the rendering, or let it wait for a free process."""
        if (refusal := self.refusal(submission.operation)) is not None:
            raise VendorRefused(refusal)
        task_id = submission.task_id
        earlier = self._works.get(task_id)
        if earlier is not None and earlier.reference == submission.reference:
            return Submitted(task_id)
        await self.cancel(task_id)
        await self._forget_old()
        work = self._works[task_id] = _Work(submission.reference, self._work_dir / task_id)
        if isinstance(submission.operation, answers.ANSWERED):
            work.runner = asyncio.create_task(self._answer(work, submission), name=f"answer {task_id}")
            return Submitted(task_id)
        try:
            job = await job_of(submission.operation, submission.files, str(work.folder), self._limits)
        except BaseException:
            self._works.pop(task_id, None)
            raise
        work.runner = asyncio.create_task(self._run(work, job, submission.options), name=f"render {task_id}")
        return Submitted(task_id)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        """How it is going. Raises VendorLost for a rendering of an earlier process."""
        work = self._works.get(vendor_id)
        if work is None:
            raise VendorLost("the rendering is not known here; it may be started again")
        return work.outcome or Running(work.progress)

    async def cancel(self, vendor_id: str) -> None:
        """Stop at once and delete what was made."""
        if (work := self._works.pop(vendor_id, None)) is not None:
            await work.stop()

    async def answer(self, asked: DirectCall) -> dict[str, Any]:
        return answers.answer(asked)

    async def test(self) -> str:
        return "the built-in renderer needs no credentials"

    async def close(self) -> None:
        """Stop what is not finished; it may be submitted again. Finished files stay for whoever has been told of them."""
        works, self._works = list(self._works.values()), {}
        await asyncio.gather(*(work.stop() for work in works if not isinstance(work.outcome, Finished)))

    async def _run(self, work: _Work, job: RenderJob, options: Mapping[str, str]) -> None:
        try:
            await asyncio.sleep(_seconds(options.get("delay", "")))
            outcome: Finished | Failed | None = FORCED_FAILURES.get(options.get("fail", ""))
            if outcome is None:
                async with self._slots:
                    outcome = await self._render(work, job)
        except OSError as error:
            log.error("the renderer could not be started", error=str(error))
            outcome = Failed("vendor_error", "the renderer could not be started")
        work.outcome, work.ended = outcome, monotonic()

    async def _answer(self, work: _Work, submission: Submission) -> None:
        await asyncio.sleep(_seconds(submission.options.get("delay", "")))
        forced = FORCED_FAILURES.get(submission.options.get("fail", ""))
        work.outcome = forced or answers.finished(submission.operation, submission.task_id)
        work.ended = monotonic()

    async def _render(self, work: _Work, job: RenderJob) -> Finished | Failed:
        await asyncio.to_thread(_make_empty, work.folder)
        notes = work.folder / NOTES
        with notes.open("wb") as stderr:
            work.process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", WORKER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=os.environ | ONE_THREAD,
                start_new_session=True,
            )
        try:
            outcome = await _converse(work, process, job)
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if outcome is None:
            said = (await asyncio.to_thread(notes.read_bytes))[-2000:].decode("utf-8", "replace")
            log.error("the renderer ended without an answer", exit_code=process.returncode, stderr=said)
            outcome = Failed("vendor_error", "the renderer ended unexpectedly")
        return outcome

    async def _forget_old(self) -> None:
        """Drop outcomes nobody asked for in time, and once, what an earlier process left behind."""
        now = monotonic()
        old = [task_id for task_id, work in self._works.items() if work.outcome and now - work.ended > KEPT_SECONDS]
        for task_id in old:
            await self.cancel(task_id)
        if not self._swept:
            self._swept = True
            await asyncio.to_thread(_sweep, self._work_dir)


async def job_of(operation: AnyOperation, files: Files, out_dir: str, limits: Mapping[str, Any]) -> RenderJob:
    """What a worker has to do for an operation, with its files fetched. Raises what fetching raises, and VendorRefused."""

    async def path(ref: MediaRef | None) -> str | None:
        return None if ref is None else str(await files.path(ref))

    async def paths(refs: tuple[MediaRef, ...]) -> tuple[str, ...]:
        return tuple([str(await files.path(ref)) for ref in refs])

    common: dict[str, Any] = {"out_dir": out_dir, "seed": seed_of(operation), **limits}
    for name in ("prompt", "style"):
        common[name] = getattr(operation, name, "")
    if (size := getattr(operation, "size", None)) is not None:
        common |= {"width": size.width, "height": size.height}
    match operation:
        case VideoRequest():
            common |= {"seconds": operation.seconds, "camera": operation.camera, "loop": operation.loop}
            first, last = operation.first_frame, operation.last_frame
            sequence = operation.sequence
            if first is None and last is None and not sequence:
                # Several pictures to take subjects from are shown one after the other: nothing here can put them into one.
                sequence = operation.references
            if sequence:
                pictures = tuple(ref for ref in (first, *sequence, last) if ref is not None)
                kind: Kind = "sequence" if len(pictures) > 1 else "camera"
                return RenderJob(**common, kind=kind, images=await paths(pictures))
            begin, end = await path(first), await path(last)
            picture = begin or end
            return RenderJob(
                **common,
                kind="storyboard" if picture is None else "between" if begin and end else "camera",
                images=() if picture is None else (picture,),
                last_image=end if begin else None,
                towards_image=begin is None and end is not None,
            )
        case ExtendRequest():
            goal = operation.first_frame if operation.before else operation.last_frame
            return RenderJob(
                **common | {"width": 0, "height": 0},
                kind="extend",
                video=await path(operation.parent.result),
                last_image=await path(goal),
                before=operation.before,
                loop=operation.loop,
                seconds=operation.seconds,
                camera=operation.camera,
            )
        case RestyleRequest():
            return RenderJob(
                **common,
                kind="restyle",
                video=await path(operation.source),
                images=await paths(operation.references),
                seconds=operation.seconds,
                strength=operation.strength,
            )
        case ImageRequest():
            references = await paths(operation.references)
            return RenderJob(**common, kind="still", images=references, count=operation.count)
        case UpscaleRequest():
            source = await path(operation.source)
            return RenderJob(**common, kind="upscale", width=0, height=0, video=source, factor=operation.factor)
        case _:
            raise VendorRefused(f"the built-in renderer cannot {CANNOT[type(operation)]}")


async def _converse(work: _Work, process: asyncio.subprocess.Process, job: RenderJob) -> Finished | Failed | None:
    """Hand over the job and listen until the worker's last word; None if it has none."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        await process.stdin.drain()
    outcome: Finished | Failed | None = None
    async for line in process.stdout:
        answer = _answers.decode(line)
        if answer.progress is not None:
            work.progress = answer.progress
        elif answer.done is not None:
            outcome = Finished(_files(answer.done))
        elif answer.failed is not None:
            outcome = Failed(answer.failed["code"], answer.failed["message"])
    return outcome


def _files(result: RenderResult) -> tuple[ResultFile, ...]:
    single: tuple[tuple[Role, str | None], ...] = (
        ("video", result.video),
        ("poster", result.poster),
        ("last_frame", result.last_frame),
    )
    files = [ResultFile(role=role, path=path) for role, path in single if path is not None]
    return (*files, *(ResultFile(role="image", path=path) for path in result.images))


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _sweep(work_dir: Path) -> None:
    oldest = time() - LEFT_SECONDS
    for folder in work_dir.iterdir() if work_dir.is_dir() else ():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _seconds(text: str) -> float:
    try:
        return min(LONGEST_DELAY, max(0.0, float(text)))
    except ValueError:
        return 0.0


def seed_of(operation: AnyOperation) -> int:
    """The operation's own seed, or one that follows from everything it asks for."""
    seed = getattr(operation, "seed", None)
    if seed is not None:
        return int(seed)
    return int.from_bytes(hashlib.sha256(to_json(operation)).digest()[:6], "big")
