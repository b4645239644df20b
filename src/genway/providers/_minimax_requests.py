"""What MiniMax's models take, as data, and the bodies of its calls.

Source: platform.minimax.io/docs/api-reference (video-generation-*, image-generation, speech-t2a-http, music-generation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ImageRequest,
    LyricsRequest,
    MediaRef,
    MusicRequest,
    ReferenceRequest,
    SpeechRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers import _minimax_v2, camera
from genway.providers.base import Files
from genway.providers.planned import Unfit
from genway.providers.ratios import nearest_ratio

LONGEST_PROMPT = 2000
LONGEST_IMAGE_PROMPT = 1500
LONGEST_LYRICS = 3500
LONGEST_SHORT_TEXT = 9999
LONGEST_TEXT = 1_000_000
MOST_PICTURES = 9
MOST_COMMANDS = 3  # acting together; more are not recommended
# What voices made here are called there: no client can choose such a name, nor guess one.
OURS = "genway-"
INLINE_BYTES = 10_000_000  # a file may have 20 MB; as base64 in a JSON body it should stay well below
LONG_SPEECH = "minimax.speech_async"
SYNCHRONOUS = (
    *("/v1/image_generation", "/v1/t2a_v2", "/v1/music_generation", "/v1/lyrics_generation"),
    *("/v1/voice_clone", "/v1/voice_design"),
)


class Takes(msgspec.Struct, frozen=True):
    """What one video model takes.

    seconds: the durations at each resolution. text: whether it works from text alone. first, last, subject: whether it takes
    a picture to begin with, one to end with, one of a person. pictured: resolutions that need a picture. commands: whether it
    understands camera commands in brackets.
    """

    seconds: Mapping[str, tuple[int, ...]]
    text: bool = False
    first: bool = False
    last: bool = False
    subject: bool = False
    pictured: tuple[str, ...] = ()
    commands: bool = False


SHORT_SIDES = {"512P": 512, "720P": 720, "768P": 768, "1080P": 1080}
HAILUO = {"768P": (6, 10), "1080P": (6,)}
OLDER = {"720P": (6,)}

VIDEOS: Mapping[str, Takes] = {
    "MiniMax-Hailuo-2.3": Takes(HAILUO, text=True, first=True, commands=True),
    "MiniMax-Hailuo-2.3-Fast": Takes(HAILUO, first=True, commands=True),
    "MiniMax-Hailuo-02": Takes(
        {"512P": (6, 10), **HAILUO}, text=True, first=True, last=True, pictured=("512P",), commands=True
    ),
    "T2V-01-Director": Takes(OLDER, text=True, commands=True),
    "T2V-01": Takes(OLDER, text=True),
    "I2V-01-Director": Takes(OLDER, first=True, commands=True),
    "I2V-01-live": Takes(OLDER, first=True),
    "I2V-01": Takes(OLDER, first=True),
    "S2V-01": Takes(OLDER, subject=True),
    "video-01": Takes(OLDER, text=True, first=True),
    "video-01-live2d": Takes(OLDER, first=True),
}
TEMPLATE = "template"
IMAGES = ("image-01", "image-01-live")
SPEECH = (
    *("speech-2.8-hd", "speech-2.8-turbo", "speech-2.6-hd", "speech-2.6-turbo"),
    *("speech-02-hd", "speech-02-turbo", "speech-01-hd", "speech-01-turbo"),
)
MUSIC = ("music-1.5", "music-2.0", "music-2.5", "music-2.5+", "music-2.6", "music-2.6-free")
INSTRUMENTAL = ("music-2.5+", "music-2.6", "music-2.6-free")
CLONE, DESIGN, LYRICS = "voice-clone", "voice-design", "lyrics"
NAMES = (*VIDEOS, *_minimax_v2.MODELS, TEMPLATE, *IMAGES, *SPEECH, *MUSIC, CLONE, DESIGN, LYRICS)

# A model that a channel names and that is not known here is taken to be like the newest.
UNTOLD = VIDEOS["MiniMax-Hailuo-2.3"]

IMAGE_SIZES = {
    (1024, 1024): "1:1",
    (1280, 720): "16:9",
    (1152, 864): "4:3",
    (1248, 832): "3:2",
    (832, 1248): "2:3",
    (864, 1152): "3:4",
    (720, 1280): "9:16",
    (1344, 576): "21:9",
}
ENCODINGS = ("mp3", "flac", "wav")

COMMANDS: Mapping[str, tuple[str, str]] = {
    "horizontal": ("Truck right", "Truck left"),
    "vertical": ("Pedestal up", "Pedestal down"),
    "zoom": ("Push in", "Pull out"),
    "pan": ("Pan right", "Pan left"),
    "tilt": ("Tilt up", "Tilt down"),
}


def request(operation: AnyOperation, model: str) -> tuple[str, dict[str, Any]]:
    """The path and everything of the body but the pictures. Raises Unfit."""
    match operation:
        case VideoRequest() | ReferenceRequest() if model in _minimax_v2.MODELS:
            return _minimax_v2.PATH, _minimax_v2.body(operation, model)
        case ReferenceRequest():
            raise Unfit(f"{model} takes no clips and sounds to go by")
        case VideoRequest():
            return "/v1/video_generation", video(operation, model)
        case EffectRequest():
            return "/v1/video_template_generation", template(operation)
        case ImageRequest():
            return "/v1/image_generation", image(operation, model)
        case SpeechRequest():
            body = speech(operation, model)
            if operation.format == LONG_SPEECH or len(operation.text) > LONGEST_SHORT_TEXT:
                return "/v1/t2a_async_v2", body
            return "/v1/t2a_v2", body | {"output_format": "url", "stream": False}
        case MusicRequest():
            return "/v1/music_generation", music(operation, model)
        case LyricsRequest():
            return "/v1/lyrics_generation", lyrics(operation)
        case VoiceRequest():
            return voice(operation)
    raise Unfit(f"minimax does not do {operation.kind}")


async def pictures(operation: AnyOperation, files: Files) -> dict[str, Any]:
    """The fields of the body that hold pictures. Raises MediaRefused, AddressRefused."""

    async def address(ref: MediaRef) -> str:
        return await files.address(ref, inline_bytes=INLINE_BYTES)

    match operation:
        case VideoRequest():
            frames = {"first_frame_image": operation.first_frame, "last_frame_image": operation.last_frame}
            fields: dict[str, Any] = {name: await address(ref) for name, ref in frames.items() if ref}
            if operation.references:
                person = [await address(ref) for ref in operation.references]
                fields["subject_reference"] = [{"type": "character", "image": person}]
            return fields
        case EffectRequest(pictures=pictures) if pictures:
            return {"media_inputs": [{"value": await address(ref)} for ref in pictures]}
        case ImageRequest(references=references) if references:
            return {"subject_reference": [{"type": "character", "image_file": await address(ref)} for ref in references]}
    return {}


def video(operation: VideoRequest, model: str) -> dict[str, Any]:
    """The body of a video without its pictures. Raises Unfit."""
    takes = VIDEOS.get(model, UNTOLD)
    _check_pictures(operation, model, takes)
    for name, what in (("audio", "sound"), ("loop", "a loop"), ("sequence", "a sequence of pictures")):
        if getattr(operation, name):
            raise Unfit(f"{model} cannot be asked for {what}")
    if operation.negative_prompt:
        raise Unfit(f"{model} takes no negative prompt")
    if operation.guidance is not None:
        raise Unfit(f"{model} takes no number for guidance")
    if operation.count != 1:
        raise Unfit(f"{model} makes one video at once, not {operation.count}")
    prompt = _prompt(operation, takes)
    if len(prompt) > LONGEST_PROMPT:
        raise Unfit(f"the prompt with camera motion and style has {len(prompt)} characters; {model} takes {LONGEST_PROMPT}")
    return {"model": model, "prompt": prompt, **_length(operation, model, takes)}


def template(operation: EffectRequest) -> dict[str, Any]:
    """The body of a template without its pictures."""
    return {"template_id": operation.effect} | (
        {"text_inputs": [{"value": text} for text in operation.texts]} if operation.texts else {}
    )


def image(operation: ImageRequest, model: str) -> dict[str, Any]:
    """The body of pictures without their references. Raises Unfit."""
    if not operation.prompt or len(operation.prompt) > LONGEST_IMAGE_PROMPT:
        raise Unfit(f"{model} takes a prompt of 1 to {LONGEST_IMAGE_PROMPT} characters, got {len(operation.prompt)}")
    if operation.negative_prompt:
        raise Unfit(f"{model} takes no negative prompt")
    if not 1 <= operation.count <= MOST_PICTURES:
        raise Unfit(f"{model} makes 1 to {MOST_PICTURES} pictures at once, not {operation.count}")
    if len(operation.references) > 1:
        raise Unfit(f"{model} takes one picture of a person, got {len(operation.references)}")
    style = f" Style: {operation.style}." if operation.style else ""
    body: dict[str, Any] = {"model": model, "prompt": operation.prompt + style, "n": operation.count, "response_format": "url"}
    size = operation.size
    exact = model == "image-01" and all(512 <= side <= 2048 and side % 8 == 0 for side in (size.width, size.height))
    if (named := IMAGE_SIZES.get((size.width, size.height))) is not None:
        body["aspect_ratio"] = named
    elif exact:
        body |= {"width": size.width, "height": size.height}
    elif (near := nearest_ratio(size, IMAGE_SIZES.values())) is not None:
        body["aspect_ratio"] = near
    return body | ({"seed": operation.seed} if operation.seed is not None else {})


def speech(operation: SpeechRequest, model: str) -> dict[str, Any]:
    """The body of speech, for short texts and long ones. Raises Unfit."""
    if operation.voice.startswith(OURS) and not operation.used("voice"):
        raise Unfit(f"there is no voice {operation.voice}")
    if not operation.voice and not operation.extra.get("timbre_weights"):
        raise Unfit(f"{model} needs the name of a voice")
    for name, value, least, most in (
        ("speed", operation.speed, 0.5, 2),
        ("volume", operation.volume, 0.01, 10),
        ("pitch", operation.pitch, -12, 12),
    ):
        if not least <= value <= most:
            raise Unfit(f"{model} takes a {name} from {least:g} to {most:g}, got {value:g}")
    if not 1 <= len(operation.text) <= LONGEST_TEXT:
        raise Unfit(f"{model} takes a text of 1 to {LONGEST_TEXT} characters, got {len(operation.text)}")
    _check_encoding(operation.encoding, model)
    voice = {"speed": operation.speed, "vol": operation.volume, "pitch": round(operation.pitch)}
    kept = {parent.name: parent.kept for parent in operation.used("voice")}
    named = {"voice_id": kept.get(operation.voice, operation.voice), "emotion": operation.emotion}
    body: dict[str, Any] = {
        "model": model,
        "text": operation.text,
        "voice_setting": {name: value for name, value in named.items() if value} | voice,
        "audio_setting": {"format": operation.encoding},
    }
    return body | ({"language_boost": operation.language} if operation.language else {})


def music(operation: MusicRequest, model: str) -> dict[str, Any]:
    """The body of a song. Raises Unfit."""
    _check_encoding(operation.encoding, model)
    if operation.instrumental and model not in INSTRUMENTAL:
        raise Unfit(f"{model} makes no instrumental music")
    if not operation.lyrics and not operation.instrumental and not operation.extra.get("lyrics_optimizer"):
        raise Unfit(f"{model} needs lyrics")
    if len(operation.lyrics) > LONGEST_LYRICS:
        raise Unfit(f"{model} takes lyrics of at most {LONGEST_LYRICS} characters, got {len(operation.lyrics)}")
    prompt = ", ".join(part for part in (operation.prompt, operation.style) if part)
    given = {"prompt": prompt, "lyrics": operation.lyrics, "is_instrumental": operation.instrumental}
    body = {"model": model, "output_format": "url", "audio_setting": {"format": operation.encoding}}
    return body | {name: value for name, value in given.items() if value}


def lyrics(operation: LyricsRequest) -> dict[str, Any]:
    """The body of a song's words. Raises Unfit."""
    if len(operation.prompt) > LONGEST_PROMPT or len(operation.lyrics) > LONGEST_LYRICS:
        raise Unfit(f"minimax takes {LONGEST_PROMPT} characters of a description and {LONGEST_LYRICS} of lyrics")
    given = {"prompt": operation.prompt, "lyrics": operation.lyrics, "title": operation.title}
    body = {"mode": "edit" if operation.lyrics else "write_full_song"}
    return body | {name: value for name, value in given.items() if value}


