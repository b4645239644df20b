"""OpenAI's realtime WebSocket, for conversations in text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from standins import obedience
from standins.obedience import Told
from standins.relay_vendor import Script, Seen

MODEL = "gpt-realtime-2"


class Conversation:
    """One connection: answers every event of the client's with those that the vendor sends for it."""

    def __init__(self, model: str) -> None:
        self.session: dict[str, Any] = {"type": "realtime", "id": "sess_1", "object": "realtime.session", "model": model}
        self.items: list[dict[str, Any]] = []
        self._events = 0
        self._responses = 0

    def event(self, name: str, **members: Any) -> dict[str, Any]:
        self._events += 1
        return {"type": name, "event_id": f"event_{self._events}", **members}

    def answers(self, said: Any) -> list[dict[str, Any]]:
        """Raises ValueError for what the vendor refuses; its text has the code, a colon and the message."""
        match said:
            case {"type": "session.update", "session": {"type": "realtime"} as session}:
                self.session |= session
                return [self.event("session.updated", session=self.session)]
            case {"type": "session.update"}:
                raise ValueError("missing_required_parameter: Missing required parameter: 'session.type'.")
            case {"type": "conversation.item.create", "item": {"type": "message"} as item}:
                kept = {"id": f"item_{len(self.items)}", "object": "realtime.item", "status": "completed", **item}
                before = self.items[-1]["id"] if self.items else None
                self.items.append(kept)
                names = ("conversation.item.added", "conversation.item.done")
                return [self.event(name, item=kept, previous_item_id=before) for name in names]
            case {"type": "response.create"}:
                return self._response()
            case {"type": "input_audio_buffer.append", "audio": str()}:
                return []
            case {"type": "input_audio_buffer.commit"}:
                return [self.event("input_audio_buffer.committed", item_id="item_audio", previous_item_id=None)]
            case {"type": "input_audio_buffer.clear"}:
                return [self.event("input_audio_buffer.cleared")]
            case _:
                raise ValueError(f"invalid_value: Invalid value: '{said.get('type')}'.")

    def _response(self) -> list[dict[str, Any]]:
        self._responses += 1
        said = ""
        for item in self.items:
            if item.get("role") == "user":
                said = " ".join(part.get("text", "") for part in item["content"])
        text = obedience.obey(Told(said=said), Script()).text
        response: dict[str, Any] = {"id": f"resp_{self._responses}", "object": "realtime.response", "status": "in_progress"}
        item = {"id": f"item_out_{self._responses}", "object": "realtime.item", "type": "message", "role": "assistant"}
        part = {"type": "output_text", "text": text}
        place = {"response_id": response["id"], "output_index": 0}
        inside = {**place, "item_id": item["id"], "content_index": 0}
        done = {**item, "status": "completed", "content": [part]}
        self.items.append(done)
        words, read = obedience.tokens(text), obedience.tokens(said)
        usage = {
            "total_tokens": words + read,
            "input_tokens": read,
            "output_tokens": words,
            "input_token_details": {"text_tokens": read, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": words, "audio_tokens": 0},
        }
        return [
            self.event("response.created", response={**response, "output": []}),
            self.event("response.output_item.added", **place, item={**item, "status": "in_progress", "content": []}),
            self.event("response.content_part.added", **inside, part={**part, "text": ""}),
            *(self.event("response.output_text.delta", **inside, delta=piece) for piece in obedience.pieces(text)),
            self.event("response.output_text.done", **inside, text=text),
            self.event("response.content_part.done", **inside, part=part),
            self.event("response.output_item.done", **place, item=done),
            self.event("response.done", response={**response, "status": "completed", "output": [done], "usage": usage}),
        ]


async def connected(request: web.Request, key: str, record: Callable[[Seen], None]) -> web.StreamResponse:
    """A connection from its handshake on; its frames are kept in `Seen.parsed`, both ways, as (`client` or `server`, text).

    key: from the header, or for browsers from a subprotocol; both at once are refused, and so is a model there is not.
    """
    query = dict(request.query)
    seen = Seen(method="GET", path=request.path, query=query, headers=request.headers, raw=b"", parsed=[])
    record(seen)
    offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()]
    header = request.headers.get("Authorization")
    inside = [each.removeprefix("openai-insecure-api-key.") for each in offered if each.startswith("openai-insecure-api-key.")]
    given = inside[0] if inside else (header or "").removeprefix("Bearer ")
    if given != key or (inside and header):
        seen.status = 401
        error = {
            "message": "Incorrect API key provided.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
        return web.json_response({"error": error}, status=401)
    socket = web.WebSocketResponse(protocols=["realtime"] if "realtime" in offered else [], max_msg_size=16 * 1024 * 1024)
    await socket.prepare(request)
    seen.status = 101
    conversation = Conversation(query.get("model", ""))

    async def send(event: dict[str, Any]) -> None:
        text = msgspec.json.encode(event).decode()
        seen.parsed.append(("server", text))
        await socket.send_str(text)

    if query.get("model") != MODEL:
        about = {"type": "invalid_request_error", "code": "model_not_found", "param": "model", "event_id": None}
        message = f"The model `{query.get('model')}` does not exist."
        await send(conversation.event("error", error={**about, "message": message}))
        await socket.close(code=4000, message=b"invalid_request_error.model_not_found")
        return socket
    await send(conversation.event("session.created", session=conversation.session))
    async for frame in socket:
        if frame.type != WSMsgType.TEXT:
            continue
        seen.parsed.append(("client", frame.data))
        said = msgspec.json.decode(frame.data)
        try:
            events = conversation.answers(said)
        except ValueError as error:
            code, _, message = str(error).partition(": ")
            about = {"type": "invalid_request_error", "code": code, "param": None, "event_id": said.get("event_id")}
            events = [conversation.event("error", error={**about, "message": message})]
        for event in events:
            await send(event)
    seen.disconnected = True
    return socket
