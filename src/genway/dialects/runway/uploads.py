"""Files that a client sends first and refers to later: the official API's form, and the web application's parts.

The address to send the file to works without a key: it is signed, good for 24 hours and for one file.
"""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from litestar import Request
from msgspec import Meta
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body
from genway.dialects.runway.official import PREFIX as OFFICIAL
from genway.errors import InvalidRequest
from genway.media.library import Library
from genway.media.records import Upload

WEB = "/runway/uploads"
MOST_FORM_PARTS = 32

route = Router()

FileName = Annotated[str, Meta(max_length=255)]


class NewUpload(Body):
    """A file to come. type: the only kind there is; it is kept for 24 hours."""

    filename: FileName
    type: Literal["ephemeral"] = "ephemeral"


class NewParts(Body, rename="camel"):
    """A file to come, as the web application announces it. number_of_parts: it always sends one."""

    filename: FileName
    number_of_parts: Literal[1] = 1
    type: str = ""


@route.post(f"{OFFICIAL}/v1/uploads")
async def create(body: NewUpload, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Say where to send a file to, and how to refer to it."""
    library = _library(request)
    upload = await library.create_upload(asked.caller.account_id, body.filename)
    address = _address(asked, f"{OFFICIAL}/v1/uploads/{upload.id}", library, upload)
    return Answer({"uploadUrl": address, "fields": {"key": upload.id}, "runwayUri": f"runway://{upload.id}"})


@route.post(f"{OFFICIAL}/v1/uploads/{{upload_id:str}}")
async def receive_form(upload_id: str, request: Request[Any, Any, Any]) -> Answer:
    """Take the file of a form."""
    library = _library(request)
    await _check_link(library, upload_id, request)
    await library.put_upload(upload_id, _form_file(request))
    return Answer(status=204)


@route.post(WEB)
async def announce(body: NewParts, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Say where to send the file's only part to."""
    library = _library(request)
    upload = await library.create_upload(asked.caller.account_id, body.filename)
    content_type = mimetypes.guess_type(body.filename)[0] or "application/octet-stream"
    address = _address(asked, f"{WEB}/{upload.id}/parts/1", library, upload)
    return Answer({"id": upload.id, "uploadUrls": [address], "uploadHeaders": {"Content-Type": content_type}})


@route.put(f"{WEB}/{{upload_id:str}}/parts/1")
async def receive_part(upload_id: str, request: Request[Any, Any, Any]) -> Answer:
    """Take the file as it is. The status is 200, which is what the client waits for."""
    library = _library(request)
    await _check_link(library, upload_id, request)
    stored = await library.put_upload(upload_id, request.stream())
    return Answer({}, headers={"ETag": f'"{stored.sha256}"'})


@route.post(f"{WEB}/{{upload_id:str}}/complete")
async def complete(upload_id: str, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Answer with a link to the file, which a task may be given and a page may show."""
    library = _library(request)
    stored = await library.finish_upload(asked.caller.account_id, upload_id)
    return Answer({"id": upload_id, "url": library.url(asked.base_url, stored)})


def _library(request: Request[Any, Any, Any]) -> Library:
    library: Library = request.app.state.library
    return library


def _address(asked: Asked, path: str, library: Library, upload: Upload) -> str:
    query = library.signer.sign(upload.id, account_id=upload.account_id, expires_at=int(upload.expires_at))
    return f"{asked.base_url.rstrip('/')}{path}?{query}"


async def _check_link(library: Library, upload_id: str, request: Request[Any, Any, Any]) -> None:
    """Raises NotFound for an unknown or expired upload, Forbidden for a link that was not made here."""
    upload = await library.upload(upload_id)
    library.signer.verify(upload_id, request.query_params, library.clock(), account_id=upload.account_id)


async def _form_file(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The bytes of the form's part `file` as they arrive; other parts are passed over. Raises InvalidRequest."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequest("send a form: multipart/form-data with a part named file", field="Content-Type")
    found = wanted = False
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=MOST_FORM_PARTS) as parser:
            async for chunk in request.stream():
                for event in parser.parse(chunk) if chunk else ():
                    if isinstance(event, MultipartSegment):
                        wanted = event.name == "file" and not found
                        found = found or wanted
                    elif event and wanted:
                        yield bytes(event)
    except MultipartError as error:
        raise InvalidRequest(f"not a valid form: {error}") from None
    if not found:
        raise InvalidRequest("required", field="file")
