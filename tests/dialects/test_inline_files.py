"""What becomes of files that come inside a request: they stay with the task that it begins, or go with the request."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from PIL import Image

from genway.access.model import Caller
from genway.billing import prices
from genway.db.tables import media, tasks
from genway.dialects.base import handler
from genway.dialects.luma import dialect
from stage import Scripted, Stage
from stage_fixtures import clock, stage

__all__ = ["clock", "stage"]

Client = AsyncTestClient[Litestar]


@pytest.fixture
async def client(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    stage.database.write_now(lambda c: prices.set_price(c, prices.Price("luma/*", "call", 10_000), 1.0))
    monkeypatch.setattr(Scripted, "models", {"luma/ray-2": "ray-2"})
    stage.clock.now += 2
    caller = stage.account(topup=25_000, credit_limit=0)

    async def authenticate(secret: str) -> Caller:
        return caller

    monkeypatch.setattr(stage.gateway, "authenticate", authenticate)
    app = Litestar([handler(dialect)], openapi_config=None)
    app.state.gateway = stage.gateway
    async with AsyncTestClient(app) as client:
        yield client


def picture() -> str:
    drawn = BytesIO()
    Image.new("RGB", (320, 320), "orange").save(drawn, "PNG")
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"


def kept(stage: Stage) -> int:
    """How many files are in the store, by their rows and on disk alike."""
    rows = stage.database.read_now(lambda c: c.execute(media.select().where(media.c.deleted_at.is_(None))).all())
    on_disk = [path for path in (stage.folder / "media").rglob("*") if path.is_file()]
    assert len(rows) == len(on_disk)
    return len(rows)


async def ask(client: Client, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"user_prompt": "a pond", "model": "ray-2", "image_url": picture(), **fields}
    return await client.post("/luma/generations", json=body, headers={"Authorization": "Bearer key", **(headers or {})})


@pytest.mark.parametrize(
    "later",
    [
        {"image_end_url": "data:image/png;base64,AAAA"},
        {"image_end_url": "http://127.0.0.1/picture.png"},
        {"duration": "77s"},
        {"callback_url": "http://10.0.0.1/hook"},
    ],
    ids=lambda later: next(iter(later)),
)
async def test_a_picture_goes_with_a_request_whose_later_field_is_refused(
    client: Client, stage: Stage, later: dict[str, str]
) -> None:
    answer = await ask(client, None, **later)
    assert answer.status_code in {400, 422}, answer.text
    assert kept(stage) == 0
    assert stage.database.read_now(lambda c: c.execute(tasks.select()).all()) == []


async def test_a_dry_run_leaves_nothing(client: Client, stage: Stage) -> None:
    answer = await ask(client, {"X-Genway-Dry-Run": "1"})
    assert answer.status_code == 200, answer.text
    assert kept(stage) == 0


async def test_the_pictures_of_a_task_stay_and_those_of_its_repetition_and_of_a_poor_request_go(
    client: Client, stage: Stage
) -> None:
    first = await ask(client, {"Idempotency-Key": "once"}, image_end_url=picture())
    assert (first.status_code < 300, kept(stage)) == (True, 2), first.text
    again = await ask(client, {"Idempotency-Key": "other"}, image_end_url="data:,nonsense")
    assert (again.status_code >= 400, kept(stage)) == (True, 2)
    second = await ask(client)
    assert (second.status_code < 300, kept(stage)) == (True, 3)
    unpaid = await ask(client)
    assert (unpaid.status_code, kept(stage)) == (402, 3)


async def test_a_file_that_was_there_before_outlives_a_refused_request(client: Client, stage: Stage) -> None:
    assert (await ask(client)).status_code < 300
    [earlier] = stage.database.read_now(lambda c: c.execute(media.select()).all())
    refused = await ask(client, image_url=earlier.id, image_end_url="data:,nonsense")
    assert (refused.status_code >= 400, kept(stage)) == (True, 1)
