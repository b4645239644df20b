from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.billing import price_files, prices
from genway.billing.price_files import BY_SIZE, FREE, ODD, TOO_FINE
from genway.billing.prices import LISTS, UNITS, Price
from genway.errors import InvalidRequest

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda name: name == name.strip()
)
books = st.lists(
    st.builds(Price, names, st.sampled_from(UNITS), st.integers(0, 2**62), st.sampled_from(["*", "chat", "image"])),
    min_size=1,
    unique_by=lambda price: (price.model, price.operation, price.unit),
)


def amounts(name: str, text: str) -> dict[str, int]:
    return {f"{price.model} {price.unit}": price.amount for price in price_files.read(name, text.encode()).prices}


def litellm(**models: object) -> bytes:
    return json.dumps({name.replace("__", "/"): entry for name, entry in models.items()}, indent=2).encode()


@pytest.mark.parametrize("name", ["prices.toml", "prices.csv"])
@given(book=books)
def test_what_is_written_is_read_again(name: str, book: list[Price]) -> None:
    text = price_files.write(book, as_csv=name.endswith("csv"))
    key = str
    assert sorted(price_files.read(name, text.encode()).prices, key=key) == sorted(book, key=key)


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_that_ship_are_such_files_and_say_nothing_twice(name: str) -> None:
    text = files("genway.billing").joinpath(name).read_bytes()
    read = price_files.read(name, text).prices
    assert set(read) <= set(prices.list_prices())
    assert len(prices.list_prices()) == len({(price.model, price.operation, price.unit) for price in prices.list_prices()})


def test_a_table_of_toml_may_name_several_models_and_its_amounts_may_be_numbers() -> None:
    text = '[[price]]\nmodel = ["a/one", "a/two"]\ninput_mtok = 0.1\ncall = 2\n'
    assert amounts("p.toml", text) == {
        "a/one input_mtok": 100_000,
        "a/two input_mtok": 100_000,
        "a/one call": 2_000_000,
        "a/two call": 2_000_000,
    }


def test_the_columns_of_csv_may_stand_in_any_order() -> None:
    assert amounts("p.csv", "unit,amount,model\ncall, 0.5, a/one\n") == {"a/one call": 500_000}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("p.toml", '[[price]]\nmodel = "a"\n\nhour = "1"\n', "line 4: hour is no unit"),
        ("p.toml", '[[price]]\nmodel = "a"\ncall = "1"\n[[price]]\ncall = "1"\n', "line 5: a model's name"),
        ("p.toml", '[[price]]\nmodel = "a"\ncall = "-1"\n', "line 3: call: 0 or more"),
        ("p.toml", '[[price]]\nmodel = "a"\ncall = true\n', "line 3: call: an amount"),
        ("p.toml", '[[price]]\nmodel = "a"\ncall = nan\n', "line 3: call: an amount"),
        ("p.toml", '[[price]]\nmodel = "a"\n', "line 1: a price without an amount"),
        ("p.toml", '[[price]]\nmodel = "a\n', "line 2: "),
        ("p.toml", "a = 1\n", r"line 1: \[\[price\]\] tables"),
        ("p.toml", '[[price]]\nmodel = "a"\ncall = "x"\nsecond = "y"\n', r"line 3: call: .* \(and 1 more\)"),
        ("p.csv", "model,unit\na,call\n", "line 1: a heading"),
        ("p.csv", "model,unit,amount\na,call,1\n\na,call\n", "line 4: 3 columns"),
        ("p.csv", "model,unit,amount\na,call,1,2\n", "line 2: 3 columns"),
        ("p.csv", "model,unit,amount\na,call,0.0000001\n", "line 2: call: at most six"),
        ("p.csv", 'model,unit,amount\na,call,"1\n', "line 2: "),
        ("p.csv", "model,unit,amount\n", "there is no price in it"),
        ("p.json", '{"a": {\n', "line 2: "),
        ("p.json", "[]", "line 1: an object"),
        ("p.json", '{\n "a": 1\n}', "line 1: a: an object"),
        ("p.json", '{\n "b": {"litellm_provider": "x"},\n "a": {"input_cost_per_token": 1e-6}\n}', "line 3: a: whose model"),
        ("p.txt", "", r"a file ending in \.toml, \.csv, \.json"),
    ],
)
def test_nonsense_is_refused_with_its_line(name: str, text: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as refused:
        price_files.read(name, text.encode())
    assert refused.value.field == name


@pytest.mark.parametrize("name", ["p.toml", "p.csv", "p.json"])
def test_what_is_not_text_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="not text"):
        price_files.read(name, b"\xff\xfe")


