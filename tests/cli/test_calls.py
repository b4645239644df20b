"""`genway call` and `genway usage`, and what accounts and keys are said to have spent on calls."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest
from sqlalchemy import Connection

from cli_stage import Genway
from genway.access import store as access
from genway.billing import leases, ledger, prices
from genway.billing.leases import CallRow
from genway.billing.prices import Price
from genway.billing.tokens import Used
from genway.cli.place import Opened
from genway.routing.channels import Channel, add_channel, get_channel

USED = Used(input=1_000, cached_input=500, output=100)
COST = 1_000 * 2 + 500 * 1 + 100 * 8


@pytest.fixture
def calls(opened: Opened) -> list[str]:
    """Two calls of ada's key `chat` in a lease that is open, and one of a test key; returns their ids."""
    vault, now = opened.vault, opened.now

    def write(connection: Connection) -> list[str]:
        ada = access.create_account(connection, vault, "ada", currency="EUR", credit_limit=0, now=now)
        ledger.top_up(connection, ada.id, "live", 20_000_000, "", now)
        key, _ = access.create_key(connection, vault, ada.id, name="chat", now=now)
        test, _ = access.create_key(connection, vault, ada.id, name="try", mode="test", now=now)
        channel = add_channel(connection, vault, Channel(id="", name="main", provider="openai"), "sk", now)
        amounts = {"input_mtok": 2_000_000, "cached_input_mtok": 1_000_000, "output_mtok": 8_000_000}
        wanted = [Price("openai/gpt-x", unit, amount) for unit, amount in amounts.items()]
        prices.set_prices(connection, wanted, now - 100)
        lease = leases.open_lease(
            connection,
            owner="p",
            account_id=ada.id,
            key_id=key.id,
            mode="live",
            need=1,
            want=1_000_000,
            now=now,
            seconds=60,
        )
        first = CallRow(
            "cll_1", now - 30, ada.id, key.id, "live", "chat", "gpt-x", "gpt-x", channel.id, lease.id, 200, "done", 2, 1500,
            USED.read, USED.produced, msgspec.json.encode(USED).decode(), False, COST, "req_1",
        )  # fmt: skip
        second = msgspec.structs.replace(
            first, id="cll_2", created_at=now - 10, outcome="client_gone", estimated=True, request_id="req_2"
        )
        free = Used(calls=1)
        third = msgspec.structs.replace(
            first, id="cll_3", key_id=test.id, mode="test", channel_id="local", vendor_model="local-chat", lease_id=None,
            cost=0, used=msgspec.json.encode(free).decode(), input_tokens=0, output_tokens=0,
        )  # fmt: skip
        leases.record(connection, [first, second, third], now)
        return ["cll_1", "cll_2", "cll_3"]

    return opened.write(write)


def ids(genway: Genway, *options: str) -> list[str]:
    said = genway("call", "list", "--json", *options)
    assert said.code == 0, said.err
    return [call["id"] for call in said.json]


def test_calls_are_listed_by_whatever_is_asked(genway: Genway, calls: list[str]) -> None:
    assert ids(genway) == ["cll_3", "cll_2", "cll_1"]
    assert ids(genway, "--key", "chat") == ["cll_2", "cll_1"]
    assert ids(genway, "--account", "ada", "--since", "20s") == ["cll_2"]
    assert ids(genway, "--outcome", "client_gone") == ids(genway, "--estimated") == ["cll_2"]
    assert ids(genway, "--channel", "local") == ["cll_3"]
    assert ids(genway, "--channel", "main", "--model", "gpt-x", "--limit", "1") == ["cll_2"]
    assert genway("call", "list", "--model", "none").out == "There are no such calls.\n"
    assert genway("call", "list", "--limit", "0").err == "genway: --limit: 1 or more, got 0\n"
    assert genway("call", "list", "--channel", "nowhere").code == 1
    assert "gpt-x" in genway("call", "list").out


