"""Realtime sessions: what was said last is said again, as text or as tones with a transcript, in the vendor's events.

Nothing is heard: sound that is committed counts by its length, and turns are not
detected; `response.create` asks for an answer.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import msgspec

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, tones, words
from genway.providers.local.echo.answers import identifier, joined, refused
from genway.providers.local.echo.saying import NAME, Asked, Call, Choice, Said, Tool, say
from genway.providers.local.echo.saying import Conversation as Talk
from genway.providers.local.echo.speech import audio_tokens
from genway.providers.local.echo.words import Forced

VOICE = "alloy"
BYTES_A_SECOND = 48_000
MOST_ITEMS = 2000
MOST_BYTES = 1024 * 1024  # of all items together
LARGEST_SETTINGS = 512 * 1024
LONGEST_TEXT = 128 * 1024
"""Characters of an item's words and of an answer's instructions: more than the context of any vendor's session has room for."""

SESSION_SECONDS = 3600
Event = dict[str, Any]
Steps = Iterator[tuple[float, bytes]]
"""Events, encoded, each with the seconds to wait before it."""

NOTHING = msgspec.Raw(b"null")

LEGACY_EVENTS = (
    ("response.output_text.", "response.text."),
    ("response.output_audio_transcript.", "response.audio_transcript."),
    ("response.output_audio.", "response.audio."),
    ("conversation.item.added", "conversation.item.created"),
)
LEGACY_PARTS = {"output_text": "text", "output_audio": "audio"}


class Part(msgspec.Struct):
    """type: input_text, output_text, input_audio, output_audio …"""

    type: str = ""
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None


class Item(msgspec.Struct):
    type: str
    id: str | None = None
    role: str = "user"
    content: list[Part] = []
    name: str = ""
    call_id: str = ""
    arguments: str = ""
    output: str = ""

    @property
    def words(self) -> str:
        """What it says."""
        return self.arguments or self.output or joined(part.text or part.transcript or "" for part in self.content)


class Function(msgspec.Struct):
    type: str = "function"
    name: str = ""
    parameters: dict[str, Any] | None = None


class Wishes(msgspec.Struct):
    """What a session, or one answer, wants; `modalities` and `max_response_output_tokens` are the older names."""

    output_modalities: list[str] | None = None
    modalities: list[str] | None = None
    instructions: str | None = None
    tools: list[Function] | None = None
    tool_choice: str | Function | None = None
    max_output_tokens: int | str | None = None
    max_response_output_tokens: int | str | None = None
    metadata: dict[str, Any] | None = None


class ClientEvent(msgspec.Struct):
    type: str
    event_id: str | None = None
    session: msgspec.Raw = NOTHING
    item: msgspec.Raw = NOTHING
    item_id: str | None = None
    previous_item_id: str | None = None
    content_index: int = 0
    audio_end_ms: int = 0
    audio: str | None = None
    response: msgspec.Raw = NOTHING


