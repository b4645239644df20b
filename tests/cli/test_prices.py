"""`genway price`."""

from __future__ import annotations

from cli_stage import Genway


def test_a_price_that_was_set_counts_until_it_is_removed(genway: Genway) -> None:
    assert genway("price", "set", "runway/gen3", "0.06", "--unit", "second").code == 0
    listed = genway("price", "list", "--model", "runway/gen3", "--json").json
    assert [(p["amount"], p["source"]) for p in listed if p["model"] == "runway/gen3"] == [("0.06", "set"), ("0.05", "list")]
    assert genway("price", "remove", "runway/gen3", "--unit", "second").code == 0
    listed = genway("price", "list", "--model", "runway/gen3", "--json").json
    assert [(p["amount"], p["source"]) for p in listed if p["model"] == "runway/gen3"] == [("0.05", "list")]


def test_the_last_price_set_is_the_one_that_counts(genway: Genway) -> None:
    for amount in ("0.06", "0.07"):
        genway("price", "set", "runway/gen3", amount, "--unit", "second")
    listed = genway("price", "list", "--json").json
    assert [p["amount"] for p in listed if p["source"] == "set"] == ["0.07"]


def test_a_price_that_was_not_set_cannot_be_removed(genway: Genway) -> None:
    said = genway("price", "remove", "runway/gen3", "--unit", "second")
    assert (said.code, said.err) == (1, "genway: no price was set for runway/gen3, *, by the second\n")


def test_a_unit_is_one_of_five(genway: Genway) -> None:
    said = genway("price", "set", "runway/gen3", "1", "--unit", "hour")
    assert said.code == 2
    assert '"call", "second", "image", "character", "token"' in said.err


def test_a_negative_price_is_refused(genway: Genway) -> None:
    assert genway("price", "set", "runway/gen3", "-1", "--unit", "call").err == "genway: amount: 0 or more\n"


def test_a_model_without_any_price_is_told(genway: Genway) -> None:
    assert "There is no price for acme/one" in genway("price", "list", "--model", "acme/one").out
