"""What calls with files are tried with: forms made byte by byte, and a vendor that counts bytes and keeps none."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from sqlalchemy import Connection

from genway.billing.prices import Price, set_price
from genway.cli.place import Place
from genway.db.tables import calls
from genway.routing.channels import Channel, add_channel
from running import Running, start_server
from standins import openai_vendor
from standins.openai_bodies import MODELS
from standins.openai_vendor import OpenAIVendor

DEADLINE = 20.0
BOUNDARY = "----a.boundary'of+our_own"
CONTENT_TYPE = f'multipart/form-data; boundary="{BOUNDARY}"'
MEBIBYTE = 1024 * 1024
JSON_ANSWER = b'{"text": "heard", "usage": {"type": "duration", "seconds": 3}}'
LISTENING = "/v1/audio/transcriptions"

File = tuple[str, bytes]
Part = tuple[str, str | File]


def form(*parts: Part) -> bytes:
    """A form. A part is a name and a text, or a name and a file: its name and its content."""
    made = b""
    for name, value in parts:
        made += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if isinstance(value, str):
            made += b"\r\n\r\n" + value.encode()
        else:
            made += b'; filename="%b"\r\nContent-Type: application/octet-stream\r\n\r\n' % value[0].encode() + value[1]
        made += b"\r\n"
    return made + f"--{BOUNDARY}--\r\n".encode()


def around(*parts: Part) -> tuple[bytes, bytes]:
    """What stands before and after the content of a file, for a form whose one file is empty."""
    made = form(*parts)
    cut = made.index(b"octet-stream\r\n\r\n") + len(b"octet-stream\r\n\r\n")
    return made[:cut], made[cut:]


class Taken(msgspec.Struct):
    """A request that a `Sink` has taken. size, digest: of its body so far. closed: the other side has left."""

    head: bytes = b""
    size: int = 0
    digest: str = ""
    closed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Sink:
    """A vendor on a real socket. taken: what came, in order.

    answer: what it says to a whole request. early: it says so at once, and reads no body. hangs_up: it takes the beginning and
    closes. gate: where it is closed, no body is read until it opens; answers: the same for its answers.
    """

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.status = b"200 OK"
        self.answer = JSON_ANSWER
        self.early = self.hangs_up = False
        self.gate, self.answers = threading.Event(), threading.Event()
        self.gate.set()
        self.answers.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.answers.set()
        self._listening.close()

    def forget(self) -> None:
        self.taken.clear()
        self.status, self.answer = b"200 OK", JSON_ANSWER
        self.early = self.hangs_up = False
        self.gate.set()
        self.answers.set()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while self._one(connection):
                pass

    def _one(self, connection: socket.socket) -> bool:
        taken = Taken()
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return False
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            taken.head = head
            self.taken.append(taken)
            if self.hangs_up:
                return False
            if not self.early:
                self._take(connection, taken, data)
            self.answers.wait(DEADLINE)
            said = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(said % (self.status, len(self.answer)) + self.answer)
            if self.early:  # closing with something unread would take the answer back
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(MEBIBYTE):
                    pass
        except OSError:
            taken.closed = True
            return False
        return not self.early

    def _take(self, connection: socket.socket, taken: Taken, data: bytes) -> None:
        self.gate.wait(DEADLINE)
        digest = hashlib.sha256()
        length = taken.headers.get("content-length")
        while True:
            digest.update(data)
            taken.size += len(data)
            if length is not None and taken.size >= int(length):
                break
            if length is None and data.endswith(b"\r\n0\r\n\r\n"):
                break
            data = connection.recv(MEBIBYTE)
            if not data:
                raise ConnectionError
        taken.digest = digest.hexdigest()


def until(found: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Return when `found`. Raises AssertionError after so many seconds."""
    late = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < late, "it does not come about"
        time.sleep(0.005)


class Stage(msgspec.Struct):
    """A gateway before a strict vendor and before sinks, `first` and `second` of which have one model, and its books."""

    server: Running
    vendor: OpenAIVendor
    sink: Sink
    first: Sink
    second: Sink

    def recorded(self, request_id: str) -> Any:
        """The call on record, or None."""
        with Place(data=self.server.data).open() as opened:
            return opened.read(
                lambda connection: connection.execute(calls.select().where(calls.c.request_id == request_id)).one_or_none()
            )

    def kept_files(self) -> list[str]:
        """What lies in the folder for large forms, and what of it the gateway still holds without a name."""
        folder = self.server.data / "work" / "forms"
        named = [path.name for path in folder.glob("*")] if folder.exists() else []
        held = [str(link.readlink()) for link in Path(f"/proc/{self.server.process.pid}/fd").iterdir() if link.is_symlink()]
        return named + [name for name in held if name.startswith(str(folder))]

    def connect(self) -> socket.socket:
        host, port = self.server.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=DEADLINE)

    def head(self, size: int | None, request_id: str, path: str = LISTENING) -> bytes:
        """Request line and headers for a form of so many bytes, or in chunks."""
        framing = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
        lines = [f"POST {path} HTTP/1.1", "host: a", f"authorization: Bearer {self.server.key}", f"x-request-id: {request_id}"]
        return "\r\n".join([*lines, f"content-type: {CONTENT_TYPE}", framing, "", ""]).encode()


def answer_of(connection: socket.socket) -> bytes:
    """Everything until an answer with a length is whole, or the other side closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), None
    )
    while length is None or len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def _set(connection: Connection, price: Price, now: float) -> None:
    set_price(connection, price, now)


@contextmanager
def staged(data: Path) -> Iterator[Stage]:
    with OpenAIVendor() as vendor, Sink() as sink, Sink() as first, Sink() as second:
        with Place(data=data).open() as opened:

            def channel(name: str, url: str, models: dict[str, str], priority: int = 0) -> None:
                made = Channel(id="", name=name, provider="openai", base_url=f"{url}/v1", models=models, priority=priority)
                opened.write(lambda connection: add_channel(connection, opened.vault, made, openai_vendor.KEY, opened.now))

            names = {model: model for model in MODELS}
            aliases = {"my-ears": "gpt-4o-transcribe", "gpt-image-1.5": "gpt-image-2", "my-voice": "gpt-4o-mini-tts"}
            channel("openai", vendor.url, names | aliases)
            channel("sink", sink.url, {"deep": "deep", "alias": "a-much-longer-name-at-the-vendor"})
            channel("first", first.url, {"both": "both"}, priority=1)
            channel("second", second.url, {"both": "another-name"})
            for price in (
                Price("*", "call", 1),
                Price("whisper-1", "second", 100),
                Price("deep", "second", 100),
                Price("gpt-4o-mini-tts", "character", 10),
            ):
                opened.write(partial(_set, price=price, now=opened.now))
        with start_server(data, GENWAY_SERVER_BODY_SECONDS="2", GENWAY_SERVER_MAX_UPLOAD_BYTES=str(170 * MEBIBYTE)) as server:
            yield Stage(server, vendor, sink, first, second)