def test_a_call_is_explained_line_by_line(genway: Genway, calls: list[str]) -> None:
    told = genway("call", "show", "cll_1", "--json").json
    assert [(line["what"], line["quantity"], line["price"], line["total"]) for line in told["lines"]] == [
        ("input", 1000, "2.00", "0.002"),
        ("cached_input", 500, "1.00", "0.0005"),
        ("output", 100, "8.00", "0.0008"),
    ]
    assert (told["cost"], told["adds_up"], told["account"], told["key"]) == ("0.0033 EUR", True, "ada", "chat")
    assert {price["source"] for price in told["prices"]} == {"set"}
    said = genway("call", "show", "req_1").out
    assert "1000 input at 2.00 EUR for each million = 0.002 EUR" in said
    assert "in all: 0.0033 EUR" in said
    assert "price: openai/gpt-x for all work, set on " in said
    assert "do not add up" not in said


def test_a_price_that_is_not_known_any_more_is_admitted(genway: Genway, opened: Opened, calls: list[str]) -> None:
    opened.write(lambda c: c.exec_driver_sql("UPDATE prices SET amount = 1").rowcount)
    assert genway("call", "show", "cll_1", "--json").json["adds_up"] is False
    assert "The lines do not add up to that" in genway("call", "show", "cll_1").out


def test_a_channel_that_is_gone_keeps_its_calls_explained(genway: Genway, opened: Opened, calls: list[str]) -> None:
    channel = opened.read(lambda c: get_channel(c, "main")).id
    assert genway("channel", "remove", "main").code == 0
    told = genway("call", "show", "cll_1", "--json").json
    assert (told["channel"], told["adds_up"]) == (channel, True)


def test_a_call_that_there_is_not_is_told(genway: Genway) -> None:
    said = genway("call", "show", "cll_none")
    assert (said.code, said.err) == (1, "genway: there is no call cll_none; `genway call list` lists them\n")


def test_usage_is_added_up_with_what_is_in_open_leases(genway: Genway, calls: list[str]) -> None:
    (line,) = genway("usage", "--by", "key", "--json").json
    assert line == {
        "key": "chat",
        "tasks": 0,
        "calls": 2,
        "estimated": 1,
        "input": 3000,
        "output": 200,
        "charged": "0.0066",
        "currency": "EUR",
    }
    said = genway("usage", "--by", "channel", "--by", "model", "--csv").out
    assert list(csv.reader(io.StringIO(said)))[1][:4] == ["main", "gpt-x", "0", "2"]
    assert "In all: 0.0066 EUR" in genway("usage").out
    assert genway("usage", "--test", "--by", "channel", "--json").json[0]["channel"] == "local"
    assert genway("usage", "--model", "none").out == (
        "Nothing was used in that time. What test keys used is told with --test.\n"
    )
    assert genway("usage", "--test", "--model", "none").out == "Nothing was used in that time.\n"
    assert genway("usage", "--csv", "--json").code == 1


def test_accounts_and_keys_tell_what_open_leases_have_spent(genway: Genway, calls: list[str]) -> None:
    shown = genway("account", "show", "ada", "--json").json
    assert (shown["available"], shown["held"]) == ("19.9934", "0.00")
    assert shown["used"] == {
        "spent_live": "0.0066",
        "spent_test": "0.00",
        "tasks_live": 0,
        "calls_live": 2,
        "tasks_test": 0,
        "calls_test": 1,
    }
    assert {key["name"]: (key["spent"], key["held"]) for key in shown["keys"]} == {
        "chat": ("0.0066", "0.00"),
        "try": ("0.00", "0.00"),
    }
    assert genway("account", "show", "--json").json[0]["available"] == "19.9934"
    assert {key["name"]: key["spent"] for key in genway("key", "list", "--json").json}["chat"] == "0.0066"
    assert "0.0066 EUR for 0 tasks and 2 calls" in genway("account", "show", "ada").out
    assert genway("account", "topup", "ada", "1", "--json").json["available"] == "20.9934"
