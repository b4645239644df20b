"""A vendor with a will of its own: Anthropic's API, on a real socket.

Strict: what the vendor's reference does not name is refused. Obedient: see `obedience.py` for what the models answer, and
`RelayVendor.next` for what can be made to happen. Half of a prompt with `cache_control` goes into the cache, and is read
from there when the same marked prefix comes again. A request with `thread` is held, so that the next sends only what is new.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from anthropic.types import AnthropicBetaParam

from standins import anthropic_answers, anthropic_bodies, obedience
from standins.anthropic_answers import answered
from standins.anthropic_batches import CREATED, Batches, Files, page
from standins.anthropic_bodies import MODELS, VERSIONS, Counted, Create, caches, invalid
from standins.obedience import Said
from standins.relay_vendor import Answer, Call, Handler, Refused, RelayVendor, Reply, Script, Seen

KEY = "sk-ant-standin-good"
THREADS = "message-threads-2026-08-12"
BETAS = {value for kind in get_args(AnthropicBetaParam) for value in get_args(kind)} | {
    "fine-grained-tool-streaming-2025-05-14"
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicVendor(RelayVendor):
    """The vendor: `async with AnthropicVendor() as vendor: vendor.url`. Clients add no `/v1`."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = Batches(lambda: self.url, self._carried_out)
        self.files = Files()
        self._cache: dict[str, str] = {}
        self._threads: dict[str, tuple[dict[str, Any], Said]] = {}
        self._said = Said()
        self._answers = 0

    def routes(self) -> dict[tuple[str, str], Handler]:
        batches, files = self.batches, self.files
        return {
            ("POST", "/v1/messages"): self._messages,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("POST", "/v1/messages/batches"): batches.create,
            ("GET", "/v1/messages/batches"): batches.all,
            ("GET", "/v1/messages/batches/{id}"): batches.retrieve,
            ("DELETE", "/v1/messages/batches/{id}"): batches.delete,
            ("POST", "/v1/messages/batches/{id}/cancel"): batches.cancel,
            ("GET", "/v1/messages/batches/{id}/results"): batches.results,
            ("POST", "/v1/files"): files.upload,
            ("GET", "/v1/files"): files.all,
            ("GET", "/v1/files/{id}"): files.retrieve,
            ("DELETE", "/v1/files/{id}"): files.delete,
            ("GET", "/v1/files/{id}/content"): files.content,
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/{id}"): self._model,
        }

    def authenticate(self, seen: Seen) -> None:
        """By `x-api-key`, which counts where both are given, or as a bearer; and by a version that exists."""
        given = seen.headers.get("x-api-key") or seen.headers.get("Authorization", "").removeprefix("Bearer ")
        if given != KEY:
            raise Refused(401, "invalid x-api-key")
        version = seen.headers.get("anthropic-version")
        if version is None:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f"anthropic-version: {version} is not a valid version")
        for value in ",".join(seen.headers.getall("anthropic-beta", [])).split(","):
            if value.strip() and value.strip() not in BETAS:
                raise invalid(f"Unexpected value(s) `{value.strip()}` for the `anthropic-beta` header.")

    def error_body(self, refused: Refused, seen: Seen) -> Any:
        kind = refused.code if refused.code in TYPES.values() else TYPES.get(refused.status, "api_error")
        error = {"type": kind, "message": refused.message} | ({"details": refused.details} if refused.details else {})
        return {"type": "error", "error": error, "request_id": self._request_id()}

    def error_event(self, seen: Seen) -> bytes:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return anthropic_answers.named({"type": "error", "error": error})

    def answer_headers(self, seen: Seen) -> dict[str, str]:
        return {
            "request-id": self._request_id(),
            "anthropic-organization-id": "org_standin",
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": CREATED,
        }

    def _request_id(self) -> str:
        return f"req_{len(self.requests):06}"

    def _messages(self, call: Call) -> Reply:
        threaded = THREADS in call.seen.headers.get("anthropic-beta", "") and isinstance(call.body, dict)
        value = self._unthreaded(call.body) if threaded and call.body.get("thread") is not None else call.body
        reply = self._message(value, call.script, call.seen.headers["anthropic-version"])
        if value is not call.body:
            self._threads[f"msg_{self._answers}"] = (value, self._said)
        return reply

    def _unthreaded(self, value: dict[str, Any]) -> dict[str, Any]:
        """The whole body of one that begins a thread or goes on with it. Raises Refused."""
        thread = value["thread"]
        new = {name: member for name, member in value.items() if name != "thread"}
        if thread == {"type": "create"}:
            return new
        if thread.get("type") != "continue" or thread.get("previous_message_id") not in self._threads:
            details = {"error_code": "thread_not_found"}
            raise Refused(404, "thread: no such thread", code="not_found_error", details=details)
        before, said = self._threads[thread["previous_message_id"]]
        content = anthropic_answers.content_of(said, int(thread["previous_message_id"].removeprefix("msg_")))
        told = [*before["messages"], {"role": "assistant", "content": content}, *new["messages"]]
        return before | new | {"messages": told}

    def _message(self, value: Any, script: Script, version: str) -> Reply:
        body: Create = anthropic_bodies.take(value, Create, version)
        self._answers += 1
        marked = caches(body)
        known = any(digest in self._cache for digest in marked)
        self._cache |= marked
        self._said = said = obedience.obey(anthropic_answers.told(body), script)
        usage = anthropic_answers.usage_of(body, said, marked, known)
        return anthropic_answers.messages(body, script, said, usage, self._answers)

    def _carried_out(self, params: dict[str, Any]) -> dict[str, Any]:
        reply = self._message({**params, "stream": False}, Script(), "2023-06-01")
        assert isinstance(reply, Answer)
        message: dict[str, Any] = msgspec.json.decode(reply.body)
        return message

    def _count_tokens(self, call: Call) -> Reply:
        body: Counted = anthropic_bodies.take(call.body, Counted, call.seen.headers["anthropic-version"])
        return answered({"input_tokens": anthropic_answers.input_tokens(body)})

    def _models(self, _: Call) -> Reply:
        return answered(page([_model(model) for model in MODELS]))

    def _model(self, call: Call) -> Reply:
        if call.ids["id"] not in MODELS:
            raise Refused(404, f"model: {call.ids['id']}")
        return answered(_model(call.ids["id"]))


def _model(model: str) -> dict[str, Any]:
    about = MODELS[model]
    row: dict[str, Any] = {"id": model, "type": "model", "display_name": about.display_name, "created_at": CREATED}
    return row | {"lifecycle": "active", "max_input_tokens": 200_000, "max_tokens": about.ceiling}
