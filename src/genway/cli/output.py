"""What commands print: tables and sentences for people, JSON for scripts. Times are UTC, amounts decimal."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 200
NOTHING = "–"


def console() -> Console:
    """Standard output. Into a pipe tables are wide, so that no value is broken in two."""
    from rich.console import Console  # noqa: PLC0415 - scripts that read JSON need not wait for it

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def say(text: str) -> None:
    """A sentence for a person, exactly as it is."""
    print(text)


def aside(text: str) -> None:
    """A remark for a person that is not the command's answer: on standard error, out of the way of `$(…)`."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """The only thing on standard output of a command with `--json`."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """columns: a row's member → the heading over it."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row[name])) for name in columns))
    console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each of its members; those that are None are left out."""
    width = max(map(len, fields))
    for name, value in fields.items():
        if value is not None:
            print(f"{name.ljust(width)}  {cell(value)}")


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return str(value)


def moment(seconds: float | None) -> str | None:
    """Unix seconds as `2026-11-22T17:29:05Z`."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def size(count: int) -> str:
    """Bytes for a person: `1.4 MB`."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError
