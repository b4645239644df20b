from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from relay.operated import Operated, operated

SUBSCRIPTION = "/v1/dashboard/billing/subscription"
USAGE = "/v1/dashboard/billing/usage"
TOKEN = "/api/usage/token"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("quota"), GENWAY_RELAY_IDLE_LEASE_SECONDS="60") as running:
        yield running


def token(house: Operated, key: str) -> dict[str, Any]:
    answer = house.get(TOKEN, key).json()
    assert (answer["code"], answer["message"]) == (True, "ok")
    found: dict[str, Any] = answer["data"]
    return found


def test_what_was_spent_of_an_open_lease_is_told_to_the_millionth(house: Operated) -> None:
    key = house.key("exact", topup=10_000_000)
    spent = 0
    for _ in range(3):
        spent += house.chat(key)
        assert house.get(USAGE, key).json() == {"object": "list", "total_usage": pytest.approx(spent / 10_000)}
        assert token(house, key)["total_used"] == -(-spent // 2)
        assert token(house, key)["total_available"] == (10_000_000 - spent) // 2
    with house.opened() as opened:
        leased = opened.read(lambda c: c.exec_driver_sql("SELECT COUNT(*) FROM leases WHERE closed_at IS NULL").scalar_one())
    assert leased >= 1


def test_the_limit_is_what_is_left_and_what_was_used(house: Operated) -> None:
    key = house.key("limit", topup=10_000_000, budget=4_000_000)
    house.chat(key)
    for path in (SUBSCRIPTION, "/dashboard/billing/subscription", SUBSCRIPTION + "/"):
        answer = house.get(path, key).json()
        assert answer["object"] == "billing_subscription"
        assert answer["hard_limit_usd"] == answer["soft_limit_usd"] == answer["system_hard_limit_usd"] == 4.0
        assert answer["access_until"] == 0


def test_dates_change_nothing_since_clients_take_the_usage_from_the_limit(house: Operated) -> None:
    key = house.key("dates", topup=1_000_000)
    house.chat(key)
    known = house.get(USAGE, key).json()
    assert house.get(f"{USAGE}?start_date=2020-01-01&end_date=2020-01-02", key).json() == known
    assert known["total_usage"] > 0


def test_the_least_of_budget_and_balance_is_left(house: Operated) -> None:
    assert token(house, house.key("poor", topup=1_000_000, budget=9_000_000))["total_granted"] == 500_000
    assert token(house, house.key("held", topup=9_000_000, budget=1_000_000))["total_granted"] == 500_000


def test_a_key_without_limit_says_so_and_when_it_ends(house: Operated) -> None:
    key = house.key("free", unlimited=True, expires_at=2_000_000_000.0)
    data = token(house, key)
    assert (data["unlimited_quota"], data["expires_at"], data["name"]) == (True, 2_000_000_000, "free")
    answer = house.get(SUBSCRIPTION, key).json()
    assert (answer["hard_limit_usd"], answer["access_until"]) == (100_000_000, 2_000_000_000)


def test_a_test_keys_simulated_money_has_no_end_but_its_budget_has(house: Operated) -> None:
    assert token(house, house.running.test_key)["unlimited_quota"] is True
    key = house.key("tested", mode="test", budget=1_000_000)
    house.chat(key)
    data = token(house, key)
    assert data["unlimited_quota"] is False
    assert data["total_used"] > 0
    assert data["total_granted"] == 500_000


def test_a_wrong_key_is_refused_in_the_shape_that_clients_look_for(house: Operated) -> None:
    for path in (SUBSCRIPTION, USAGE):
        answer = house.get(path, "gw_live_nobodys_key")
        assert (answer.status_code, answer.json()["error"]["type"]) == (200, "authentication_error")
        assert answer.json()["error"]["message"]
    answer = house.get(TOKEN, "gw_live_nobodys_key")
    assert (answer.status_code, answer.json()["success"]) == (401, False)
