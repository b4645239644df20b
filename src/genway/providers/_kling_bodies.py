"""An operation as a route of Kling's API and a body, or why there is none. No call is made here."""

from __future__ import annotations

from typing import Any

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    Camera,
    EffectRequest,
    ElementRequest,
    ExtendRequest,
    FacesRequest,
    ImageRequest,
    LipSyncRequest,
    PerformanceRequest,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
    Size,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers import camera
from genway.providers._kling_models import (
    AXES,
    EFFECTS,
    IMAGE_RATIOS,
    IMAGES,
    MOTION_CONTROL,
    MULTI_IMAGE,
    MULTI_IMAGE_TO_VIDEO,
    NAMES,
    OMNI_IMAGE,
    OMNI_VIDEO,
    PRESETS,
    PROMPT,
    TRY_ON,
    UNTOLD,
    VIDEO,
    VIDEO_RATIOS,
    Takes,
)
from genway.providers.planned import Unfit
from genway.providers.ratios import nearest_ratio

FORMAT = "kling"
EDITS = ("addition", "swap", "removal")
SIDES = tuple(f"{side}_expansion_ratio" for side in ("up", "down", "left", "right"))
Plan = tuple[str, dict[str, Any]]


def plan(operation: AnyOperation, model: str, known_as: str) -> Plan:
    """The route and everything of its body but the files. Raises Unfit.

    model: Kling's own name. known_as: the name that it goes by here, whose limits count where the model is unheard of.
    """
    like = model if model in NAMES else known_as.removeprefix("kling/")
    match operation:
        case VideoRequest():
            path, body = _video(operation, like)
        case ExtendRequest():
            return "videos/video-extend", _extend(operation, like)
        case RestyleRequest():
            path, body = _restyle(operation, like)
        case PerformanceRequest():
            path, body = "videos/motion-control", _performance(operation, like)
        case EffectRequest():
            return "videos/effects", _effect(operation, model, like)
        case ImageRequest():
            path, body = _image(operation, like)
        case TryOnRequest():
            _named(like, TRY_ON, "dresses nobody")
            path, body = "images/kolors-virtual-try-on", {}
        case LipSyncRequest():
            return _lip_sync(operation)
        case AvatarRequest():
            return "videos/avatar/image2video", _avatar(operation)
        case SoundRequest():
            return _sound(operation)
        case SpeechRequest():
            return "audio/tts", _speech(operation)
        case VoiceRequest():
            return "general/custom-voices", _voice(operation)
        case ElementRequest():
            return "general/advanced-custom-elements", _element(operation)
        case FacesRequest():
            return "videos/identify-face", {}
        case SelectionRequest():
            return "videos/multi-elements/init-selection", {}
        case RecogniseRequest():
            return "videos/image-recognize", {}
        case _:
            raise Unfit(f"kling does not do {operation.kind}")
    return path, body if path == "images/editing/expand" else {"model_name": model, **body}


def _video(operation: VideoRequest, model: str) -> Plan:
    if operation.loop:
        raise Unfit("kling makes no loops")
    if operation.count != 1:
        raise Unfit(f"kling makes one video at a time, not {operation.count}")
    pictures = len(operation.references) + len(operation.sequence)
    framed = bool(operation.first_frame or operation.last_frame)
    if model in OMNI_VIDEO:
        return "videos/omni-video", _omni(operation, pictures)
    takes = VIDEO.get(model, UNTOLD)
    if model not in VIDEO and model in NAMES:
        raise Unfit(f"{model} makes no videos")
    if pictures:
        if model not in MULTI_IMAGE_TO_VIDEO:
            raise Unfit(f"{model} takes no reference pictures; {MULTI_IMAGE_TO_VIDEO[0]} does")
        if framed:
            raise Unfit(f"{model} takes reference pictures, or pictures to begin and end with, not both")
        if pictures > 4:
            raise Unfit(f"{model} takes 4 reference pictures, got {pictures}")
    elif framed and not takes.image:
        raise Unfit(f"{model} takes no pictures")
    elif not framed and not takes.text:
        raise Unfit(f"{model} makes no video from text alone")
    path = "multi-image2video" if pictures else "image2video" if framed else "text2video"
    mode = _mode(operation, model, takes)
    control = _camera_control(operation, takes, mode, path)
    body = {
        **_words(operation, camera.in_words(operation.camera) if control is None else "", needed=path != "image2video"),
        **_seconds(operation.seconds, takes.seconds, model),
    }
    if mode:
        body["mode"] = mode
    if path != "image2video":
        body["aspect_ratio"] = _ratio(operation.size, VIDEO_RATIOS)
    if operation.guidance is not None and takes.guidance and path != "multi-image2video":
        body["cfg_scale"] = operation.guidance
    if control:
        body["camera_control"] = control
    if operation.audio:
        body["sound"] = "on"
    return f"videos/{path}", body


