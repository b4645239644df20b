"""A batch whose answer was lost is found at its vendor, by the file it is made of, and belongs to the account that asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientError
from sqlalchemy import Connection

from genway.db.tables import objects
from genway.relay import unmade
from relay.house import until
from relay.kept_stage import ANN, BOB, CLAUDE, MESSAGE, MONEY, Answer, Gateway, batch_lines, gateway

BATCHES = "/v1/batches"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        made.openai.files.created = int(made.now)
        yield made


async def uploaded(place: Gateway, key: str = ANN) -> str:
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; '
    form += b'name="file"; filename="in.jsonl"\r\n\r\n' + batch_lines("one") + b"\r\n--b--\r\n"
    told = await place.ask("POST", "/v1/files", form, key, content_type="multipart/form-data; boundary=b")
    return str(told.json["id"])


async def make(place: Gateway, file: str, key: str = ANN) -> Answer:
    asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return await place.ask("POST", BATCHES, asked, key)


async def dies(place: Gateway, file: str, *, made: bool = True) -> None:
    """The gateway's work on a batch ends between the vendor's answer and the record of it, as when its process dies."""
    asked = len(place.openai.asked(BATCHES))
    place.openai.next(path=BATCHES, **({"hold_after": 0} if made else {"delay": 60}))
    asking = asyncio.create_task(make(place, file))
    await until(lambda: len(place.openai.asked(BATCHES)) > asked)
    for task in list(place.server.tasks):
        task.cancel()
    with pytest.raises(ClientError):
        await asyncio.wait_for(asking, 5)


async def listed(place: Gateway, key: str = ANN) -> list[str]:
    return [row["id"] for row in (await place.ask("GET", BATCHES, key=key)).json["data"]]


async def test_a_batch_whose_process_died_after_it_was_made_is_found_and_charged_once(place: Gateway) -> None:
    file = await uploaded(place)
    await dies(place, file)
    [begun] = place.objects("unmade")
    assert place.money() == (MONEY - begun.held, begun.held)
    assert await listed(place) == []
    assert await place.later(unmade.LOOK_SECONDS) == 1
    assert await listed(place) == list(place.openai.files.batches)
    assert await listed(place, BOB) == []
    assert place.objects("unmade") == []
    assert place.money() == (MONEY - begun.held, begun.held)
    await place.later()
    [call] = place.calls()
    assert place.money() == (MONEY - call.cost, 0)
    assert place.spent() == (0, call.cost)
    assert place.audit() == []
    assert await place.later() == 0


async def test_each_of_two_lost_batches_of_one_file_is_found(place: Gateway) -> None:
    file = await uploaded(place)
    assert (await make(place, file)).status == 200
    await dies(place, file)
    await dies(place, file)
    await place.later(unmade.LOOK_SECONDS)
    await place.later(10)  # where both saw the same one, only one of them took it
    assert sorted(await listed(place)) == sorted(place.openai.files.batches)
    for _ in range(3):
        await place.later()
    assert len(place.calls()) == 3
    assert place.money() == (MONEY - sum(call.cost for call in place.calls()), 0)
    assert place.audit() == []


async def test_a_batch_is_found_behind_many_others(place: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmade, "PAGE", 2)
    file = await uploaded(place)
    await dies(place, file)
    for number in range(5):
        place.openai.files.batches[f"other_{number}"] = {"id": f"other_{number}", "input_file_id": "file-of-somebody"}
        place.openai.files.batches[f"other_{number}"] |= {"created_at": int(place.now)}
    await place.later(unmade.LOOK_SECONDS)
    assert await listed(place) == ["batch_1"]


async def test_one_that_the_vendor_never_made_gives_the_money_back(place: Gateway) -> None:
    await dies(place, await uploaded(place), made=False)
    await place.later(unmade.LOOK_SECONDS)
    assert len(place.objects("unmade")) == 1, "the vendor may be at work on it yet"
    await place.later(unmade.UNMADE_SECONDS)
    assert place.objects("unmade") == []
    assert place.money() == (MONEY, 0)
    assert place.spent() == (0, 0)
    assert place.audit() == []


async def test_a_batch_made_earlier_of_the_same_file_is_not_taken_for_it(place: Gateway) -> None:
    place.openai.files.created = int(place.now) - 3600
    file = await uploaded(place)
    made = (await make(place, file)).json
    place.database.write_now(forget_all_batches)
    place.openai.files.created = int(place.now)
    await dies(place, file, made=False)
    await place.later(unmade.UNMADE_SECONDS)
    assert made["id"] not in await listed(place)


def forget_all_batches(connection: Connection) -> None:
    connection.execute(objects.delete().where(objects.c.kind == "batches"))


async def test_a_vendor_that_cannot_be_asked_is_waited_for(place: Gateway) -> None:
    await dies(place, await uploaded(place))
    place.openai.next(path=BATCHES, status=500)
    await place.later(unmade.UNMADE_SECONDS)
    assert len(place.objects("unmade")) == 1
    await place.later()
    assert await listed(place) == ["batch_1"]


async def test_a_vendor_that_can_never_be_asked_is_given_up(place: Gateway) -> None:
    await dies(place, await uploaded(place))
    place.openai.next(path=BATCHES, status=500)
    await place.later(unmade.LOST_SECONDS)
    assert place.objects("unmade") == []
    assert place.money() == (MONEY, 0)


CUT: dict[str, Any] = {"cut_after": 1}
NONSENSE: dict[str, Any] = {"status": 502}


async def test_an_answer_that_breaks_off_is_made_good_at_once(place: Gateway) -> None:
    place.openai.next(path=BATCHES, **CUT)
    told = await make(place, await uploaded(place))
    assert (told.status, told.json["id"]) == (200, "batch_1")
    assert await listed(place) == ["batch_1"]
    await place.later()
    assert len(place.calls()) == 1
    assert place.audit() == []


async def test_who_is_told_that_nobody_knows_finds_the_batch_later(place: Gateway) -> None:
    place.openai.next(path=BATCHES, **CUT)
    place.openai.next(path=BATCHES, status=503)
    told = await make(place, await uploaded(place))
    assert told.status == 502
    assert "listed here" in told.json["error"]["message"]
    assert await place.later(5) == 1
    assert await listed(place) == ["batch_1"]


async def test_what_the_vendor_did_not_make_after_all_gives_the_money_back_soon(place: Gateway) -> None:
    place.openai.next(path=BATCHES, **NONSENSE)
    assert (await make(place, await uploaded(place))).status == 502
    assert place.money()[1] > 0
    await place.later(unmade.DOUBT_SECONDS)
    assert place.money() == (MONEY, 0)
    assert place.objects("unmade") == []


@pytest.mark.parametrize("answer", [b"{}", b"nonsense", b'{"id": ""}'])
async def test_an_answer_without_an_id_is_no_batch(place: Gateway, answer: bytes) -> None:
    place.openai.next(path=BATCHES, raw=answer, content_type="application/json")
    assert (await make(place, await uploaded(place))).status == 502
    assert place.objects("batches") == []


async def test_what_is_certain_to_be_refused_gives_the_money_back_at_once(place: Gateway) -> None:
    place.openai.next(path=BATCHES, status=503)
    assert (await make(place, await uploaded(place))).status == 502
    assert place.money() == (MONEY, 0)
    assert place.objects("unmade") == []


async def test_a_late_answer_does_not_open_anew_what_was_found_and_charged(place: Gateway) -> None:
    file = await uploaded(place)
    place.openai.next(path=BATCHES, hold_after=0)
    asking = asyncio.create_task(make(place, file))
    await until(lambda: len(place.openai.asked(BATCHES)) == 1)
    await place.later(unmade.LOOK_SECONDS)
    await place.later()
    assert len(place.calls()) == 1
    place.openai.release()
    assert (await asking).json["id"] == "batch_1"
    await place.later()
    assert len(place.calls()) == 1
    assert place.audit() == []


async def test_a_message_batch_whose_answer_was_lost_gives_the_money_back(place: Gateway) -> None:
    place.anthropic.next(path="/v1/messages/batches", **CUT)
    params = {"model": CLAUDE, "max_tokens": 9, "messages": MESSAGE}
    told = await place.ask("POST", "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": params}]})
    assert (told.status, told.json["type"]) == (502, "error")
    assert place.money() == (MONEY, 0)
    assert place.objects("unmade") == []


async def test_a_batch_is_never_sent_on_a_connection_that_may_make_it_be_sent_again(place: Gateway) -> None:
    file = await uploaded(place)
    for _ in range(3):
        assert (await make(place, file)).status == 200
    seen = place.openai.asked(BATCHES)
    assert [each.method for each in seen] == ["POST"] * 3
    assert all(each.headers["Content-Length"] == str(len(each.raw)) for each in seen)
    assert msgspec.json.decode(seen[0].raw)["input_file_id"] == file
