"""Files and batches of the built-in provider: kept in the media store, and carried out at once by the built-in answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from uuid_utils import uuid7

from genway.errors import GenwayError, InvalidRequest
from genway.providers.local import echo
from genway.providers.relaying import Wire
from genway.relay import errors, kinds, surveys
from genway.relay.desk import Inquiry
from genway.relay.forward import upload
from genway.relay.objects import About, Kept, Sort
from genway.relay.surveys import Tally
from genway.wire.exchange import Exchange

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LONGEST_FIELD = 64 * 1024
DAY = 24 * 3600
BINARY = "application/octet-stream"


class Part(msgspec.Struct):
    """The file of a form."""

    filename: str = ""
    content_type: str = BINARY
    size: int = 0


class _Line(msgspec.Struct):
    custom_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"{}")


def content_key(kept: Kept) -> str:
    """Where its content lies in the store."""
    return f"{kept.account_id}/kept/{kept.id}"


async def give(inquiry: Inquiry, kept: Kept, content_type: str) -> None:
    """Answer with a thing's content. Raises NotFound or Unavailable."""
    store = inquiry.relay.keeper.store
    size = await store.size(content_key(kept))
    chunks = await store.open(content_key(kept), 0, size)
    inquiry.exchange.start(200, f"content-type: {content_type}\r\n".encode() + inquiry.common(), size)
    async for chunk in chunks:
        inquiry.exchange.write(chunk)
        await inquiry.exchange.drain()
    inquiry.exchange.finish()


# --- files


async def take_file(inquiry: Inquiry, kind: Sort) -> dict[str, Any]:
    """Keep the file of a form; the answer in the client's format. Raises InvalidRequest, BodyTooLarge or Unavailable."""
    keeper = inquiry.relay.keeper
    keeper.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=keeper.scratch) as spool:
        body = await upload(inquiry.exchange, keeper.most_upload, keeper.upload_seconds)
        part, fields = await _form(inquiry.exchange, body, spool.file)
        purpose = fields.get("purpose", "")
        if kind == "files" and purpose not in PURPOSES:
            raise InvalidRequest(f"one of {', '.join(PURPOSES)}, got {purpose[:50]!r}", field="purpose")
        spool.flush()
        return await _keep(inquiry, kind, Path(spool.name), part, purpose)


async def _form(exchange: Exchange, body: bytes | AsyncIterator[bytes], spool: IO[bytes]) -> tuple[Part, dict[str, str]]:
    _, options = parse_options_header(exchange.header(b"content-type").decode("latin-1"))
    if not options.get("boundary"):
        raise InvalidRequest("multipart/form-data with a part `file`", field="Content-Type")
    found: Part | None = None
    fields: dict[str, str] = {}
    name = ""
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=64) as parser:
            async for piece in _pieces(body):
                for event in parser.parse(piece):
                    if isinstance(event, MultipartSegment):
                        name = event.name
                        if name == "file" and found is not None:
                            raise InvalidRequest("given twice", field="file")
                        if name == "file":
                            found = Part(event.filename or "upload", event.content_type or BINARY)
                    elif event is not None and name == "file" and found is not None:
                        spool.write(event)
                        found.size += len(event)
                    elif event is not None:
                        fields[name] = fields.get(name, "") + bytes(event).decode("utf-8", "replace")
                        if len(fields[name]) > LONGEST_FIELD:
                            raise InvalidRequest(f"at most {LONGEST_FIELD} characters", field=name)
    except MultipartError as error:
        raise InvalidRequest(f"not a valid form: {error}") from None
    if found is None:
        raise InvalidRequest("required: a file", field="file")
    return found, fields