def _mode(operation: VideoRequest, model: str, takes: Takes) -> str:
    """`std`, `pro`, or nothing where there is no such field. What only one mode can do chooses it, unless one was asked for."""
    asked = operation.quality
    if asked not in {"", "std", "pro"}:
        raise Unfit(f"{model} takes std or pro as quality, got {asked}")
    mode = asked or ("pro" if min(operation.size.width, operation.size.height) > 960 else "std")
    if operation.last_frame:
        if not takes.tail:
            raise Unfit(f"{model} takes no picture to end with")
        if not operation.first_frame and not takes.tail_alone:
            raise Unfit(f"{model} takes a picture to end with only beside one to begin with")
        if operation.seconds not in takes.tail_seconds:
            raise Unfit(f"{model} makes {_listed(takes.tail_seconds)} seconds with a picture to end with")
        mode = _fitting(mode, asked, takes.tail, f"{model} takes a picture to end with")
    if operation.audio:
        if not takes.sound:
            raise Unfit(f"{model} makes no sound")
        if operation.last_frame and model == "kling-v2-6":
            raise Unfit(f"{model} makes no sound with a picture to end with")
        mode = _fitting(mode, asked, takes.sound, f"{model} makes sound")
    return mode if takes.modes else ""


def _fitting(mode: str, asked: str, allowed: tuple[str, ...], what: str) -> str:
    if mode in allowed:
        return mode
    if asked:
        raise Unfit(f"{what} in mode {' or '.join(allowed)}, got {asked}")
    return allowed[0]


def _camera_control(operation: VideoRequest, takes: Takes, mode: str, path: str) -> dict[str, Any] | None:
    """The motion in Kling's terms; empty for none, None where it has to be said in words."""
    motion = operation.camera
    if motion.still:
        return {}
    if operation.seconds != 5 or operation.last_frame:
        return None
    if takes.camera == "text" and path == "text2video" and mode == "std":
        return _preset(motion) or _simple(motion)
    if takes.camera == "image" and path == "image2video" and mode == "pro":
        return _simple(motion)
    return None


def _preset(motion: Camera) -> dict[str, Any] | None:
    return next(({"type": name} for name, preset in PRESETS.items() if preset == motion), None)


def _simple(motion: Camera) -> dict[str, Any] | None:
    """One axis alone. Kling's zoom is of the focal length: what comes nearer is negative."""
    values = {axis: getattr(motion, axis) for axis in AXES}
    if sum(value != 0 for value in values.values()) != 1 or motion.background_pan_x or motion.background_pan_y:
        return None
    return {"type": "simple", "config": values | {"zoom": -values["zoom"] or 0.0}}


def _omni(operation: VideoRequest, pictures: int) -> dict[str, Any]:
    frames = bool(operation.first_frame) + bool(operation.last_frame)
    if pictures + frames > 7:
        raise Unfit(f"an omni model takes 7 pictures, got {pictures + frames}")
    if operation.last_frame and not operation.first_frame:
        raise Unfit("an omni model takes a picture to end with only beside one to begin with")
    if operation.negative_prompt:
        raise Unfit("an omni model takes no negative prompt")
    body = {
        **_words(operation, camera.in_words(operation.camera)),
        **_seconds(operation.seconds, UNTOLD.seconds, "an omni model"),
        "mode": operation.quality or "pro",
        "sound": "on" if operation.audio else "off",
    }
    return body if operation.first_frame else body | {"aspect_ratio": _ratio(operation.size, VIDEO_RATIOS)}


def _extend(operation: ExtendRequest, model: str) -> dict[str, Any]:
    if not VIDEO.get(model, UNTOLD).extends:
        raise Unfit("kling makes videos of kling-v1, kling-v1-5 and kling-v1-6 longer")
    if operation.before or operation.first_frame or operation.last_frame or operation.loop:
        raise Unfit("kling makes a video go on at its end, and takes no picture for that")
    if operation.seconds not in (4, 5):
        raise Unfit(f"kling adds 4 to 5 seconds, got {operation.seconds:g}")
    body = _words(operation, camera.in_words(operation.camera), needed=False)
    if model == "kling-v1":
        if operation.negative_prompt:
            raise Unfit("kling-v1 takes no negative prompt for more of a video")
    elif operation.guidance is not None:
        body["cfg_scale"] = operation.guidance
    return body


