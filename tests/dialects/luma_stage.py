"""An application that has Luma's dialect alone, and what its routes ask of a gateway beyond the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FakeGateway, client_of
from genway.access.model import Caller
from genway.dialects.luma import dialect
from genway.tasks.model import Task

Client = TestClient[Litestar]

PICTURE = "https://a.example/1.jpg"
END = "https://a.example/2.jpg"
CLIP = "https://a.example/1.mp4"


class LumaGateway(FakeGateway):
    """Lists by format, newest first. waited: for how many seconds a request has waited for which task."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[tuple[str, float]] = []

    async def list(self, caller: Caller, *, limit: int = 50, offset: int = 0, dialect: str = "", **_: Any) -> list[Task]:
        found = [task for task in self.tasks.values() if task.account_id == caller.account_id and task.dialect == dialect]
        return found[::-1][offset : offset + limit]

    async def wait(self, caller: Caller, task_id: str, seconds: float) -> Task:
        self.waited.append((task_id, seconds))
        return self.succeed()


@contextmanager
def serving() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client