async def _pieces(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    async for piece in body:
        yield piece


async def _keep(inquiry: Inquiry, kind: Sort, path: Path, part: Part, purpose: str) -> dict[str, Any]:
    kept = await _stored(inquiry, kind, path, part, purpose)
    await inquiry.relay.keeper.keep([kept])
    told: dict[str, Any] = msgspec.json.decode(kept.body)
    return told


async def _stored(inquiry: Inquiry, kind: Sort, path: Path, part: Part, purpose: str) -> Kept:
    keeper = inquiry.relay.keeper
    name = f"file_{uuid7().hex}" if kind == "message_files" else f"file-{uuid7().hex}"
    kept = keeper.row(inquiry.caller, kind, name, None, about=msgspec.json.encode(About(purpose=purpose)).decode())
    await keeper.store.put(path, content_key(kept), part.content_type)
    kept.body = msgspec.json.encode(_described(kept, part, purpose)).decode()
    return kept


def _described(kept: Kept, part: Part, purpose: str) -> dict[str, Any]:
    if kept.kind == "message_files":
        return {
            "id": kept.id,
            "type": "file",
            "filename": part.filename,
            "mime_type": part.content_type,
            "size_bytes": part.size,
            "created_at": _time(kept.created_at),
            "downloadable": False,
        }
    return {
        "id": kept.id,
        "object": "file",
        "bytes": part.size,
        "created_at": int(kept.created_at),
        "expires_at": None,
        "filename": part.filename,
        "purpose": purpose,
        "status": "processed",
    }


# --- batches


async def run_file(inquiry: Inquiry, file: Kept, endpoint: str, kind: str, metadata: dict[str, str] | None) -> dict[str, Any]:
    """Carry out a batch from a file. Raises InvalidRequest, InsufficientBalance or BudgetExceeded."""
    keeper = inquiry.relay.keeper
    if file.details.purpose != "batch":
        raise InvalidRequest("the file was not uploaded with the purpose batch", field="input_file_id")
    key = content_key(file)
    content = keeper.store.read_range(key, 0, await keeper.store.size(key))
    survey = await surveys.of_file(content, kind, endpoint, keeper.settings.reserve_tokens)
    await keeper.named(inquiry.caller, list(survey.names.values()))
    batch = keeper.row(inquiry.caller, "batches", f"batch_{uuid7().hex}", None)
    batch.about = _about(inquiry, kind, survey.likely)
    now = int(batch.created_at)
    counts = {"total": 0, "completed": 0, "failed": 0}
    tallies: dict[str, Tally] = {}
    keeper.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=keeper.scratch) as done, tempfile.NamedTemporaryFile(dir=keeper.scratch) as failed:
        async for line in surveys.lines(keeper.store.read_range(key, 0, await keeper.store.size(key))):
            request = msgspec.json.decode(line, type=_Line)
            number = f"{batch.id}_{counts['total']}"
            status, body = await asyncio.to_thread(_answer, kind, "openai", bytes(request.body), number, now)
            answer = {"status_code": status, "request_id": number, "body": msgspec.Raw(body)}
            row = {"id": f"batch_req_{counts['total']}", "custom_id": request.custom_id, "response": answer, "error": None}
            well = status < 400
            (done if well else failed).write(msgspec.json.encode(row) + b"\n")
            counts["total"] += 1
            counts["completed" if well else "failed"] += 1
            if well:
                _count(tallies, kind, bytes(request.body), body)
        rows = []
        names: dict[str, str | None] = {"output_file_id": None, "error_file_id": None}
        for name, spool, count in (("output_file_id", done, "completed"), ("error_file_id", failed, "failed")):
            if counts[count]:
                spool.flush()
                part = Part(f"{batch.id}_{count}.jsonl", "application/jsonl", spool.tell())
                rows.append(await _stored(inquiry, "files", Path(spool.name), part, "batch_output"))
                names[name] = rows[-1].id
    told = {
        "id": batch.id,
        "object": "batch",
        "endpoint": endpoint,
        "errors": None,
        "input_file_id": file.id,
        "completion_window": "24h",
        "status": "completed",
        **names,
        "created_at": now,
        "in_progress_at": now,
        "completed_at": now,
        "expires_at": now + DAY,
        "request_counts": counts,
        "metadata": metadata,
    }
    batch.body = msgspec.json.encode(told).decode()
    await _charge(inquiry, batch, rows, tallies, rows)
    return told


async def run_messages(inquiry: Inquiry, requests: list[tuple[str, bytes]]) -> dict[str, Any]:
    """Carry out a batch of messages: the custom id and the parameters of each. Raises as `run_file`."""
    keeper = inquiry.relay.keeper
    batch = keeper.row(inquiry.caller, "message_batches", f"msgbatch_{uuid7().hex}", None)
    now = batch.created_at
    counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    tallies: dict[str, Tally] = {}
    keeper.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=keeper.scratch) as spool:
        for number, (custom_id, params) in enumerate(requests):
            name = f"{batch.id}_{number}"
            status, body = await asyncio.to_thread(_answer, "messages", "anthropic", params, name, int(now))
            well = status < 400
            result = (
                {"type": "succeeded", "message": msgspec.Raw(body)} if well else {"type": "errored", "error": msgspec.Raw(body)}
            )
            spool.write(msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n")
            counts["succeeded" if well else "errored"] += 1
            if well:
                _count(tallies, "messages", params, body)
        spool.flush()
        await keeper.store.put(Path(spool.name), content_key(batch), "application/x-jsonl")
    told = {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": counts,
        "created_at": _time(now),
        "expires_at": _time(now + DAY),
        "ended_at": _time(now),
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": f"/v1/messages/batches/{batch.id}/results",
    }
    batch.about = _about(inquiry, "messages", tallies)
    batch.body = msgspec.json.encode(told).decode()
    await _charge(inquiry, batch, [], tallies, [batch])
    return told


async def _charge(inquiry: Inquiry, batch: Kept, rows: list[Kept], tallies: dict[str, Tally], stored: list[Kept]) -> None:
    """Record and charge a batch; what was stored of it goes again where that cannot be. Raises as `run_file`."""
    try:
        await inquiry.relay.endings.charge_at_once(batch, rows, list(tallies.values()), _card(inquiry))
    except GenwayError:
        for kept in stored:
            await inquiry.relay.keeper.store.delete(content_key(kept))
        raise


def _about(inquiry: Inquiry, call: str, models: dict[str, Any]) -> str:
    about = About(call=call, models=tuple(models), request_id=inquiry.request_id, reference=f"dep_{uuid7().hex}")
    return msgspec.json.encode(about).decode()


def _answer(kind: str, wire: Wire, body: bytes, request_id: str, created: int) -> tuple[int, bytes]:
    """Status and body of one call's built-in answer."""
    try:
        made = echo.answer(kind, kinds.rewrite(body, {"stream": None}), request_id=request_id, created=created)
    except GenwayError as error:
        return errors.status_of(error, wire), errors.body(error, wire, request_id)
    assert isinstance(made, echo.Whole)
    return made.status, made.body


def _count(tallies: dict[str, Tally], kind: str, request: bytes, answer: bytes) -> None:
    surveys.count(tallies, About(call=kind, models=(kinds.read(request).model,)), answer)


def _card(inquiry: Inquiry) -> Callable[[str, str], Any]:
    return lambda kind, model: inquiry.relay.cards.local(kind, model, inquiry.caller.mode)


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