@pytest.mark.parametrize("cost", [-1e-6, "free", True, [], 2.5, float("nan")])
def test_a_cost_of_litellm_that_makes_no_sense_is_refused_with_its_line(cost: object) -> None:
    body = litellm(
        ok={"litellm_provider": "x", "input_cost_per_token": 1e-6}, bad={"litellm_provider": "x", "input_cost_per_token": cost}
    )
    with pytest.raises(InvalidRequest, match=r"line 6: x/bad: input_cost_per_token"):
        price_files.read("p.json", body)


def test_the_costs_of_litellm_become_prices_for_a_million_tokens() -> None:
    body = litellm(
        sample_spec={"litellm_provider": "one of them", "input_cost_per_token": 0.0},
        big={
            "litellm_provider": "openai",
            "mode": "chat",
            "input_cost_per_token": 1.25e-06,
            "cache_read_input_token_cost": 1.25e-07,
            "cache_creation_input_token_cost": 1.5625e-06,
            "cache_creation_input_token_cost_above_1hr": 2.5e-06,
            "output_cost_per_token": 1e-05,
            "output_cost_per_reasoning_token": 1.2e-05,
            "input_cost_per_image": 0.01,
            "input_cost_per_audio_token": None,
        },
    )
    assert {price.unit: price.amount for price in price_files.read("p.json", body).prices} == {
        "input_mtok": 1_250_000,
        "cached_input_mtok": 125_000,
        "cache_write_mtok": 1_562_500,
        "cache_write_1h_mtok": 2_500_000,
        "output_mtok": 10_000_000,
        "reasoning_mtok": 12_000_000,
    }


def test_a_model_of_litellm_is_named_for_its_vendor_and_its_own_entry_wins() -> None:
    entry = {"litellm_provider": "deepseek", "input_cost_per_token": 2e-6}
    body = litellm(
        deepseek__chat=entry,
        chat=entry | {"input_cost_per_token": 1e-6},
        claude={"litellm_provider": "vertex_ai-anthropic_models", "input_cost_per_token": 1e-6},
        **{"ft:gpt": {"litellm_provider": "openai", "input_cost_per_token": 1e-6}},
    )
    read = price_files.read("p.json", body)
    assert {price.model: price.amount for price in read.prices} == {
        "deepseek/chat": 2_000_000,
        "vertex_ai/claude": 1_000_000,
        "openai/ft:gpt:*": 1_000_000,
    }


def test_a_model_with_prices_by_the_token_is_not_charged_by_the_second_too() -> None:
    body = litellm(
        words={"litellm_provider": "x", "input_cost_per_token": 1e-6, "input_cost_per_second": 0.01},
        sounds={"litellm_provider": "x", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
        pictures={"litellm_provider": "x", "mode": "image_generation", "input_cost_per_image": 0.04},
        order={
            "litellm_provider": "x",
            "input_cost_per_token": 0.0,
            "output_cost_per_token": 0.0,
            "input_cost_per_query": 0.002,
        },
    )
    read = price_files.read("p.json", body)
    assert {(price.model, price.unit): price.amount for price in read.prices} == {
        ("x/words", "input_mtok"): 1_000_000,
        ("x/sounds", "second"): 100,
        ("x/pictures", "image"): 40_000,
        ("x/order", "call"): 2_000,
    }


def test_what_cannot_be_said_here_is_left_out_and_counted() -> None:
    body = litellm(
        free={"litellm_provider": "x", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
        fine={"litellm_provider": "x", "input_cost_per_character": 2.5e-07},
        nearly={"litellm_provider": "x", "input_cost_per_second": 0.000283333},
        rules={"rules": []},
        **{
            "512-x-512/max-steps/x": {"litellm_provider": "x", "output_cost_per_image": 0.1},
            "@cf/y": {"litellm_provider": "x", "input_cost_per_token": 1e-6},
        },
    )
    read = price_files.read("p.json", body)
    assert read.left_out == {FREE: 2, TOO_FINE: 1, BY_SIZE: 1, ODD: 1}
    assert [(price.model, price.amount) for price in read.prices] == [("x/nearly", 284)]


def test_surcharges_that_are_never_made_are_counted() -> None:
    body = litellm(
        long={
            "litellm_provider": "x",
            "input_cost_per_token": 1e-6,
            "input_cost_per_token_above_200k_tokens": 2e-6,
            "output_cost_per_token_above_200k_tokens": 4e-6,
        },
        fast={"litellm_provider": "x", "input_cost_per_token": 1e-6, "input_cost_per_token_priority": 2e-6},
        curious={
            "litellm_provider": "x",
            "input_cost_per_token": 1e-6,
            "search_context_cost_per_query": {"search_context_size_low": 0.01},
            "tiered_pricing": None,
        },
    )
    read = price_files.read("p.json", body)
    assert {price.amount for price in read.prices} == {1_000_000}
    assert read.left_out == dict.fromkeys(price_files.SURCHARGES, 1)
