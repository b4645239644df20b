"""`genway channel`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from cli_stage import VENDOR_SECRET, Genway, accepted, add_channel, closed_port
from genway.cli.place import Opened
from genway.db.tables import tasks
from genway.providers import discover
from genway.routing.channels import get_channel
from standins.running import running_vendor


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    """The address of a stand-in vendor that knows the usual secret."""
    with running_vendor(VENDOR_SECRET) as url:
        yield url


def test_a_channel_is_named_for_its_provider_unless_it_gets_a_name(genway: Genway) -> None:
    said = genway("channel", "add", "--provider", "runwayml", "--secret-env", "VENDOR_SECRET")
    assert "genway channel test runwayml" in said.out
    assert genway("channel", "list", "--json").json[0]["name"] == "runwayml"


def test_a_good_channel_passes_its_test(genway: Genway, vendor: str) -> None:
    add_channel(genway, "main", vendor)
    said = genway("channel", "test", "main")
    assert (said.code, said.out) == (0, "✓ main: the key is good; 1000 credits left\n")


def test_a_bad_secret_and_a_dead_address_fail_their_tests(genway: Genway, vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_SECRET", "key_bad")
    add_channel(genway, "bad", vendor)
    add_channel(genway, "dead", f"http://127.0.0.1:{closed_port()}")
    said = genway("channel", "test", "--json")
    assert said.code == 1
    assert {answer["name"]: answer["ok"] for answer in said.json} == {"bad": False, "dead": False}
    answers = {answer["name"]: answer["answer"] for answer in said.json}
    assert "vendor_key_refused" in answers["bad"]
    assert "vendor_down" in answers["dead"]
    assert "key_bad" not in said.out


def test_a_secret_comes_from_standard_input_or_a_variable_and_is_never_printed(
    genway: Genway, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("whispered\n"))
    said = genway("channel", "add", "main", "--provider", "runwayml", "--secret-stdin", "--json")
    assert "whispered" not in said.out + genway("channel", "list").out + genway("channel", "list", "--json").out
    stored = opened.read(lambda c: get_channel(c, "main"))
    assert opened.vault.decrypt(stored.secret) == "whispered"
    assert b"whispered" not in stored.secret


def test_without_a_terminal_the_secret_must_be_given(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = genway("channel", "add", "--provider", "runwayml")
    assert said.err == "genway: give the secret with --secret-stdin or --secret-env NAME\n"
    said = genway("channel", "add", "--provider", "runwayml", "--secret-stdin")
    assert said.err == "genway: the secret is empty\n"
    said = genway("channel", "add", "--provider", "runwayml", "--secret-env", "NOT_THERE")
    assert said.err == "genway: --secret-env: there is no variable NOT_THERE\n"
    assert genway("channel", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--provider", "nobody"), f"provider: one of {', '.join(sorted(discover().keys() - {'local'}))}, got nobody"),
        (("--provider", "runway_compat"), "base_url: runway_compat has no address of its own: say where it is"),
        (
            ("--provider", "runwayml", "--base-url", "ftp://x"),
            "--base-url: an address like https://gen.example.com, got ftp://x",
        ),
        (
            ("--provider", "runwayml", "--base-url", "https://"),
            "--base-url: an address like https://gen.example.com, got https://",
        ),
        (
            ("--provider", "runwayml", "--base-url", "https://gen.example.com/a b"),
            "--base-url: an address like https://gen.example.com, got https://gen.example.com/a b",
        ),
        (
            ("--provider", "runwayml", "--base-url", "https://ada:hunter2@gen.example.com"),
            "--base-url: an address without a name and a password, since it is shown; they go into the secret",
        ),
        (
            ("--provider", "runwayml", "--base-url", "https://gen.example.com/v1?region=eu"),
            "--base-url: an address without ? and #",
        ),
        (
            ("a/b", "--provider", "runwayml"),
            "name: without spaces and slashes, since clients write it before a model, got 'a/b'",
        ),
        (("--provider", "runwayml", "--model", "gen3"), "--model: NAME=VALUE, got gen3"),
        (("--provider", "runwayml", "--weight", "0"), "--weight: 1 or more, got 0"),
    ],
)
def test_what_cannot_be_a_channel_is_explained(genway: Genway, arguments: tuple[str, ...], complaint: str) -> None:
    said = genway("channel", "add", *arguments, "--secret-env", "VENDOR_SECRET")
    assert (said.code, said.err) == (1, f"genway: {complaint}\n")


def test_models_options_and_shares_are_kept(genway: Genway, vendor: str) -> None:
    models = ("--model", "runway/gen3=gen3a_turbo", "--model", "runway/gen2=gen4_turbo")
    shares = ("--priority", "-1", "--weight", "3", "--concurrency", "2", "--timeout", "5")
    add_channel(genway, "main", vendor, *models, "--option", "a=b", *shares)
    (channel,) = genway("channel", "list", "--json").json
    assert channel["models"] == {"runway/gen3": "gen3a_turbo", "runway/gen2": "gen4_turbo"}
    assert channel["options"] == {"a": "b"}
    assert (channel["priority"], channel["weight"], channel["concurrency"], channel["timeout"]) == (-1, 3, 2, 5)


def test_a_channel_is_disabled_enabled_and_removed(genway: Genway, vendor: str) -> None:
    add_channel(genway, "main", vendor)
    assert genway("channel", "disable", "main", "--json").json["state"] == "disabled"
    assert genway("channel", "test", "--json").json == []
    assert genway("channel", "enable", "main", "--json").json["state"] == "enabled"
    assert genway("channel", "remove", "main").out == "The channel main is gone.\n"
    assert genway("channel", "list", "--json").json == []


def test_a_channel_with_work_is_not_removed(genway: Genway, opened: Opened, vendor: str) -> None:
    add_channel(genway, "main", vendor)
    task_id, channel = accepted(opened), genway("channel", "list", "--json").json[0]["id"]
    opened.write(lambda c: c.execute(update(tasks).where(tasks.c.id == task_id).values(channel_id=channel)).rowcount)
    said = genway("channel", "remove", "main")
    assert said.code == 1
    assert "disable it and wait" in said.err


def test_a_channel_whose_secret_cannot_be_decrypted_is_told(genway: Genway, vendor: str, data: Path) -> None:
    add_channel(genway, "main", vendor)
    (data / "secret.key").write_text("another secret, which is as long as it has to be")
    said = genway("channel", "test", "main")
    assert said.code == 1
    assert "cannot be decrypted" in said.out
