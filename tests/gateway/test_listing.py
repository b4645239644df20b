"""Which tasks a list has, on both kinds of database."""

from __future__ import annotations

from genway.access.model import Asked, Caller
from genway.operations import VideoRequest
from stage import Stage


async def made(stage: Stage, caller: Caller, dialect: str, **context: str) -> str:
    asked = Asked(caller=caller)
    operation = VideoRequest(model="local/animate", prompt="a cat")
    return (await stage.gateway.submit(operation, asked, dialect=dialect, context=context)).id


async def test_a_list_has_the_tasks_of_one_format_page_by_page(stage: Stage) -> None:
    caller = stage.account()
    ids = []
    for _ in range(3):
        ids.append(await made(stage, caller, "one"))
        stage.clock.now += 1
        await made(stage, caller, "two")
        stage.clock.now += 1
    assert [task.id for task in await stage.gateway.list(caller, dialect="one")] == ids[::-1]
    assert [task.id for task in await stage.gateway.list(caller, dialect="one", limit=2, offset=1)] == ids[1::-1]


async def test_a_task_is_found_by_what_it_remembers_whole_and_by_its_owner_alone(stage: Stage) -> None:
    caller, other = stage.account(), stage.account()
    mine = await made(stage, caller, "one", name="a_b%", note="x")
    await made(stage, caller, "one", name="aXb-longer", note='"name":"stolen"')
    assert [task.id for task in await stage.gateway.list(caller, context={"name": "a_b%"})] == [mine]
    for name in ("a_b", "A_B%", "aXb%", "stolen"):
        assert await stage.gateway.list(caller, context={"name": name}) == []
    assert await stage.gateway.list(other, context={"name": "a_b%"}) == []