def _restyle(operation: RestyleRequest, model: str) -> Plan:
    if model in OMNI_VIDEO:
        if len(operation.references) > 4:
            raise Unfit(f"{model} takes 4 pictures beside a clip, got {len(operation.references)}")
        return "videos/omni-video", {**_words(operation, ""), "mode": "pro"}
    if operation.extra.get("edit_mode") not in EDITS or operation.format != FORMAT or not operation.used("selection"):
        raise Unfit(f"{model} changes a clip by marks made in it before; {OMNI_VIDEO[0]} changes one by words")
    return "videos/multi-elements", {**_words(operation, ""), **_seconds(operation.seconds, (5, 10), model)}


def _performance(operation: PerformanceRequest, model: str) -> dict[str, Any]:
    _named(model, MOTION_CONTROL, "transfers no motion")
    if operation.character_kind != "image":
        raise Unfit("kling takes a picture of the character, not a clip")
    if operation.body_control is False or operation.intensity is not None:
        raise Unfit("kling transfers the whole motion as it is")
    return {"character_orientation": "video" if operation.seconds > 10 else "image", "mode": "std"}


def _effect(operation: EffectRequest, model: str, like: str) -> dict[str, Any]:
    _named(like, EFFECTS, "plays no effects")
    if operation.texts or not 1 <= len(operation.pictures) <= 2:
        raise Unfit(f"an effect of kling takes 1 or 2 pictures and no texts, got {len(operation.pictures)}")
    allowed = (5,) if len(operation.pictures) == 1 else (5, 10)
    return {
        "effect_scene": operation.effect,
        "input": {"model_name": model, **_seconds(operation.seconds, allowed, "this effect")},
    }


def _image(operation: ImageRequest, model: str) -> Plan:
    body: dict[str, Any] = {"n": operation.count, **_words(operation, "", needed=model != "expand")}
    if not 1 <= operation.count <= 9:
        raise Unfit(f"kling makes 1 to 9 pictures at once, got {operation.count}")
    if model == "expand":
        if not all(side in operation.extra for side in SIDES):
            raise Unfit(f"an expansion needs {', '.join(SIDES)}")
        return "images/editing/expand", body
    body["aspect_ratio"] = _ratio(operation.size, IMAGE_RATIOS)
    pictures = len(operation.references)
    if model in OMNI_IMAGE:
        if operation.negative_prompt or pictures > 10:
            raise Unfit(f"{model} takes 10 pictures and no negative prompt")
        return "images/omni-image", body | {"resolution": _resolution(operation.size)}
    if model in NAMES and model not in IMAGES:
        raise Unfit(f"{model} makes no pictures")
    if pictures > 1 or (operation.format == FORMAT and "subject" in operation.reference_tags):
        _named(model, MULTI_IMAGE, "takes one reference picture")
        if operation.negative_prompt or pictures > 6:
            raise Unfit(
                f"{model} takes several pictures without a negative prompt, and 4 of things, 1 of a scene, 1 of a style"
            )
        return "images/multi-image2image", body
    if pictures and operation.negative_prompt:
        raise Unfit(f"{model} takes no negative prompt beside a picture")
    if _ratio(operation.size, IMAGE_RATIOS) == "21:9" and model == "kling-v1":
        raise Unfit("kling-v1 has no 21:9")
    return "images/generations", body | {"resolution": _resolution(operation.size)}


def _lip_sync(operation: LipSyncRequest) -> Plan:
    if operation.used("faces"):
        if not operation.extra.get("face_choose"):
            raise Unfit("a lip sync of one of several faces says which one, and when")
        return "videos/advanced-lip-sync", {}
    if operation.sound:
        return "videos/lip-sync", {"input": {"mode": "audio2video"}}
    if not operation.text or len(operation.text) > 120:
        raise Unfit(f"kling speaks 1 to 120 characters, got {len(operation.text)}")
    if not operation.voice:
        raise Unfit("kling needs a voice")
    if not 0.8 <= operation.speed <= 2:
        raise Unfit(f"kling speaks 0.8 to 2 times as fast, got {operation.speed:g}")
    speech = {"text": operation.text, "voice_id": operation.voice, "voice_language": operation.language or "zh"}
    return "videos/lip-sync", {"input": {"mode": "text2video", **speech, "voice_speed": round(operation.speed, 1)}}


def _avatar(operation: AvatarRequest) -> dict[str, Any]:
    if operation.sound is None:
        raise Unfit("an avatar of kling speaks a sound, not a text")
    if operation.quality not in {"", "std", "pro"}:
        raise Unfit(f"an avatar takes std or pro as quality, got {operation.quality}")
    mode = {"mode": operation.quality} if operation.quality else {}
    return {**_words(operation, "", needed=False), **mode}