def voice(operation: VoiceRequest) -> tuple[str, dict[str, Any]]:
    """The path of a voice and its body but for the files and the vendor's name of it. Raises Unfit."""
    if operation.parent:
        raise Unfit("minimax hears a voice in a sound, not in a video")
    if bool(operation.sound) == bool(operation.prompt):
        raise Unfit("minimax makes a voice from a sound, or from a description, one of the two")
    if operation.prompt:
        if not operation.text:
            raise Unfit("minimax needs a text to speak as a sample of the voice")
        return "/v1/voice_design", {"prompt": operation.prompt, "preview_text": operation.text}
    # Who speaks the sample is a field of this format alone.
    speaker = operation.extra.get("model") if operation.format.startswith("minimax.") else None
    sample = {"text": operation.text, "model": speaker or SPEECH[0]} if operation.text else {}
    return "/v1/voice_clone", sample


def _check_pictures(operation: VideoRequest, model: str, takes: Takes) -> None:
    if operation.references and not takes.subject:
        raise Unfit(f"{model} takes no reference pictures")
    if takes.subject and len(operation.references) != 1:
        raise Unfit(f"{model} takes one picture of a person as its reference, got {len(operation.references)}")
    if operation.last_frame and not takes.last:
        raise Unfit(f"{model} takes no picture to end with")
    if operation.first_frame and not takes.first:
        raise Unfit(f"{model} takes no picture to begin with")
    if not takes.text and not takes.subject and not operation.first_frame:
        raise Unfit(f"{model} needs a picture to begin with")
    if not operation.prompt and operation.camera.still and not (operation.first_frame or operation.last_frame):
        raise Unfit(f"{model} needs a prompt")


