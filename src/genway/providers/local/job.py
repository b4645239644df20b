"""What one worker process is asked to do, and how it answers. Plain data: nothing here needs a picture library."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from genway.operations import Camera

Kind = Literal["camera", "between", "sequence", "storyboard", "extend", "restyle", "still", "upscale"]


class RenderJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of rendering; travels to the worker as one line of JSON.

    out_dir: an existing folder that takes the results. width, height: pixels, even for a video. seconds: > 0.
    images, last_image, video: paths of files on this machine. seed: any integer; the same job gives the same bytes.
    strength: 0…1, how far a restyled video may leave its source. count: how many pictures. factor: how many times each
    side of an upscaled video grows; its width and height are 0, they follow from the source.
    towards_image: the picture is the last frame and not the first. loop: the end meets the start. before: what is added to a
    video goes in front of it; `seconds` are those added, and width and height are 0, they follow from the source.
    max_pixels, max_seconds: what a source may have at most.
    """

    kind: Kind
    out_dir: str
    width: int
    height: int
    seconds: float = 5.0
    fps: int = 24
    images: tuple[str, ...] = ()
    last_image: str | None = None
    video: str | None = None
    prompt: str = ""
    camera: Camera = Camera()
    seed: int = 0
    style: str = ""
    strength: float = 0.5
    count: int = 1
    factor: float = 1.0
    towards_image: bool = False
    loop: bool = False
    before: bool = False
    max_pixels: int = 100_000_000
    max_seconds: float = 120.0

    @property
    def frames(self) -> int:
        """How many frames the video has, at least one."""
        return max(1, round(self.seconds * self.fps))


class RenderResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Paths of the files that came out, all inside the job's `out_dir`."""

    video: str | None = None
    images: tuple[str, ...] = ()
    poster: str | None = None
    last_frame: str | None = None


class RenderFailed(Exception):
    """The job cannot be done. code: `invalid_request`, `moderation` or `vendor_error`; message: for the client."""

    INVALID: ClassVar[str] = "invalid_request"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Cancelled(Exception):
    """The rendering was told to stop."""
