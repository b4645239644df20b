"""Voices and elements: made from one's own sounds, pictures and clips, listed, and deleted; and the presets of the vendor.

What an account makes is its own: it goes by a number made from its task, and only that account can name it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Asking, Router
from genway.dialects.body import Body, shown
from genway.dialects.kling import models
from genway.dialects.kling.envelope import milliseconds, ok
from genway.dialects.kling.fields import FORMAT, V1, Shared, begun, kept, needed_picture, result
from genway.dialects.kling.queries import LibraryPage, query_of
from genway.dialects.numbers import by_number
from genway.dialects.rendering import local_header
from genway.errors import InvalidRequest, NotFound
from genway.gateway import Gateway
from genway.operations import DirectCall, ElementRequest, KeptRequest, MediaRef, Parent, VoiceRequest
from genway.tasks.model import Task

PRESETS = {"presets-voices": ("kling/voices", models.VOICE), "advanced-presets-elements": ("kling/elements", models.ELEMENT)}
DELETE = "kling/delete"

route = Router()

Name = Annotated[str, Meta(min_length=1, max_length=20)]


class CustomVoice(Shared, kw_only=True):
    """A voice like the one in a sound or a clip, or in a video that was made here: 5 to 30 s of one person."""

    voice_name: Name
    voice_url: str = ""
    video_id: str = ""


class Angle(msgspec.Struct):
    """A picture from another side."""

    image_url: str


class Pictures(msgspec.Struct):
    """What an element looks like: from the front, and from 1 to 3 other sides."""

    frontal_image: str
    refer_images: Annotated[list[Angle], Meta(min_length=1, max_length=3)]


class ElementClip(msgspec.Struct):
    """A clip that shows an element."""

    video_url: str


class Clips(msgspec.Struct):
    """The clip of an element."""

    refer_videos: Annotated[list[ElementClip], Meta(min_length=1, max_length=1)]


class CustomElement(Shared, kw_only=True):
    """Somebody or something to be shown again. element_voice_id: how it speaks. tag_list: what kind of thing it is."""

    element_name: Name
    element_description: Annotated[str, Meta(min_length=1, max_length=100)]
    reference_type: Literal["image_refer", "video_refer"]
    element_image_list: Pictures | None = None
    element_video_list: Clips | None = None
    element_voice_id: str = ""
    tag_list: list[Any] = []


class VoiceName(Body, kw_only=True):
    """A voice of one's own."""

    voice_id: str


class ElementName(Body, kw_only=True):
    """An element of one's own."""

    element_id: str | int


@route.submit(f"{V1}/general/custom-voices")
async def custom_voice(body: CustomVoice, gateway: Gateway, asked: Asked) -> Answer:
    """Make a voice."""
    if bool(body.voice_url) == bool(body.video_id):
        raise InvalidRequest("exactly one of `voice_url` and `video_id`", field="voice_url")
    sound, parent = None, None
    if body.voice_url:
        kinds = ("audio", "video")
        sound = await gateway.accept_media(asked.caller, body.voice_url, field="voice_url", kinds=kinds)
    else:
        task, place, _ = await result(gateway, asked.caller, body.video_id, "video", "video_id")
        parent = Parent(task.id, place)
    operation = VoiceRequest(
        model=models.VOICE, format=FORMAT, extra=kept(body), name=body.voice_name, sound=sound, parent=parent
    )
    return await begun("general/custom-voices", operation, body, gateway, asked)


@route.submit(f"{V1}/general/advanced-custom-elements")
async def custom_element(body: CustomElement, gateway: Gateway, asked: Asked) -> Answer:
    """Make an element."""
    pictures: list[MediaRef] = []
    video = None
    if body.reference_type == "image_refer":
        if body.element_image_list is None:
            raise InvalidRequest("required for image_refer", field="element_image_list")
        front, others = body.element_image_list.frontal_image, body.element_image_list.refer_images
        addresses = [("frontal_image", front)]
        addresses += [(f"refer_images[{index}].image_url", angle.image_url) for index, angle in enumerate(others)]
        for field, address in addresses:
            pictures.append(await needed_picture(gateway, asked.caller, address, f"element_image_list.{field}"))
    else:
        if body.element_video_list is None:
            raise InvalidRequest("required for video_refer", field="element_video_list")
        address, field = body.element_video_list.refer_videos[0].video_url, "element_video_list.refer_videos[0].video_url"
        video = await gateway.accept_media(asked.caller, address, field=field, kinds=("video",))
    operation = ElementRequest(
        model=models.ELEMENT,
        format=FORMAT,
        extra=kept(body, "tag_list", "element_voice_id"),
        name=body.element_name,
        description=body.element_description,
        pictures=tuple(pictures),
        video=video,
    )
    return await begun("general/advanced-custom-elements", operation, body, gateway, asked)


@route.get(*(f"{V1}/general/{name}" for name in PRESETS))
async def presets(gateway: Gateway, asked: Asked, asking: Asking, request: Request[Any, Any, Any]) -> Answer:
    """Tell of the voices, or the elements, that everybody may use."""
    page = query_of(LibraryPage, request)
    call, model = PRESETS[asking.path.rstrip("/").rpartition("/")[2]]
    arguments = {"page": page.page_num, "size": page.page_size}
    answer = await gateway.ask(asked, DirectCall(model=model, format=FORMAT, call=call, arguments=arguments))
    return ok(answer.data["rows"], asked.request_id, headers=local_header(answer.local))


@route.post(f"{V1}/general/delete-voices")
async def delete_voice(body: VoiceName, gateway: Gateway, asked: Asked) -> Answer:
    """Delete a voice of one's own."""
    return await _delete(await _own(gateway, asked.caller, body.voice_id, "voice_id", VoiceRequest), gateway, asked)


@route.post(f"{V1}/general/delete-elements")
async def delete_element(body: ElementName, gateway: Gateway, asked: Asked) -> Answer:
    """Delete an element of one's own."""
    name = str(body.element_id)
    return await _delete(await _own(gateway, asked.caller, name, "element_id", ElementRequest), gateway, asked)


async def _own(gateway: Gateway, caller: Caller, name: str, field: str, kind: type[KeptRequest]) -> Task:
    task = await by_number(gateway, caller, name.strip())
    if task is None or not isinstance(task.operation, kind):
        raise InvalidRequest(f"the id of one that was made here, got {shown(name)}", field=field)
    return task


async def _delete(task: Task, gateway: Gateway, asked: Asked) -> Answer:
    """What the vendor has forgotten by itself is forgotten here as well."""
    call = DirectCall(model=task.operation.model, format=FORMAT, call=DELETE, uses=(Parent(task.id),))
    headers: dict[str, str] = {}
    with suppress(NotFound):
        headers = local_header((await gateway.ask(asked, call)).local)
    await gateway.delete(asked.caller, task.id)
    told = {
        "task_id": task.id,
        "task_status": "succeed",
        "task_status_msg": "",
        "created_at": milliseconds(task.created_at),
        "updated_at": milliseconds(task.updated_at),
    }
    return ok(told, asked.request_id, headers=headers)