def _length(operation: VideoRequest, model: str, takes: Takes) -> dict[str, Any]:
    """Resolution and duration: the resolution nearest to the size; the shape follows the picture, and is 16:9 without one."""
    size, pictured = operation.size, bool(operation.first_frame or operation.last_frame)
    if not pictured and nearest_ratio(size, ("16:9",)) is None:
        raise Unfit(f"{model} makes 16:9 where there is no picture, got {size}")
    short = min(size.width, size.height)
    able = [name for name in takes.seconds if pictured or name not in takes.pictured]
    if operation.last_frame and operation.first_frame:
        able = [name for name in able if name not in takes.pictured]  # a first and a last frame have no 512P
    resolution = min(able, key=lambda name: abs(SHORT_SIDES[name] - short))
    durations = takes.seconds[resolution]
    if operation.seconds not in durations:
        allowed = " or ".join(str(seconds) for seconds in durations)
        raise Unfit(f"{model} makes {allowed} seconds at {resolution}, got {operation.seconds:g}")
    return {"duration": int(operation.seconds), "resolution": resolution}


def _prompt(operation: VideoRequest, takes: Takes) -> str:
    """The prompt with camera motion and style: in brackets what there is a command for, the rest in words."""
    motion = {name: getattr(operation.camera, name) for name in Camera.__struct_fields__ if getattr(operation.camera, name)}
    strongest = sorted((name for name in motion if name in COMMANDS), key=lambda name: -abs(motion[name]))
    commanded = strongest[:MOST_COMMANDS] if takes.commands else []
    commands = [COMMANDS[name][motion[name] < 0] for name in commanded]
    parts = [
        operation.prompt.strip(),
        f"[{','.join(commands)}]" if commands else "",
        camera.in_words(Camera(**{name: value for name, value in motion.items() if name not in commanded})),
        f"Style: {operation.style}." if operation.style else "",
    ]
    return " ".join(part for part in parts if part)


def _check_encoding(encoding: str, model: str) -> None:
    if encoding not in ENCODINGS:
        raise Unfit(f"{model} makes {', '.join(ENCODINGS)}, got {encoding}")
