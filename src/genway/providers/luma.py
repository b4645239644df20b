"""Luma's official API as upstream: `api.lumalabs.ai/dream-machine/v1`.

What goes to it is made in `_luma_requests`; what its models take is data in `_luma_models`. Luma reads files at public
addresses only, so a file of ours goes as a link, which needs `server.public_url`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from genway.operations import (
    AnyOperation,
    ExtendRequest,
    ImageRequest,
    RestyleRequest,
    SoundRequest,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers._luma_models import MODELS
from genway.providers._luma_requests import FORMAT, ROLES, media, request
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
    VendorRefused,
)
from genway.providers.extra import with_extra
from genway.providers.http import MODERATION, Answer, at
from genway.providers.planned import PlannedProvider

BASE = "/dream-machine/v1"
# Fields that decide the price or the work come from the operation alone, whatever a client's unknown fields say.
PRICED = ("model", "duration", "resolution", "generation_type")
UNKNOWN = re.compile(r"generation\b.*\bnot (be )?(found|exist)|no (such )?generation", re.IGNORECASE)
UNREADABLE = "Failed to read user input frames"


class Luma(PlannedProvider):
    """Luma, official format."""

    name = "luma"
    base_url = "https://api.lumalabs.ai"
    operations = (VideoRequest, ExtendRequest, ImageRequest, RestyleRequest, UpscaleRequest, SoundRequest)
    models: Mapping[str, str] = {f"luma/{name}": name for name in MODELS}
    poll = Poll(first=3.0, factor=1.2, longest=10.0)

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        path, body = self.planned(submission)
        body |= await media(operation, submission.files)
        if operation.format == FORMAT:
            known = {name: value for name, value in operation.extra.items() if name != ROLES}
            body = with_extra(body, known, keep=PRICED)
        if submission.callback_url:
            body["callback_url"] = submission.callback_url
        answer = await self.call("POST", f"{BASE}/generations{path}", body, submitting=True)
        vendor_id = at(answer, "id")
        if not isinstance(vendor_id, str) or not vendor_id:
            raise self.unclear("luma took the request and named no generation", submitting=True)
        return Submitted(vendor_id)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        answer = await self.call("GET", _generation(vendor_id))
        match at(answer, "state"):
            case "queued" | "dreaming":
                return Running()
            case "completed":
                return self._finished(answer)
            case "failed":
                message = self.clean(str(at(answer, "failure_reason") or "the vendor gave no reason"))
                if "blacklisted" in message or MODERATION.search(message):
                    return Failed("moderation", message)
                return Failed("invalid_request" if UNREADABLE in message else "vendor_error", message)
            case state:
                raise self.unclear(f"luma answered a state that is not known: {state!r}", submitting=False)

    def from_callback(self, operation: AnyOperation, body: Any) -> Submitted | None:
        vendor_id = at(body, "id")
        return Submitted(vendor_id) if isinstance(vendor_id, str) and vendor_id else None

    async def cancel(self, vendor_id: str) -> None:
        try:
            await self.call("DELETE", _generation(vendor_id))
        except VendorLost:
            return

    async def test(self) -> str:
        balance = at(await self.call("GET", f"{BASE}/credits"), "credit_balance")
        if not isinstance(balance, int | float):
            raise self.unclear("luma answered without a credit balance", submitting=False)
        return f"the key is good; {balance / 100:.2f} USD left"

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        if submitting and answer.status == 404 and UNKNOWN.search(answer.message):
            # The earlier generation that was to be worked on.
            return VendorRefused
        return super().verdict(answer, submitting)

    def _finished(self, answer: Any) -> Finished:
        video, image = at(answer, "assets", "video"), at(answer, "assets", "image")
        if isinstance(video, str) and video:
            poster = [ResultFile("poster", url=image)] if isinstance(image, str) and image else []
            return Finished((ResultFile("video", url=video), *poster))
        if isinstance(image, str) and image and at(answer, "generation_type") != "video":
            return Finished((ResultFile("image", url=image),))
        raise self.unclear("luma says completed and gives no file", submitting=False)

    def plan(self, operation: AnyOperation, model: str) -> tuple[str, dict[str, Any]]:
        """Raises Unfit. A model that we have never heard of is taken to be like the one that the channel has it replace."""
        usual = type(self).models.get(operation.model, "")
        return request(operation, model, MODELS.get(model) or MODELS.get(usual))


def _generation(vendor_id: str) -> str:
    return f"{BASE}/generations/{quote(vendor_id, safe='')}"
