"""Thinking without a signature, which a Claude refuses.

That of other vendors' models has none, and a client that goes on with a Claude sends it along. All else of the request
stays as it is: what is signed is so over what stands before it.
"""

from __future__ import annotations

from typing import Any

import msgspec

MARK = b'"signature":'


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_block = msgspec.json.Decoder(_Block)


def possible(body: bytes) -> bool:
    """Whether there may be some in a request, or in a part of one."""
    at = body.find(MARK)
    while at >= 0:
        after = at + len(MARK)
        if body[after : after + 3].lstrip().startswith(b'""'):
            return True
        at = body.find(MARK, after)
    return False


def without(body: bytes) -> bytes:
    """The request without it, in messages; a message that held nothing else is left out too."""
    try:
        members: dict[str, Any] = dict(_members.decode(body))
        given = _list.decode(members["messages"])
        kept = [after for message in given if (after := _message(message)) is not None]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body  # the vendor says what is wrong with it
    if len(kept) == len(given) and all(after is message for after, message in zip(kept, given, strict=True)):
        return body
    return msgspec.json.encode(members | {"messages": kept})


def _message(message: msgspec.Raw) -> Any:
    """The message, or what is left of it; None for nothing."""
    if not possible(bytes(message)):
        return message
    members: dict[str, Any] = dict(_members.decode(message))
    content = members.get("content", msgspec.Raw())
    if not bytes(content).lstrip().startswith(b"["):
        return message
    blocks = _list.decode(content)
    kept = [block for block in blocks if not _unsigned(block)]
    if len(kept) == len(blocks):
        return message
    return members | {"content": kept} if kept else None


def _unsigned(block: msgspec.Raw) -> bool:
    if not possible(bytes(block)):
        return False
    found = _block.decode(block)
    return found.type == "thinking" and found.signature == ""
