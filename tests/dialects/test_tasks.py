"""genway's own task door, on a real door with a scripted vendor."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from genway.access.model import Asked, Caller
from genway.billing import prices
from genway.dialects.base import handler
from genway.dialects.genway import dialect
from genway.dialects.genway.tasks import KEEP_ALIVE, KEEP_ALIVE_SECONDS, retrieve, stream
from genway.operations import ImageRequest, VideoRequest
from genway.providers.base import Failed, Finished, Running
from genway.tasks.model import State
from stage import Scripted, Stage
from stage_fixtures import clock, stage

__all__ = ["clock", "stage"]

LIMIT_SECONDS = 20


@pytest.fixture(autouse=True)
def price(stage: Stage) -> None:
    def write(connection: Any) -> None:
        prices.set_price(connection, prices.Price("acme/*", "call", 10_000), 1.0)

    stage.database.write_now(write)
    stage.clock.now += 2


class Door:
    """The routes, asked by one caller. The key itself is looked at elsewhere."""

    def __init__(self, stage: Stage, caller: Caller, client: AsyncTestClient[Litestar]) -> None:
        self.stage = stage
        self.caller = caller
        self.client = client

    async def get(self, path: str, **options: Any) -> Any:
        return await self._ask("GET", path, **options)

    async def post(self, path: str) -> Any:
        return await self._ask("POST", path)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        async def authenticate(secret: str) -> Caller:
            return self.caller

        self.stage.gateway.authenticate = authenticate  # type: ignore[method-assign]
        headers = {"Authorization": "Bearer key", **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)


@pytest.fixture
async def door(stage: Stage) -> Any:
    app = Litestar([handler(dialect)], openapi_config=None)
    app.state.gateway = stage.gateway
    async with AsyncTestClient(app) as client:
        yield Door(stage, stage.account(topup=1_000_000), client)


def told(chunk: bytes) -> tuple[str, dict[str, Any]]:
    """The name and the data of one event."""
    lines = dict(line.split(": ", 1) for line in chunk.decode().strip().split("\n"))
    return lines["event"], msgspec.json.decode(lines["data"])


async def test_a_task_is_told_of_in_no_vendor_s_words(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller, VideoRequest(model="acme/one", prompt="a cat"))
    answer = (await door.get(f"/v1/tasks/{task.id}")).json()
    assert (answer["object"], answer["id"], answer["state"], answer["operation"]) == ("task", task.id, "queued", "video")
    assert (answer["model"], answer["format"], answer["prompt"], answer["queue_position"]) == ("acme/one", "test", "a cat", 1)
    assert answer["cost"] == {"currency": "USD", "held": "0.01", "charged": "0.00"}
    assert (answer["error"], answer["files"], answer["parent_id"]) == (None, [], None)
    assert answer["expires_at"] > answer["created_at"]


async def test_a_finished_task_shows_its_files_and_what_it_cost(door: Door, stage: Stage) -> None:
    Scripted.scripts["vendor"]["submit"] = [Finished((stage.picture(),), {"seed": "7"})]
    task = await stage.submit(door.caller, ImageRequest(model="acme/one", prompt="a cat"))
    await stage.until(door.caller, task)
    answer = (await door.get(f"/v1/tasks/{task.id}")).json()
    [file] = answer["files"]
    assert (answer["state"], answer["progress"], answer["details"]) == ("succeeded", 1, {"seed": "7"})
    assert (file["role"], file["content_type"], file["width"]) == ("image", "image/png", 32)
    assert file["url"].split("?")[0].endswith(f"/media/{file['id']}.png")
    assert answer["cost"] == {"currency": "USD", "held": "0.00", "charged": "0.01"}


async def test_a_failure_says_why_and_costs_nothing(door: Door, stage: Stage) -> None:
    Scripted.scripts["vendor"]["check"] = [Failed("moderation", "not this")]
    task = await stage.submit(door.caller)
    await stage.until(door.caller, task)
    answer = (await door.get(f"/v1/tasks/{task.id}")).json()
    assert (answer["state"], answer["error"]) == ("failed", {"code": "moderation", "message": "not this"})
    assert answer["cost"]["charged"] == "0.00"


async def test_a_cancelled_task_has_ended_and_cancelling_again_changes_nothing(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller)
    first = await door.post(f"/v1/tasks/{task.id}/cancel")
    again = await door.post(f"/v1/tasks/{task.id}/cancel")
    assert (first.status_code, first.json()["state"], first.json()["error"]["code"]) == (200, "cancelled", "cancelled")
    assert again.json() == first.json()
    assert stage.balance(door.caller) == (1_000_000, 0)


async def test_the_list_is_filtered_and_paged(door: Door, stage: Stage) -> None:
    ids = []
    for kind in (VideoRequest, ImageRequest, VideoRequest, VideoRequest):
        ids.append((await stage.submit(door.caller, kind(model="acme/one", prompt="a cat"))).id)
    await door.post(f"/v1/tasks/{ids[0]}/cancel")

    async def listed(**query: Any) -> list[str]:
        return [task["id"] for task in (await door.get("/v1/tasks", params=query)).json()["data"]]

    assert await listed() == ids[::-1]
    assert await listed(order="asc") == ids
    assert await listed(operation="image") == [ids[1]]
    assert await listed(operation="image, video", state="queued") == ids[:0:-1]
    assert await listed(state="cancelled,failed") == [ids[0]]
    assert await listed(format="runway.pro") == []
    first = (await door.get("/v1/tasks", params={"limit": 3})).json()
    assert ([task["id"] for task in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    rest = (await door.get("/v1/tasks", params={"limit": 3, "after": first["last_id"]})).json()
    assert ([task["id"] for task in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert await listed(order="asc", after=ids[1]) == ids[2:]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"state": "done"}, 400, 'succeeded, failed, cancelled or expired, got "done"'),
        ({"limit": "0"}, 400, "limit: a whole number from 1 to 100, got"),
        ({"order": "up"}, 400, 'order: asc or desc, got "up"'),
        ({"after": "nothing"}, 404, "there is no task nothing"),
    ],
)
async def test_a_wrong_question_is_refused(query: dict[str, str], status: int, words: str, door: Door) -> None:
    answer = await door.get("/v1/tasks", params=query)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


async def test_somebody_else_s_task_is_unknown_everywhere(door: Door, stage: Stage) -> None:
    task = await stage.submit(stage.account(topup=1_000_000))
    for path in (f"/v1/tasks/{task.id}", f"/v1/tasks/{task.id}/events"):
        assert (await door.get(path)).status_code == 404
    assert (await door.post(f"/v1/tasks/{task.id}/cancel")).status_code == 404
    assert (await door.get("/v1/tasks")).json()["data"] == []


async def test_a_question_that_prefers_to_wait_is_answered_at_the_end(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller)
    asking = asyncio.create_task(retrieve(task.id, stage.gateway, Asked(caller=door.caller, wait=30)))
    await stage.gateway.cancel(door.caller, task.id)
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await asking).body["state"] == "cancelled"


async def test_every_change_is_told_until_the_end(door: Door, stage: Stage) -> None:
    Scripted.scripts["vendor"]["check"] = [Running(0.25), Running(0.5), Finished((stage.picture(),))]
    task = await stage.submit(door.caller, ImageRequest(model="acme/one", prompt="a cat"))

    async def follow() -> list[bytes]:
        return [chunk async for chunk in stream(stage.gateway, door.caller, task.id)]

    following = asyncio.create_task(follow())
    await stage.until(door.caller, task)
    async with asyncio.timeout(LIMIT_SECONDS):
        retry, *rest = await following
    events = [told(chunk) for chunk in rest if chunk != KEEP_ALIVE]
    assert retry.startswith(b"retry: ")
    states = [data["state"] for name, data in events if name == "state"]
    assert states == ["queued", "submitting", "running", "storing", "succeeded"]
    progress = [data["progress"] for name, data in events if name == "progress"]
    assert progress == sorted(set(progress))
    name, last = events[-1]
    assert (name, last) == ("end", (await door.get(f"/v1/tasks/{task.id}")).json())


async def test_a_stream_over_http_is_a_stream_of_events(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller)
    await stage.gateway.cancel(door.caller, task.id)
    answer = await door.get(f"/v1/tasks/{task.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert [told(chunk.encode())[0] for chunk in answer.text.strip().split("\n\n")[1:]] == ["state", "state", "end"]


async def test_a_broken_stream_goes_on_where_it_ended(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller)
    await stage.gateway.cancel(door.caller, task.id)
    answer = await door.get(f"/v1/tasks/{task.id}/events", headers={"Last-Event-ID": "1"})
    events = [told(chunk.encode()) for chunk in answer.text.strip().split("\n\n")[1:]]
    assert [(name, data["state"]) for name, data in events] == [("state", "cancelled"), ("end", "cancelled")]


async def test_a_quiet_stream_says_that_it_is_still_there(door: Door, stage: Stage) -> None:
    task = await stage.submit(door.caller)
    chunks = stream(stage.gateway, door.caller, task.id)
    async with asyncio.timeout(LIMIT_SECONDS):
        await anext(chunks)
        assert told(await anext(chunks))[1]["state"] == State.QUEUED
        quiet = asyncio.ensure_future(anext(chunks))
        while not quiet.done():
            stage.clock.now += KEEP_ALIVE_SECONDS
            await asyncio.sleep(0.01)
        assert quiet.result() == KEEP_ALIVE
        await stage.gateway.delete(door.caller, task.id)
        assert told(await anext(chunks)) == ("deleted", {"task_id": task.id})
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
