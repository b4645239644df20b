"""A client that speaks messages in front of an upstream that speaks chat completions.

`request`, `answer` and `error` are functions of bytes; `Stream` takes events one by one. What neither format
knows of the other is left out where the answer stays what was asked for, and refused where it would not be.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from genway.errors import InvalidRequest
from genway.relay.translate import efforts, schemas
from genway.relay.translate.failures import to_messages as error
from genway.relay.translate.messages_bodies import Request, request_decoder
from genway.relay.translate.messages_to_chat_answer import answer
from genway.relay.translate.messages_to_chat_stream import Stream
from genway.relay.translate.messages_to_chat_tools import choice, tools
from genway.relay.translate.messages_to_chat_turns import messages
from genway.relay.translate.reading import one_of, read
from genway.relay.translate.traits import Traits

__all__ = ["Stream", "answer", "error", "request"]

MOST_STOPS = 4
LONGEST_USER = 128
FORMAT_NAME = "answer"
ANYWHERE = "global"


def request(body: bytes, *, model: str, traits: Traits, anthropic_version: str = "") -> bytes:
    """The upstream's body for the client's, also for one to count tokens, which has no `max_tokens`.

    model: the vendor's own name. anthropic_version: what the client sent; nothing depends on it here.
    Raises InvalidRequest naming the field in the client's body.
    """
    asked = read(request_decoder, body)
    _serve(asked)
    role = "developer" if traits.reasoning else "system"
    out: dict[str, Any] = {
        "model": model,
        "messages": messages(asked, role, traits),
    }
    if asked.max_tokens is not None:
        if asked.max_tokens < 1:
            raise InvalidRequest(f"1 or more in front of this model, got {asked.max_tokens}", field="max_tokens")
        out["max_completion_tokens" if traits.reasoning else "max_tokens"] = traits.within_ceiling(asked.max_tokens)
    if traits.sampling:
        out |= {name: value for name in ("temperature", "top_p") if (value := getattr(asked, name)) is not None}
    if asked.stop_sequences and not traits.reasoning:
        out["stop"] = asked.stop_sequences[:MOST_STOPS]
    if offered := tools(asked):
        out["tools"] = [tool for _, tool in offered]
        out |= choice(asked.tool_choice, offered)
    if effort := _effort(asked, traits, calls="tools" in out):
        out["reasoning_effort"] = effort
    _structure(asked, out)
    if asked.metadata and asked.metadata.user_id:
        out["user"] = _user(asked.metadata.user_id)
    if asked.stream:
        out |= {"stream": True} | ({"stream_options": {"include_usage": True}} if traits.stream_usage else {})
    return msgspec.json.encode(out)


def _serve(asked: Request) -> None:
    """Raises InvalidRequest for what would silently be something else."""
    if asked.compaction is not None:
        raise InvalidRequest("this model's vendor does not shorten conversations", field="compaction")
    if asked.inference_geo not in {None, ANYWHERE}:
        raise InvalidRequest("this model's vendor is not told where to work", field="inference_geo")


def _user(identity: str) -> str:
    """The same name for the same user, as short as the vendor wants it."""
    return identity if len(identity) <= LONGEST_USER else sha256(identity.encode()).hexdigest()


def _effort(asked: Request, traits: Traits, *, calls: bool) -> str | None:
    """How hard to think: as the client says in words, else as its budget comes to. calls: tools are sent."""
    stated = asked.output_config.effort if asked.output_config else None
    if stated is not None:
        one_of(stated, efforts.EFFORTS[2:], "output_config.effort")
    way = asked.thinking.type if asked.thinking else None
    if way == "disabled" or (calls and not traits.effort_with_tools):
        return "none" if "none" in traits.efforts else None
    if stated is None and way == "enabled" and asked.thinking and asked.thinking.budget_tokens is not None:
        stated = efforts.of_budget(asked.thinking.budget_tokens)
    return efforts.nearest(stated, traits.efforts) if stated is not None else None


def _structure(asked: Request, out: dict[str, Any]) -> None:
    wanted, where = asked.output_config.format if asked.output_config else None, "output_config.format"
    if wanted is None:
        wanted, where = asked.output_format, "output_format"
    if wanted is None:
        return
    one_of(wanted.type, ("json_schema",), f"{where}.type")
    if wanted.schema is None:
        raise InvalidRequest("a JSON Schema", field=f"{where}.schema")
    schema = {"name": FORMAT_NAME, "schema": wanted.schema, "strict": schemas.can_be_strict(wanted.schema)}
    out["response_format"] = {"type": "json_schema", "json_schema": schema}
