"""Calls that come as forms, with pictures or sound: what of them is read, and how they travel on.

The bytes travel as they came, boundary and all; a model that has another name at the vendor changes just that part. A form
that fits the window is kept in memory, so that it can be tried on one channel after the other. Of a larger one the beginning
is kept and the rest goes through as it comes; once some of that was sent, there is no second try. Where the model comes only
behind a large file, the form goes into a file without a name first, which is gone with the call, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_content_disposition, parse_options_header

from genway.billing.tokens import Used
from genway.config import Config
from genway.errors import BodyTooLarge, BodyTooSlow, InvalidRequest, Unavailable
from genway.relay import estimate, kinds
from genway.relay.kinds import Call
from genway.wire.exchange import Exchange

WINDOW: Final = 512 * 1024
PIECE: Final = 256 * 1024
LONGEST_HEAD: Final = 64 * 1024  # of one part; the parser takes less
SAMPLE: Final = 64 * 1024
MOST_PARTS: Final = 128
MOST_TEXT: Final = 1024 * 1024
UPLOADS_TAKE_LONGER: Final = 10
HEARD: Final = frozenset({"transcriptions", "translations"})
PICTURES: Final = frozenset({"image", "image[]"})
BOUNDARIES: Final = re.compile(r";\s*boundary\s*=", re.IGNORECASE)
_ASKED: Final = ("model", "stream", "n", "user")


class Forms:
    """Takes the forms of a process."""

    def __init__(self, config: Config) -> None:
        self._folder = config.data_dir / "work" / "forms"
        self._most = config.server.max_upload_bytes
        self._seconds = config.server.body_seconds * UPLOADS_TAKE_LONGER

    async def take(self, exchange: Exchange, kind: str, *, dropped: bool) -> Form:
        """Read as much of a form as is needed to know the model; all of it where that is not said, or all is `dropped`.

        dropped: nothing of it is sent on, so nothing of its files is kept but how they begin.
        Raises InvalidRequest, BodyTooLarge, BodyTooSlow, Unavailable or ClientGone.
        """
        kinds.refuse_compressed(exchange.header(b"content-encoding"))
        sent = exchange.header(b"content-type").decode("latin-1")
        content_type, options = parse_options_header(sent)
        if content_type != "multipart/form-data":
            raise InvalidRequest(f"multipart/form-data with the file, got {content_type or 'nothing'}", field="Content-Type")
        if len(BOUNDARIES.findall(sent)) > 1:  # we would read the form by one, and the vendor perhaps by the other
            raise InvalidRequest("a form has one boundary", field="Content-Type")
        if not options.get("boundary"):
            raise InvalidRequest("a form names its boundary: multipart/form-data; boundary=…", field="Content-Type")
        announced = exchange.header(b"content-length")
        if announced.isdigit() and int(announced) > self._most:
            raise BodyTooLarge(f"the form may have at most {self._most} bytes and has {int(announced)}")
        form = Form(exchange, kind, options["boundary"], self._most, self._seconds)
        try:
            await form.open()
            if dropped:
                await form.drop()
            elif not form.complete and not form.reading.model:
                await form.spool(self._folder)
        except BaseException:
            form.close()
            raise
        return form


class Form:
    """One form. complete: all of it is here. size: its bytes as far as they are known.

    sent: a channel has got all of it. spent: some of it was sent and is not here any more.
    """

    def __init__(self, exchange: Exchange, kind: str, boundary: str, most: int, seconds: float) -> None:
        self.reading = Reading(boundary)
        self.complete = False
        self.sent = False
        self.spent = False
        self._exchange = exchange
        self._kind = kind
        self._delimiter = b"--" + boundary.encode("latin-1")
        self._most = most
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._window = b""
        self._file: BinaryIO | None = None
        announced = exchange.header(b"content-length")
        self._announced = int(announced) if announced.isdigit() else None

    # --- reading

    async def open(self) -> None:
        """Read the window."""
        pieces = []
        while self.reading.size < WINDOW and (piece := await self._next()):
            pieces.append(piece)
        self._window = b"".join(pieces)

    async def drop(self) -> None:
        """Read the rest and keep nothing of it."""
        while await self._next():
            pass

    async def spool(self, folder: Path) -> None:
        """Read the rest into a file that has no name."""
        try:
            file = self._file = await asyncio.to_thread(_nameless, folder)
            await asyncio.to_thread(file.write, self._window)
            while piece := await self._next():
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.flush)
        except OSError as error:
            raise Unavailable(f"the form cannot be kept: {error.strerror}") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _next(self) -> bytes:
        """The next piece, looked through; nothing at the end."""
        if self.complete:
            return b""
        try:
            async with asyncio.timeout_at(self._until):
                piece = await self._exchange.read()
        except TimeoutError:
            raise BodyTooSlow(f"the body must arrive within {self._seconds:g} seconds") from None
        if piece:
            if self.reading.size + len(piece) > self._most:
                raise BodyTooLarge(f"the form may have at most {self._most} bytes")
            self.reading.feed(piece)
        else:
            self.complete = True
            self.reading.end()
        return piece

    # --- what it asks for

    def asked(self) -> Call:
        """What the relay reads of a call. Raises InvalidRequest."""
        said = {name: self.reading.fields[name] for name in _ASKED if self.reading.fields.get(name)}
        try:
            return msgspec.convert(said, Call, strict=False)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            raise InvalidRequest(what[:1].lower() + what[1:], field=where.rstrip("`") or None) from None

    def as_json(self) -> bytes:
        """What of it matters for what it costs, as the JSON that other calls are."""
        pictures = sum(len(found) for name, found in self.reading.files.items() if name in PICTURES)
        return msgspec.json.encode({**self.reading.fields, "input": [{"type": "image"}] * pictures})

    @property
    def fields(self) -> Mapping[str, str]:
        return self.reading.fields

    @property
    def files(self) -> dict[str, list[tuple[str, int, bytes]]]:
        """By the part's name: each file's name, its size in bytes and its first bytes."""
        return {
            name: [(file.name, file.size, bytes(file.beginning)) for file in found]
            for name, found in self.reading.files.items()
        }

    @property
    def seconds(self) -> float:
        """How long the sound may last, by its size; 0 where there is none."""
        size = self._announced if self._announced is not None and not self.complete else self.reading.size
        return size / estimate.SOUND_BYTES_PER_SECOND if self._kind in HEARD else 0

    def at_least(self, used: Used) -> Used:
        """An estimate that knows nothing of the sound, with what its size tells."""
        told = used.audio_input and not used.seconds
        if told or self._kind not in HEARD:
            return used
        seconds = max(round(self.seconds, 3), used.seconds)
        tokens = max(round(seconds * estimate.SOUND_TOKENS_PER_SECOND), used.audio_input)
        return msgspec.structs.replace(used, seconds=seconds, audio_input=tokens, estimated=True)

    # --- sending

    def sending(self, model: str) -> tuple[bytes | AsyncIterator[bytes], int | None]:
        """The body for a channel that knows the model by this name, and its length where that is known."""
        start, end, new = self._change(model)
        more = len(new) - (end - start)
        if self._file is not None:
            return self._from_file(start, end, new), self.reading.size + more
        window = self._window[:start] + new + self._window[end:] if new else self._window
        if self.complete:
            self.sent = True
            return window, len(window)
        return self._through(window), None if self._announced is None else self._announced + more

    def _change(self, model: str) -> tuple[int, int, bytes]:
        """What stands in the place of which bytes."""
        reading = self.reading
        if model == reading.model:
            return 0, 0, b""
        if reading.model:
            base = max(0, reading.model_from - LONGEST_HEAD)
            near = self._window if reading.model_to <= len(self._window) else self._piece(base, reading.model_to)
            base = 0 if near is self._window else base
            start, end = _place(near, self._delimiter, base)
            return base + start, base + end, model.encode()
        first = self._window.find(self._delimiter)
        disposition = b'Content-Disposition: form-data; name="model"'
        return first, first, b"%b\r\n%b\r\n\r\n%b\r\n" % (self._delimiter, disposition, model.encode())

    def _piece(self, start: int, end: int) -> bytes:
        assert self._file is not None
        return os.pread(self._file.fileno(), end - start, start)

    async def _from_file(self, start: int, end: int, new: bytes) -> AsyncIterator[bytes]:
        for first, last in ((0, start), (end, self.reading.size)):
            for at in range(first, last, PIECE):
                yield await asyncio.to_thread(self._piece, at, min(at + PIECE, last))
            if last == start and new:
                yield new
        self.sent = True

    async def _through(self, window: bytes) -> AsyncIterator[bytes]:
        yield window
        self.spent = True
        while piece := await self._next():
            yield piece
        self.sent = True


class Reading:
    """What a form turns out to hold, piece by piece. size: the bytes looked at.

    model_from, model_to: the bytes among which the model's part ends, and its head too unless it is longer than any is.
    """

    def __init__(self, boundary: str) -> None:
        self.fields: dict[str, str] = {}
        self.files: dict[str, list[File]] = {}
        self.size = 0
        self.model_from = self.model_to = 0
        self._text = 0
        self._name = ""
        self._part: bytearray | File = bytearray()
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=MOST_PARTS, header_charset="latin-1")
        except MultipartError as error:
            raise _broken(error) from None

    @property
    def model(self) -> str:
        return self.fields.get("model", "")

    def feed(self, piece: bytes) -> None:
        """Raises InvalidRequest."""
        start = self.size
        self.size += len(piece)
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    self._begin(event, start)
                elif event is None:
                    self._end()
                elif isinstance(self._part, File):
                    self._part.take(event)
                else:
                    self._part += event
                    self._text += len(event)
                    if self._text > MOST_TEXT:
                        raise InvalidRequest(f"at most {MOST_TEXT} bytes of text in a form", field=self._name)
        except MultipartError as error:
            raise _broken(error) from None

    def end(self) -> None:
        """Raises InvalidRequest where the form is not at its end."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise _broken(error) from None

    def _begin(self, part: MultipartSegment, start: int) -> None:
        self._name = _meant(part.name)
        if part.name == "model":
            if "model" in self.fields:  # we would charge for one, and the vendor might take the other
                raise InvalidRequest("given twice", field="model")
            self.model_from = start
        if part.filename is None or part.name == "model":
            self._part = bytearray()
        else:
            self._part = File(_meant(part.filename))
            self.files.setdefault(self._name, []).append(self._part)

    def _end(self) -> None:
        if isinstance(self._part, File):
            return
        try:
            self.fields[self._name] = self._part.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("not valid UTF-8; a file needs a file name", field=self._name) from None
        if self._name == "model":
            self.model_to = self.size


