"""`genway price`: what models cost."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genway.billing import money
from genway.cli.arguments import Amount, group
from genway.cli.output import aside, moment, print_json, print_table, say
from genway.cli.place import HERE, Place
from genway.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.billing.prices import Price

Unit = Literal[
    "call",
    "second",
    "image",
    "character",
    "token",
    "input_mtok",
    "cached_input_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "audio_input_mtok",
    "cached_audio_input_mtok",
    "image_input_mtok",
    "output_mtok",
    "reasoning_mtok",
    "audio_output_mtok",
    "image_output_mtok",
]

CHANGES = {"model": "model", "operation": "work", "unit": "for each", "before": "now", "amount": "then"}

app = group(
    "price",
    "Say what models cost. What was set here counts before the list that ships, an exact name before a pattern.",
)


@app.command(name="set")
def set_price(model: str, amount: Amount, /, *, unit: Unit, operation: str = "*", place: Place = HERE) -> None:
    """Set what a model costs from now on. Tasks that were accepted before keep their price.

    ```sh
    genway price set runway/gen4_turbo 0.06 --unit second
    genway price set "runway/*" 0.10 --unit second --operation video
    genway price set "local/*" 0 --unit second
    genway price set openai/gpt-5.5 5.00 --unit input_mtok
    genway price set openai/gpt-5.5 30.00 --unit output_mtok
    ```

    What is set for a model replaces all that the list says of it, so set every unit that it is sold by.

    Parameters
    ----------
    model
        A model like runway/gen3, or a pattern like "runway/*". The built-in renderer sells as local/video,
        local/image and so on.
    amount
        For each unit, in the accounts' currency, like 0.05.
    unit
        What is counted; one that ends in _mtok is a million tokens of a class.
    operation
        Only for this kind of work: video, restyle, performance, upscale, image, or of call: chat, messages, speech.
    """
    from genway.billing import prices  # noqa: PLC0415

    if not model.strip() or not operation.strip():
        raise InvalidRequest("required", field="--operation" if model.strip() else "MODEL")
    with place.open() as opened:
        price = prices.Price(model, unit, amount, operation)
        before = opened.read(prices.current)
        stored = opened.write(lambda connection: prices.set_price(connection, price, opened.now))
        replaced = _units(before, price) - _units(opened.read(prices.current), price)
    if place.json:
        return print_json(view(stored))
    say(f"{model} costs {money.show(amount)} {opened.config.billing.currency} for each {unit} from now on.")
    if replaced:
        former = ", ".join(sorted(replaced))
        say(f"Its former prices for {former} count no more: set those too, or such tokens cost what their kin costs.")
    return None


@app.command(name="list")
def list_prices(
    *,
    model: Annotated[str, Parameter(help="Only the prices that may count for this model, or match this pattern.")] = "",
    place: Place = HERE,
) -> None:
    """List the prices that count now: those that were set, and the list that ships.

    ```sh
    genway price list
    genway price list --model runway/gen3
    genway price list --model "gpt-5*"
    ```
    """
    from genway.billing import prices  # noqa: PLC0415

    with place.open() as opened:
        known = opened.read(prices.current)
    shown = [price for price in known if not model or _concerns(price.model, model)]
    if place.json:
        return print_json([view(price) for price in shown])
    if not shown:
        return say(f"There is no price for {model}; `genway price set` sets one.")
    return print_table(
        _together(shown), {"model": "model", "operation": "work", "price": "price for each unit", "source": "from"}
    )


@app.command
def show(model: str, /, *, operation: str = "chat", place: Place = HERE) -> None:
    """Show what a model of the relay costs in one kind of call, class by class, and where each price is from.

    ```sh
    genway price show gpt-5.5
    genway price show openai/gpt-4o-mini-tts --operation speech
    ```

    Parameters
    ----------
    model
        The model, with or without its vendor: gpt-5.5, openai/gpt-5.5.
    operation
        The kind of call: chat, messages, responses, embeddings, image_generations, speech, transcriptions, realtime …
    """
    from genway.billing import prices  # noqa: PLC0415
    from genway.billing.tokens import INSTEAD, TOKENS  # noqa: PLC0415

    names = _names(model)
    with place.open() as opened:
        found = prices.chosen(opened.read(prices.current), names, operation)
        currency = opened.config.billing.currency
    if not found:
        raise NotFound(f"{model} has no price for {operation}; `genway price set` sets one")
    stated = {{**prices.MILLIONS, **prices.THINGS}.get(price.unit, "input"): view(price) for price in found}
    card = prices.card_of(found)
    rows = []
    for name in (*TOKENS, *prices.THINGS.values()):
        amount = getattr(card, name)
        kin = next((kin for kin in INSTEAD.get(name, ()) if kin in stated), "")
        if name not in stated and not (name in TOKENS and kin):
            continue
        source = f"as {kin.replace('_', ' ')}" if name not in stated else stated[name]["source"]
        each = "million" if name in TOKENS else "one"
        rows.append({"class": name, "amount": money.show(amount), "for_each": each, "source": source})
    sold_as = found[0].model
    if place.json:
        return print_json({"model": model, "operation": operation, "sold_as": sold_as, "currency": currency, "classes": rows})
    say(f"{model} is sold as {sold_as} for {operation}; amounts in {currency}.")
    return print_table(rows, {"class": "class", "amount": "price", "for_each": "for each", "source": "from"})


@app.command
def remove(model: str, /, *, unit: Unit, operation: str = "*", place: Place = HERE) -> None:
    """Take a price back that was set; what counted without it counts again.

    ```sh
    genway price remove runway/gen4_turbo --unit second
    ```

    Parameters
    ----------
    model
        The model or pattern, as it was set.
    unit
        The unit, as it was set.
    operation
        The kind of work, as it was set.
    """
    from genway.billing import prices  # noqa: PLC0415

    price = prices.Price(model, unit, 0, operation)
    with place.open() as opened:
        opened.write(lambda connection: prices.remove_price(connection, price, opened.now))
    if place.json:
        return print_json({"model": model, "operation": operation, "unit": unit, "removed": True})
    return say(f"The price of {model} for each {unit} that was set counts no more.")


@app.command(name="import")
def import_prices(
    file: Path,
    /,
    *,
    only: str = "",
    replace: bool = False,
    dry_run: bool = False,
    place: Place = HERE,
) -> None:
    """Set the prices of a file: all of them, or none where one makes no sense.

    ```sh
    genway price import prices.toml
    genway price import prices.csv --dry-run
    genway price import before.toml --replace
    genway price import model_prices_and_context_window.json --only "openai/*"
    ```

    A file is our own TOML, as `genway price export` prints it; or CSV with the columns model, unit, amount and maybe operation;
    or the price map that LiteLLM publishes, whose prices are in USD. What was exported before brings everything back with
    `--replace`.

    Parameters
    ----------
    file
        The file; its ending says what it is: .toml, .csv or .json.
    only
        Only the prices of models that match this pattern.
    replace
        Take back all other prices that were set, so that those of the file are all there are beside the list that ships.
    dry_run
        Show what would change, and change nothing.
    """
    from genway.billing import price_files, prices  # noqa: PLC0415

    contents = price_files.read(file.name, file.read_bytes(), may_be_empty=replace)
    wanted = [price for price in contents.prices if not only or fnmatchcase(price.model, only)]
    with place.open() as opened:
        known = opened.read(prices.current)
        listed = {_what(price): price.amount for price in known if not price.id}
        stored = {_what(price): price.amount for price in known if price.id}
        changed = [price for price in wanted if stored.get(_what(price)) != price.amount]
        kept = {_what(price) for price in wanted}
        others = [price for price in known if price.id and (not only or fnmatchcase(price.model, only))] if replace else []
        removed = [price for price in others if _what(price) not in kept]

        def write(connection: Connection) -> None:
            prices.remove_prices(connection, removed, opened.now)
            prices.set_prices(connection, changed, opened.now)

        if not dry_run:
            opened.write(write)
        currency = opened.config.billing.currency
    left_out = {} if only else contents.left_out
    if file.suffix.lower() == ".json" and currency != "USD":
        aside(f"The prices of such a file are in USD; accounts here are in {currency}.")
    replaced = sum(_what(price) in stored for price in changed)
    rows = [
        {
            "model": price.model,
            "operation": price.operation,
            "unit": price.unit,
            "amount": money.show(price.amount),
            "before": _shown(stored.get(_what(price), listed.get(_what(price)))),
        }
        for price in changed
    ]
    rows += [
        {
            "model": price.model,
            "operation": price.operation,
            "unit": price.unit,
            "amount": _shown(listed.get(_what(price))),
            "before": money.show(price.amount),
        }
        for price in removed
    ]
    counts = {"new": len(changed) - replaced, "changed": replaced, "same": len(wanted) - len(changed), "removed": len(removed)}
    if place.json:
        return print_json({"dry_run": dry_run, **counts, "left_out": left_out, "prices": rows})
    if dry_run and rows:
        print_table(rows, CHANGES)
    without = "".join(f"\nLeft out: {number} {why}." for why, number in left_out.items())
    manner = "would be set" if dry_run else "set"
    back = f", {len(removed)} taken back" if replace else ""
    return say(f"{counts['new']} {manner} anew, {replaced} changed, {counts['same']} as they were{back}.{without}")


@app.command(name="export")
def export_prices(*, everything: bool = False, csv: bool = False, place: Place = HERE) -> None:
    """Print the prices that were set, as a file that `genway price import` takes.

    ```sh
    genway price export
    genway price export --everything --csv
    ```

    Parameters
    ----------
    everything
        The lists that ship too, as far as nothing else was set.
    csv
        CSV in place of TOML.
    """
    from genway.billing import price_files, prices  # noqa: PLC0415

    with place.open() as opened:
        known = opened.read(prices.current)
    stored = {_what(price) for price in known if price.id}
    shown = [price for price in known if price.id or (everything and _what(price) not in stored)]
    if place.json:
        return print_json([view(price) for price in shown])
    return say(price_files.write(shown, as_csv=csv).rstrip("\n"))


def _names(model: str) -> Sequence[str]:
    """What a model of the relay may have a price as: with each vendor, where it is named without."""
    from genway.providers import discover  # noqa: PLC0415
    from genway.providers.relaying import RelayProvider  # noqa: PLC0415

    vendors = sorted(name for name, kind in discover().items() if issubclass(kind, RelayProvider))
    return (model,) if "/" in model else (model, *(f"{vendor}/{model}" for vendor in vendors))


def _units(known: Sequence[Price], price: Price) -> set[str]:
    """The units, among those of tokens, by which the model of a price is sold in calls of its kind."""
    from genway.billing import prices  # noqa: PLC0415

    if price.unit not in prices.MILLIONS:
        return set()
    found = prices.chosen(known, _names(price.model), "chat" if price.operation == "*" else price.operation)
    return {each.unit for each in found}


def _concerns(named: str, model: str) -> bool:
    """Whether a price's name, or the part of it after the vendor, is one that is asked for."""
    bare = named.partition("/")[2]
    names = (named,) if "/" in model or bare in {"", "*"} else (named, bare)
    return any(fnmatchcase(model, name) or fnmatchcase(name, model) for name in names)


def _together(prices: Sequence[Price]) -> list[dict[str, Any]]:
    """A row for all the units of a model that were priced together."""
    rows: dict[tuple[str, str, bool], list[Price]] = {}
    for price in prices:
        rows.setdefault((price.model, price.operation, bool(price.id)), []).append(price)
    return [
        {
            "model": model,
            "operation": operation,
            "price": ", ".join(f"{price.unit} {money.show(price.amount)}" for price in priced),
            "source": f"set on {moment(max(price.created_at for price in priced))}" if was_set else "list",
        }
        for (model, operation, was_set), priced in rows.items()
    ]


def _what(price: Price) -> tuple[str, str, str]:
    return price.model, price.operation, price.unit


def _shown(amount: int | None) -> str | None:
    return None if amount is None else money.show(amount)


def view(price: Price) -> dict[str, Any]:
    """A price as it is printed. source: `set` by somebody here, or the `list` that ships."""
    return {
        "model": price.model,
        "operation": price.operation,
        "unit": price.unit,
        "amount": money.show(price.amount),
        "source": "set" if price.id else "list",
        "since": moment(price.created_at) if price.id else None,
    }
