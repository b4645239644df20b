from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from genway.providers.relaying import fingerprint
from relay.operated import BAD_KEY, Operated, operated
from standins.openai_vendor import KEY


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("administration")) as running:
        yield running


def main(house: Operated) -> dict[str, Any]:
    found: dict[str, Any] = house.get("/v1/admin/channels/main").json()
    return found


def test_a_key_that_the_vendor_refused_is_shown_set_aside_and_taken_back_by_a_reset(house: Operated) -> None:
    for _ in range(2):
        house.chat(house.running.key)
    told = main(house)
    keys = {key["key"]: key for key in told["keys"]}
    assert (keys[fingerprint(KEY)]["state"], keys[fingerprint(BAD_KEY)]["state"]) == ("well", "set aside")
    assert keys[fingerprint(BAD_KEY)]["why"] == "refused"
    assert keys[fingerprint(BAD_KEY)]["until"].endswith("Z")
    assert told["state"] == "partly left alone"
    assert house.get("/v1/admin/channels/main/reset", method="POST").status_code == 200
    assert {key["state"] for key in main(house)["keys"]} == {"well"}


def test_a_model_that_fails_again_and_again_is_shown_left_alone(house: Operated) -> None:
    house.get("/v1/admin/channels/main/reset", method="POST")
    for _ in range(3):
        for _ in range(4):
            house.vendor.next(status=500)
        house.running.post("/v1/chat/completions", {"model": "house", "messages": [{"role": "user", "content": "hi"}]})
        if main(house)["models"] and main(house)["models"][0]["state"] != "well":
            break
    house.vendor.forget()
    (model,) = main(house)["models"]
    assert (model["model"], model["state"]) == ("gpt-4.1", "left alone")
    assert model["failures"] >= 3
    assert main(house)["state"] == "partly left alone"
    house.get("/v1/admin/channels/main/reset", method="POST")
    assert main(house)["models"] == []
    assert house.chat(house.running.key) > 0


def test_every_channel_is_shown_and_no_secret(house: Operated) -> None:
    answer = house.get("/v1/admin/channels")
    assert [channel["name"] for channel in answer.json()["data"]] == ["main", "official", "film"]
    assert answer.json()["data"][2]["state"] == "well"
    assert KEY not in answer.text
    assert BAD_KEY not in answer.text


@pytest.mark.parametrize(("path", "method"), [("", "GET"), ("/main", "GET"), ("/main/reset", "POST")])
def test_only_admin_keys_are_answered(house: Operated, path: str, method: str) -> None:
    answer = house.get(f"/v1/admin/channels{path}", house.running.test_key, method=method)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert house.get(f"/v1/admin/channels{path}", "gw_live_nobody", method=method).status_code == 401


def test_a_channel_that_there_is_not_is_not_found(house: Operated) -> None:
    assert house.get("/v1/admin/channels/none").status_code == 404
    assert house.get("/v1/admin/channels/none/reset", method="POST").status_code == 404
