"""A stream of chat completions as one of messages."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import msgspec

from genway.relay.translate import arguments, failures, reading, stop_reasons, tool_ids, usage
from genway.relay.translate.chat_bodies import Produced, ToolCall, answer_decoder, text_of, thought_of
from genway.relay.translate.messages_to_chat_answer import identity, refusal
from genway.relay.translate.messages_to_chat_tools import names
from genway.relay.translate.tool_names import Names

_encode = msgspec.json.Encoder().encode

KEEP_ALIVE = b'event: ping\ndata: {"type":"ping"}\n\n'
DONE = b"[DONE]"
_NOTHING = msgspec.Raw()


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: " % kind.encode() + _encode({"type": kind} | body) + b"\n\n"


class _Block:
    """One block of the client's message. For a call `name` may come late, and `fragments` are all of its arguments."""

    __slots__ = ("fragments", "id", "kind", "name")

    def __init__(self, kind: Literal["text", "thinking", "tool_use"]) -> None:
        self.kind = kind
        self.id = ""
        self.name = ""
        self.fragments: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether another block may follow: a text may always end, a call when its arguments are whole."""
        return self.kind != "tool_use" or arguments.complete("".join(self.fragments))


_DELTAS = {
    "text": (b"text_delta", b"text"),
    "thinking": (b"thinking_delta", b"thinking"),
    "tool_use": (b"input_json_delta", b"partial_json"),
}


class Stream:
    """Feed it the upstream's chunks, give the client what it returns.

    The message ends with the upstream's stream and not before, as its counts may come last. Blocks leave one after the
    other: what comes for a block behind one that is still being written waits; that happens only where an upstream
    mixes its calls, or names them late.
    """

    def __init__(self, *, model: str, include_usage: bool, created: int, asked: bytes = b"", input_tokens: int = 0) -> None:
        """model: the name that the client asked by. input_tokens: what the message starts with saying.

        asked: the client's request, whose names its tools have. include_usage and created have no place in this format.
        """
        self._model = model
        self._input_tokens = input_tokens
        self._names = Names(lambda: names(asked))
        self._started = False
        self._closed = False
        self._index = -1
        self._open: _Block | None = None
        self._delta_head = b""
        self._waiting: deque[_Block] = deque()
        self._calls: dict[int, _Block] = {}
        self._called = False
        self._refusal = ""
        self._finish_reason: str | None = None
        self._usage: usage.ChatUsage | None = None

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for one chunk's JSON, or for `[DONE]`."""
        if self._closed:
            return b""
        if data == DONE:
            return self.end()
        try:
            chunk = reading.decode(answer_decoder, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._break("the upstream sent a chunk that cannot be read")
        if not arguments.absent(chunk.error):
            return self._break("", chunk.error)
        out = b"" if self._started else self._start(chunk.id)
        if counts := usage.of_chat(chunk.usage):
            self._usage = counts
        if not chunk.choices:
            return out
        choice = chunk.choices[0]
        if choice.index:
            return out
        if counts := usage.of_chat(choice.usage):
            self._usage = counts
        if choice.delta is not None:
            out += self._delta(choice.delta)
        if choice.finish_reason in stop_reasons.FAILURES:
            return out + self._break(failures.unfinished(choice.finish_reason), choice.error)
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
            out += self._flush()
        return out

    def end(self, problem: str | None = None) -> bytes:
        """What closes the client's stream after the upstream's has ended. problem: why it broke off, if it did.

        One that ended without saying why has most likely lost its end: a call that it was writing is not to be made.
        """
        if self._closed:
            return b""
        if problem is None and self._index < 0 and not self._waiting:
            problem = "the upstream ended without an answer"
        if problem is not None and self._finish_reason is None:
            return self._break(problem)
        return self._close()

    def _break(self, problem: str, error: msgspec.Raw = _NOTHING) -> bytes:
        """The error event: the upstream's own `error` where there is one."""
        self._closed = True
        return failures.broken_off_in_messages(problem) if arguments.absent(error) else failures.event_to_messages(bytes(error))

    def _start(self, completion_id: str | None) -> bytes:
        self._started = True
        message: dict[str, Any] = {
            "id": identity(completion_id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage.to_messages(None) | {"input_tokens": self._input_tokens},
        }
        return _event("message_start", {"message": message})

    def _delta(self, delta: Produced) -> bytes:
        out = b""
        if thought := thought_of(delta):
            out += self._add("thinking", thought)
        if text := text_of(delta.content):
            out += self._add("text", text)
        if delta.refusal:
            self._refusal += delta.refusal
            out += self._add("text", delta.refusal)
        for call in delta.tool_calls or ():
            out += self._call(call)
        if delta.function_call:
            out += self._call(ToolCall(index=0, function=delta.function_call))
        return out

    def _add(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        """Text for the last block, or for a new one where that is of another kind."""
        if not self._waiting and self._open is not None and self._open.kind == kind:
            return self._delta_head + _encode(text) + b"}}\n\n"
        if not self._waiting or self._waiting[-1].kind != kind:
            self._waiting.append(_Block(kind))
        self._waiting[-1].fragments.append(text)
        return self._advance()

    def _call(self, call: ToolCall) -> bytes:
        """A call, or some more of one. Some upstreams give every call index 0, or none, but each an id of its own."""
        function = call.function
        name = function.name if function and function.name else ""
        index = call.index if call.index is not None else max(self._calls, default=0)
        given = function.arguments if function else None
        text = arguments.to_text(given) if isinstance(given, dict) else given or ""
        block = self._calls.get(index)
        if block is None or (name and self._is_another(block, call.id or "", name, text)):
            block = self._calls[index] = _Block("tool_use")
            self._waiting.append(block)
        block.id = block.id or call.id or ""
        block.name = block.name or name
        if text and (block.fragments or not arguments.none_in(text)):
            if block is self._open:
                block.fragments.append(text)
                return self._delta_head + _encode(text) + b"}}\n\n"
            if block in self._waiting:
                block.fragments.append(text)
        return self._advance()

    @staticmethod
    def _is_another(block: _Block, identity: str, name: str, text: str) -> bool:
        """Whether a named delta under a known index is of another call.

        It is by its id, else by its name, else because `block` lacks nothing.
        """
        if identity:
            return bool(block.id) and identity != block.id
        return name != (block.name or name) or (bool(text) and block.complete)

    def _advance(self) -> bytes:
        """Open waiting blocks as far as those before them are complete and calls have their names."""
        out = b""
        while self._waiting:
            block = self._waiting[0]
            if (self._open is not None and not self._open.complete) or (block.kind == "tool_use" and not block.name):
                break
            out += self._open_next()
        return out

    def _flush(self) -> bytes:
        """Every block that waits, then the end of the last one. A call that never got a name cannot be made."""
        out = b""
        while self._waiting:
            if self._waiting[0].kind == "tool_use" and not self._waiting[0].name:
                self._waiting.popleft()
            else:
                out += self._open_next()
        return out + self._stop()

    def _open_next(self) -> bytes:
        out = self._stop()
        block = self._open = self._waiting.popleft()
        self._index += 1
        content: dict[str, Any] = {"type": block.kind}
        match block.kind:
            case "text":
                content["text"] = ""
            case "thinking":
                content |= {"thinking": "", "signature": ""}
            case "tool_use":
                self._called = True
                identity = tool_ids.to_messages(block.id) if block.id else tool_ids.invented()
                content |= {"id": identity, "name": self._names.full(block.name), "input": {}}
        out += _event("content_block_start", {"index": self._index, "content_block": content})
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
        self._delta_head = head % (self._index, *_DELTAS[block.kind])
        if block.fragments:
            out += self._delta_head + _encode("".join(block.fragments)) + b"}}\n\n"
        return out

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", {"index": self._index})

    def _close(self) -> bytes:
        """Everything that the client still lacks. Counts come last, and are given whole."""
        self._closed = True
        unfinished = any(not block.complete for block in (self._open, *self._waiting) if block is not None)
        out = self._flush()
        if self._finish_reason is None and unfinished:
            reason = "max_tokens"
        else:
            reason = stop_reasons.to_messages(self._finish_reason, called=self._called)
        delta = {
            "stop_reason": "refusal" if self._refusal else reason,
            "stop_sequence": None,
            "stop_details": refusal(self._refusal),
        }
        out += _event("message_delta", {"delta": delta, "usage": usage.to_messages(self._usage)})
        return out + _event("message_stop", {})
