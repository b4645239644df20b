"""One rendering in a process of its own: `python -m genway.providers.local.worker`.

Reads one job as a line of JSON from standard input and answers in lines of JSON on standard output: any number of
`{"progress": 0…1}`, then `{"done": {…}}` or `{"failed": {"code": …, "message": …}}`. Standard input stays open as long as
the one who asked lives: when it ends, so does the worker, at once and wherever it is. A signal ends it likewise.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from typing import Any, BinaryIO

import msgspec

from genway.providers.local.job import Kind, RenderFailed, RenderJob, RenderResult

MODULES: dict[Kind, str] = {
    "camera": "camera",
    "between": "interpolate",
    "sequence": "sequence",
    "storyboard": "storyboard",
    "extend": "extend",
    "restyle": "restyle",
    "still": "still",
    "upscale": "upscale",
}
THREADS = 1
NICENESS = 10
PROGRESS_STEP = 0.005
ORPHANED = 3


class Answers:
    """Lines of JSON to the one who asked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._said = -1.0

    def progress(self, value: float) -> None:
        """Tell how far the job is, 0…1; tiny steps and steps back are not told."""
        if value - self._said >= PROGRESS_STEP:
            self._said = value
            self.say({"progress": round(min(1.0, value), 4)})

    def say(self, answer: Any) -> None:
        try:
            self._stream.write(msgspec.json.encode(answer) + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            os._exit(ORPHANED)


def run(job: RenderJob, answers: Answers) -> None:
    """Do the job and tell how it ended."""
    try:
        limit_threads()
        module = importlib.import_module(f"genway.providers.local.{MODULES[job.kind]}")
        result: RenderResult = module.render(job, answers.progress)
    except RenderFailed as failure:
        answers.say({"failed": {"code": failure.code, "message": failure.message}})
    except MemoryError:
        answers.say({"failed": {"code": "vendor_error", "message": "the renderer ran out of memory"}})
    except Exception as error:
        traceback.print_exc()
        answers.say({"failed": {"code": "vendor_error", "message": f"the renderer failed: {type(error).__name__}"}})
    else:
        answers.say({"done": result})


def limit_threads() -> None:
    """Keep OpenCV to this process's share of the machine; there is one worker for each core."""
    import cv2  # noqa: PLC0415 - the job is read, and a broken one answered, without it

    cv2.setNumThreads(THREADS)


def main() -> int:
    """Serve one job. The exit code is 0 whenever an answer was given."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    source = sys.stdin.buffer
    # Libraries that print do so to standard error; the answers keep the real standard output to themselves.
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    line = source.readline()
    if not line:
        return ORPHANED
    try:
        job = msgspec.json.decode(line, type=RenderJob)
    except msgspec.DecodeError as error:
        answers.say({"failed": {"code": "vendor_error", "message": f"the job cannot be read: {error}"}})
        return 0
    threading.Thread(target=_end_with_parent, args=(source.fileno(),), name="parent", daemon=True).start()
    run(job, answers)
    return 0


def _end_with_parent(stdin: int) -> None:
    # The descriptor itself and not `sys.stdin`: a thread inside a buffered reader would hold its lock when the process ends.
    while os.read(stdin, 65536):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
