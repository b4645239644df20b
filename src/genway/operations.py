"""What is asked, in no vendor's words.

A dialect builds one of these from a request body; a provider carries it out. Every operation is frozen and
travels through the database as JSON. Range checks that belong to a vendor's format live in the dialect;
what is checked here holds for every vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any, Literal

import msgspec

CAMERA_LIMIT = 10.0


class MediaRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A picture, clip or sound that a request refers to: exactly one of the two is set.

    `url` is a public http(s) address, kept as the client wrote it. `media_id` names a file in our own store
    that belongs to the task's account.
    """

    url: str | None = None
    media_id: str | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.media_id is None):
            raise ValueError("a media reference is either an address or a media id")


class Camera(msgspec.Struct, frozen=True, omit_defaults=True):
    """One vendor-neutral camera motion; every member is −10…10 and 0 means none.

    horizontal: positive moves the camera right. vertical: positive moves it up. zoom: positive moves it in.
    roll: positive turns the picture clockwise. pan, tilt: positive turns the camera right, up.
    background_pan_x, background_pan_y: positive moves the background right, up, independently of the subject.
    """

    horizontal: float = 0.0
    vertical: float = 0.0
    zoom: float = 0.0
    roll: float = 0.0
    pan: float = 0.0
    tilt: float = 0.0
    background_pan_x: float = 0.0
    background_pan_y: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not -CAMERA_LIMIT <= getattr(self, name) <= CAMERA_LIMIT:
                raise ValueError(f"{name}: a number from -10 to 10, got {getattr(self, name)}")

    @property
    def still(self) -> bool:
        """Whether no motion was asked for."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class Size(msgspec.Struct, frozen=True):
    """Width and height in pixels, both positive and even (H.264 with 4:2:0 colour needs even sides)."""

    width: int
    height: int

    @property
    def ratio(self) -> str:
        """The proportion in lowest terms, `16:9`."""
        common = gcd(self.width, self.height)
        return f"{self.width // common}:{self.height // common}"

    @property
    def portrait(self) -> bool:
        return self.height > self.width

    def flipped(self) -> Size:
        """The same size with its sides exchanged."""
        return Size(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An earlier task of the same account that this one continues or changes.

    A dialect sets `task_id` (and `clip`, where the task has several results); the door fills in the rest: the channel that
    holds the vendor's work and the vendor's own id of it (both empty for work of the built-in provider), and what came
    out of it.
    """

    task_id: str
    clip: int = 0
    channel_id: str = ""
    vendor_id: str = ""
    result: MediaRef | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="operation"):
    """What all operations share.

    model: the model that the client asked for, qualified by its system: `runway/gen3`, `local/animate`.
    format: the wire format the request came in, `runway.pro`; `extra` holds the fields of that format which
    nobody here knows, and a provider that speaks the same format passes them on.
    """

    model: str
    format: str = ""
    extra: dict[str, Any] = {}

    @property
    def continues(self) -> Parent | None:
        """The earlier task that this one works on, if any."""
        return getattr(self, "parent", None)

    @property
    def kind(self) -> str:
        """The operation's stable name, as stored and as used in prices and metrics."""
        return str(self.__struct_config__.tag)

    def units(self) -> Mapping[str, float]:
        """How much of each priced unit this asks for: `{"call": 1, "second": 10}`."""
        return {"call": 1}

    def media(self) -> tuple[MediaRef, ...]:
        """Every file this refers to."""
        values = [getattr(self, name) for name in self.__struct_fields__]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        return tuple(item for item in flat if isinstance(item, MediaRef))


class VideoRequest(Operation, frozen=True, kw_only=True, tag="video"):
    """Text, or one or more pictures, into a video.

    seconds: > 0. first_frame/last_frame: the pictures the video begins and ends with. With only `last_frame`
    the video runs towards it. `references` are pictures to take subjects or style from; `sequence` are pictures that the
    video goes through one after the other. loop: the end meets the start. guidance: 0…1, how closely to keep to the
    prompt. quality: the vendor's word for its effort (`std`, `pro`).
    """

    prompt: str = ""
    negative_prompt: str = ""
    first_frame: MediaRef | None = None
    last_frame: MediaRef | None = None
    references: tuple[MediaRef, ...] = ()
    sequence: tuple[MediaRef, ...] = ()
    seconds: float = 5
    size: Size = Size(1280, 720)
    camera: Camera = Camera()
    style: str = ""
    seed: int | None = None
    audio: bool = False
    loop: bool = False
    guidance: float | None = None
    quality: str = ""
    count: int = 1

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class ClipOperation(Operation, frozen=True, kw_only=True):
    """Work on a clip: `video`, or what came out of the earlier task `parent`."""

    video: MediaRef | None = None
    parent: Parent | None = None

    @property
    def source(self) -> MediaRef:
        """The clip. Raises ValueError where there is none."""
        found = self.video or (self.parent.result if self.parent else None)
        if found is None:
            raise ValueError("there is no clip to work on")
        return found


