"""Bodies of requests as a vendor's reference describes them, read so strictly that nothing unknown gets through."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """An object without members that are not named here."""


class Wrong(Exception):
    """A body is not as described. path: where, in dots; kind: `unknown`, `missing` or `invalid`."""

    def __init__(self, kind: str, path: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.path, self.message = kind, path, message


def read(value: Any, shape: type[T] | Any, at: str = "") -> T:
    """`value` as a `shape`; `at` is where it stands in the body. Raises Wrong."""
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        inside = re.sub(r"\[(\w+|\.\.\.)\]", r".\1", place.rstrip("`")).lstrip(".")
        path = ".".join(part for part in (at, inside) if part)
        for kind, pattern in (("unknown", r"unknown field `(.+)`"), ("missing", r"missing required field `(.+)`")):
            named = re.search(pattern, message)
            if named is not None:
                raise Wrong(kind, ".".join(part for part in (path, named[1]) if part), message) from error
        raise Wrong("invalid", path, message) from error
