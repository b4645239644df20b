"""A stream of messages as one of chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from genway.relay.translate import arguments, failures, json_tool, reading, stop_reasons, tool_ids
from genway.relay.translate.chat_to_messages_answer import identity, thinking_block, web_citations
from genway.relay.translate.messages_bodies import Event, Produced, event_decoder
from genway.relay.translate.usage import MessagesUsage, of_messages, to_chat

_encode = msgspec.json.Encoder().encode

KEEP_ALIVE = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


class _Open:
    """A block that is being written. call: its number among the tool calls; start: where its text begins in the content."""

    __slots__ = ("block", "call", "fragments", "start")

    def __init__(self, block: Produced, start: int) -> None:
        self.block = block
        self.call = 0
        self.fragments = 0
        self.start = start


class Stream:
    """Feed it the upstream's events, give the client what it returns.

    Tool calls are numbered among themselves, and signed thinking leaves whole when its block ends, in the extra
    member `thinking_blocks`. A block's citations of the web leave when it ends, as their places are known then. Both
    are numbered too: OpenAI's library puts nothing together that is not.
    """

    def __init__(self, *, model: str, include_usage: bool, created: int, asked: bytes = b"") -> None:
        """model: the name that the client asked by. created: seconds since 1970.

        asked: the client's request, of which nothing is needed here.
        """
        del asked
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._tail = b',"logprobs":null,"finish_reason":null}]' + (b',"usage":null}\n\n' if include_usage else b"}\n\n")
        self._head = b""
        self._content = b""
        self._usage = MessagesUsage()
        self._blocks: dict[int, _Open] = {}
        self._calls = self._thoughts = self._cited = 0
        self._length = 0
        self._finished = False
        self._closed = False

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for one event's JSON; events of unknown types give none."""
        if self._closed:
            return b""
        try:
            event = reading.decode(event_decoder, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._break("the upstream sent an event that cannot be read")
        match event.type:
            case "content_block_delta":
                return self._delta(event) if self._head else self._opened() + self._delta(event)
            case "content_block_start":
                return self._opened() + self._start_block(event.index or 0, event.content_block)
            case "content_block_stop":
                return self._stop_block(event.index or 0)
            case "message_start":
                return self._begin(event)
            case "message_delta":
                return self._finish(event)
            case "message_stop":
                return self._close()
            case "ping":
                return KEEP_ALIVE
            case "error":
                self._closed = True
                return failures.event_to_chat(bytes(event.error))
        return b""

    def end(self, problem: str | None = None) -> bytes:
        """What closes the client's stream after the upstream's has ended. problem: why it broke off, if it did.

        One that ended without saying why has most likely lost its end: a call that it was writing is not to be made.
        """
        if self._closed:
            return b""
        if problem is None and not self._head:
            problem = "the upstream ended without an answer"
        if problem is not None and not self._finished:
            return self._break(problem)
        return self._close()

    def _break(self, problem: str) -> bytes:
        self._closed = True
        return failures.broken_off_in_chat(problem)

    def _begin(self, event: Event) -> bytes:
        if event.message is None:
            return b""
        if counts := of_messages(event.message.usage):
            self._usage = self._usage.then(counts)
        return self._opened(event.message.id)

    def _opened(self, message_id: str | None = None) -> bytes:
        """The first chunk, once."""
        if self._head:
            return b""
        start = {"id": identity(message_id), "object": "chat.completion.chunk", "created": self._created}
        self._head = b"data: " + _encode(start | {"model": self._model})[:-1] + b',"choices":[{"index":0,"delta":'
        self._content = self._head + b'{"content":'
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._head + _encode(delta) + self._tail

    def _call(self, call: dict[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [call]})

    def _text(self, text: str) -> bytes:
        self._length += len(text)
        return self._content + _encode(text) + b"}" + self._tail

    def _start_block(self, index: int, block: Produced | None) -> bytes:
        if block is None:
            return b""
        opened = self._blocks[index] = _Open(block, self._length)
        if block.type == "text" and block.text:
            return self._text(block.text)
        if block.type == "thinking" and block.thinking:
            return self._chunk({"reasoning_content": block.thinking})
        if block.type != "tool_use" or block.name == json_tool.NAME:
            return b""
        opened.call = self._calls
        self._calls += 1
        function = {"name": block.name or "", "arguments": ""}
        identity = tool_ids.to_chat(block.id or tool_ids.invented())
        return self._call({"index": opened.call, "id": identity, "type": "function", "function": function})

    def _delta(self, event: Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.text:
            return self._text(delta.text)
        opened = self._blocks.get(event.index or 0)
        if opened is None:
            return b""
        block = opened.block
        if delta.partial_json and block.type == "tool_use":
            return self._arguments(delta.partial_json, opened)
        if delta.thinking:
            block.thinking = (block.thinking or "") + delta.thinking
            return self._chunk({"reasoning_content": delta.thinking})
        if delta.signature:
            block.signature = delta.signature
        if delta.citation:
            block.citations = [*(block.citations or ()), delta.citation]
        return b""

    def _arguments(self, fragment: str, opened: _Open) -> bytes:
        opened.fragments += 1
        if opened.block.name == json_tool.NAME:
            return self._text(fragment)
        return self._call({"index": opened.call, "function": {"arguments": fragment}})

    def _stop_block(self, index: int) -> bytes:
        opened = self._blocks.pop(index, None)
        if opened is None:
            return b""
        block = opened.block
        match block.type:
            case "tool_use" if not opened.fragments:
                return self._arguments(arguments.to_text(block.input), opened)
            case "thinking" if block.signature:
                return self._thought(block)
            case "redacted_thinking":
                return self._thought(block)
            case "text" if found := web_citations(block.citations or [], opened.start, self._length):
                numbered = [{"index": number} | each for number, each in enumerate(found, self._cited)]
                self._cited += len(found)
                return self._chunk({"annotations": numbered})
        return b""

    def _thought(self, block: Produced) -> bytes:
        self._thoughts += 1
        return self._chunk({"thinking_blocks": [{"index": self._thoughts - 1} | thinking_block(block)]})

    def _finish(self, event: Event) -> bytes:
        if counts := of_messages(event.usage):
            self._usage = self._usage.then(counts)
        if self._finished or event.delta is None or event.delta.stop_reason is None:
            return b""
        out = self._opened() + b"".join(self._stop_block(index) for index in list(self._blocks))
        details = event.delta.stop_details
        refusal = {"refusal": details.explanation} if details and details.explanation else {}
        return out + self._reason(stop_reasons.to_chat(event.delta.stop_reason, called=self._calls > 0), refusal)

    def _reason(self, reason: str, delta: dict[str, Any]) -> bytes:
        self._finished = True
        tail = self._tail.replace(b'"finish_reason":null', b'"finish_reason":"%b"' % reason.encode())
        return self._head + _encode(delta) + tail

    def _close(self) -> bytes:
        """Everything that the client still lacks."""
        out = self._opened()
        if not self._finished:
            unfinished = any(opened.block.type == "tool_use" for opened in self._blocks.values())
            out += self._reason("length" if unfinished else stop_reasons.to_chat(None, called=self._calls > 0), {})
        self._closed = True
        if self._include_usage:
            start = self._head.removesuffix(b'{"index":0,"delta":')
            out += start + b'],"usage":' + _encode(to_chat(self._usage)) + b"}\n\n"
        return out + DONE