def _sound(operation: SoundRequest) -> Plan:
    if operation.negative_prompt:
        raise Unfit("kling takes no negative prompt for a sound")
    if max(len(operation.prompt), len(operation.music_prompt)) > 200:
        raise Unfit("kling takes 200 characters to describe a sound")
    if operation.video or operation.parent:
        words = {"sound_effect_prompt": operation.prompt, "bgm_prompt": operation.music_prompt}
        return "audio/video-to-audio", {name: text for name, text in words.items() if text}
    if not operation.prompt or operation.music_prompt:
        raise Unfit("kling makes a sound from one description, and music only for a clip")
    if not 3 <= operation.seconds <= 10:
        raise Unfit(f"kling makes 3 to 10 seconds of sound, got {operation.seconds:g}")
    return "audio/text-to-audio", {"prompt": operation.prompt, "duration": round(operation.seconds, 1)}


def _speech(operation: SpeechRequest) -> dict[str, Any]:
    if not operation.voice:
        raise Unfit("kling needs a voice")
    if len(operation.text) > 1000:
        raise Unfit(f"kling speaks 1000 characters, got {len(operation.text)}")
    if not 0.8 <= operation.speed <= 2 or operation.volume != 1 or operation.pitch or operation.emotion:
        raise Unfit("kling speaks 0.8 to 2 times as fast, and has no volume, pitch and emotion")
    voice = {"voice_id": operation.voice, "voice_language": operation.language or "zh"}
    return {"text": operation.text, **voice, "voice_speed": round(operation.speed, 1)}


def _voice(operation: VoiceRequest) -> dict[str, Any]:
    if operation.prompt or operation.text:
        raise Unfit("kling makes a voice like one that it hears, not from a description, and speaks no sample")
    if not operation.sound and not operation.parent:
        raise Unfit("kling needs a sound or a video of its own to hear a voice in")
    if not 1 <= len(operation.name) <= 20:
        raise Unfit(f"kling takes 1 to 20 characters as a voice's name, got {len(operation.name)}")
    return {"voice_name": operation.name}


def _element(operation: ElementRequest) -> dict[str, Any]:
    if not 1 <= len(operation.name) <= 20 or not 1 <= len(operation.description) <= 100:
        raise Unfit("kling takes 1 to 20 characters as an element's name and 1 to 100 to describe it")
    if bool(operation.pictures) == bool(operation.video):
        raise Unfit("kling takes pictures of an element, or a clip, one of the two")
    if operation.pictures and not 2 <= len(operation.pictures) <= 4:
        raise Unfit(f"kling takes 2 to 4 pictures of an element, got {len(operation.pictures)}")
    kind = "image_refer" if operation.pictures else "video_refer"
    return {"element_name": operation.name, "element_description": operation.description, "reference_type": kind}


def _words(operation: Any, motion: str, *, needed: bool = True) -> dict[str, Any]:
    """The prompt with what has no field of its own, and the negative one."""
    style = f"Style: {operation.style}." if getattr(operation, "style", "") else ""
    text = " ".join(part for part in (operation.prompt.strip(), motion, style) if part)
    shots = operation.format == FORMAT and operation.extra.get("multi_shot")
    if needed and not text:
        raise Unfit("kling needs a prompt")
    if not shots and max(len(text), len(getattr(operation, "negative_prompt", ""))) > PROMPT:
        raise Unfit(f"kling takes {PROMPT} characters, got {len(text)}")
    named = {"prompt": text, "negative_prompt": getattr(operation, "negative_prompt", "")}
    return {name: value for name, value in named.items() if value}


def _seconds(seconds: float, allowed: tuple[int, ...], what: str) -> dict[str, str]:
    if seconds not in allowed:
        raise Unfit(f"{what} makes {_listed(allowed)} seconds, got {seconds:g}")
    return {"duration": str(int(seconds))}


def _ratio(size: Size, ratios: tuple[str, ...]) -> str:
    ratio = nearest_ratio(size, ratios)
    assert ratio is not None, "there is a ratio of each direction"
    return ratio


def _resolution(size: Size) -> str:
    return "2k" if size.width * size.height > 2_500_000 else "1k"


def _named(model: str, known: tuple[str, ...], what: str) -> None:
    if model in NAMES and model not in known:
        raise Unfit(f"{model} {what}; {', '.join(known)} can do more")


def _listed(numbers: tuple[int, ...]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 2 else " or ".join(str(number) for number in numbers)
