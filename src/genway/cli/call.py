"""`genway call`: what was relayed, and why it cost what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genway.billing import money
from genway.cli.arguments import Duration, group
from genway.cli.output import moment, print_fields, print_json, print_table, say
from genway.cli.place import HERE, Place
from genway.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.billing.calls import Call, Explanation
    from genway.billing.prices import Price

COLUMNS = {
    "id": "id",
    "at": "when",
    "kind": "call",
    "model": "model",
    "channel": "channel",
    "key": "key",
    "outcome": "outcome",
    "input_tokens": "in",
    "output_tokens": "out",
    "seconds": "seconds",
    "cost": "cost",
}
OUTCOMES = {
    "done": "answered in full",
    "client_gone": "the client went away before its end",
    "broken_off": "the vendor broke off",
}

app = group("call", "List the calls of the relay (chat, embeddings, speech …) and explain what one cost.")


@app.command(name="list")
def list_calls(
    *,
    account: str = "",
    key: str = "",
    model: str = "",
    channel: str = "",
    since: Duration | None = None,
    outcome: Literal["done", "client_gone", "broken_off"] | None = None,
    estimated: bool = False,
    limit: int = 20,
    place: Place = HERE,
) -> None:
    """List calls, the newest first.

    ```sh
    genway call list
    genway call list --account ada --since 1d --limit 100
    genway call list --model gpt-5.5 --outcome broken_off --json
    genway call list --estimated
    ```

    Parameters
    ----------
    account
        Only calls of this account.
    key
        Only calls with this key, by its id or name.
    model
        Only calls for this model, as the client named it.
    channel
        Only calls that went to this channel; `local` is the built-in provider.
    since
        Only calls of so long ago at most: 30m, 12h, 7d.
    outcome
        Only calls that ended so.
    estimated
        Only calls whose usage was counted here, since the vendor did not tell it.
    limit
        How many at most.
    """
    from genway.billing import calls  # noqa: PLC0415
    from genway.cli.usage import Names, span  # noqa: PLC0415

    if limit < 1:
        raise InvalidRequest(f"1 or more, got {limit}", field="--limit")
    with place.open() as opened:

        def read(connection: Connection) -> list[dict[str, Any]]:
            names = Names(connection)
            wanted = span(connection, opened.now, account=account, key=key, model=model, channel=channel, since=since)
            found = calls.listing(connection, wanted, outcome=outcome or "", estimated=True if estimated else None, limit=limit)
            return [view(call, names) for call in found]

        shown = opened.read(read)
    if place.json:
        return print_json(shown)
    return print_table(shown, COLUMNS) if shown else say("There are no such calls.")


@app.command
def show(
    call_id: Annotated[str, Parameter(help="The call's id, or the request id of its answer.")], /, *, place: Place = HERE
) -> None:
    """Explain a call: who made it, where it went, what it used, and what that cost line by line.

    ```sh
    genway call show cll_0199f5f0…
    genway call show req_0199f5f0… --json
    ```
    """
    from genway.billing import calls  # noqa: PLC0415
    from genway.cli.usage import Names  # noqa: PLC0415

    with place.open() as opened:

        def read(connection: Connection) -> list[dict[str, Any]]:
            names = Names(connection)
            return [
                view(call, names) | _explained(call, calls.explain(connection, call, names.providers(call.channel_id)), names)
                for call in calls.get(connection, call_id)
            ]

        told = opened.read(read)
    if place.json:
        return print_json(told[0] if len(told) == 1 else told)
    for each in told:
        _print(each)
    return None


def view(call: Call, names: Any) -> dict[str, Any]:
    """A call as it is printed."""
    return {
        "id": call.id,
        "at": moment(call.created_at),
        "kind": call.kind,
        "model": call.model,
        "vendor_model": call.vendor_model,
        "channel": names.channel(call.channel_id),
        "account": names.account(call.account_id),
        "key": names.key(call.key_id),
        "mode": call.mode,
        "status": call.status,
        "outcome": call.outcome,
        "attempts": call.attempts,
        "seconds": round(call.milliseconds / 1000, 3),
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "estimated": call.estimated,
        "cost": money.show(call.cost, names.currency(call.account_id)),
        "request_id": call.request_id,
    }


def _explained(call: Call, why: Explanation, names: Any) -> dict[str, Any]:
    return {
        "currency": names.currency(call.account_id),
        "lines": [
            {
                "what": line.name,
                "quantity": line.quantity,
                "price": money.show(line.amount),
                "for_each": "million" if line.name in _by_the_million() else "one",
                "total": money.show(line.total),
            }
            for line in why.lines
        ],
        "adds_up": why.exact,
        "prices": [_price(price) for price in why.prices],
        "lease": call.lease_id,
    }


def _price(price: Price) -> dict[str, Any]:
    return {
        "model": price.model,
        "operation": price.operation,
        "unit": price.unit,
        "amount": money.show(price.amount),
        "source": "set" if price.id else "list",
        "since": moment(price.created_at) if price.id else None,
    }


def _by_the_million() -> tuple[str, ...]:
    from genway.billing.tokens import TOKENS  # noqa: PLC0415

    return TOKENS


def _print(told: dict[str, Any]) -> None:
    named = told["model"] if told["vendor_model"] in {"", told["model"]} else f"{told['model']} ({told['vendor_model']} there)"
    print_fields(
        {
            "call": told["id"],
            "asked for": f"{told['kind']} by {named}",
            "account": f"{told['account']}, with the {told['mode']} key {told['key']}",
            "channel": told["channel"],
            "tries": told["attempts"],
            "ended": f"{told['at']}, after {told['seconds']:g} s: {OUTCOMES[told['outcome']]}",
            "request id": told["request_id"],
            "usage": "counted here, since the vendor did not tell it" if told["estimated"] else "as the vendor told it",
            "charged to": told["lease"] or "the account directly",
        }
    )
    say(f"\nWhat it cost{' (simulated money of a test key)' if told['mode'] == 'test' else ''}")
    currency = told["currency"]
    for line in told["lines"]:
        each = " million" if line["for_each"] == "million" else ""
        what = line["what"].replace("_", " ")
        say(f"  {line['quantity']:g} {what} at {line['price']} {currency} for each{each} = {line['total']} {currency}")
    if not told["lines"]:
        say("  nothing that has a price")
    say(f"  in all: {told['cost']}")
    if not told["adds_up"]:
        say("  The lines do not add up to that: the price that counted then is not known any more, and these are today's.")
    sources = dict.fromkeys(
        f"{price['model']} for {'all work' if price['operation'] == '*' else price['operation']}, "
        + (f"set on {price['since']}" if price["source"] == "set" else "from the list that ships")
        for price in told["prices"]
    )
    for source in sources:
        say(f"  price: {source}")
    say("")
