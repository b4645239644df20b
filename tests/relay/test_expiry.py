"""What vendors keep is forgotten after its time, files are deleted with it, and nothing that is open or unpaid goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from genway.db.tables import objects as table
from genway.relay import expiry, offline
from genway.relay.keeper import Keeper
from relay.kept_stage import ANN, CLAUDE, MESSAGE, MODEL, MONEY, TEST, Gateway, batch_lines, gateway

DAY = 86_400.0
CHATS = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, relay={"keep_days": 30, "keep_file_days": 90}) as made:
        yield made


def keeper(place: Gateway) -> Keeper:
    return place.application.relay.keeper


async def respond(place: Gateway, key: str = ANN, **more: Any) -> str:
    return str((await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "one", **more}, key)).json["id"])


async def upload(place: Gateway, key: str = ANN) -> str:
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; '
    form += b'name="file"; filename="in.jsonl"\r\n\r\n' + batch_lines("one") + b"\r\n--b--\r\n"
    told = await place.ask("POST", "/v1/files", form, key, content_type="multipart/form-data; boundary=b")
    return str(told.json["id"])


async def batch(place: Gateway, file: str, key: str = ANN) -> Any:
    return (await place.ask("POST", "/v1/batches", {"input_file_id": file, **CHATS}, key)).json


def names(place: Gateway, kind: str = "") -> set[str]:
    return {row.id for row in place.objects(kind)}


async def test_old_responses_and_their_items_are_forgotten_and_young_ones_stay(place: Gateway) -> None:
    old = [await respond(place), await respond(place, TEST)]
    place.now += 30 * DAY - 1
    assert await expiry.expire(keeper(place)) == 0
    young = await respond(place)
    place.now += 2
    assert await expiry.expire(keeper(place)) == 4, "each with its item"
    assert names(place, "responses") == {young}
    assert (await place.ask("GET", f"/v1/responses/{old[0]}")).status == 404
    assert (await place.ask("GET", f"/v1/responses/{young}")).status == 200
    assert (
        await place.ask("POST", "/v1/responses", {"model": MODEL, "input": "x", "previous_response_id": old[0]})
    ).status == 404


async def test_more_than_one_part_is_forgotten(place: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "AT_ONCE", 2)
    for _ in range(3):
        await respond(place)
    place.now += 31 * DAY
    assert await expiry.expire(keeper(place)) == 6
    assert place.objects() == []


async def test_what_goes_on_stays_however_old_and_is_charged(place: Gateway) -> None:
    going = await respond(place, background=True)
    made = await batch(place, await upload(place))
    place.openai.files.batches[made["id"]]["status"] = "validating"
    place.now += 200 * DAY
    assert await expiry.expire(keeper(place)) == 0
    assert {going, made["id"], made["input_file_id"]} <= names(place)
    place.openai.files.batches[made["id"]]["status"] = "in_progress"
    for _ in range(3):
        await place.later()
    assert sorted(call.kind for call in place.calls()) == ["batches", "responses"]
    assert await expiry.expire(keeper(place)) > 0
    assert names(place, "responses") | names(place, "batches") == set()
    await place.settled()
    assert place.money() == (MONEY - sum(call.cost for call in place.calls()), 0)
    assert place.audit() == []


async def test_results_that_a_batch_is_to_be_charged_by_are_not_deleted(place: Gateway) -> None:
    made = await batch(place, await upload(place))
    output = (await place.ask("GET", f"/v1/batches/{made['id']}")).json["output_file_id"]
    place.now += 91 * DAY
    await expiry.expire(keeper(place))
    assert output in names(place)
    assert output in place.openai.files.files
    await place.later()
    [call] = place.calls()
    assert not call.estimated
    await expiry.expire(keeper(place))
    assert output not in names(place)
    assert output not in place.openai.files.files


async def test_old_files_are_deleted_at_their_vendor(place: Gateway) -> None:
    file = await upload(place)
    place.now += 89 * DAY
    assert await expiry.expire(keeper(place)) == 0
    place.now += 2 * DAY
    place.openai.next(path=f"/v1/files/{file}", status=500)
    assert await expiry.expire(keeper(place)) == 0, "the vendor does not answer; it is tried again"
    assert file in names(place)
    assert await expiry.expire(keeper(place)) == 1
    assert place.openai.files.files == {}
    assert place.objects() == []


async def test_files_that_stay_do_not_keep_others_from_going(place: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "AT_ONCE", 1)
    first, second = await upload(place), await upload(place)
    stays = await upload(place)
    place.database.write_now(
        lambda connection: connection.execute(
            update(table).where(table.c.id == stays).values(created_at=1.0, channel_id="gone")
        )
    )
    place.now += 91 * DAY
    assert await expiry.expire(keeper(place)) == 2
    assert names(place) == {stays}
    assert not {first, second} & place.openai.files.files.keys()


async def test_what_is_kept_here_goes_from_the_store(place: Gateway) -> None:
    file = await upload(place, TEST)
    made = await batch(place, file, TEST)
    params = {"model": CLAUDE, "max_tokens": 9, "messages": MESSAGE}
    await place.ask("POST", "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": params}]}, TEST)
    keys = {row.id: offline.content_key(row) for row in place.objects() if row.kind != "batches"}
    store = keeper(place).store
    paths = [store.local_path(key) for key in keys.values()]
    assert made["status"] == "completed"
    assert len(paths) == 3
    assert all(path is not None and path.exists() for path in paths)
    place.now += 91 * DAY
    await expiry.expire(keeper(place))
    assert not any(path is not None and path.exists() for path in paths)
    assert place.objects() == []


async def test_what_was_deleted_is_forgotten_at_last(place: Gateway) -> None:
    file = await upload(place)
    await place.ask("DELETE", f"/v1/files/{file}")
    await expiry.expire(keeper(place))
    assert names(place) == {file}
    place.now += 31 * DAY
    await expiry.expire(keeper(place))
    assert place.objects() == []


async def test_nothing_goes_where_nothing_is_to_go(tmp_path: Path) -> None:
    async with gateway(tmp_path, relay={"keep_days": 0}) as place:
        await respond(place)
        await upload(place)
        place.now += 10_000 * DAY
        assert await expiry.expire(keeper(place)) == 0
        assert len(place.objects()) == 3
        assert place.config.relay.keep_file_days == 0