class ExtendRequest(Operation, frozen=True, kw_only=True, tag="extend"):
    """More of an earlier task's video: `seconds` are added at its end, or `before` its beginning.

    last_frame (first_frame where it goes before): a picture to arrive at (to begin with).
    """

    parent: Parent
    prompt: str = ""
    negative_prompt: str = ""
    seconds: float = 5
    before: bool = False
    first_frame: MediaRef | None = None
    last_frame: MediaRef | None = None
    size: Size = Size(1280, 720)
    camera: Camera = Camera()
    seed: int | None = None
    loop: bool = False
    guidance: float | None = None

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class EffectRequest(Operation, frozen=True, kw_only=True, tag="effect"):
    """A ready-made effect of the vendor's, named `effect`, on one or more pictures; or a clip template, with texts."""

    effect: str
    pictures: tuple[MediaRef, ...] = ()
    texts: tuple[str, ...] = ()
    prompt: str = ""
    seconds: float = 5
    size: Size = Size(1280, 720)

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class LipSyncRequest(ClipOperation, frozen=True, kw_only=True, tag="lip_sync"):
    """The mouth of somebody in a clip moved to a sound, or to a text spoken by a voice.

    Of `sound` and `text` one is set. speed: of the voice, 1 is normal. seconds: for the price.
    """

    sound: MediaRef | None = None
    text: str = ""
    voice: str = ""
    language: str = ""
    speed: float = 1
    seconds: float = 10

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class AvatarRequest(Operation, frozen=True, kw_only=True, tag="avatar"):
    """A person in a picture who speaks a sound."""

    picture: MediaRef
    sound: MediaRef | None = None
    voice: str = ""
    prompt: str = ""
    quality: str = ""
    seconds: float = 10

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class TryOnRequest(Operation, frozen=True, kw_only=True, tag="try_on"):
    """A person wearing a garment."""

    person: MediaRef
    garment: MediaRef

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "image": 1}


class SoundRequest(ClipOperation, frozen=True, kw_only=True, tag="sound"):
    """Text into a sound, or a clip (`video` or `parent`) into one that fits it."""

    prompt: str = ""
    negative_prompt: str = ""
    music_prompt: str = ""
    seconds: float = 5

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class SpeechRequest(Operation, frozen=True, kw_only=True, tag="speech"):
    """A text spoken by a voice. speed, volume, pitch: 1, 1 and 0 are normal. encoding: `mp3`, `wav` …"""

    text: str
    voice: str = ""
    language: str = ""
    emotion: str = ""
    speed: float = 1
    volume: float = 1
    pitch: float = 0
    encoding: str = "mp3"

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "character": len(self.text)}


class MusicRequest(Operation, frozen=True, kw_only=True, tag="music"):
    """A description of the music and words to sing, into a song. instrumental: nothing is sung."""

    prompt: str = ""
    lyrics: str = ""
    title: str = ""
    style: str = ""
    instrumental: bool = False
    encoding: str = "mp3"


class RestyleRequest(ClipOperation, frozen=True, kw_only=True, tag="restyle"):
    """A video into the same video in another look.

    strength: 0…1; low keeps the structure of the source, high is freer.
    seconds: the most that is taken of the source.
    """

    prompt: str = ""
    negative_prompt: str = ""
    references: tuple[MediaRef, ...] = ()
    seconds: float = 5
    size: Size = Size(1280, 768)
    strength: float = 0.5
    style: str = ""
    seed: int | None = None

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class PerformanceRequest(Operation, frozen=True, kw_only=True, tag="performance"):
    """The acting of a person in one clip, transferred to a character (a picture or a clip).

    seconds: for the price; the length of the driving clip where it is known, else the most that may come.
    """

    performance: MediaRef
    character: MediaRef
    character_kind: Literal["image", "video"] = "image"
    size: Size = Size(1280, 720)
    seconds: float = 10
    intensity: float | None = None
    body_control: bool | None = None
    seed: int | None = None

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class UpscaleRequest(ClipOperation, frozen=True, kw_only=True, tag="upscale"):
    """A video into a larger one. factor: how many times each side grows. seconds: for the price."""

    factor: float = 4
    seconds: float = 10

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds}


class ImageRequest(Operation, frozen=True, kw_only=True, tag="image"):
    """Text, or pictures and text, into pictures."""

    prompt: str = ""
    negative_prompt: str = ""
    references: tuple[MediaRef, ...] = ()
    reference_tags: tuple[str, ...] = ()
    size: Size = Size(1024, 1024)
    count: int = 1
    style: str = ""
    seed: int | None = None

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "image": self.count}


AnyOperation = (
    VideoRequest
    | ExtendRequest
    | EffectRequest
    | LipSyncRequest
    | AvatarRequest
    | TryOnRequest
    | SoundRequest
    | SpeechRequest
    | MusicRequest
    | RestyleRequest
    | PerformanceRequest
    | UpscaleRequest
    | ImageRequest
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyOperation] = msgspec.json.Decoder(AnyOperation)


def to_json(operation: AnyOperation) -> bytes:
    """The operation as it is stored."""
    return _encoder.encode(operation)


def from_json(data: bytes | str) -> AnyOperation:
    """The operation that was stored. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(data)
