"""`genway price`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from cli_stage import Genway
from genway.billing.prices import UNITS
from genway.cli.price import Unit


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


def test_a_price_for_one_class_of_tokens_tells_which_others_count_no_more(genway: Genway) -> None:
    said = genway("price", "set", "gpt-5.5", "2.50", "--unit", "input_mtok", "--operation", "batches")
    assert "Its former prices for cached_input_mtok, output_mtok count no more" in said.out
    said = genway("price", "set", "gpt-5.5", "15", "--unit", "output_mtok", "--operation", "batches")
    assert said.out == "gpt-5.5 costs 15.00 USD for each output_mtok from now on.\n"
    assert "former" not in genway("price", "set", "acme/new", "1", "--unit", "input_mtok").out
    assert "former" not in genway("price", "set", "runway/gen3", "0.06", "--unit", "second").out


def test_a_price_that_was_not_set_cannot_be_removed(genway: Genway) -> None:
    said = genway("price", "remove", "runway/gen3", "--unit", "second")
    assert (said.code, said.err) == (1, "genway: no price was set for runway/gen3, *, by the second\n")


def test_a_unit_that_there_is_not_is_refused(genway: Genway) -> None:
    said = genway("price", "set", "runway/gen3", "1", "--unit", "hour")
    assert said.code == 2
    assert '"call", "second", "image", "character", "token", "input_mtok"' in said.err


def test_the_units_of_the_command_are_those_of_the_prices() -> None:
    assert sorted(get_args(Unit)) == sorted(UNITS)


def test_a_negative_price_is_refused(genway: Genway) -> None:
    assert genway("price", "set", "runway/gen3", "-1", "--unit", "call").err == "genway: amount: 0 or more\n"


def test_a_price_is_for_something(genway: Genway) -> None:
    said = genway("price", "set", "", "1", "--unit", "call")
    assert (said.code, said.err) == (1, "genway: MODEL: required\n")


def test_a_model_without_any_price_is_told(genway: Genway) -> None:
    assert "There is no price for acme/one" in genway("price", "list", "--model", "acme/one").out


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = ["acme/one", "runway/gen3"]\nsecond = "0.06"\n')
    return file


def test_a_file_of_prices_counts_as_if_each_was_set(genway: Genway, toml: Path) -> None:
    genway("price", "set", "acme/one", "0.05", "--unit", "second")
    said = genway("price", "import", str(toml))
    assert (said.code, said.out) == (0, "1 set anew, 1 changed, 0 as they were.\n")
    listed = genway("price", "list", "--json").json
    assert {p["model"]: p["amount"] for p in listed if p["source"] == "set"} == {"acme/one": "0.06", "runway/gen3": "0.06"}
    assert genway("price", "import", str(toml)).out == "0 set anew, 0 changed, 2 as they were.\n"


def test_a_dry_run_shows_what_would_change_and_changes_nothing(genway: Genway, toml: Path) -> None:
    said = genway("price", "import", str(toml), "--dry-run")
    assert [line.split() for line in said.out.splitlines() if "/" in line] == [
        ["acme/one", "*", "second", "–", "0.06"],
        ["runway/gen3", "*", "second", "0.05", "0.06"],
    ]
    assert "2 would be set anew, 0 changed, 0 as they were." in said.out
    assert [p for p in genway("price", "list", "--json").json if p["source"] == "set"] == []


def test_only_some_models_of_a_file_can_be_taken(genway: Genway, toml: Path) -> None:
    said = genway("price", "import", str(toml), "--only", "acme/*", "--json").json
    assert said == {
        "dry_run": False,
        "new": 1,
        "changed": 0,
        "same": 0,
        "removed": 0,
        "left_out": {},
        "prices": [{"model": "acme/one", "operation": "*", "unit": "second", "amount": "0.06", "before": None}],
    }


def test_of_a_file_with_nonsense_nothing_counts(genway: Genway, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("model,unit,amount\nacme/one,second,0.06\nacme/two,hour,1\n")
    said = genway("price", "import", str(file))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("genway: prices.csv: line 3: hour is no unit; one of call, second")
    assert [p for p in genway("price", "list", "--json").json if p["source"] == "set"] == []


def test_a_file_that_is_not_there_is_told(genway: Genway, tmp_path: Path) -> None:
    assert genway("price", "import", str(tmp_path / "none.toml")).code == 1


def test_an_import_is_undone_by_what_was_exported_before(genway: Genway, tmp_path: Path) -> None:
    before, new = tmp_path / "before.toml", tmp_path / "new.csv"
    before.write_text(genway("price", "export").out)
    genway("price", "set", "acme/one", "1", "--unit", "call")
    new.write_text("model,unit,amount\nacme/one,call,2\nrunway/gen3,second,0.09\n")
    genway("price", "import", str(new))
    said = genway("price", "import", str(before), "--replace", "--only", "acme/*", "--dry-run")
    assert said.out.splitlines()[-1] == "0 would be set anew, 0 changed, 0 as they were, 1 taken back."
    said = genway("price", "import", str(before), "--replace", "--dry-run", "--json").json
    assert said["removed"] == 2
    back = {price["model"]: (price["before"], price["amount"]) for price in said["prices"]}
    assert back == {"acme/one": ("2.00", None), "runway/gen3": ("0.09", "0.05")}
    assert genway("price", "import", str(before), "--replace").out == "0 set anew, 0 changed, 0 as they were, 2 taken back.\n"
    assert genway("price", "export", "--json").json == []
    assert genway("price", "import", str(new), "--replace").out == "2 set anew, 0 changed, 0 as they were, 0 taken back.\n"


def test_the_price_map_of_litellm_can_be_imported(genway: Genway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model_prices_and_context_window.json"
    entry = {"litellm_provider": "openai", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05}
    file.write_text(json.dumps({"gpt-x": entry, "gpt-free": {"litellm_provider": "openai"}}))
    monkeypatch.setenv("GENWAY_BILLING_CURRENCY", "EUR")
    said = genway("price", "import", str(file))
    assert said.out == "2 set anew, 0 changed, 0 as they were.\nLeft out: 1 free, or without a price.\n"
    assert said.err == "The prices of such a file are in USD; accounts here are in EUR.\n"
    listed = genway("price", "list", "--model", "openai/gpt-x", "--json").json
    assert {p["unit"]: p["amount"] for p in listed} == {"input_mtok": "1.25", "output_mtok": "10.00"}


@pytest.mark.parametrize(("option", "ending"), [((), ".toml"), (("--csv",), ".csv")])
def test_what_is_exported_can_be_imported_again(genway: Genway, tmp_path: Path, option: tuple[str, ...], ending: str) -> None:
    genway("price", "set", "acme/one", "0.05", "--unit", "second")
    genway("price", "set", "acme/*", "1.25", "--unit", "input_mtok", "--operation", "chat")
    exported = genway("price", "export", *option).out
    file = tmp_path / f"prices{ending}"
    file.write_text(exported)
    assert genway("price", "import", str(file)).out == "0 set anew, 0 changed, 2 as they were.\n"
    genway("price", "remove", "acme/one", "--unit", "second")
    assert genway("price", "import", str(file)).out == "1 set anew, 0 changed, 1 as they were.\n"
    assert genway("price", "export", *option).out == exported


def test_the_lists_can_be_exported_too(genway: Genway) -> None:
    genway("price", "set", "openai/gpt-5.5", "6", "--unit", "input_mtok")
    exported = genway("price", "export", "--everything", "--json").json
    amounts = {p["amount"] for p in exported if (p["model"], p["unit"]) == ("openai/gpt-5.5", "input_mtok")}
    assert amounts == {"6.00"}
    assert len(exported) == len(genway("price", "list", "--json").json) - 1


def test_prices_are_found_without_their_vendor_and_shown_together(genway: Genway) -> None:
    genway("price", "set", "gpt-5.5", "1", "--unit", "call")
    said = genway("price", "list", "--model", "gpt-5.5*").out
    assert "input_mtok 5.00, cached_input_mtok 0.50, output_mtok 30.00" in said
    assert "kling" not in said
    listed = genway("price", "list", "--model", "gpt-5.5", "--json").json
    assert {p["model"] for p in listed} == {"gpt-5.5", "openai/gpt-5.5"}


def test_a_models_price_is_shown_class_by_class(genway: Genway) -> None:
    shown = genway("price", "show", "gpt-5.5", "--json").json
    assert shown["sold_as"] == "openai/gpt-5.5"
    classes = {line["class"]: (line["amount"], line["source"]) for line in shown["classes"]}
    assert classes["input"] == ("5.00", "list")
    assert classes["cached_input"] == ("0.50", "list")
    assert classes["cache_write"] == ("5.00", "as input")
    assert classes["reasoning"] == ("30.00", "as output")
    assert "images" not in classes
    genway("price", "set", "openai/gpt-5.5", "0.02", "--unit", "call")
    assert genway("price", "show", "gpt-5.5", "--json").json["classes"] == [
        {"class": "calls", "amount": "0.02", "for_each": "one", "source": "set"}
    ]
    assert "0.000015" in genway("price", "show", "tts-1", "--operation", "speech").out
    said = genway("price", "show", "acme-1")
    assert said.err == "genway: acme-1 has no price for chat; `genway price set` sets one\n"
