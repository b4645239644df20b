"""`genway key`."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from cli_stage import Genway
from genway.access import store as access
from genway.cli.place import Opened
from genway.db.tables import keys
from genway.errors import Unauthenticated


def test_a_newcomer_gets_a_key_that_works_without_an_account(genway: Genway, opened: Opened) -> None:
    said = genway("key", "create")
    secret = said.out.removesuffix("\n")
    assert "is shown only now" in said.err
    caller = opened.read(lambda c: access.authenticate(c, opened.vault.hash(secret), time.time()))
    assert (caller.mode, caller.admin) == ("live", False)
    account = opened.read(lambda c: access.get_account(c, "default"))
    assert account.credit_limit is None


def test_the_second_key_belongs_to_the_same_default_account(genway: Genway) -> None:
    genway("key", "create")
    genway("key", "create", "--test")
    assert [(key["account"], key["mode"]) for key in genway("key", "list", "--json").json] == [
        ("default", "live"),
        ("default", "test"),
    ]


def test_where_there_are_accounts_nobody_else_pays_unasked(genway: Genway) -> None:
    genway("account", "create", "ada")
    said = genway("key", "create")
    assert (said.code, said.err) == (1, "genway: --account: say who pays: one of ada\n")


def test_a_key_has_the_limits_it_was_given(genway: Genway) -> None:
    genway("account", "create", "ada")
    limits = ("--budget", "5", "--rpm", "60", "--concurrent", "3", "--expires", "30d")
    made = genway("key", "create", "--account", "ada", "--name", "shop", "--admin", *limits, "--json").json
    listed = genway("key", "list", "--json").json[0]
    assert listed["budget"] == "5.00"
    assert (listed["requests_per_minute"], listed["concurrent_tasks"], listed["admin"]) == (60, 3, True)
    assert made["key"].startswith("gw_live_")
    assert made["expires_at"] > made["created_at"]
    assert listed["state"] == "valid"


def test_the_list_shows_limits_and_ends_where_there_are_any(genway: Genway) -> None:
    genway("key", "create", "--name", "free")
    assert "expires" not in genway("key", "list").out
    genway("key", "create", "--name", "shop", "--rpm", "60", "--tokens-per-minute", "9000", "--expires", "30d")
    listed = genway("key", "list")
    assert all(part in listed.out for part in ("limits", "rpm 60", "tokens-per-minute 9000", "expires"))
    assert genway("key", "list", "--json").json[1]["expires_at"] in listed.out


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [("--expires", "soon", "like 30d, got 'soon'"), ("--budget", "lots", "an amount like 12.50, got 'lots'")],
)
def test_a_value_that_cannot_be_read_is_explained(genway: Genway, option: str, value: str, complaint: str) -> None:
    said = genway("key", "create", option, value)
    assert said.code == 2
    assert complaint in said.err
    assert "See `genway key create --help`." in said.err


def test_a_negative_limit_is_refused(genway: Genway) -> None:
    assert genway("key", "create", "--rpm", "-1").err == "genway: --rpm: 0 or more\n"


def test_a_secret_is_shown_once_and_stored_nowhere(genway: Genway, opened: Opened) -> None:
    secret = genway("key", "create", "--json").json["key"]
    assert secret not in genway("key", "list").out + genway("key", "list", "--json").out
    (row,) = opened.read(lambda c: c.execute(select(keys)).all())
    assert secret not in map(str, row)
    for path in opened.config.data_dir.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_a_revoked_key_is_refused_and_stays_in_the_list(genway: Genway, opened: Opened) -> None:
    secret = genway("key", "create", "--name", "shop", "--json").json["key"]
    assert "refused from now on" in genway("key", "revoke", "shop").out
    assert genway("key", "list", "--json").json[0]["state"] == "revoked"
    with pytest.raises(Unauthenticated, match="revoked"):
        opened.read(lambda c: access.authenticate(c, opened.vault.hash(secret), time.time()))


def test_a_name_that_two_keys_share_is_not_enough_to_revoke_one(genway: Genway) -> None:
    genway("key", "create", "--name", "shop")
    genway("key", "create", "--name", "shop")
    assert genway("key", "revoke", "shop").err == "genway: 2 keys are named shop; use the id\n"


def test_a_key_has_limits_for_calls_too(genway: Genway) -> None:
    said = genway("key", "create", "--tokens-per-minute", "9000", "--concurrent-streams", "3", "--json").json
    assert (said["tokens_per_minute"], said["concurrent_streams"]) == (9000, 3)
    said = genway("key", "create", "--tokens-per-minute", "-1")
    assert (said.code, said.err) == (1, "genway: --tokens-per-minute: 0 or more\n")


def test_a_keys_limits_are_changed_and_the_rest_of_it_stays(genway: Genway, opened: Opened) -> None:
    secret = genway("key", "create", "--name", "shop", "--budget", "5", "--rpm", "60").out.strip()
    (before,) = genway("key", "list", "--json").json
    changed = genway("key", "edit", "shop", "--budget", "20", "--tokens-per-minute", "1000", "--expires", "30d", "--json").json
    assert (changed["budget"], changed["tokens_per_minute"], changed["requests_per_minute"]) == ("20.00", 1000, 60)
    assert changed["expires_at"] is not None
    caller = opened.read(lambda c: access.authenticate(c, opened.vault.hash(secret), time.time()))
    assert (caller.key_id, caller.tokens_per_minute) == (before["id"], 1000)


def test_a_keys_limits_are_taken_away(genway: Genway) -> None:
    genway("key", "create", "--name", "shop", "--budget", "5", "--rpm", "60", "--expires", "30d")
    said = genway("key", "edit", "shop", "--remove-limit", "budget", "--remove-limit", "expires", "--name", "store")
    assert said.out.startswith("The key store (…")
    (key,) = genway("key", "list", "--json").json
    assert (key["name"], key["budget"], key["expires_at"], key["requests_per_minute"]) == ("store", None, None, 60)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "say what to change, as in --budget 20"),
        (("--budget", "-1"), "--budget: 0 or more"),
        (("--concurrent-streams", "-1"), "--concurrent-streams: 0 or more"),
    ],
)
def test_a_change_of_a_key_that_makes_no_sense_is_refused(genway: Genway, arguments: tuple[str, ...], complaint: str) -> None:
    genway("key", "create", "--name", "shop")
    said = genway("key", "edit", "shop", *arguments)
    assert (said.code, said.err) == (1, f"genway: {complaint}\n")
    assert genway("key", "edit", "nobody", "--rpm", "1").code == 1
