"""`/media/<name>`: stored files by signed link, whole or in part, in constant memory."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import HttpMethod, Request, route
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from genway.errors import GenwayError, NotFound
from genway.media.library import Library
from genway.media.records import MEDIA_ID, StoredMedia

_NAME = re.compile(rf"({MEDIA_ID.pattern})(?:\.[a-z0-9]{{1,8}})?", re.ASCII)
_RANGE = re.compile(r"\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.ASCII)

# A file is whatever its bytes were found to be, and must not act as a page of ours even where a browser is fooled.
SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
}


class RangeNotSatisfiable(Exception):
    """The asked part of the file does not exist."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte asked for and the one after the last, for a file of `size` bytes; None: the whole file.

    One range is served; where several are asked for, or units other than bytes, the whole file is the allowed answer.
    Raises RangeNotSatisfiable. Source: RFC 9110, sections 14.1.2 and 14.2.
    """
    unit, _, text = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in text:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        raise RangeNotSatisfiable
    if not found[1]:
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            raise RangeNotSatisfiable
    if start >= end:
        raise RangeNotSatisfiable
    return start, end


@route("/media/{name:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def stored_media(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIResponse:
    """Answer with a stored file, or a part of it, to whoever has a link that is signed and still valid."""
    library: Library = request.app.state.library
    head = request.method == HttpMethod.HEAD
    now = library.clock()
    try:
        found = _NAME.fullmatch(name)
        stored = await library.get(found[1]) if found else None
        if stored is None:
            raise NotFound("there is no such file")
        until = library.signer.verify(stored.id, request.query_params, now, account_id=stored.account_id)
        return await send_file(library, stored, request, int(until - now), head)
    except GenwayError as error:
        return _refusal(error, head)


async def send_file(
    library: Library, stored: StoredMedia, request: Request[Any, Any, Any], seconds: int, head: bool = False
) -> ASGIResponse:
    """Answer with a stored file, or the part that the request's `Range` asks for. seconds: how long it may be cached."""
    tag = f'"{stored.sha256}"'
    headers = SAFETY_HEADERS | {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={max(seconds, 0)}, immutable",
    }
    if _matches(request.headers.get("if-none-match", ""), tag):
        return ASGIResponse(status_code=304, headers=headers)
    start, end, status = 0, stored.bytes, 200
    range_header = request.headers.get("range", "")
    if range_header and request.headers.get("if-range", tag) == tag:
        try:
            part = parse_range(range_header, stored.bytes)
        except RangeNotSatisfiable:
            headers["Content-Range"] = f"bytes */{stored.bytes}"
            return ASGIResponse(status_code=416, headers=headers, is_head_response=head)
        if part is not None:
            (start, end), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
    headers |= {
        "Content-Type": stored.content_type,
        "Content-Length": str(end - start),
        "Content-Disposition": f'inline; filename="{stored.file_name}"',
    }
    if head:
        return ASGIResponse(status_code=status, headers=headers, is_head_response=True)
    return ASGIStreamingResponse(
        iterator=await library.open(stored, start, end), status_code=status, headers=headers, media_type=stored.content_type
    )


def _matches(header: str, tag: str) -> bool:
    """Whether an If-None-Match header names this file."""
    return header.strip() == "*" or any(part.strip().removeprefix("W/") == tag for part in header.split(","))


def _refusal(error: GenwayError, head: bool) -> ASGIResponse:
    body = msgspec.json.encode({"error": {"message": error.message, "type": error.type, "code": error.code}})
    return ASGIResponse(
        body=b"" if head else body,
        status_code=error.status,
        headers=SAFETY_HEADERS | {"Cache-Control": "no-store"},
        media_type="application/json",
        is_head_response=head,
    )
