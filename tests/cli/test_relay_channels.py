"""`genway channel` and the doctor, for channels that calls are relayed to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_stage import Genway
from genway.billing import leases
from genway.billing.leases import CallRow
from genway.cli.place import Opened
from genway.providers.relaying import fingerprint
from genway.relay.journal import Journal
from genway.routing.channels import get_channel
from running import Running, start_server
from standins.openai_vendor import KEY, OpenAIVendor

DEADLINE = 10.0


@pytest.fixture(scope="module")
def vendor() -> Iterator[OpenAIVendor]:
    with OpenAIVendor() as running:
        yield running


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD", KEY)
    monkeypatch.setenv("MIXED", f"{KEY}, sk-refused-by-the-vendor")
    monkeypatch.setenv("GENWAY_LOCAL_ENABLED", "false")


def add(genway: Genway, vendor: OpenAIVendor, *more: str, secret: str = "GOOD") -> None:
    arguments = ("--provider", "openai", "--base-url", f"{vendor.url}/v1", "--secret-env", secret, *more)
    said = genway("channel", "add", "main", *arguments)
    assert said.code == 0, said.err


@pytest.mark.parametrize("model", ["gpt-*=gpt-5.5", "*=gpt-5.5", "fast=gpt-*"])
def test_a_pattern_of_models_is_refused_but_for_the_one_that_means_any(
    genway: Genway, vendor: OpenAIVendor, model: str
) -> None:
    said = genway("channel", "add", "--provider", "openai", "--secret-env", "GOOD", "--model", model)
    assert (said.code, said.err) == (1, f"genway: --model: names, or *=* for any other name, got {model}\n")
    add(genway, vendor, "--model", "fast=gpt-4.1", "--model", "*=*")


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("tokens_per_minute=many", "--option tokens_per_minute: a whole number a minute, 0 for no limit, got many"),
        ("unpriced=yes", "--option unpriced: free, got yes"),
        ("stream_usage=maybe", "--option stream_usage: yes or no, got maybe"),
        ("header.x y=1", "--option header.x y: a header's name and a line of ASCII"),
        ("header.Content-Length=1", "--option header.Content-Length: this header says how a call is sent, so it cannot be set"),
        ("traits.wings=2", "--option traits.wings: one of thinking, "),
        ("api_version=1", "--option api_version: one of requests_per_minute, "),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(genway: Genway, vendor: OpenAIVendor, option: str, complaint: str) -> None:
    said = genway("channel", "add", "--provider", "openai", "--secret-env", "GOOD", "--option", option)
    assert said.code == 1
    assert said.err.startswith(f"genway: {complaint}")
    assert genway("channel", "list", "--json").json == []


def test_every_option_that_there_is_can_be_set(genway: Genway, vendor: OpenAIVendor) -> None:
    options = ["requests_per_minute=60", "unpriced=free", "stream_usage=no", "header.x-team=red", "query.v=2"]
    options += ["traits.ceiling=8192", "organization=org-1"]
    add(genway, vendor, *(part for option in options for part in ("--option", option)))
    (channel,) = genway("channel", "list", "--json").json
    assert channel["options"] == dict(option.split("=") for option in options)


def test_a_channel_is_changed_and_the_rest_of_it_stays(genway: Genway, opened: Opened, vendor: OpenAIVendor) -> None:
    add(genway, vendor, "--model", "fast=gpt-4.1", "--model", "slow=o1", "--option", "unpriced=free", "--weight", "3")
    before = opened.read(lambda c: get_channel(c, "main"))
    arguments = ("--model", "fast=gpt-4o", "--remove-model", "slow", "--remove-option", "unpriced", "--priority", "7")
    changed = genway("channel", "edit", "main", *arguments, "--option", "tokens_per_minute=9", "--json").json
    assert changed["models"] == {"fast": "gpt-4o"}
    assert changed["options"] == {"tokens_per_minute": "9"}
    assert (changed["priority"], changed["weight"], changed["base_url"]) == (7, 3, f"{vendor.url}/v1")
    after = opened.read(lambda c: get_channel(c, "main"))
    assert (after.version, after.secret) == (before.version + 1, before.secret)


def test_a_secret_is_changed_alone(genway: Genway, opened: Opened, vendor: OpenAIVendor) -> None:
    add(genway, vendor)
    assert genway("channel", "edit", "main", "--secret-env", "MIXED").code == 0
    assert opened.vault.decrypt(opened.read(lambda c: get_channel(c, "main")).secret).startswith(f"{KEY}, ")
    shown = genway("channel", "show", "main", "--json")
    assert shown.json["keys"] == [fingerprint(KEY), fingerprint("sk-refused-by-the-vendor")]
    assert KEY not in shown.out + genway("channel", "show", "main").out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--remove-model", "none"), "--remove-model: it has no none; it has none"),
        (("--option", "unpriced=no"), "--option unpriced: free, got no"),
        (("--weight", "0"), "--weight: 1 or more, got 0"),
        (("--base-url", "ftp://x"), "--base-url: an address like https://gen.example.com, got ftp://x"),
        (("--base-url", "http://x:99999/v1"), "--base-url: an address like https://gen.example.com, got http://x:99999/v1"),
        ((), "say what to change, as in --priority 5"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(
    genway: Genway, opened: Opened, vendor: OpenAIVendor, arguments: tuple[str, ...], complaint: str
) -> None:
    add(genway, vendor)
    before = opened.read(lambda c: get_channel(c, "main"))
    said = genway("channel", "edit", "main", *arguments)
    assert (said.code, said.err) == (1, f"genway: {complaint}\n")
    assert opened.read(lambda c: get_channel(c, "main")) == before


def test_each_key_of_a_channel_is_tested(genway: Genway, vendor: OpenAIVendor) -> None:
    add(genway, vendor, "--option", "header.x-team=red", "--option", "query.v=2")
    said = genway("channel", "test", "main")
    assert (said.code, said.out[:22]) == (0, "✓ main: the key works;")
    seen = vendor.asked("/v1/models")[-1]
    assert (seen.headers["x-team"], seen.query["v"]) == ("red", "2")
    genway("channel", "edit", "main", "--secret-env", "MIXED")
    said = genway("channel", "test", "main")
    assert said.code == 1
    assert f"the key {fingerprint('sk-refused-by-the-vendor')}: " in said.out


def test_an_address_that_leads_nowhere_is_asked_about(genway: Genway, vendor: OpenAIVendor) -> None:
    add(genway, vendor)
    genway("channel", "edit", "main", "--base-url", f" {vendor.url}/ ")
    said = genway("channel", "test", "main")
    assert said.code == 1
    assert f"is {vendor.url} right? Addresses of this format mostly end in /v1" in said.out


@pytest.fixture
def server(genway: Genway, vendor: OpenAIVendor, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with the channel `main`, one of whose keys the vendor has refused by now."""
    add(genway, vendor, "--model", "gpt-4.1=gpt-4.1", secret="MIXED")
    with start_server(data) as running:
        for _ in range(2):
            body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}
            assert running.post("/v1/chat/completions", body).status_code == 200
        monkeypatch.setenv("GENWAY_KEY", running.key)
        yield running


