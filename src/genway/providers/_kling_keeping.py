"""What Kling keeps for an account with it: voices, elements and sessions, by ids that are the vendor's own.

A client knows such a thing by an id of ours. Here one becomes the other, and what is neither the client's own nor one of the
presets that everybody may use is refused: the vendor would take the id of another customer of this server.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec

from genway.operations import DirectCall, Parent
from genway.providers.base import Finished, ResultFile, VendorModerated, VendorRefused
from genway.providers.http import at

PRESETS = {"kling/voices": "general/presets-voices", "kling/elements": "general/advanced-presets-elements"}
DELETES = {"voice": ("general/delete-voices", "voice_id"), "element": ("general/delete-elements", "element_id")}
SELECTION = "kling/selection"
DELETE = "kling/delete"
CALLS = (*PRESETS, SELECTION, DELETE)

VOICE, ELEMENT = "kling/voices", "kling/elements"
FIELDS = {"voice_id": VOICE, "element_voice_id": VOICE, "element_id": ELEMENT}
PRESETS_FRESH_SECONDS = 600.0
PAGE_SIZE, MOST_PAGES = 500, 10

Call = Callable[..., Awaitable[Any]]


class Keeping:
    """call: a method, a path and a body to what is in the envelope of Kling's answer. clock: seconds."""

    def __init__(self, call: Call, clock: Callable[[], float] = time.monotonic) -> None:
        self._call = call
        self._clock = clock
        self._presets: dict[str, tuple[float, frozenset[str]]] = {}

    async def renamed(self, body: Mapping[str, Any], uses: tuple[Parent, ...]) -> dict[str, Any]:
        """The body with the vendor's ids of what the client names. Raises VendorRefused for what it may not name."""
        names = {parent.name: parent.kept for parent in uses if parent.name}
        for kind, name in _named(body):
            # What is no number is a name of the vendor's, which no customer can choose.
            if name not in names and name.isdigit() and name not in await self._known(kind):
                raise VendorRefused(f"there is no {'voice' if kind == VOICE else 'element'} {name}")
        renamed = _with_names(body, names)
        assert isinstance(renamed, dict)
        return renamed

    async def answer(self, asked: DirectCall) -> dict[str, Any]:
        """What one of `CALLS` is answered with: the vendor's own words."""
        if asked.call in PRESETS:
            page, size = asked.arguments.get("page", 1), asked.arguments.get("size", 30)
            rows = await self._call("GET", f"/v1/{PRESETS[asked.call]}?pageNum={page}&pageSize={size}")
            return {"rows": rows if isinstance(rows, list) else []}
        [parent] = asked.uses
        if asked.call == DELETE:
            path, field = DELETES[parent.kind]
            body: dict[str, Any] = {field: parent.kept}
        else:
            path = f"videos/multi-elements/{asked.arguments['step']}-selection"
            body = {**asked.arguments["body"], "session_id": parent.kept}
        data = await self._call("POST", f"/v1/{path}", body)
        return dict(data) if isinstance(data, Mapping) else {}

    async def _known(self, kind: str) -> frozenset[str]:
        """The ids of the presets."""
        now = self._clock()
        until, known = self._presets.get(kind, (float("-inf"), frozenset()))
        if now >= until:
            found: set[str] = set()
            for page in range(1, MOST_PAGES + 1):
                rows = await self._call("GET", f"/v1/{PRESETS[kind]}?pageNum={page}&pageSize={PAGE_SIZE}")
                found.update(name for each, name in _named(rows) if each == kind)
                if not isinstance(rows, list) or len(rows) < PAGE_SIZE:
                    break
            known = frozenset(found)
            self._presets[kind] = (now + PRESETS_FRESH_SECONDS, known)
        return known


def made(path: str, data: Any) -> Finished:
    """What a call of `AT_ONCE` was answered with. Raises VendorModerated where the vendor would not look at the clip."""
    units = at(data, "final_unit_deduction")
    details = {"units": str(units)} if units else {}
    if path == "videos/image-recognize":
        seen = at(data, "task_result", "images")
        listed, files = _filed(seen if isinstance(seen, list) else [], "url")
        return Finished(files, {**details, "seen": listed})
    session = str(at(data, "session_id") or "")
    if not session or at(data, "status"):
        raise VendorModerated(f"kling refuses the clip (status {at(data, 'status')})")
    details["kept"] = session
    if path == "videos/identify-face":
        faces = at(data, "face_data")
        listed, files = _filed(faces if isinstance(faces, list) else [], "face_image")
        if listed == "[]":
            raise VendorRefused("kling finds no face in the clip")
        return Finished(files, {**details, "faces": listed})
    told = ("fps", "original_duration", "width", "height", "total_frame")
    clip = {name: data[name] for name in told if name in data}
    normal = at(data, "normalized_video")
    files = (ResultFile("video", url=normal),) if isinstance(normal, str) and normal else ()
    return Finished(files, {**details, "clip": msgspec.json.encode(clip).decode()})


def kept(result: Any) -> tuple[dict[str, str], tuple[ResultFile, ...]]:
    """Details and files of a voice or an element that was made; empty where the result holds neither."""
    voice, element = at(result, "voices", 0), at(result, "elements", 0)
    name = at(voice, "voice_id") or at(element, "element_id")
    if not name:
        return {}, ()
    sample = at(voice, "trial_url")
    return {"kept": str(name)}, (ResultFile("audio", url=sample),) if isinstance(sample, str) and sample else ()


def _filed(rows: list[Any], field: str) -> tuple[str, tuple[ResultFile, ...]]:
    """Rows as JSON, in which the place of each one's picture among the files stands for its address."""
    files: list[ResultFile] = []
    told = []
    for row in rows:
        address = at(row, field)
        told.append({**row, field: len(files) if address else None})
        if address:
            files.append(ResultFile("image", url=str(address)))
    return msgspec.json.encode(told).decode(), tuple(files)


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """Every voice and element that a body or an answer names."""
    if isinstance(value, Mapping):
        for field, member in value.items():
            if field in FIELDS and isinstance(member, str | int):
                yield FIELDS[field], str(member)
            else:
                yield from _named(member)
    elif isinstance(value, list):
        for member in value:
            yield from _named(member)


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            field: _name(member, names) if field in FIELDS else _with_names(member, names) for field, member in value.items()
        }
    if isinstance(value, list):
        return [_with_names(member, names) for member in value]
    return value


def _name(value: Any, names: Mapping[str, str]) -> Any:
    found = names.get(str(value))
    if found is None:
        return value
    return int(found) if isinstance(value, int) and found.isdigit() else found
