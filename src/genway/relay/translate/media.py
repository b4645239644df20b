"""Pictures and documents: data URIs in chat completions, sources in messages."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from genway.errors import InvalidRequest

PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
_PDF_IN_BASE64 = "JVBERi"


def data_uri(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


def picture(address: str, field: str) -> dict[str, Any]:
    """The image block for an address or a data URI. Raises InvalidRequest."""
    if address.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": address}}
    block = _block(*_split(address, field), field)
    if block["type"] != "image":
        raise InvalidRequest(f"a picture ({', '.join(PICTURES)}), got {block['source']['media_type']}", field=field)
    return block


def document(file_data: str, filename: str | None, field: str) -> dict[str, Any]:
    """The block for a file's data URI: a document, or an image where it is one. Raises InvalidRequest."""
    if file_data.startswith(_PDF_IN_BASE64):
        file_data = data_uri(PDF, file_data)
    block = _block(*_split(file_data, field), field)
    if block["type"] == "document" and filename:
        block["title"] = filename
    return block


def _split(uri: str, field: str) -> tuple[str, str]:
    """Media type and base64 of a data URI."""
    head, comma, data = uri.partition(",")
    scheme, _, kind = head.partition(":")
    kind, *parameters = kind.split(";")
    if not comma or scheme.lower() != "data" or "base64" not in parameters:
        raise InvalidRequest(f"an http(s) address or a base64 data URI, got {uri[:40]}", field=field)
    kind = kind.strip().lower()
    return ("image/jpeg" if kind == "image/jpg" else kind), data


def _block(media_type: str, data: str, field: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": data}
    if media_type in PICTURES:
        return {"type": "image", "source": source}
    if media_type == PDF:
        return {"type": "document", "source": source}
    if media_type.startswith("text/"):
        try:
            text = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequest("text in base64 and UTF-8", field=field) from None
        return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}
    raise InvalidRequest(f"a picture ({', '.join(PICTURES)}), a PDF or a text, got {media_type[:60]}", field=field)
