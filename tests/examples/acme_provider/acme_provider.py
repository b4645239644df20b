"""ACME Video as upstream: POST, GET and DELETE on `/v1/jobs`."""

from __future__ import annotations

from genway.operations import AnyOperation, VideoRequest
from genway.providers.base import Failed, Finished, ResultFile, Running, Submission, Submitted, VendorRefused
from genway.providers.http import HttpProvider, at
from genway.providers.ratios import nearest_ratio

SECONDS = (4, 8)
SHAPES = ("16:9", "9:16")


class Acme(HttpProvider):
    """ACME Video. Source of every fact: docs.acme.example, version 1."""

    name = "acme"
    base_url = "https://api.acme.example"
    operations = (VideoRequest,)
    models = {"acme/one": "acme-1", "acme/one-fast": "acme-1-fast"}
    # ACME promises that a 503 has started nothing.
    sheds = frozenset({503})

    def headers(self) -> dict[str, str]:
        return {"X-Acme-Key": self.channel.secret}

    def refusal(self, operation: AnyOperation) -> str | None:
        reason = super().refusal(operation)
        if reason is not None or not isinstance(operation, VideoRequest):
            return reason
        if operation.seconds not in SECONDS:
            return f"acme makes 4 or 8 seconds, got {operation.seconds:g}"
        if nearest_ratio(operation.size, SHAPES) is None:
            return f"acme makes {' and '.join(SHAPES)}, got {operation.size}"
        return "acme takes no picture to end with" if operation.last_frame else None

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        if not isinstance(operation, VideoRequest):
            raise VendorRefused(f"acme does not do {operation.kind}")
        body = {
            "engine": submission.model,
            "text": operation.prompt,
            "length": int(operation.seconds),
            "shape": nearest_ratio(operation.size, SHAPES),
            "reference": submission.reference,
        }
        if operation.first_frame:
            body["image"] = await submission.files.address(operation.first_frame, inline_bytes=1_000_000)
        job = at(await self.call("POST", "/v1/jobs", body, submitting=True), "job")
        if not isinstance(job, str):
            raise self.unclear("acme named no job", submitting=True)
        return Submitted(job)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        answer = await self.call("GET", f"/v1/jobs/{vendor_id}")
        match at(answer, "state"):
            case "waiting" | "working":
                return Running(at(answer, "percent") / 100 if at(answer, "percent") else None)
            case "done" if url := at(answer, "video"):
                return Finished((ResultFile("video", url=url),))
            case "failed":
                code = "moderation" if at(answer, "reason") == "unsafe" else "vendor_error"
                return Failed(code, self.clean(str(at(answer, "text") or "acme gave no reason")))
        raise self.unclear(f"acme answered {answer!r}", submitting=False)

    async def cancel(self, vendor_id: str) -> None:
        await self.call("DELETE", f"/v1/jobs/{vendor_id}")

    async def find(self, reference: str) -> Submitted | None:
        job = at(await self.call("GET", f"/v1/jobs?reference={reference}"), "jobs", 0, "job")
        return Submitted(job) if isinstance(job, str) else None
