from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from genway.billing.usage import Usage, by_day
from genway.db import Database
from genway.db.tables import tasks

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
