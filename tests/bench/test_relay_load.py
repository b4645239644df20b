"""The generator of load against the stand-in vendor, and against servers that answer wrongly: only what is right counts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "bench" / "relay"
EVENTS = 20
PLAIN = {"model": "bench-chat", "messages": [], "max_tokens": 60}
STREAM = {"model": "bench-chat", "stream": True, "max_tokens": EVENTS, "seed": 1}
MARKS = "".join(f"@{chr(ord('a') + number)} " for number in range(EVENTS))

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `load` and `upstream`, built with every warning an error."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("load", "upstream"):
        strict = ["-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *strict, "-o", str(folder / name), str(SOURCES / f"{name}.c")], check=True)
    return folder


@pytest.fixture(scope="module")
def vendor(programs: Path) -> Iterator[int]:
    """The port of the stand-in vendor."""
    with subprocess.Popen([str(programs / "upstream"), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


@contextmanager
def answering(*pieces: bytes) -> Iterator[int]:
    """The port of a server that answers each request with these pieces, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def load(programs: Path, port: int, body: dict[str, Any], *words: str) -> dict[str, Any]:
    """What the generator counts; each of its two connections asks once."""
    request = programs / "request.json"
    request.write_text(json.dumps(body))
    command = [
        str(programs / "load"),
        "--port",
        str(port),
        "--body",
        str(request),
        "--connections",
        "2",
        "--once",
        "--warmup",
        "0",
    ]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=30)
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def wrong(programs: Path, answer: bytes, *words: str) -> str:
    """Why the generator takes this for wrong."""
    with answering(answer) as port:
        counted = load(programs, port, STREAM, "--seconds", "0.3", *words)
    assert counted["errors"] > 0
    assert counted["answers"] == 0
    return str(counted["first_error"])


def whole(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


def test_an_answer_in_one_piece_has_600_bytes(programs: Path, vendor: int) -> None:
    counted = load(programs, vendor, PLAIN, "--length", "600")
    assert (counted["answers"], counted["errors"], counted["unfinished"]) == (2, 0, 0)


def test_a_stream_has_all_its_events_in_order_and_takes_its_time(programs: Path, vendor: int) -> None:
    counted = load(programs, vendor, STREAM, "--marks", str(EVENTS), "--done")
    assert (counted["answers"], counted["errors"], counted["unfinished"]) == (2, 0, 0)
    assert counted["whole_ms"]["p50"] >= EVENTS - 1
    assert counted["first_ms"]["p50"] < counted["whole_ms"]["p50"]


def test_the_vendor_sends_usage_only_where_it_is_asked_for(vendor: int) -> None:
    def said(body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", vendor), timeout=10) as connection:
            connection.sendall(head + content)
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got += connection.recv(65536)
        return got

    assert b'"usage"' not in said(STREAM)
    assert b'"completion_tokens":20' in said(STREAM | {"stream_options": {"include_usage": True}})


def test_an_answer_split_at_every_byte_is_read_as_a_whole(programs: Path) -> None:
    halves = MARKS[:31].encode(), MARKS[31:].encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*halves, b"[DONE]"))
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks + b"0\r\n\r\n"
    with answering(*(answer[at : at + 1] for at in range(len(answer)))) as port:
        counted = load(programs, port, STREAM, "--marks", str(EVENTS), "--done")
    assert (counted["answers"], counted["errors"]) == (2, 0)


def test_an_answer_until_the_end_of_the_connection_is_right(programs: Path) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + MARKS.encode()) as port:
        assert load(programs, port, STREAM, "--marks", str(EVENTS))["answers"] == 2


def test_another_status_is_wrong(programs: Path) -> None:
    assert "status 502" in wrong(programs, whole(MARKS, "502 Bad Gateway"), "--marks", str(EVENTS))


def test_a_missing_mark_is_wrong(programs: Path) -> None:
    assert "marks are missing" in wrong(programs, whole(MARKS[:-3]), "--marks", str(EVENTS))


def test_marks_out_of_order_are_wrong(programs: Path) -> None:
    assert "out of order" in wrong(programs, whole("@b @a " + MARKS[6:]), "--marks", str(EVENTS))


def test_another_length_is_wrong(programs: Path) -> None:
    assert "another length" in wrong(programs, whole(MARKS + "!"), "--marks", str(EVENTS), "--length", str(len(MARKS)))


def test_a_stream_without_its_end_is_wrong(programs: Path) -> None:
    assert "no [DONE]" in wrong(programs, whole(MARKS), "--marks", str(EVENTS), "--done")


def test_an_answer_that_breaks_off_is_wrong(programs: Path) -> None:
    assert "ended early" in wrong(programs, whole(MARKS)[:-10], "--marks", str(EVENTS))


def test_a_stream_that_never_ends_is_counted_as_unfinished(programs: Path, vendor: int) -> None:
    endless = STREAM | {"seed": 60_000}
    counted = load(programs, vendor, endless, "--marks", str(EVENTS), "--seconds", "0.1", "--grace", "0.1")
    assert (counted["answers"], counted["errors"], counted["unfinished"]) == (0, 0, 2)
