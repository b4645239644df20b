"""The files of a submission without a store: addresses that can be foretold, and a record of how they were asked for."""

from __future__ import annotations

from pathlib import Path

from genway.operations import MediaRef


class FakeFiles:
    """A client's https address stays; http and our own files become links, or data URIs where they are small enough.

    sizes: the size of each media id in bytes; one that is not named is too large for any data URI.
    """

    def __init__(self, sizes: dict[str, int] | None = None) -> None:
        self.sizes = sizes or {}
        self.asked: list[tuple[MediaRef, int, bool]] = []

    async def path(self, ref: MediaRef) -> Path:
        raise AssertionError(f"a provider of a web API has no use for {ref} on this machine")

    async def address(self, ref: MediaRef, *, inline_bytes: int, https_only: bool = False) -> str:
        self.asked.append((ref, inline_bytes, https_only))
        if ref.url is not None and (not https_only or ref.url.startswith("https://")):
            return ref.url
        name = ref.media_id or "fetched"
        if self.sizes.get(name, inline_bytes + 1) <= inline_bytes:
            return f"data:image/png;base64,{name}"
        return f"https://genway.example/media/{name}"
