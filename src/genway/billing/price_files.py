"""Files of prices: our own TOML and CSV, and the price map that LiteLLM publishes as JSON.

| file | shape |
|---|---|
| `.toml` | `[[price]]` with `model` (a name or a list of names), `operation` where it is for one kind of work only, and an amount for each unit |
| `.csv` | a heading with `model`, `unit`, `amount` and maybe `operation`; a line for each price |
| `.json` | model → `input_cost_per_token`, `output_cost_per_token` … in currency units for one, and `litellm_provider` |
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from itertools import groupby
from pathlib import PurePath
from typing import Any

import msgspec

from genway.billing import money
from genway.billing.prices import MILLIONS, UNITS, Price
from genway.errors import InvalidRequest

FREE = "free, or without a price"
BY_SIZE = "by size or steps of a picture"
ODD = "with an @ in the name"
TOO_FINE = "finer than a millionth"
SURCHARGES = {
    "what long prompts cost more": re.compile(r"_above_\d+k_tokens$|^tiered_pricing$"),
    "what faster service costs more": re.compile(r"_priority$"),
    "what searches of the vendor's cost": re.compile(r"^search_context_cost_per_query$|^web_search_cost_"),
}
"""What one price for a class of tokens cannot say, by the members of LiteLLM's map that say it."""
DEAREST_TOKEN = Decimal("0.1")
FINE_ENOUGH = 100

COSTS: Mapping[str, str] = {
    "input_cost_per_token": "input_mtok",
    "cache_read_input_token_cost": "cached_input_mtok",
    "cache_creation_input_token_cost": "cache_write_mtok",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_mtok",
    "input_cost_per_audio_token": "audio_input_mtok",
    "cache_read_input_audio_token_cost": "cached_audio_input_mtok",
    "input_cost_per_image_token": "image_input_mtok",
    "output_cost_per_token": "output_mtok",
    "output_cost_per_reasoning_token": "reasoning_mtok",
    "output_cost_per_audio_token": "audio_output_mtok",
    "output_cost_per_image_token": "image_output_mtok",
    "output_cost_per_image": "image",
    "input_cost_per_image": "image",
    "input_cost_per_second": "second",
    "output_cost_per_second": "second",
    "output_cost_per_video_per_second": "second",
    "input_cost_per_character": "character",
    "input_cost_per_query": "call",
}
"""LiteLLM's members and our units; of two members of one unit the first that is above zero counts."""

PICTURE_MODES = {"image_generation", "image_edit"}
PROVIDERS = {"text-completion-openai": "openai", "cohere_chat": "cohere", "bedrock_converse": "bedrock"}
"""Names of LiteLLM's that mean another way to the same vendor."""


class Contents(msgspec.Struct, frozen=True):
    """What a file says. left_out: why a model or a price of it was left out → how many."""

    prices: tuple[Price, ...]
    left_out: Mapping[str, int] = {}


class _Fault(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")


def read(name: str, content: bytes, *, may_be_empty: bool = False) -> Contents:
    """The prices of a file, whose shape its name's ending tells. may_be_empty: as `write` writes it where there are none.

    Raises InvalidRequest, naming the first line that makes no sense and how many more there are; nothing of such a file counts.
    """
    ending = PurePath(name).suffix.lower()
    readers = {".toml": _toml, ".csv": _csv, ".json": _litellm}
    if ending not in readers:
        raise InvalidRequest(f"a file ending in {', '.join(readers)}", field=name)
    left_out: Counter[str] = Counter()
    found: dict[tuple[str, str, str], Price] = {}
    faults: list[str] = []
    try:
        text = content.decode("utf-8-sig")
        for each in readers[ending](text, left_out):
            if isinstance(each, _Fault):
                faults.append(str(each))
            else:
                found[each.model, each.operation, each.unit] = each
    except UnicodeDecodeError:
        faults.append("not text in UTF-8")
    except _Fault as fault:
        faults.append(str(fault))
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidRequest(faults[0] + more, field=name)
    if not found and (left_out or not may_be_empty):
        raise InvalidRequest("there is no price in it", field=name)
    return Contents(tuple(found.values()), dict(+left_out))


def write(prices: Sequence[Price], *, as_csv: bool = False) -> str:
    """A file that `read` reads, in our own TOML or as CSV, ordered by model and kind of work."""
    ordered = sorted(prices, key=lambda price: (price.model, price.operation, UNITS.index(price.unit)))
    if as_csv:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["model", "operation", "unit", "amount"])
        writer.writerows([price.model, price.operation, price.unit, money.show(price.amount)] for price in ordered)
        return table.getvalue()
    if not ordered:
        return "price = []\n"
    blocks = []
    for (model, operation), group in groupby(ordered, key=lambda price: (price.model, price.operation)):
        head = [f"model = {json.dumps(model, ensure_ascii=False)}"]
        if operation != "*":
            head.append(f"operation = {json.dumps(operation, ensure_ascii=False)}")
        amounts = [f'{price.unit} = "{money.show(price.amount)}"' for price in group]
        blocks.append("\n".join(["[[price]]", *head, *amounts]) + "\n")
    return "\n".join(blocks)


