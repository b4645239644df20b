"""The files of an operation as fields of Kling's bodies: addresses or bare base64, and its own ids of earlier videos."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    ClipOperation,
    EffectRequest,
    ElementRequest,
    ExtendRequest,
    FacesRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    PerformanceRequest,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
    SoundRequest,
    TryOnRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers.base import Files, VendorLost, VendorRefused
from genway.providers.http import at

# A picture may have 10 MB, of which a quarter goes to base64; a sound 5 MB as a file.
PICTURE_BYTES = 7_500_000
SOUND_BYTES = 5_000_000


class Media:
    """call: a method, a path and a body to what is in the envelope of Kling's answer."""

    def __init__(self, files: Files, call: Callable[..., Awaitable[Any]]) -> None:
        self._files = files
        self._call = call

    async def fields(self, operation: AnyOperation, path: str) -> dict[str, Any]:
        """What the files add to the body at that path. Raises ProviderError; nothing is started by asking."""
        match operation:
            case VideoRequest():
                return await self._video(operation, path)
            case ExtendRequest(parent=parent):
                return {"video_id": await self._video_id(parent)}
            case EffectRequest(pictures=(alone,)):
                return {"input": {"image": await self._picture(alone)}}
            case EffectRequest(pictures=pictures):
                return {"input": {"images": [await self._picture(ref) for ref in pictures]}}
            case PerformanceRequest():
                return {
                    "image_url": await self._picture(operation.character),
                    "video_url": await self._link(operation.performance),
                }
            case RestyleRequest(references=references) if path == "videos/omni-video":
                changed = [{"video_url": await self._link(operation.source), "refer_type": "base"}]
                return {"video_list": changed} | await self._list(references, "image_url")
            case RestyleRequest(references=references):
                [session] = operation.used("selection")
                return {"session_id": session.kept} | await self._list(references, "image")
            case FacesRequest() | SelectionRequest():
                return await self._clip(operation)
            case RecogniseRequest():
                return {"image": await self._picture(operation.picture)}
            case VoiceRequest(parent=parent) if parent:
                return {"video_id": await self._video_id(parent)}
            case VoiceRequest(sound=sound) if sound:
                return {"voice_url": await self._link(sound)}
            case ElementRequest():
                return await self._element(operation)
            case TryOnRequest():
                return {
                    "human_image": await self._picture(operation.person),
                    "cloth_image": await self._picture(operation.garment),
                }
            case LipSyncRequest() if path == "videos/advanced-lip-sync":
                return await self._face(operation)
            case LipSyncRequest(sound=sound):
                speech = await self._speech(sound) if sound else {}
                return {"input": await self._clip(operation) | speech}
            case AvatarRequest(sound=sound) if sound:
                return {"image": await self._picture(operation.picture), "sound_file": await self._sound(sound)}
            case SoundRequest() if path == "audio/video-to-audio":
                return await self._clip(operation)
            case ImageRequest(references=references) if references:
                return await self._image(operation, path)
        return {}

    async def _video(self, operation: VideoRequest, path: str) -> dict[str, Any]:
        loose = (*operation.references, *operation.sequence)
        if path == "videos/omni-video":
            frames = (("first_frame", operation.first_frame), ("end_frame", operation.last_frame))
            placed = [{"image_url": await self._picture(ref), "type": kind} for kind, ref in frames if ref]
            others = (await self._list(loose, "image_url")).get("image_list", [])
            return {"image_list": [*placed, *others]} if placed or others else {}
        ends = (("image", operation.first_frame), ("image_tail", operation.last_frame))
        return {name: await self._picture(ref) for name, ref in ends if ref} | await self._list(loose, "image")

    async def _image(self, operation: ImageRequest, path: str) -> dict[str, Any]:
        references = operation.references
        if path == "images/omni-image":
            return await self._list(references, "image")
        if path != "images/multi-image2image":
            return {"image": await self._picture(references[0])}
        fields: dict[str, Any] = {"subject_image_list": []}
        for index, ref in enumerate(references):
            tag = operation.reference_tags[index] if index < len(operation.reference_tags) else ""
            if tag in {"scene", "style"}:
                fields[f"{tag}_image"] = await self._picture(ref)
            else:
                fields["subject_image_list"].append({"subject_image": await self._picture(ref)})
        return fields

    async def _face(self, operation: LipSyncRequest) -> dict[str, Any]:
        """The session in which the faces were found, and the face that was chosen, with its sound and the times."""
        [session] = operation.used("faces")
        choice = dict(operation.extra["face_choose"][0])
        if operation.sound:
            choice["sound_file"] = await self._sound(operation.sound)
        return {"session_id": session.kept, "face_choose": [choice]}

    async def _element(self, operation: ElementRequest) -> dict[str, Any]:
        if operation.video:
            return {"element_video_list": {"refer_videos": [{"video_url": await self._link(operation.video)}]}}
        front, *others = [await self._picture(ref) for ref in operation.pictures]
        return {"element_image_list": {"frontal_image": front, "refer_images": [{"image_url": other} for other in others]}}

    async def _clip(self, operation: ClipOperation) -> dict[str, str]:
        parent = operation.parent
        if parent and parent.vendor_id.startswith("videos/"):
            return {"video_id": await self._video_id(parent)}
        return {"video_url": await self._link(operation.source)}

    async def _video_id(self, parent: Parent) -> str:
        """Kling's id of what came out of one of its tasks."""
        try:
            data = await self._call("GET", f"/v1/{parent.vendor_id}")
        except VendorLost:
            data = None
        video = at(data, "task_result", "videos", parent.clip, "id")
        if not isinstance(video, str) or not video:
            raise VendorRefused("kling has the earlier video no longer")
        return video

    async def _speech(self, ref: MediaRef) -> dict[str, str]:
        value = await self._sound(ref)
        kind = "url" if value.startswith(("http://", "https://")) else "file"
        return {"audio_type": kind, f"audio_{kind}": value}

    async def _list(self, references: tuple[MediaRef, ...], field: str) -> dict[str, Any]:
        listed = [{field: await self._picture(ref)} for ref in references]
        return {"image_list": listed} if listed else {}

    async def _picture(self, ref: MediaRef) -> str:
        return _bare(await self._files.address(ref, inline_bytes=PICTURE_BYTES))

    async def _sound(self, ref: MediaRef) -> str:
        return _bare(await self._files.address(ref, inline_bytes=SOUND_BYTES))

    async def _link(self, ref: MediaRef) -> str:
        return await self._files.address(ref, inline_bytes=0)


def _bare(address: str) -> str:
    """Base64 without the prefix of a data URI, which Kling declares wrong."""
    return address.partition(",")[2] if address.startswith("data:") else address
