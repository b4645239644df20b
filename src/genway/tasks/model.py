"""The states of a task, how they follow one another, and a task as the rest of the house sees it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from genway.operations import AnyOperation

Mode = Literal["live", "test"]


class State(StrEnum):
    """queued → submitting → running → storing → succeeded, failed, cancelled or expired; and parked.

    parked: a submit was begun and nobody knows whether the vendor took it.
    """

    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    STORING = "storing"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})

UNDER_WAY = (State.SUBMITTING, State.RUNNING, State.STORING, State.PARKED)

FOLLOWS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SUBMITTING, State.FAILED, State.CANCELLED, State.EXPIRED}),
    State.SUBMITTING: frozenset(
        {State.QUEUED, State.RUNNING, State.STORING, State.PARKED, State.FAILED, State.CANCELLED, State.EXPIRED}
    ),
    State.RUNNING: frozenset({State.QUEUED, State.STORING, State.PARKED, State.FAILED, State.CANCELLED, State.EXPIRED}),
    State.STORING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}),
    State.PARKED: frozenset({State.RUNNING, State.STORING, State.FAILED, State.CANCELLED, State.EXPIRED}),
} | dict.fromkeys(ENDED, frozenset[State]())


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stored result. `url` is a signed link, made anew for each answer."""

    role: str
    media_id: str
    content_type: str
    bytes: int
    sha256: str
    extension: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    url: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its owner may see it.

    Times are Unix seconds; `held` and `charged` are millionths of the account's currency. `local` says that the
    built-in provider does the work. `queue_position` counts from 1 and is set only while the task is queued.
    """

    id: str
    account_id: str
    key_id: str
    mode: Mode
    dialect: str
    operation: AnyOperation
    context: dict[str, Any]
    base_url: str
    request_id: str
    callback_url: str | None
    state: State
    progress: float
    local: bool
    provider: str | None
    channel_id: str | None
    vendor_id: str | None
    attempt: int
    tried: tuple[str, ...] = ()
    vendor_files: str | None = None
    files: tuple[File, ...] = ()
    details: dict[str, str]
    warnings: tuple[str, ...]
    quote: dict[str, Any]
    held: int
    charged: int
    error_code: str | None
    error_message: str | None
    deadline_at: float
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    queue_position: int | None = None

    @property
    def refunded(self) -> bool:
        """Whether what was held has been given back in full."""
        return self.state.ended and self.held > 0 and self.charged == 0

    def file(self, role: str) -> File | None:
        """The first result of that role."""
        return next((file for file in self.files if file.role == role), None)
