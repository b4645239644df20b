"""Files written into a request body: data URIs and base64 in the forms that clients are known to send."""

from __future__ import annotations

import binascii
from urllib.parse import unquote_to_bytes

from genway.errors import MediaRefused
from genway.media.incoming import too_large

_WHITESPACE = b" \t\r\n\v\f"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def decode(text: str, max_bytes: int) -> bytes:
    """The bytes in a data URI (base64 or percent-encoded; the type it declares is ignored), or in bare base64.

    Base64 may be of either alphabet, with or without padding, and broken into lines. Raises MediaRefused for anything
    else, and before decoding where more than `max_bytes` would come out.
    """
    if text[:5].lower() != "data:":
        return _from_base64(_ascii(text), max_bytes)
    header, comma, payload = text[5:].partition(",")
    if not comma:
        raise MediaRefused("a data URI looks like data:image/png;base64,…; this one has no comma")
    if len(payload) > 4 * max_bytes:
        raise too_large(max_bytes)
    data = unquote_to_bytes(payload) if "%" in payload else payload.encode()
    if header.replace(" ", "").lower().endswith(";base64"):
        return _from_base64(data, max_bytes)
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise _neither() from None


def _from_base64(data: bytes, max_bytes: int) -> bytes:
    plain = data.translate(_FROM_URL_SAFE, delete=_WHITESPACE).rstrip(b"=")
    if len(plain) * 3 // 4 > max_bytes:
        raise too_large(max_bytes)
    try:
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error:
        raise _neither() from None


def _neither() -> MediaRefused:
    return MediaRefused("neither an http(s) address, a data URI, base64 nor the id of a file (med_…)")