class Refused(Exception):
    """An event of the client's that the session answers with an error."""

    def __init__(self, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param


class Conversation:
    """One session. seed: all ids follow from it. created: Unix seconds. legacy: events are named as in the older form.

    transcribes: it only writes down what it hears.
    """

    def __init__(self, seed: str, *, created: int, legacy: bool = False, transcribes: bool = False) -> None:
        self._seed = seed
        self._legacy = legacy
        self._count = 0
        self._items: dict[str, Event] = {}
        self._sizes: dict[str, int] = {}
        self._words: dict[str, int] = {}  # tokens of an item
        self._size = 0
        self._sound = 0
        self._cancelled: set[str] = set()
        self._answering = ""
        self.session: Event = {
            "type": "transcription" if transcribes else "realtime",
            "object": "realtime.transcription_session" if transcribes else "realtime.session",
            "id": identifier("sess_", seed),
            "expires_at": created + SESSION_SECONDS,
            "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": None, "turn_detection": None}},
        }
        if not transcribes:
            self.session["audio"]["output"] = {"format": {"type": "audio/pcm", "rate": 24000}, "voice": VOICE, "speed": 1.0}
            modalities = {"modalities": ["audio", "text"]} if legacy else {"output_modalities": ["audio"]}
            self.session |= modalities | {"model": NAME, "instructions": "", "tools": [], "tool_choice": "auto"}
            self.session["max_output_tokens"] = "inf"

    def opening(self) -> Steps:
        """What is said before the client has said anything."""
        yield 0.0, self._event("session.created", session=self.session)

    def hear(self, data: bytes) -> Steps:
        """The answer to one of the client's events; what is wrong with it is an event as well."""
        event_id: str | None = None
        try:
            event = msgspec.json.decode(data, type=ClientEvent)
            event_id = event.event_id
            return self._answer(event)
        except Refused as error:
            return self._error(error.message, error.code, error.param, event_id)
        except InvalidRequest as error:
            return self._error(error.message, "invalid_value", error.field, event_id)
        except msgspec.ValidationError as error:
            wrong = refused(error)
            return self._error(wrong.message, "invalid_value", wrong.field, event_id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._error(f"The event is not valid JSON: {error}", "invalid_json", None, event_id)

    def _answer(self, event: ClientEvent) -> Steps:
        match event.type:
            case "session.update" | "transcription_session.update":
                return iter(self._update(event))
            case "conversation.item.create":
                return iter(self._create(event))
            case "conversation.item.retrieve":
                return self._told("conversation.item.retrieved", item=self._item(event))
            case "conversation.item.delete":
                self._forget(self._item(event)["id"])
                return self._told("conversation.item.deleted", item_id=event.item_id)
            case "conversation.item.truncate":
                where = {"content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
                return self._told("conversation.item.truncated", item_id=self._item(event)["id"], **where)
            case "input_audio_buffer.append":
                self._append(event.audio)
                return iter(())
            case "input_audio_buffer.commit":
                return iter(self._commit())
            case "input_audio_buffer.clear":
                self._sound = 0
                return self._told("input_audio_buffer.cleared")
            case "response.create" if self.session["type"] == "realtime":
                return self._respond(event)
            case "response.cancel":
                if not self._answering:
                    raise Refused("Cancellation failed: no active response found", "response_cancel_not_active")
                self._cancelled.add(self._answering)
                return iter(())
        raise Refused(f"Invalid value: '{event.type}'.", "invalid_value", "type")

    # --- the session and its items

    def _update(self, event: ClientEvent) -> list[tuple[float, bytes]]:
        if len(bytes(event.session)) > LARGEST_SETTINGS:
            raise Refused(f"A session's settings have at most {LARGEST_SETTINGS} bytes.", "too_large", "session")
        wanted = _object(event.session, "session")
        if not self._legacy and wanted.get("type", self.session["type"]) != self.session["type"]:
            raise Refused(f"The session's type is {self.session['type']}.", "invalid_value", "session.type")
        _read(event.session, Wishes, "session")
        kept = {name: value for name, value in wanted.items() if name not in ("id", "object", "model", "expires_at", "audio")}
        changed, audio = self.session | kept, wanted.get("audio")
        if isinstance(audio, dict):
            before: Event = self.session["audio"]
            sides = {side: before.get(side, {}) | new for side, new in audio.items() if isinstance(new, dict)}
            changed["audio"] = before | sides
        if len(msgspec.json.encode(changed)) > LARGEST_SETTINGS:
            raise Refused(f"A session's settings have at most {LARGEST_SETTINGS} bytes.", "too_large", "session")
        self.session = changed
        name = "transcription_session.updated" if event.type.startswith("transcription") else "session.updated"
        return [(0.0, self._event(name, session=self.session))]

    def _create(self, event: ClientEvent) -> list[tuple[float, bytes]]:
        if len(bytes(event.item)) > MOST_BYTES:
            raise Refused(f"An item has at most {MOST_BYTES} bytes.", "too_large", "item")
        item = _read(event.item, Item, "item")
        if item.type not in ("message", "function_call", "function_call_output"):
            raise Refused(f"Invalid value: '{item.type}'.", "invalid_value", "item.type")
        if len(item.words) > LONGEST_TEXT:
            raise Refused(f"The text of an item has at most {LONGEST_TEXT} characters.", "too_large", "item")
        kept = _object(event.item, "item")
        kept["id"] = item.id or self._id("item_")
        if kept["id"] in self._items:
            raise Refused(f"There is an item '{item.id}' already.", "item_already_exists", "item.id")
        return self._add({**kept, "object": "realtime.item", "status": "completed"})

    def _add(self, item: Event) -> list[tuple[float, bytes]]:
        before = next(reversed(self._items), None)
        self._keep(item)
        names = ["conversation.item.added", *([] if self._legacy else ["conversation.item.done"])]
        return [(0.0, self._event(name, previous_item_id=before, item=item)) for name in names]

    def _keep(self, item: Event) -> None:
        """Remember an item. Of too many, or too large ones, the oldest are forgotten, as vendors cut what no longer fits."""
        self._items[item["id"]] = item
        self._sizes[item["id"]] = size = len(msgspec.json.encode(item))
        self._size += size
        while len(self._items) > MOST_ITEMS or self._size > MOST_BYTES:
            self._forget(next(iter(self._items)))

    def _forget(self, item_id: str) -> None:
        del self._items[item_id]
        self._size -= self._sizes.pop(item_id)
        self._words.pop(item_id, None)

    def _item(self, event: ClientEvent) -> Event:
        item = self._items.get(event.item_id or "")
        if item is None:
            raise Refused(f"There is no item '{event.item_id}'.", "item_not_found", "item_id")
        return item

    def _append(self, audio: str | None) -> None:
        try:
            self._sound += len(b64decode(audio or "", validate=True))
        except (binascii.Error, ValueError):
            raise Refused("The sound is not valid base64.", "invalid_value", "audio") from None

    def _commit(self) -> list[tuple[float, bytes]]:
        seconds, self._sound = round(self._sound / BYTES_A_SECOND, 3), 0
        if not seconds:
            raise Refused("The input audio buffer is empty.", "input_audio_buffer_commit_empty")
        before, item_id = next(reversed(self._items), None), self._id("item_")
        transcript = f"Sound, {seconds:.1f} seconds long."
        writes = self.session["audio"]["input"].get("transcription") or self.session.get("input_audio_transcription")
        part = {"type": "input_audio", "transcript": transcript if writes else None, "seconds": seconds}
        item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user", "status": "completed"}
        committed = self._event("input_audio_buffer.committed", previous_item_id=before, item_id=item_id)
        steps = [(0.0, committed), *self._add({**item, "content": [part]})]
        if writes or self.session["type"] == "transcription":
            place = {"item_id": item_id, "content_index": 0}
            name = "conversation.item.input_audio_transcription"
            usage = {"type": "duration", "seconds": seconds}
            steps += [(0.0, self._event(f"{name}.delta", **place, delta=piece)) for piece in words.chunks(transcript)]
            steps.append((0.0, self._event(f"{name}.completed", **place, transcript=transcript, usage=usage)))
        return steps

    # --- an answer

    def _respond(self, event: ClientEvent) -> Steps:
        if self._answering:
            raise Refused("There is an answer under way already.", "conversation_already_has_active_response")
        wishes = _read(event.response, Wishes, "response") if event.response != NOTHING else Wishes()
        if len(wishes.instructions or "") > LONGEST_TEXT:
            raise Refused(f"Instructions have at most {LONGEST_TEXT} characters.", "too_large", "response.instructions")
        usual = msgspec.convert(self.session, Wishes)
        talk = self._talk(wishes.instructions or usual.instructions or "")
        forced = words.forced(talk.text, "item.content")
        most = wishes.max_output_tokens or wishes.max_response_output_tokens or usual.max_output_tokens
        asked = Asked(
            talk,
            "response",
            tools=[Tool(tool.name, tool.parameters or {}) for tool in wishes.tools or usual.tools or [] if tool.name],
            choice=_choice(wishes.tool_choice if wishes.tool_choice is not None else usual.tool_choice),
            most=most if isinstance(most, int) else None,
        )
        said = say(asked, forced)
        modalities = wishes.output_modalities or wishes.modalities or usual.output_modalities or usual.modalities or ["audio"]
        self._answering = self._id("resp_")
        response = {
            "id": self._answering,
            "object": "realtime.response",
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "output_modalities": modalities,
            "conversation_id": identifier("conv_", self._seed),
            "metadata": wishes.metadata,
            "usage": None,
        }
        return self._paced(self._response(response, said, forced, "audio" in modalities), forced)

    def _paced(self, events: Iterator[bytes], forced: Forced) -> Steps:
        for number, event in enumerate(events):
            yield (forced.pause if number else forced.delay), event

    def _talk(self, instructions: str) -> Talk:
        talk = Talk(tokens=words.count(instructions))
        for kept in self._items.values():
            item = msgspec.convert(kept, Item)
            tokens = self._words.get(kept["id"])
            if tokens is None:
                tokens = self._words[kept["id"]] = words.count(item.words)
            talk.tokens += tokens
            if item.type == "function_call":
                talk.turn()
                talk.called[item.call_id] = item.name
                talk.tokens += 1
            elif item.type == "function_call_output":
                talk.result(item.call_id, item.output)
            else:
                talk.turn()
                if item.role == "user":
                    talk.user(item.words)
        return talk

    def _response(self, response: Event, said: Said, forced: Forced, aloud: bool) -> Iterator[bytes]:
        """The events of one answer, of which the last is always `response.done`."""
        yield self._event("response.created", response=response)
        status, details = _ending(said, forced)
        output: list[Event] = []
        seconds = 0.0
        usage: Event | None = None
        if forced.fail is None:
            passed = 1
            calls = [self._call_events(response["id"], number, call) for number, call in enumerate(said.calls)]
            for events in calls or [self._message_events(response["id"], said.text, aloud)]:
                for event, done, lasts in events:
                    seconds += lasts
                    if response["id"] in self._cancelled:
                        status, details = "cancelled", {"type": "cancelled", "reason": "client_cancelled"}
                        break
                    if passed == forced.fail_after:
                        error = failures.OPENAI["server_error"].error
                        status, details = "failed", {"type": "failed", "error": error}
                        break
                    passed += 1
                    yield event
                    if done is not None:
                        output.append(done)
                        self._keep(done)
                if status in ("cancelled", "failed"):
                    break
            usage = _usage(said, audio_tokens(seconds))
        self._answering = ""
        self._cancelled.clear()
        ended = {"status": status, "status_details": details, "output": output, "usage": usage}
        yield self._event("response.done", response={**response, **ended})

    def _message_events(self, response_id: str, text: str, aloud: bool) -> Iterator[tuple[bytes, Event | None, float]]:
        """Events, each with the item that is done with it, and how many seconds of sound it has."""
        item: Event = {"id": self._id("item_"), "object": "realtime.item", "type": "message", "role": "assistant"}
        place = {"response_id": response_id, "output_index": 0}
        inside = {**place, "item_id": item["id"], "content_index": 0}
        kind, told = ("output_audio", "transcript") if aloud else ("output_text", "text")
        spoken = "response.output_audio_transcript" if aloud else "response.output_text"
        unspoken, part = {"type": kind, told: ""}, {"type": kind, told: text}
        done = {**item, "status": "completed", "content": [part]}
        started = {**item, "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", **place, item=started), None, 0.0
        yield self._event("response.content_part.added", **inside, part=unspoken), None, 0.0
        for piece in words.chunks(text):
            yield self._event(f"{spoken}.delta", **inside, delta=piece), None, 0.0
            if aloud:
                samples = tones.melody(piece, VOICE, 1.0)
                sound = b64encode(samples).decode()
                yield self._event("response.output_audio.delta", **inside, delta=sound), None, tones.seconds(samples)
        if aloud:
            yield self._event("response.output_audio.done", **inside), None, 0.0
        yield self._event(f"{spoken}.done", **inside, **{told: text}), None, 0.0
        yield self._event("response.content_part.done", **inside, part=part), None, 0.0
        yield self._event("response.output_item.done", **place, item=done), done, 0.0

    def _call_events(self, response_id: str, number: int, call: Call) -> Iterator[tuple[bytes, Event | None, float]]:
        item: Event = {"id": self._id("item_"), "object": "realtime.item", "type": "function_call", "name": call.name}
        item["call_id"] = self._id("call_")
        place = {"response_id": response_id, "output_index": number}
        inside = {**place, "item_id": item["id"], "call_id": item["call_id"]}
        done = {**item, "status": "completed", "arguments": call.arguments}
        started = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", **place, item=started), None, 0.0
        for piece in words.chunks(call.arguments):
            yield self._event("response.function_call_arguments.delta", **inside, delta=piece), None, 0.0
        whole = {"name": call.name, "arguments": call.arguments}
        yield self._event("response.function_call_arguments.done", **inside, **whole), None, 0.0
        yield self._event("response.output_item.done", **place, item=done), done, 0.0

    # --- events

    def _event(self, name: str, /, **members: Any) -> bytes:
        if self._legacy:
            for new, old in LEGACY_EVENTS:
                name = name.replace(new, old)
            part = members.get("part")
            if part is not None:
                members["part"] = {**part, "type": LEGACY_PARTS.get(part["type"], part["type"])}
        return msgspec.json.encode({"type": name, "event_id": self._id("event_"), **members})

    def _told(self, name: str, /, **members: Any) -> Steps:
        return iter([(0.0, self._event(name, **members))])

    def _error(self, message: str, code: str, param: str | None, event_id: str | None) -> Steps:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": param, "event_id": event_id}
        return self._told("error", error=error)

    def _id(self, prefix: str) -> str:
        self._count += 1
        return identifier(prefix, self._seed, self._count)


def _ending(said: Said, forced: Forced) -> tuple[str, Event | None]:
    """The status of an answer and what there is to say of it."""
    if forced.fail == "moderation":
        return "incomplete", {"type": "incomplete", "reason": "content_filter"}
    if forced.fail is not None:
        return "failed", {"type": "failed", "error": failures.OPENAI[forced.fail].error}
    if said.ending == "length":
        return "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
    return "completed", None


def _usage(said: Said, sound: int) -> Event:
    read, made = said.prompt_tokens, said.tokens
    heard = {"text_tokens": read, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0}
    details = {"input_token_details": heard, "output_token_details": {"text_tokens": made, "audio_tokens": sound}}
    return {"total_tokens": read + made + sound, "input_tokens": read, "output_tokens": made + sound, **details}


def _choice(chosen: str | Function | None) -> Choice:
    match chosen:
        case "none":
            return Choice("never")
        case "required":
            return Choice("must")
        case Function() if chosen.name:
            return Choice("must", (chosen.name,))
    return Choice()


def _object(value: msgspec.Raw, name: str) -> Event:
    made: Event = _read(value, dict[str, Any], name)
    return made


def _read(value: msgspec.Raw, kind: Any, name: str) -> Any:
    if value == NOTHING:
        raise Refused(f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        raise refused(error, name) from None
