"""Pika, as its official host fal.ai serves it: a queue. Source: `vendors/pika.md`, section 3, D.

The models take no camera motion, so it is told in the prompt; of prompt, seed and negative prompt all are taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from genway.operations import AnyOperation, EffectRequest, MediaRef, VideoRequest
from genway.providers import _pika_requests as requests
from genway.providers.base import (
    Failed,
    Finished,
    Poll,
    ProviderError,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorLost,
    VendorModerated,
    VendorRefused,
)
from genway.providers.http import MODERATION, Answer, HttpProvider, at

APPLICATION = "fal-ai/pika"
# fal takes files as data URIs; larger ones are read from a link.
INLINE_BYTES = 4 * 1024 * 1024
PLACE = re.compile(r"[\w-]+(?:/[\w.-]+)+/requests/[\w-]+", re.ASCII)
POLICY = "content_policy_violation"


class Pika(HttpProvider):
    """The queue at fal.ai. A vendor id is the request's place there, `fal-ai/pika/requests/<id>`."""

    name = "pika"
    base_url = "https://queue.fal.run"
    operations = (VideoRequest, EffectRequest)
    models = requests.MODELS
    poll = Poll(first=5.0, factor=1.3, longest=15.0)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Key {self.channel.secret}"}

    def refusal(self, operation: AnyOperation) -> str | None:
        reason = super().refusal(operation)
        if reason is not None:
            return reason
        makes = requests.MAKES.get(operation.model)
        if makes is not None and not isinstance(operation, makes):
            return f"{operation.model} does not do {operation.kind}"
        if isinstance(operation, EffectRequest):
            return requests.effect_refusal(operation)
        return requests.video_refusal(operation) if isinstance(operation, VideoRequest) else None

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        if (reason := self.refusal(operation)) is not None:
            raise VendorRefused(reason)

        async def addresses(refs: Sequence[MediaRef]) -> list[str]:
            return [await submission.files.address(ref, inline_bytes=INLINE_BYTES) for ref in refs]

        if isinstance(operation, EffectRequest):
            route, body = "pikaffects", requests.effect(operation)
            [body["image_url"]] = await addresses(operation.pictures)
        elif isinstance(operation, VideoRequest):
            route, body = requests.video(operation)
            pictures = await addresses(requests.pictures(operation))
            match route:
                case "pikaframes":
                    body["image_urls"] = pictures
                    spread = operation.seconds / (len(pictures) - 1)
                    body["transitions"] = [{"duration": _whole(spread), "prompt": body["prompt"]} for _ in pictures[1:]]
                case "pikascenes":
                    body["images"] = [{"image_url": picture} for picture in pictures]
                case "image-to-video":
                    [body["image_url"]] = pictures
        else:
            raise VendorRefused(f"{self.name} does not do {operation.kind}")
        tell = f"?fal_webhook={quote(submission.callback_url, safe='')}" if submission.callback_url else ""
        answer = await self.call("POST", f"/{APPLICATION}/{submission.model}/{route}{tell}", body, submitting=True)
        return Submitted(self._place(answer))

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        answer = await self.call("GET", f"/{vendor_id}/status")
        match at(answer, "status"):
            case "IN_QUEUE" | "IN_PROGRESS":
                return Running()
            case "COMPLETED":
                if error := at(answer, "error"):
                    return self._failed(str(error), str(at(answer, "error_type") or ""))
                return await self._result(vendor_id)
            case other:
                raise self.unclear(f"{self.name} answered a status that is not known: {other!r}", submitting=False)

    def from_callback(self, operation: AnyOperation, body: Any) -> Submitted | None:
        request_id = at(body, "request_id")
        return Submitted(f"{APPLICATION}/requests/{request_id}") if _is_request_id(request_id) else None

    async def cancel(self, vendor_id: str) -> None:
        await self.call("PUT", f"/{vendor_id}/cancel")

    async def test(self) -> str:
        """A question for a request that cannot exist is answered only to a good key."""
        with suppress(VendorLost, VendorRefused):
            await self.call("GET", f"/{APPLICATION}/requests/00000000-0000-0000-0000-000000000000/status")
        return "the key is good; fal.ai does not tell a balance"

    def error(self, answer: Answer, submitting: bool) -> ProviderError:
        details = at(answer.body, "detail")
        if isinstance(details, list):
            message = "; ".join(filter(None, (_detail(detail) for detail in details)))
            kind = str(at(details, 0, "type") or "")
            answer = msgspec.structs.replace(answer, code=self.clean(kind), message=self.clean(message))
        return super().error(answer, submitting)

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        if answer.code == POLICY:
            return VendorModerated
        # The result of work that failed is answered with the model's own status and a list of what was wrong.
        if not submitting and answer.status >= 500 and isinstance(at(answer.body, "detail"), list):
            return VendorRefused
        return super().verdict(answer, submitting)

    async def _result(self, vendor_id: str) -> Finished | Failed:
        try:
            answer = await self.call("GET", f"/{vendor_id}")
        except VendorModerated as error:
            return Failed("moderation", error.message)
        except VendorRefused as error:
            return self._failed(error.message)
        url = at(answer, "video", "url")
        if not isinstance(url, str) or not url:
            raise self.unclear(f"{self.name} says that it succeeded and gives no video", submitting=False)
        return Finished((ResultFile("video", url=url),))

    def _failed(self, words: str, kind: str = "") -> Failed:
        refused = kind == POLICY or MODERATION.search(words)
        return Failed("moderation" if refused else "vendor_error", self.clean(words))

    def _place(self, answer: Any) -> str:
        """Where to ask, as fal says it: the part of its address that belongs to the request."""
        said = at(answer, "status_url")
        place = urlsplit(said).path.strip("/").removesuffix("/status") if isinstance(said, str) else ""
        if PLACE.fullmatch(place) and ".." not in place:
            return place
        request_id = at(answer, "request_id")
        if not _is_request_id(request_id):
            raise self.unclear(f"{self.name} took the request and named no id", submitting=True)
        return f"{APPLICATION}/requests/{request_id}"


def _is_request_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w-]+", value, re.ASCII) is not None


def _whole(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)


def _detail(detail: Any) -> str:
    """One thing that was wrong: `body.duration: Input should be 5 or 10`."""
    place = at(detail, "loc")
    where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return ": ".join(filter(None, (where, str(at(detail, "msg") or ""))))