class File:
    """A file of a form. beginning: its first bytes."""

    __slots__ = ("beginning", "name", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.beginning = bytearray()

    def take(self, data: bytes) -> None:
        if self.size < SAMPLE:
            self.beginning += data[: SAMPLE - self.size]
        self.size += len(data)


def _place(data: bytes, delimiter: bytes, base: int) -> tuple[int, int]:
    """Where the value of the part `model` stands. data: bytes of a form, from `base` on, with that part in whole."""
    line = b"\r\n" + delimiter
    at = -2 if base == 0 and data.startswith(delimiter) else data.find(line)
    while at != -1:
        head = at + len(line)
        value = data.find(b"\r\n\r\n", head) + 4
        at = data.find(line, value)
        if at != -1 and _name(data[head:value]) == "model":
            return value, at
    raise InvalidRequest("its place in the form is not found", field="model")


def _name(head: bytes) -> str | None:
    for header in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = header.partition(":")
        if name.strip().lower() == "content-disposition":
            named: str | None = parse_content_disposition(value.strip())[1]
            return named
    return None


def _meant(name: str) -> str:
    """A name that was read byte by byte; some clients write a file's in a code page of their own instead of UTF-8."""
    return name.encode("latin-1").decode("utf-8", "replace")


def _nameless(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


def _broken(error: MultipartError) -> InvalidRequest:
    return InvalidRequest(f"not a valid form: {error}")
