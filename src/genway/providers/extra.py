"""Passing on the fields of a request that nobody here knows, to a vendor of the same wire format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def with_extra(body: Mapping[str, Any], extra: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
    """The body with a client's unknown fields in it, also inside its objects and lists of objects.

    keep: paths (`options.seconds`) that stay as they are in the body, because the price was made from them. Elsewhere
    the client's own word wins, as where it asks for `auto_720p` in place of a size.
    """
    merged = dict(body)
    for name, value in extra.items():
        if name in keep:
            continue
        inner = [path.removeprefix(f"{name}.") for path in keep if path.startswith(f"{name}.")]
        merged[name] = _merged(body[name], value, inner) if name in body else value
    return merged


def _merged(ours: Any, theirs: Any, keep: Collection[str]) -> Any:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return with_extra(ours, theirs, keep)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [_merged(mine, other, keep) for mine, other in zip(ours, theirs, strict=True)]
    # What is left over from an object or a list is no value by itself.
    return ours if isinstance(theirs, Mapping | list) else theirs
