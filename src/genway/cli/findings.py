"""What one look of the doctor showed."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What one look showed. advice: what to do about it."""

    check: str
    state: Literal["ok", "warning", "wrong"]
    message: str
    advice: str = ""
