"""A vendor with a will of its own: OpenAI's API below /v1, on a real socket.

Strict: what the vendor's reference does not name is refused. Obedient: see `obedience.py` for what the models answer, and
`RelayVendor.next` for what can be made to happen. A prompt with a `prompt_cache_key` that was seen before is half cached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from standins import openai_answers, openai_bodies, openai_media, openai_realtime
from standins.openai_answers import CREATED, answered
from standins.openai_bodies import MODELS, Completion, Embedding, Moderation, Rerank, check_model, check_stream_options
from standins.openai_files import Files
from standins.openai_responses import Responses
from standins.relay_vendor import Call, Handler, Refused, RelayVendor, Reply, Seen

KEY = "sk-standin-good"
WORDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}
"""Type and code of the errors that are made to happen."""


class OpenAIVendor(RelayVendor):
    """The vendor: `async with OpenAIVendor() as vendor: vendor.url`. Clients add `/v1`."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = Responses()
        self.files = Files(self)
        self._cache_keys: set[str] = set()
        self._answers = 0

    def routes(self) -> dict[tuple[str, str], Handler]:
        media, responses, files = openai_media, self.responses, self.files
        return {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/v1/moderations"): self._moderations,
            ("POST", "/v1/rerank"): self._rerank,
            ("POST", "/v1/responses"): responses.create,
            ("POST", "/v1/responses/input_tokens"): responses.input_tokens,
            ("GET", "/v1/responses/{id}"): responses.retrieve,
            ("DELETE", "/v1/responses/{id}"): responses.delete,
            ("POST", "/v1/responses/{id}/cancel"): responses.cancel,
            ("GET", "/v1/responses/{id}/input_items"): responses.input_items,
            ("POST", "/v1/images/generations"): media.generations,
            ("POST", "/v1/images/edits"): media.edits,
            ("POST", "/v1/images/variations"): media.variations,
            ("POST", "/v1/audio/speech"): media.speech,
            ("POST", "/v1/audio/transcriptions"): media.transcriptions,
            ("POST", "/v1/audio/translations"): media.translations,
            ("POST", "/v1/files"): files.upload,
            ("GET", "/v1/files"): files.list,
            ("GET", "/v1/files/{id}"): files.retrieve,
            ("DELETE", "/v1/files/{id}"): files.delete,
            ("GET", "/v1/files/{id}/content"): files.content,
            ("POST", "/v1/batches"): files.create_batch,
            ("GET", "/v1/batches"): files.list_batches,
            ("GET", "/v1/batches/{id}"): files.retrieve_batch,
            ("POST", "/v1/batches/{id}/cancel"): files.cancel_batch,
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/{id}"): self._model,
        }

    def websockets(self) -> dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]:
        return {"/v1/realtime": self._realtime}

    def authenticate(self, seen: Seen) -> None:
        given = seen.headers.get("Authorization", "")
        if given != f"Bearer {KEY}":
            raise Refused(401, f"Incorrect API key provided: {given[7:10]}***.", code="invalid_api_key")

    def error_body(self, refused: Refused, seen: Seen) -> Any:
        fallback = ("server_error", None) if refused.status >= 500 else ("invalid_request_error", None)
        kind, code = WORDS.get(refused.status, fallback)
        return {"error": {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code or code}}

    def error_event(self, seen: Seen) -> bytes:
        message = "The server had an error while processing your request."
        if seen.path.startswith("/v1/responses"):
            event = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 99}
            return b"event: error\n" + openai_answers.data(event)
        error = {"message": message, "type": "server_error", "param": None, "code": None}
        return openai_answers.data({"error": error})

    def answer_headers(self, seen: Seen) -> dict[str, str]:
        return {
            "x-request-id": f"req_{len(self.requests)}",
            "openai-organization": "standin",
            "openai-processing-ms": "5",
            "openai-version": "2020-10-01",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-reset-requests": "6ms",
        }

    def _number(self) -> int:
        self._answers += 1
        return self._answers

    def _chat(self, call: Call) -> Reply:
        body = openai_bodies.take_chat(call.body)
        cached = body.prompt_cache_key in self._cache_keys
        if body.prompt_cache_key is not None:
            self._cache_keys.add(body.prompt_cache_key)
        return openai_answers.chat(body, call.script, self._number(), cached)

    def _completions(self, call: Call) -> Reply:
        body: Completion = openai_bodies.take(call.body, Completion)
        check_stream_options(body.stream, body.stream_options)
        if body.best_of is not None and body.best_of < (body.n or 1):
            raise openai_bodies.invalid("best_of", "You requested that the server return more choices than it will generate.")
        return openai_answers.completions(body, call.script, self._number())

    def _embeddings(self, call: Call) -> Reply:
        return openai_answers.embeddings(openai_bodies.take(call.body, Embedding), call.script)

    def _moderations(self, call: Call) -> Reply:
        return openai_answers.moderations(openai_bodies.take(call.body, Moderation), self._number())

    def _rerank(self, call: Call) -> Reply:
        return openai_answers.rerank(openai_bodies.take(call.body, Rerank), self._number())

    def _models(self, _: Call) -> Reply:
        return answered({"object": "list", "data": [_model(model) for model in MODELS]})

    def _model(self, call: Call) -> Reply:
        check_model(call.ids["id"])
        return answered(_model(call.ids["id"]))

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        return await openai_realtime.connected(request, KEY, self.requests.append)


def _model(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": CREATED, "owned_by": "openai"}
