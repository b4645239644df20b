"""Voices in MiniMax's format: like one in a sound, after a description, listed, and deleted.

A voice belongs to the account that made it, under the name that it chose; another account may choose the same one.
"""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body, shown
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import ok, outcome, places
from genway.dialects.minimax.files import uploaded
from genway.dialects.minimax.synchronous import content, made
from genway.dialects.rendering import link, moment
from genway.errors import Conflict, InvalidRequest, NotFound
from genway.gateway import Gateway
from genway.media.library import Library
from genway.operations import DirectCall, MediaRef, Parent, VoiceRequest
from genway.tasks.model import State, Task

CLONE, DESIGN = "minimax.voice_clone", "minimax.voice_design"
VOICES, DELETE = "minimax/voices", "minimax/delete"
SECONDS = 180.0
MOST_VOICES = 1000
# How a task remembers what its voice is called.
NAME = "voice_id"
GROUPS = {CLONE: "voice_cloning", DESIGN: "voice_generation"}

route = Router()

VoiceId = Annotated[str, Meta(min_length=8, max_length=256, pattern="^[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]$")]


class ClonePrompt(msgspec.Struct):
    """A short sound by which the likeness grows, and what is said in it. prompt_audio: a file's number."""

    prompt_audio: int | str
    prompt_text: str


class VoiceClone(Body, kw_only=True):
    """A voice like the one in a file. text: to be spoken as a sample, by `model`."""

    file_id: int | str
    voice_id: VoiceId
    clone_prompt: ClonePrompt | None = None
    text: Annotated[str, Meta(max_length=1000)] = ""
    model: str = ""


class VoiceDesign(Body, kw_only=True):
    """A voice as the description says. preview_text: to be spoken as a sample."""

    prompt: str
    preview_text: Annotated[str, Meta(max_length=500)]
    voice_id: VoiceId | None = None


class GetVoice(Body, kw_only=True):
    """Which voices are wanted."""

    voice_type: Literal["system", "voice_cloning", "voice_generation", "all"] = "all"


class DeleteVoice(Body, kw_only=True):
    """A voice of one's own."""

    voice_type: Literal["voice_cloning", "voice_generation"]
    voice_id: str


@route.submit(*places("/v1/voice_clone"))
async def voice_clone(body: VoiceClone, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Make a voice like the one in a file that was sent before."""
    library: Library = request.app.state.library
    await _free(gateway, asked.caller, body.voice_id)
    if body.text and not body.model:
        raise InvalidRequest("required with text", field="model")
    speaker = {"model": models.named(models.SPEECH, body.model)} if body.model else {}
    example = body.clone_prompt
    operation = VoiceRequest(
        model=models.SYSTEM + models.CLONE,
        format=CLONE,
        name=body.voice_id,
        sound=await _sound(library, asked.caller, body.file_id, "file_id"),
        example=await _sound(library, asked.caller, example.prompt_audio, "clone_prompt.prompt_audio") if example else None,
        example_text=example.prompt_text if example else "",
        text=body.text,
        extra=body.extra | speaker,
    )
    task = await made(operation, CLONE, gateway, asked, seconds=SECONDS, context={NAME: operation.name})
    return ok(render_clone(task), asked, task)


@route.submit(*places("/v1/voice_design"))
async def voice_design(body: VoiceDesign, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Make a voice after a description."""
    if body.voice_id:
        await _free(gateway, asked.caller, body.voice_id)
    operation = VoiceRequest(
        model=models.SYSTEM + models.DESIGN,
        format=DESIGN,
        name=body.voice_id or f"designed-{token_hex(8)}",
        prompt=body.prompt,
        text=body.preview_text,
        extra=body.extra,
    )
    task = await made(operation, DESIGN, gateway, asked, seconds=SECONDS, context={NAME: operation.name})
    file = task.file("audio")
    sample = (await content(file, request)).hex() if file else ""
    return ok({**render_design(task), "trial_audio": sample}, asked, task)


@route.post(*places("/v1/get_voice"))
async def get_voice(body: GetVoice, gateway: Gateway, asked: Asked) -> Answer:
    """Tell of the voices that everybody may use, and of one's own."""
    told: dict[str, Any] = {}
    if body.voice_type in {"system", "all"}:
        call = DirectCall(model=models.SYSTEM + models.CLONE, call=VOICES)
        told["system_voice"] = (await gateway.ask(asked, call)).data.get("system_voice", [])
    own = await _voices(gateway, asked.caller)
    for form, group in GROUPS.items():
        if body.voice_type in {group, "all"}:
            told[group] = [_row(task) for task in own if task.dialect == form]
    return ok(told, asked)


@route.post(*places("/v1/delete_voice"))
async def delete_voice(body: DeleteVoice, gateway: Gateway, asked: Asked) -> Answer:
    """Delete a voice of one's own; its name is free again afterwards."""
    own = await voice_named(gateway, asked.caller, body.voice_id)
    task = await gateway.get(asked.caller, own[0].task_id) if own else None
    if task is None or GROUPS[task.dialect] != body.voice_type:
        raise NotFound(f"there is no voice {shown(body.voice_id)}", field="voice_id")
    arguments = {"voice_type": body.voice_type}
    call = DirectCall(model=task.operation.model, call=DELETE, arguments=arguments, uses=(Parent(task.id),))
    with suppress(NotFound):
        await gateway.ask(asked, call)
    await gateway.delete(asked.caller, task.id)
    return ok({"voice_id": body.voice_id, "created_time": moment(task.created_at)[:10]}, asked)


async def voice_named(gateway: Gateway, caller: Caller, name: str) -> tuple[Parent, ...]:
    """The account's own voice of that name, for an operation's `uses`; empty where it has none."""
    found = await gateway.list(caller, states=(State.SUCCEEDED,), context={NAME: name}, limit=1)
    return tuple(Parent(task.id, name=name) for task in found)


def render_clone(task: Task) -> dict[str, Any]:
    """The task of a voice that was made like another."""
    told = {"input_sensitive": False, "input_sensitive_type": 0, "demo_audio": link(task, "audio")}
    return {**told, "base_resp": outcome(task)}


def render_design(task: Task) -> dict[str, Any]:
    """The task of a voice that was made after a description, without the sample's bytes."""
    return {"voice_id": str(task.context[NAME]), "trial_audio": link(task, "audio"), "base_resp": outcome(task)}


async def _voices(gateway: Gateway, caller: Caller) -> list[Task]:
    """The account's own voices, newest first."""
    found = [
        task
        for form in GROUPS
        for task in await gateway.list(caller, states=(State.SUCCEEDED,), dialect=form, limit=MOST_VOICES)
    ]
    return sorted(found, key=lambda task: -task.created_at)


async def _free(gateway: Gateway, caller: Caller, name: str) -> None:
    if await voice_named(gateway, caller, name):
        raise Conflict(f"there is a voice {shown(name)} already; delete it or choose another name", field="voice_id")


async def _sound(library: Library, caller: Caller, file_id: int | str, field: str) -> MediaRef:
    stored = await uploaded(library, caller, str(file_id), field)
    if not stored.content_type.startswith("audio/"):
        raise InvalidRequest(f"a sound, got {stored.content_type}", field=field)
    return MediaRef(media_id=stored.id)


def _row(task: Task) -> dict[str, Any]:
    operation = task.operation
    assert isinstance(operation, VoiceRequest)
    return {
        "voice_id": str(task.context[NAME]),
        "description": [operation.prompt] if operation.prompt else [],
        "created_time": moment(task.created_at)[:10],
    }
