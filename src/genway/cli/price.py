"""`genway price`: what models cost."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genway.billing import money
from genway.cli.arguments import Amount, group
from genway.cli.output import moment, print_json, print_table, say
from genway.cli.place import HERE, Place

if TYPE_CHECKING:
    from genway.billing.prices import Price

Unit = Literal["call", "second", "image", "character", "token"]

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
    ```

    Parameters
    ----------
    model
        A model like runway/gen3, or a pattern like "runway/*". The built-in renderer sells as local/video,
        local/image and so on.
    amount
        For each unit, in the accounts' currency, like 0.05.
    unit
        What is counted.
    operation
        Only for this kind of work: video, restyle, performance, upscale, image.
    """
    from genway.billing import prices  # noqa: PLC0415

    with place.open() as opened:
        price = prices.Price(model, unit, amount, operation)
        stored = opened.write(lambda connection: prices.set_price(connection, price, opened.now))
    if place.json:
        return print_json(view(stored))
    return say(f"{model} costs {money.show(amount)} {opened.config.billing.currency} for each {unit} from now on.")


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
    ```
    """
    from genway.billing import prices  # noqa: PLC0415

    with place.open() as opened:
        known = opened.read(prices.current)
    shown = [view(price) for price in known if not model or fnmatchcase(model, price.model) or fnmatchcase(price.model, model)]
    if place.json:
        return print_json(shown)
    if not shown:
        return say(f"There is no price for {model}; `genway price set` sets one.")
    return print_table(
        shown,
        {"model": "model", "operation": "work", "amount": "price", "unit": "for each", "source": "from", "since": "since"},
    )


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
