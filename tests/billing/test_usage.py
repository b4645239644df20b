from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from genway.billing.usage import Span, Sum, Usage, by_day, sums
from genway.db import Database
from genway.db.tables import calls, tasks

DAY = 86_400
JUNE_27 = 1_750_982_400


def task(number: int, created_at: float, **values: Any) -> dict[str, Any]:
    return {
        "id": f"task_{number}",
        "account_id": "acc_1",
        "key_id": "key_1",
        "mode": "live",
        "dialect": "runwayml",
        "operation": "video",
        "model": "runway/gen4_turbo",
        "request": "{}",
        "state": "succeeded",
        "charged": 100,
        "next_at": created_at,
        "deadline_at": created_at,
        "created_at": created_at,
        "updated_at": created_at,
        **values,
    }


def test_charges_are_summed_by_day_and_model_in_utc(database: Database) -> None:
    rows = [
        task(1, JUNE_27),
        task(2, JUNE_27 + DAY - 0.001),
        task(3, JUNE_27 + 60, model="runway/act_two", charged=7),
        task(4, JUNE_27 + DAY),
        task(5, JUNE_27 - 0.001),
        task(6, JUNE_27 + 60, account_id="acc_2"),
        task(7, JUNE_27 + 60, mode="test"),
        task(8, JUNE_27 + 2 * DAY),
    ]
    with database.engine.begin() as connection:
        connection.execute(insert(tasks), rows)
        found = by_day(connection, "acc_1", "live", JUNE_27, JUNE_27 + 2 * DAY)
    assert found == [
        Usage("2025-06-27", "runway/act_two", 1, 7),
        Usage("2025-06-27", "runway/gen4_turbo", 2, 200),
        Usage("2025-06-28", "runway/gen4_turbo", 1, 100),
    ]


def call(number: int, created_at: float, **values: Any) -> dict[str, Any]:
    return {
        "id": f"cll_{number}",
        "created_at": created_at,
        "account_id": "acc_1",
        "key_id": "key_1",
        "mode": "live",
        "kind": "chat",
        "model": "gpt-5.5",
        "vendor_model": "gpt-5.5",
        "channel_id": "chn_1",
        "status": 200,
        "outcome": "done",
        "attempts": 1,
        "milliseconds": 1000,
        "input_tokens": 10,
        "output_tokens": 3,
        "used": "{}",
        "estimated": False,
        "cost": 11,
        "request_id": f"req_{number}",
        **values,
    }


CALLS = [
    call(1, JUNE_27 + 1),
    call(2, JUNE_27 + 2, key_id="key_2", estimated=True),
    call(3, JUNE_27 + DAY, channel_id="chn_2", cost=0),
    call(4, JUNE_27 + 1, model="runway/gen4_turbo", cost=5),
    call(5, JUNE_27 + 1, account_id="acc_2"),
    call(6, JUNE_27 + 1, mode="test"),
    call(7, JUNE_27 - 0.001),
]


def test_calls_and_tasks_of_a_model_are_summed_together(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(insert(tasks), [task(1, JUNE_27)])
        connection.execute(insert(calls), CALLS)
        found = by_day(connection, "acc_1", "live", JUNE_27, JUNE_27 + 2 * DAY)
    assert found == [
        Usage("2025-06-27", "gpt-5.5", 0, 22, 2),
        Usage("2025-06-27", "runway/gen4_turbo", 1, 105, 1),
        Usage("2025-06-28", "gpt-5.5", 0, 0, 1),
    ]


def test_usage_is_summed_by_whatever_is_asked(database: Database) -> None:
    span = Span(since=JUNE_27, account_id="acc_1", mode="live")
    with database.engine.begin() as connection:
        connection.execute(insert(tasks), [task(1, JUNE_27)])
        connection.execute(insert(calls), CALLS)
        by_key = sums(connection, ("key",), span)
        by_channel = sums(connection, ("channel",), Span(channel_id="chn_2"))
        by_kind = sums(connection, ("kind", "account"), Span(model="gpt-5.5"))
    assert by_key == [
        Sum(("key_1",), "", "live", tasks=1, calls=3, input=30, output=9, charged=116),
        Sum(("key_2",), "", "live", calls=1, estimated=1, input=10, output=3, charged=11),
    ]
    assert by_channel == [Sum(("chn_2",), "", "live", calls=1, input=10, output=3)]
    assert [(one.group, one.mode, one.calls) for one in by_kind] == [
        (("chat", "acc_1"), "live", 4),
        (("chat", "acc_1"), "test", 1),
        (("chat", "acc_2"), "live", 1),
    ]
