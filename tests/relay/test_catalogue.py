from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from genway.billing.prices import Price, set_price
from relay.operated import Operated, operated

DEADLINE = 10.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("catalogue")) as running:
        yield running


def listed(house: Operated, key: str = "") -> dict[str, Any]:
    answer = house.get("/v1/models", key).json()
    assert answer["object"] == "list"
    return {model["id"]: model for model in answer["data"]}


def test_a_channels_own_names_are_listed_with_what_they_cost(house: Operated) -> None:
    models = listed(house)
    assert models["fast"]["price"] == models["gpt-4.1"]["price"]
    assert models["gpt-4.1"]["price"] == {"input_mtok": "2.00", "cached_input_mtok": "0.50", "output_mtok": "8.00"}
    assert (models["fast"]["object"], models["fast"]["owned_by"]) == ("model", "openai")
    assert models["fast"]["created"] > 1_700_000_000


def test_what_the_vendor_is_known_for_is_listed_in_each_unit_it_is_sold_by(house: Operated) -> None:
    models = listed(house)
    assert models["tts-1"]["price"] == {"character": "0.000015"}
    assert models["whisper-1"]["price"] == {"second": "0.0001"}
    assert "sora-2" not in models
    assert not [name for name in models if "*" in name or "@" in name]


def test_videos_are_listed_with_their_system_and_by_the_second(house: Operated) -> None:
    models = listed(house)
    assert (models["luma/ray-2"]["owned_by"], models["luma/ray-2"]["price"]["second@1080p"]) == ("luma", "0.32")
    assert models["local/animate"]["price"] == {"second": "0.001"}
    assert "luma/photon-1" not in models


def test_the_built_in_answers_are_nobodys_but_ours(house: Operated) -> None:
    models = listed(house)
    assert models["local-echo"]["owned_by"] == "local"
    assert models["local-image"]["price"] == {"image": "0.001"}


def test_a_test_key_sees_what_a_live_key_sees_since_it_may_name_any(house: Operated) -> None:
    assert listed(house, house.running.test_key) == listed(house)


@pytest.mark.parametrize("name", ["fast", "luma/ray-2", "local-echo", "gpt-5.5-2026-04-23", "main/fast"])
def test_each_can_be_asked_for_also_by_a_name_that_no_list_has(house: Operated, name: str) -> None:
    model = house.get(f"/v1/models/{name}").json()
    assert model["id"] == name
    assert model["price"]


def test_an_unknown_model_is_not_found_and_none_can_be_deleted(house: Operated) -> None:
    answer = house.get("/v1/models/none")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")
    answer = house.get("/v1/models/fast", method="DELETE")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert "operator" in answer.json()["error"]["message"]


def test_a_client_of_anthropic_gets_pages_in_its_own_shape(house: Operated) -> None:
    names: list[str] = []
    after = ""
    while True:
        page = house.get(f"/v1/models?limit=50&after_id={after}", anthropic_version="2023-06-01").json()
        names += [model["id"] for model in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert names == sorted(listed(house))
    model = house.get("/v1/models/fast", anthropic_version="2023-06-01").json()
    assert (model["type"], model["display_name"], model["lifecycle"]) == ("model", "fast", "active")
    assert model["created_at"].endswith("Z")


@pytest.mark.parametrize("limit", ["0", "1001", "many", "--5", "%C2%B2", "9" * 5000])
def test_a_page_of_no_size_is_refused(house: Operated, limit: str) -> None:
    said = house.get(f"/v1/models?limit={limit}", anthropic_version="2023-06-01")
    assert (said.status_code, said.json()["error"]["type"]) == (400, "invalid_request_error")
    assert said.json()["error"]["message"].startswith("limit: a whole number from 1 to 1000, got ")


def test_a_page_may_end_before_a_model(house: Operated) -> None:
    names = sorted(listed(house))
    page = house.get(f"/v1/models?limit=2&before_id={names[5]}", anthropic_version="2023-06-01").json()
    assert [model["id"] for model in page["data"]] == names[3:5]


def test_a_price_that_is_set_is_shown_within_seconds(house: Operated) -> None:
    with house.opened() as opened:
        opened.write(lambda connection: set_price(connection, Price("house", "call", 30_000), opened.now))
    until = time.monotonic() + DEADLINE
    while (shown := listed(house)["house"]["price"]) != {"call": "0.03"} and time.monotonic() < until:
        pass
    assert shown == {"call": "0.03"}
