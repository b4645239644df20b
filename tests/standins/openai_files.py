"""OpenAI's files, and the batches that are made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from multidict import CIMultiDict, CIMultiDictProxy

from standins.openai_answers import CREATED, answered
from standins.openai_bodies import Metadata, invalid, wrong_body
from standins.relay_vendor import Answer, Call, Form, Refused, RelayVendor, Reply, Script, Seen
from standins.strict_bodies import Strict, Wrong, read

ENDPOINTS = Literal["/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"]
PURPOSES = {"assistants", "batch", "fine-tune", "vision", "user_data", "evals"}
DAY = 24 * 3600


class Create(Strict):
    """POST /v1/batches."""

    input_file_id: str
    endpoint: ENDPOINTS
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: dict[str, Any] | None = None


class Line(Strict):
    """A line of a batch's input."""

    custom_id: Annotated[str, Meta(min_length=1)]
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class File(msgspec.Struct):
    about: dict[str, Any]
    content: bytes


class Files:
    """The calls below /v1/files and /v1/batches. A batch is in progress when it is made and done when it is asked for.

    created: when batches are made, in Unix seconds.
    """

    def __init__(self, vendor: RelayVendor) -> None:
        self.files: dict[str, File] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.created = CREATED
        self._vendor = vendor
        self._made = 0

    def upload(self, call: Call) -> Reply:
        form = call.body
        if not isinstance(form, Form) or len(form.files.get("file", [])) != 1:
            raise Refused(400, "Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
        unknown = set(form.fields) - {"purpose", "expires_after[anchor]", "expires_after[seconds]"}
        if unknown:
            raise Refused(400, f"Unknown parameter: '{min(unknown)}'.", code="unknown_parameter", param=min(unknown))
        purpose = form.fields.get("purpose", [""])[0]
        if purpose not in PURPOSES:
            raise invalid("purpose", f"'{purpose}' is not one of {sorted(PURPOSES)} - 'purpose'")
        [file] = form.files["file"]
        return answered(self._keep(file.filename, purpose, file.content))

    def list(self, call: Call) -> Reply:
        purpose = call.seen.query.get("purpose")
        rows = [file.about for file in self.files.values() if purpose in (None, file.about["purpose"])]
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
        return answered({"object": "list", "data": rows, "has_more": False, **ends})

    def retrieve(self, call: Call) -> Reply:
        return answered(self._file(call.ids["id"]).about)

    def content(self, call: Call) -> Reply:
        return Answer(self._file(call.ids["id"]).content, content_type="application/octet-stream")

    def delete(self, call: Call) -> Reply:
        self._file(call.ids["id"])
        del self.files[call.ids["id"]]
        return answered({"id": call.ids["id"], "object": "file", "deleted": True})

    def create_batch(self, call: Call) -> Reply:
        try:
            body: Create = read(call.body, Create)
        except Wrong as wrong:
            raise wrong_body(wrong) from wrong
        if self._file(body.input_file_id).about["purpose"] != "batch":
            raise invalid("input_file_id", "The file was not uploaded with purpose 'batch'.")
        batch_id = f"batch_{len(self.batches) + 1}"
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": body.endpoint,
            "errors": None,
            "input_file_id": body.input_file_id,
            "completion_window": body.completion_window,
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": self.created,
            "in_progress_at": self.created + 1,
            "expires_at": self.created + DAY,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": body.metadata,
        }
        return answered(self.batches[batch_id])

    def list_batches(self, call: Call) -> Reply:
        """The newest first."""
        rows = list(reversed(self.batches.values()))
        after = call.seen.query.get("after")
        if after is not None:
            rows = rows[[row["id"] for row in rows].index(after) + 1 :]
        limit = int(call.seen.query.get("limit", "20"))
        shown = rows[:limit]
        ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
        return answered({"object": "list", "data": shown, "has_more": len(rows) > limit, **ends})

    def retrieve_batch(self, call: Call) -> Reply:
        batch = self._batch(call.ids["id"])
        if batch["status"] == "in_progress":
            self._finish(batch)
        return answered(batch)

    def cancel_batch(self, call: Call) -> Reply:
        batch = self._batch(call.ids["id"])
        if batch["status"] != "in_progress":
            raise Refused(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch |= {"status": "cancelling", "cancelling_at": CREATED + 2}
        return answered(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        """Carry out every line as if it had been a call of its own."""
        done, failed = [], []
        routes = self._vendor.routes()
        for number, text in enumerate(self.files[batch["input_file_id"]].content.splitlines()):
            row: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": f"line {number}", "response": None, "error": None}
            try:
                line: Line = read(msgspec.json.decode(text), Line)
                if line.url != batch["endpoint"]:
                    raise invalid("url", "The url of a line must be the endpoint of the batch.")
                row["custom_id"] = line.custom_id
                headers = CIMultiDictProxy(CIMultiDict[str]())
                seen = Seen(method="POST", path=line.url, query={}, headers=headers, raw=text, parsed=line.body)
                reply = routes["POST", line.url](Call(seen, Script(), {}))
                assert isinstance(reply, Answer)
                status, body = 200, msgspec.json.decode(reply.body)
                done.append(row)
            except (Wrong, Refused) as error:
                status, body = (
                    400,
                    {"error": {"message": str(error), "type": "invalid_request_error", "param": None, "code": None}},
                )
                failed.append(row)
            row["response"] = {"status_code": status, "request_id": f"req_{number}", "body": body}
        for name, rows in (("output_file_id", done), ("error_file_id", failed)):
            if rows:
                lines = b"\n".join(msgspec.json.encode(row) for row in rows)
                batch[name] = self._keep(f"{batch['id']}_{name}.jsonl", "batch_output", lines)["id"]
        counts = {"total": len(done) + len(failed), "completed": len(done), "failed": len(failed)}
        batch |= {"status": "completed", "completed_at": CREATED + 60, "request_counts": counts}

    def _keep(self, filename: str, purpose: str, content: bytes) -> dict[str, Any]:
        self._made += 1  # ids are not given twice, whatever was deleted
        file_id = f"file-{self._made}"
        about = {"id": file_id, "object": "file", "bytes": len(content), "created_at": CREATED, "filename": filename}
        self.files[file_id] = File({**about, "purpose": purpose, "status": "processed", "expires_at": None}, content)
        return self.files[file_id].about

    def _file(self, file_id: str) -> File:
        if file_id not in self.files:
            raise Refused(404, f"No such File object: {file_id}", param="id")
        return self.files[file_id]

    def _batch(self, batch_id: str) -> dict[str, Any]:
        if batch_id not in self.batches:
            raise Refused(404, f"No batch found with id '{batch_id}'.", param="id")
        return self.batches[batch_id]
