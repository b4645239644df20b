"""A form with files (multipart/form-data), read as it arrives: files go straight into the store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import msgspec
from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from genway.errors import GenwayError, InvalidRequest
from genway.media.library import Library
from genway.media.records import StoredMedia
from genway.operations import MediaRef

MOST_PARTS = 128
MOST_TEXT = 32 * 1024 * 1024
_NESTED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


class Form(msgspec.Struct):
    """What came. fields: the texts by name; `a[b]` stands as member b of the object a, `a[]` as an item of the list a.

    files: those that came as files, in the store and checked. fingerprint: the same for the same form.
    """

    fields: dict[str, Any] = {}
    files: dict[str, MediaRef] = {}
    fingerprint: str = ""


async def take(
    request: Request[Any, Any, Any],
    library: Library,
    account_id: str,
    kinds: Mapping[str, Collection[str]],
    *,
    role: str = "input",
    texts: Collection[str] = (),
) -> Form:
    """The request's form. kinds: the names of the parts that may be files, and what each may be (`image`, `video`, `audio`).

    texts: the names of those that may be a text file too, `.txt`; such a one stands among the fields. role: what is kept as.

    Raises InvalidRequest, MediaRefused or Unavailable; no file is kept then.
    """
    form, digest = Form(), hashlib.sha256()
    try:
        parts = _events(request)
        async for event in parts:
            if not isinstance(event, MultipartSegment):
                continue
            digest.update(f"{event.name}\n".encode())
            as_text = event.name in texts and (event.filename or "").lower().endswith(".txt")
            if event.filename and event.name in kinds and not as_text:
                stored = await _store(_content(parts), library, account_id, event.name, kinds[event.name], role)
                form.files[event.name] = MediaRef(media_id=stored.id)
                digest.update(stored.sha256.encode())
            else:
                text = await _text(_content(parts), event.name)
                digest.update(hashlib.sha256(text.encode()).digest())
                _put(form.fields, event.name, text)
    except MultipartError as error:
        await discard(form, library)
        raise InvalidRequest(f"not a valid form: {error}") from None
    except BaseException:
        await discard(form, library)
        raise
    form.fingerprint = digest.hexdigest()
    return form


async def discard(form: Form, library: Library) -> None:
    """Delete the files of a form that began nothing."""
    for ref in form.files.values():
        await library.remove(ref.media_id or "")


async def _events(request: Request[Any, Any, Any]) -> AsyncIterator[MultipartSegment | bytes | None]:
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if not options.get("boundary"):
        raise InvalidRequest("a form names its boundary: multipart/form-data; boundary=…", field="Content-Type")
    with PushMultipartParser(options["boundary"], max_segment_count=MOST_PARTS) as parser:
        async for chunk in request.stream():
            for event in parser.parse(chunk) if chunk else ():
                yield event if event is None or isinstance(event, MultipartSegment) else bytes(event)


async def _content(parts: AsyncIterator[MultipartSegment | bytes | None]) -> AsyncIterator[bytes]:
    """The bytes of the part that has just begun."""
    async for event in parts:
        if not isinstance(event, bytes):
            return
        yield event


async def _store(
    content: AsyncIterator[bytes], library: Library, account_id: str, name: str, kinds: Collection[str], role: str
) -> StoredMedia:
    limits = library.limits
    most = limits.max_image_bytes if set(kinds) == {"image"} else limits.max_video_bytes
    try:
        return await library.receive(account_id, content, max_bytes=most, role=role, limits=limits, kinds=kinds)
    except GenwayError as error:
        error.field = error.field or name
        raise


async def _text(content: AsyncIterator[bytes], name: str) -> str:
    text = bytearray()
    async for chunk in content:
        text += chunk
        if len(text) > MOST_TEXT:
            raise InvalidRequest(f"at most {MOST_TEXT} bytes of text", field=name)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("not valid UTF-8; a file needs a file name", field=name) from None


def _put(fields: dict[str, Any], name: str, text: str) -> None:
    nested = _NESTED.fullmatch(name)
    if nested is None:
        fields[name] = text
        return
    outer, inner = nested.groups()
    member = fields.setdefault(outer, {} if inner else [])
    if isinstance(member, dict) and inner:
        member[inner] = text
    elif isinstance(member, list) and not inner:
        member.append(text)
    else:
        raise InvalidRequest("is given in two ways", field=outer)
