"""Structured logs on standard error: JSON for machines, colours for people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import structlog

from genway.config import Log

GATHER_SECONDS = 0.05
log = structlog.get_logger("genway.access")
_shown: Literal["", "json", "text"] = "text"
SECRET_NAMES = frozenset({"authorization", "key", "secret", "password", "token", "api_key", "cookie"})


def hide_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """No value under a name that speaks of a secret is ever written."""
    for name in event:
        if name.lower() in SECRET_NAMES:
            event[name] = "***"
    return event


def configure(settings: Log) -> None:
    """To be called once, before anything is logged."""
    text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    global _shown  # noqa: PLW0603 - what is logged how is one fact of the process
    _shown = "" if level > logging.INFO else "text" if text else "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    if text:
        structlog.configure(
            processors=[
                *shared,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=True,
        )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")


class Line(msgspec.Struct, kw_only=True):
    """A line of the access log; what it tells are the members of a class of its own, and `event`."""

    timestamp: str = ""
    level: str = "info"


class _Access:
    """Lines of the access log, gathered for a moment: one write for many."""

    def __init__(self) -> None:
        self._lines = bytearray()
        self._second = 0
        self._stamp = ""

    def add(self, line: Line) -> None:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        line.timestamp = f"{self._stamp}{int((now - second) * 1000):03d}Z"
        lines = self._lines
        if not lines:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        _encoder.encode_into(line, lines, -1)
        lines += b"\n"

    def flush(self) -> None:
        lines = self._lines
        if lines:
            self._lines = bytearray()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.buffer.write(lines)
                sys.stderr.buffer.flush()


_access = _Access()
_encoder = msgspec.json.Encoder()


def access(line: Line) -> None:
    """One line of the access log: at once on a terminal, a moment later where machines read it."""
    if _shown == "json":
        _access.add(line)
    elif _shown == "text":
        told = msgspec.structs.asdict(line)
        for name in ("timestamp", "level"):
            del told[name]
        log.info(told.pop("event"), **told)


def _to_json(event: structlog.typing.EventDict, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
