"""What the tests of the command line say and arrange."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection
from uuid_utils import uuid7

from genway.access import store as access
from genway.billing import ledger
from genway.billing.prices import Quote, QuoteLine
from genway.cli.place import Opened
from genway.operations import Camera, VideoRequest, to_json
from genway.tasks.model import File, State, Task
from genway.tasks.store import TaskStore

PRICE = 50_000
VENDOR_SECRET = "key_good"


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Genway = Callable[..., Said]


def accepted(opened: Opened, *, callback_url: str | None = None, mode: str = "live", now: float | None = None) -> str:
    """A task of five seconds of gen3, for 0.25, accepted and waiting; returns its id. The account is `ada`, with 20.00."""
    at = opened.now if now is None else now
    quote = Quote("runway/gen3", "USD", 5 * PRICE, (QuoteLine("second", 5, PRICE, 5 * PRICE),), served_by="runwayml")
    task_id = str(uuid7())
    operation = VideoRequest(model="runway/gen3", prompt="a cat smiles", seconds=5, camera=Camera(zoom=2))
    vault = opened.vault

    def write(connection: Connection) -> None:
        if not access.list_accounts(connection):
            ada = access.create_account(connection, vault, "ada", currency="USD", credit_limit=0, now=at)
            ledger.top_up(connection, ada.id, "live", 20_000_000, "", at)
        ada = access.get_account(connection, "ada")
        key, _ = access.create_key(connection, vault, ada.id, name=task_id, now=at)
        ledger.hold(connection, ada.id, mode, task_id, quote.total, at, "video")
        store(opened).insert(
            connection,
            {
                "id": task_id,
                "account_id": ada.id,
                "key_id": key.id,
                "mode": mode,
                "dialect": "runway.pro",
                "operation": "video",
                "model": "runway/gen3",
                "request": to_json(operation).decode(),
                "base_url": "http://127.0.0.1:8700",
                "request_id": "req_1",
                "callback_url": callback_url,
                "state": State.QUEUED,
                "quote": msgspec.json.encode(quote).decode(),
                "held": quote.total,
                "next_at": at,
                "deadline_at": at + 3600,
                "created_at": at,
                "updated_at": at,
            },
        )

    opened.write(write)
    return task_id


def ended(opened: Opened, task_id: str, state: State, **changes: Any) -> Task:
    """The task after it has run and ended so."""

    def write(connection: Connection) -> Task | None:
        at = store(opened)
        at.move(connection, task_id, State.QUEUED, State.SUBMITTING, opened.now + 1, "to channel main", provider="runwayml")
        at.move(connection, task_id, State.SUBMITTING, State.RUNNING, opened.now + 2, "", vendor_id="v-1")
        at.move(connection, task_id, State.RUNNING, State.STORING, opened.now + 9, "the vendor is done")
        return at.end(connection, task_id, [State.STORING], state, opened.now + 10, "", **changes)

    task = opened.write(write)
    assert task is not None
    return task


def stored_video() -> str:
    """What a succeeded task remembers of one stored file."""
    file = File("video", "med_1", "video/mp4", 1_400_000, "0" * 64, "mp4", 1280, 768, 5.0)
    return msgspec.json.encode((file,)).decode()


def store(opened: Opened) -> TaskStore:
    return TaskStore(opened.config.callbacks, lambda dialect, state: state.ended)


def add_channel(genway: Genway, name: str, url: str, *more: str) -> None:
    """A channel to Runway's API at `url`, with the secret that the variable VENDOR_SECRET holds."""
    arguments = ("--provider", "runwayml", "--base-url", url, "--secret-env", "VENDOR_SECRET", *more)
    said = genway("channel", "add", name, *arguments)
    assert said.code == 0, said.err


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
