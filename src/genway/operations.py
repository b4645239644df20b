"""What is asked, in no vendor's words.

A dialect builds one of these from a request body; a provider carries it out. Every operation is frozen and
travels through the database as JSON. Range checks that belong to a vendor's format live in the dialect;
what is checked here holds for every vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, sqrt
from typing import Any, Literal

import msgspec

CAMERA_LIMIT = 10.0
# The heights by which systems name their resolutions.
LINES = (360, 480, 512, 540, 720, 768, 1080, 1440, 2160)


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

    @property
    def resolution(self) -> str:
        """What systems call it, `1080p`: by the shorter side, or by the area where it is closer to a square than 16:9."""
        lines = min(self.width, self.height, sqrt(self.width * self.height * 9 / 16))
        return f"{min(LINES, key=lambda known: abs(known - lines))}p"

    def flipped(self) -> Size:
        """The same size with its sides exchanged."""
        return Size(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An earlier task of the same account that this one continues, changes, or uses something of.

    A dialect sets `task_id` (and `clip`, where the task has several results; and `name`, what the client calls that which it
    uses); the door fills in the rest: the channel that holds the vendor's work and the vendor's own id of it (both empty
    for work of the built-in provider), what came out of it, and what the vendor keeps (see `KeptRequest`).
    """

    task_id: str
    clip: int = 0
    channel_id: str = ""
    vendor_id: str = ""
    result: MediaRef | None = None
    name: str = ""
    kind: str = ""
    kept: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="operation"):
    """What all operations share.

    model: the model that the client asked for, qualified by its system: `runway/gen3`, `local/animate`.
    format: the wire format the request came in, `runway.pro`; `extra` holds the fields of that format which
    nobody here knows, and a provider that speaks the same format passes them on.
    uses: earlier tasks that made a voice, an element or a session which this one names.
    assumed: the fields that hold a default of the format, which the client did not send: they are left out without a word
    where nobody can do them.
    """

    model: str
    format: str = ""
    extra: dict[str, Any] = {}
    uses: tuple[Parent, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def continues(self) -> Parent | None:
        """The earlier task that this one works on, if any."""
        return getattr(self, "parent", None)

    @property
    def holder(self) -> str:
        """The channel that has to do this, for it holds what this works on or uses; empty where any may."""
        parents = (*((self.continues,) if self.continues else ()), *self.uses)
        return next((parent.channel_id for parent in parents if parent.channel_id), "")

    def used(self, kind: str) -> tuple[Parent, ...]:
        """What this uses of the earlier tasks of a kind of operation."""
        return tuple(parent for parent in self.uses if parent.kind == kind)

    @property
    def variants(self) -> tuple[str, ...]:
        """The words by which prices tell kinds of the same model apart: a quality (`pro`), a resolution (`1080p`)."""
        size = getattr(self, "size", None)
        return tuple(word for word in (getattr(self, "quality", ""), size.resolution if size else "") if word)

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


class ReferenceRequest(Operation, frozen=True, kw_only=True, tag="reference"):
    """A new video that goes by clips and sounds, and by pictures (`references`) beside them.

    clip_seconds: how long the clips are together, for the price.
    """

    prompt: str = ""
    references: tuple[MediaRef, ...] = ()
    clips: tuple[MediaRef, ...] = ()
    sounds: tuple[MediaRef, ...] = ()
    seconds: float = 5
    clip_seconds: float = 0
    size: Size = Size(1280, 720)

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "second": self.seconds + self.clip_seconds}


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


class LyricsRequest(Operation, frozen=True, kw_only=True, tag="lyrics"):
    """A description, or the beginning of a song (`lyrics`), into the words of one, which stand in the task's `details`."""

    prompt: str = ""
    lyrics: str = ""
    title: str = ""


class RecogniseRequest(Operation, frozen=True, kw_only=True, tag="recognise"):
    """What is to be seen in a picture: masks come out, and `details` say of what."""

    picture: MediaRef

    def units(self) -> Mapping[str, float]:
        return {"call": 1, "image": 1}


class KeptRequest(Operation, frozen=True, kw_only=True):
    """What comes of it stays with the vendor, under the id in the task's `details["kept"]`, and later work names it.

    It belongs to the task, and so to the account: nobody else can name it.
    """


class VoiceRequest(KeptRequest, frozen=True, kw_only=True, tag="voice"):
    """A voice: like the one in a sound, in a clip of an earlier task (`parent`), or as a description says.

    name: what the client calls it. text: to be spoken as a sample. example: a short sound by which the likeness grows, in
    which `example_text` is said.
    """

    name: str
    sound: MediaRef | None = None
    example: MediaRef | None = None
    example_text: str = ""
    parent: Parent | None = None
    prompt: str = ""
    text: str = ""


class ElementRequest(KeptRequest, frozen=True, kw_only=True, tag="element"):
    """Somebody or something that later works show: by a clip, or by pictures, of which the first is from the front."""

    name: str
    description: str = ""
    pictures: tuple[MediaRef, ...] = ()
    video: MediaRef | None = None


class FacesRequest(KeptRequest, ClipOperation, frozen=True, kw_only=True, tag="faces"):
    """The faces in a clip, of which a later lip sync chooses one. seconds: how long the clip is at the most."""

    seconds: float = 10


class SelectionRequest(KeptRequest, ClipOperation, frozen=True, kw_only=True, tag="selection"):
    """A clip, opened for marking what is to be changed in it. seconds: how long the clip is at the most."""

    seconds: float = 10


class DirectCall(Operation, frozen=True, kw_only=True, tag="direct_call"):
    """Something small that a vendor does at once and for nothing; it is no task.

    call: the system and what is asked for, `kling/voices`. arguments and the answer are in that system's own words.
    """

    call: str
    arguments: dict[str, Any] = {}


AnyOperation = (
    VideoRequest
    | ReferenceRequest
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
    | LyricsRequest
    | RecogniseRequest
    | VoiceRequest
    | ElementRequest
    | FacesRequest
    | SelectionRequest
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyOperation] = msgspec.json.Decoder(AnyOperation)


def to_json(operation: AnyOperation) -> bytes:
    """The operation as it is stored."""
    return _encoder.encode(operation)


def from_json(data: bytes | str) -> AnyOperation:
    """The operation that was stored. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(data)
