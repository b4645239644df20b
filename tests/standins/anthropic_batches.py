"""Anthropic's message batches and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from standins.anthropic_answers import answered
from standins.anthropic_bodies import invalid
from standins.relay_vendor import Answer, Call, Form, Refused, Reply
from standins.strict_bodies import Strict, Wrong, read

CREATED = "2026-11-01T12:00:00Z"
EXPIRES = "2026-11-02T12:00:00Z"


class Request(Strict):
    custom_id: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    params: dict[str, Any]


class Create(Strict):
    """POST /v1/messages/batches."""

    requests: Annotated[list[Request], Meta(min_length=1, max_length=100_000)]


class Batches:
    """The calls below /v1/messages/batches. A batch is in progress when it is made and has ended when it is asked for.

    carry_out: answers the parameters of one request as a call of its own would; raises Refused.
    """

    def __init__(self, address: Callable[[], str], carry_out: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._address = address
        self._carry_out = carry_out
        self._batches: dict[str, dict[str, Any]] = {}
        self._requests: dict[str, list[Request]] = {}

    def create(self, call: Call) -> Reply:
        try:
            body: Create = read(call.body, Create)
        except Wrong as wrong:
            raise invalid(f"{wrong.path}: {wrong.message}") from wrong
        names = [request.custom_id for request in body.requests]
        if len(set(names)) < len(names):
            raise invalid("requests: custom_id must be unique")
        batch_id = f"msgbatch_{len(self._requests) + 1}"
        self._requests[batch_id] = body.requests
        self._batches[batch_id] = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": counts(processing=len(names)),
            "created_at": CREATED,
            "expires_at": EXPIRES,
            "ended_at": None,
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": None,
        }
        return answered(self._batches[batch_id])

    def all(self, _: Call) -> Reply:
        return answered(page([*self._batches.values()]))

    def retrieve(self, call: Call) -> Reply:
        batch = self._batch(call)
        if batch["processing_status"] != "ended":
            cancelled = batch["processing_status"] == "canceling"
            number = len(self._requests[batch["id"]])
            failed = sum(row["result"]["type"] == "errored" for row in self._rows(batch["id"]))
            done = counts(canceled=number) if cancelled else counts(succeeded=number - failed, errored=failed)
            results = f"{self._address()}/v1/messages/batches/{batch['id']}/results"
            batch |= {"processing_status": "ended", "ended_at": CREATED, "request_counts": done, "results_url": results}
        return answered(batch)

    def cancel(self, call: Call) -> Reply:
        batch = self._batch(call)
        if batch["processing_status"] == "ended":
            raise invalid("This batch has already ended.")
        batch |= {"processing_status": "canceling", "cancel_initiated_at": CREATED}
        return answered(batch)

    def delete(self, call: Call) -> Reply:
        if self._batch(call)["processing_status"] != "ended":
            raise invalid("A batch in progress cannot be deleted; cancel it first.")
        del self._batches[call.ids["id"]]
        return answered({"id": call.ids["id"], "type": "message_batch_deleted"})

    def results(self, call: Call) -> Reply:
        batch = self._batch(call)
        if batch["results_url"] is None:
            raise Refused(404, "No results are available for this batch yet.", code="not_found_error")
        rows = self._rows(batch["id"])
        if batch["cancel_initiated_at"]:
            rows = [{**row, "result": {"type": "canceled"}} for row in rows]
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in reversed(rows))
        return Answer(lines, content_type="application/x-jsonl")

    def _rows(self, batch_id: str) -> list[dict[str, Any]]:
        rows = []
        for request in self._requests[batch_id]:
            try:
                result = {"type": "succeeded", "message": self._carry_out(request.params)}
            except Refused as refused:
                error = {"type": refused.code or "api_error", "message": refused.message}
                result = {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}
            rows.append({"custom_id": request.custom_id, "result": result})
        return rows

    def _batch(self, call: Call) -> dict[str, Any]:
        if call.ids["id"] not in self._batches:
            raise Refused(404, f"Message batch {call.ids['id']} not found.", code="not_found_error")
        return self._batches[call.ids["id"]]


class Files:
    """The calls below /v1/files. What a client uploads cannot be downloaded again."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Any]] = {}
        self._made = 0

    def upload(self, call: Call) -> Reply:
        if not isinstance(call.body, Form) or list(call.body.files) != ["file"]:
            raise invalid("file: Field required")
        file = call.body.files["file"][0]
        self._made += 1  # ids are not given twice, whatever was deleted
        file_id = f"file_{self._made}"
        about = {"id": file_id, "type": "file", "filename": file.filename, "mime_type": file.content_type}
        self._files[file_id] = {**about, "size_bytes": len(file.content), "created_at": CREATED, "downloadable": False}
        return answered(self._files[file_id])

    def all(self, _: Call) -> Reply:
        return answered(page([*self._files.values()]))

    def retrieve(self, call: Call) -> Reply:
        return answered(self._file(call))

    def delete(self, call: Call) -> Reply:
        del self._files[self._file(call)["id"]]
        return answered({"id": call.ids["id"], "type": "file_deleted"})

    def content(self, call: Call) -> Reply:
        raise invalid(f"File {self._file(call)['id']} is not downloadable.")

    def _file(self, call: Call) -> dict[str, Any]:
        if call.ids["id"] not in self._files:
            raise Refused(404, f"File not found: {call.ids['id']}", code="not_found_error")
        return self._files[call.ids["id"]]


def counts(**known: int) -> dict[str, int]:
    return {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0} | known


def page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as Anthropic lists them."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return {"data": rows, "has_more": False, **ends}