def test_a_server_tells_which_key_it_leaves_alone_until_the_channel_is_reset(genway: Genway, server: Running) -> None:
    said = genway("channel", "health", "--url", server.url)
    assert said.code == 1
    assert said.out.startswith("! main: partly left alone\n")
    assert f"key {fingerprint('sk-refused-by-the-vendor')} set aside until " in said.out
    assert genway("channel", "reset", "main").out == "The channel main gets work again; servers know within a second.\n"
    until = time.monotonic() + DEADLINE
    states = {"set aside"}
    while states != {"well"} and time.monotonic() < until:
        told = genway("channel", "health", "main", "--url", server.url, "--json").json
        states = {key["state"] for key in told[0]["keys"]}
    assert states == {"well"}


def test_a_server_that_cannot_be_asked_is_one_line(genway: Genway, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_KEY", server.test_key)
    said = genway("channel", "health", "--url", server.url)
    assert said.code == 1
    assert said.err.endswith("answered 403: this is for admin keys: genway key create --admin\n")
    said = genway("channel", "health", "--url", "http://127.0.0.1:9")
    assert said.err == "genway: http://127.0.0.1:9/v1/admin/channels does not answer: [Errno 111] Connection refused\n"
    assert genway("channel", "health", "--key-env", "NOT_THERE").code == 1


def doctor(genway: Genway) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in genway("doctor", "--json").json:
        found.setdefault(finding["check"], []).append((finding["state"], finding["message"]))
    return found


def test_a_model_without_a_price_is_found(genway: Genway, vendor: OpenAIVendor) -> None:
    add(genway, vendor, "--model", "mine=acme-1", "--model", "gpt-4.1=gpt-4.1")
    assert ("warning", "no price for mine, so calls for them are refused") in doctor(genway)["channel main"]
    genway("price", "set", "mine", "0.01", "--unit", "call")
    assert [state for state, _ in doctor(genway)["channel main"]] == ["ok"]
    genway("price", "remove", "mine", "--unit", "call")
    genway("channel", "edit", "main", "--option", "unpriced=free")
    assert [state for state, _ in doctor(genway)["channel main"]] == ["ok"]


def lease(opened: Opened, account: str, key: str) -> str:
    return opened.write(
        lambda connection: leases.open_lease(
            connection, owner="p", account_id=account, key_id=key, mode="live", need=1, want=500, now=opened.now, seconds=60
        )
    ).id


def test_leases_and_journals_of_a_dead_server_are_found(genway: Genway, opened: Opened) -> None:
    key = genway("key", "create", "--json").json
    account = genway("account", "show", "--json").json[0]["id"]
    row = CallRow(
        "cll_1", opened.now, account, key["id"], "live", "chat", "m", "m", "local", lease(opened, account, key["id"]),
        200, "done", 1, 1, 1, 1, "{}", False, 7, "req",
    )  # fmt: skip
    journal = Journal(opened.config.data_dir, "dead")
    journal.append([row])
    messages = [message for state, message in doctor(genway)["calls"] if state == "warning"]
    assert messages == [
        "1 leases of servers that died hold 0.0005",
        "1 journals of servers that died are not in the database yet",
    ]
    opened.write(lambda connection: leases.record(connection, [row], opened.now))
    opened.write(lambda c: c.exec_driver_sql("UPDATE leases SET spent = 9").rowcount)
    fault, *_ = doctor(genway)["calls"]
    assert fault[0] == "wrong"
    assert "counts 0.000009 and its calls cost 0.000007" in fault[1]