def _price(line: int, model: object, operation: object, unit: str, amount: object) -> Price | _Fault:
    if not isinstance(model, str) or not model.strip():
        return _Fault(line, "a model's name or pattern, like openai/gpt-5.5")
    if not isinstance(operation, str) or not operation:
        return _Fault(line, "operation: a kind of work, like chat, or *")
    if unit not in UNITS:
        return _Fault(line, f"{unit} is no unit; one of {', '.join(UNITS)}")
    if isinstance(amount, bool) or not isinstance(amount, str | int):
        return _Fault(line, f'{unit}: an amount like "12.50"')
    try:
        millionths = money.parse(str(amount))
    except ValueError as error:
        return _Fault(line, f"{unit}: {error}")
    if millionths < 0:
        return _Fault(line, f"{unit}: 0 or more, got {amount}")
    return Price(model.strip(), unit, millionths, operation)


def _toml(text: str, _: Counter[str]) -> Iterator[Price | _Fault]:
    try:
        document = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line (\d+)", str(error))
        raise _Fault(int(where[1]) if where else text.count("\n") + 1, str(error)) from None
    rows = document.get("price")
    if not isinstance(rows, list):
        raise _Fault(1, "[[price]] tables are looked for, and there is none")
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*price\s*\]\]", line)]
    for row, start, end in zip(rows, starts, [*starts[1:], len(lines) + 1], strict=False):
        places = {
            found[1]: number
            for number in range(start, end)
            if (found := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", lines[number - 1]))
        }
        models = row.pop("model", "")
        operation = row.pop("operation", "*")
        if not row:
            yield _Fault(start, "a price without an amount")
        for model in models if isinstance(models, list) else [models]:
            for unit, amount in row.items():
                yield _price(places.get(unit, start), model, operation, unit, amount)


def _csv(text: str, _: Counter[str]) -> Iterator[Price | _Fault]:
    reader = csv.DictReader(io.StringIO(text), strict=True, skipinitialspace=True)
    try:
        headings = set(reader.fieldnames or ())
        if not {"model", "unit", "amount"} <= headings <= {"model", "unit", "amount", "operation"}:
            raise _Fault(1, "a heading with model, unit, amount and maybe operation")
        for row in reader:
            if None in row or None in row.values():
                yield _Fault(reader.line_num, f"{len(headings)} columns are looked for")
            else:
                yield _price(reader.line_num, row["model"], row.get("operation") or "*", row["unit"], row["amount"])
    except csv.Error as error:
        raise _Fault(reader.reader.line_num, str(error)) from None


def _litellm(text: str, left_out: Counter[str]) -> Iterator[Price | _Fault]:
    try:
        document = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except json.JSONDecodeError as error:
        raise _Fault(error.lineno, error.msg) from None
    if not isinstance(document, dict):
        raise _Fault(1, "an object with a member for each model")
    places = _places(text)
    qualified = sorted(document.items(), key=lambda item: item[0].startswith(f"{_provider(item[1])}/"))
    for key, entry in qualified:
        if key == "sample_spec":
            continue
        line = places.get(key, 1)
        provider = _provider(entry)
        if not isinstance(entry, dict):
            yield _Fault(line, f"{key}: an object, got {entry}")
        elif not provider and COSTS.keys() & entry.keys():
            yield _Fault(line, f"{key}: whose model it is, in litellm_provider")
        elif not provider:
            left_out[FREE] += 1
        elif "@" in key:
            left_out[ODD] += 1
        elif re.search(r"\d+-x-\d+|(\d+|max)-steps", key):
            left_out[BY_SIZE] += 1
        else:
            name = key if key.startswith(f"{provider}/") else f"{provider}/{key}"
            # A fine-tuned model's own name goes on with who made it.
            yield from _entry(line, f"{name}:*" if key.startswith("ft:") else name, entry, left_out)


def _entry(line: int, model: str, entry: Mapping[str, Any], left_out: Counter[str]) -> Iterator[Price | _Fault]:
    costs: dict[str, Decimal] = {}
    for member, unit in COSTS.items():
        cost = entry.get(member)
        if cost is None or (member == "input_cost_per_image" and entry.get("mode") not in PICTURE_MODES):
            continue
        if not isinstance(cost, Decimal) or not cost.is_finite() or cost < 0:
            yield _Fault(line, f"{model}: {member}: a number, 0 or more, got {cost}")
            return
        if unit in MILLIONS and cost > DEAREST_TOKEN:
            yield _Fault(line, f"{model}: {member}: {cost} for one token; is that for a million?")
            return
        costs[unit] = costs.get(unit) or cost
    tokens = {unit: cost * money.MICRO for unit, cost in costs.items() if unit in MILLIONS}
    # The map often has both, and each alone pays for the whole call.
    chosen = tokens if any(tokens.values()) else {unit: cost for unit, cost in costs.items() if unit not in MILLIONS and cost}
    if not chosen:
        left_out[FREE] += 1
    for why, pattern in SURCHARGES.items():
        left_out[why] += any(bool(value) and pattern.search(member) is not None for member, value in entry.items())
    for unit, cost in chosen.items():
        exact = cost * money.MICRO
        amount = int(exact.to_integral_value(ROUND_CEILING))
        if amount != exact and amount < FINE_ENOUGH:
            left_out[TOO_FINE] += 1
        else:
            yield Price(model, unit, amount)


def _provider(entry: Any) -> str:
    provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
    if not isinstance(provider, str):
        return ""
    return PROVIDERS.get(provider, provider.partition("-")[0] if provider.startswith("vertex_ai-") else provider)


def _places(text: str) -> dict[str, int]:
    """The line on which each model begins, as far as its name stands first on it."""
    return {
        json.loads(found[1]): number
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.match(r'\s*\{?\s*("(?:[^"\\]|\\.)*")\s*:\s*\{', line))
    }
