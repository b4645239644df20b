"""`genway account`."""

from __future__ import annotations

from standardwebhooks import Webhook

from cli_stage import Genway, accepted
from genway.cli.place import Opened


def test_a_new_account_starts_with_its_first_top_up(genway: Genway) -> None:
    assert genway("account", "create", "ada", "--topup", "20").code == 0
    shown = genway("account", "show", "ada", "--json").json
    assert (shown["available"], shown["held"], shown["currency"], shown["credit_limit"]) == ("20.00", "0.00", "USD", "0.00")
    assert [(one["kind"], one["amount"], one["memo"]) for one in shown["movements"]] == [("topup", "20.00", "first top-up")]


def test_a_top_up_is_taken_back_by_a_negative_one(genway: Genway) -> None:
    genway("account", "create", "ada")
    genway("account", "topup", "ada", "25.5", "--memo", "typed wrong")
    said = genway("account", "topup", "ada", "-5.500001")
    assert said.out == "ada now has 19.999999 USD.\n"


def test_an_account_may_be_without_limit_or_have_a_credit_limit(genway: Genway) -> None:
    assert genway("account", "create", "us", "--unlimited", "--json").json["credit_limit"] == "unlimited"
    assert genway("account", "create", "shop", "--credit-limit", "12.5", "--json").json["credit_limit"] == "12.50"
    both = genway("account", "create", "x", "--credit-limit", "1", "--unlimited")
    assert (both.code, both.err) == (1, "genway: --credit-limit: either --credit-limit or --unlimited\n")


def test_a_name_is_taken_once(genway: Genway) -> None:
    genway("account", "create", "ada")
    again = genway("account", "create", "ada")
    assert (again.code, again.out, again.err) == (1, "", "genway: there is an account named ada already\n")


def test_an_amount_is_never_rounded(genway: Genway) -> None:
    genway("account", "create", "ada")
    said = genway("account", "topup", "ada", "0.0000001")
    assert said.code == 2
    assert "at most six decimal places" in said.err


def test_an_unknown_account_is_named(genway: Genway) -> None:
    said = genway("account", "topup", "nobody", "1")
    assert (said.code, said.err) == (1, "genway: there is no account nobody; `genway account show` lists them\n")


def test_all_accounts_are_listed_with_what_is_held_for_running_tasks(genway: Genway, opened: Opened) -> None:
    accepted(opened)
    assert "ada" in genway("account", "show").out
    (ada,) = genway("account", "show", "--json").json
    assert (ada["available"], ada["held"]) == ("19.75", "0.25")


def test_an_empty_folder_says_what_to_do(genway: Genway) -> None:
    assert "genway account create NAME" in genway("account", "show").out
    assert genway("account", "show", "--json").json == []


def test_the_secret_of_an_accounts_callbacks_is_one_that_their_library_takes(genway: Genway) -> None:
    genway("account", "create", "ada")
    secret = genway("account", "callback-secret", "ada").out.strip()
    assert secret.startswith("whsec_")
    Webhook(secret)
    assert secret not in genway("account", "show", "ada", "--json").out
