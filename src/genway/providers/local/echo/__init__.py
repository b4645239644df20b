"""The built-in answers for text, speech and pictures: no model, always the same, for programs that are being built.

They echo what was said, call the tools they are told to call and fail where the text says so (`words` has the table), in the
formats of OpenAI and of Anthropic. The answer's `model` is one of `models()` and never a vendor's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from genway.errors import InvalidRequest
from genway.providers.local.echo.answers import Streamed, Whole

if TYPE_CHECKING:
    from genway.providers.local.echo.realtime import Conversation

__all__ = ["SLOW", "Streamed", "Whole", "answer", "answer_form", "conversation", "models", "response_again"]

SLOW = frozenset(
    {"embeddings", "image_generations", "image_edits", "image_variations", "speech", "transcriptions", "translations"}
)
"""The kinds whose answer may take long enough (up to seconds) to be made in a thread. The events of their streams are quick."""

# Where each is made. A module is imported when it is first asked for: most gateways answer for nobody but their vendors.
_quick: Mapping[str, str] = {
    "chat": "chat:answer",
    "completions": "completions:answer",
    "responses": "responses:answer",
    "messages": "messages:answer",
    "count_tokens": "messages:count",
    "embeddings": "embeddings:answer",
    "moderations": "moderations:answer",
    "rerank": "rerank:answer",
    "speech": "speech:answer",
}
_named = ("saying", "embeddings", "images", "moderations", "rerank", "speech", "transcriptions")


def answer(kind: str, body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The answer to a JSON body. kind: as the relay names calls. request_id: all ids in the answer follow from it, so the same
    one gives the same answer. created: Unix seconds.

    Raises InvalidRequest, with the field's path in the body. Failures that the text forces are answers.
    """
    if kind in ("image_generations", "image_edits"):
        return _made("images:answer", kind, body, created=created)
    if kind not in _quick:
        raise InvalidRequest(f"the built-in answers have no {kind} from a JSON body")
    return _made(_quick[kind], body, request_id=request_id, created=created)


def answer_form(
    kind: str, fields: Mapping[str, str], files: Mapping[str, list[tuple[str, int, bytes]]], *, created: int = 0
) -> Whole | Streamed:
    """The answer to a form. files: by the part's name, each its file name, its size in bytes and its first bytes.

    created: Unix seconds. Raises InvalidRequest.
    """
    if kind in ("image_edits", "image_variations"):
        return _made("images:answer_form", kind, fields, files, created=created)
    if kind in ("transcriptions", "translations"):
        return _made("transcriptions:answer_form", kind, fields, files)
    raise InvalidRequest(f"the built-in answers have no {kind} from a form")


def models() -> list[str]:
    """The names under which the built-in answers speak."""
    return sorted(str(_module(name).NAME) for name in _named)


def conversation(request_id: str, *, created: int, legacy: bool, transcribes: bool) -> Conversation:
    """A realtime session; see `realtime.Conversation`."""
    begun: Conversation = _module("realtime").Conversation(request_id, created=created, legacy=legacy, transcribes=transcribes)
    return begun


def response_again(asked: dict[str, Any], response: dict[str, Any]) -> tuple[dict[str, Any], Iterator[bytes]]:
    """A response that was given or begun, as it ended, and the events of its stream; see `responses.again`."""
    told: tuple[dict[str, Any], Iterator[bytes]] = _module("responses").again(asked, response)
    return told


def _made(path: str, *arguments: object, **options: object) -> Whole | Streamed:
    module, _, name = path.partition(":")
    make: Callable[..., Whole | Streamed] = getattr(_module(module), name)
    return make(*arguments, **options)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
