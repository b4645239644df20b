"""`genway account`: those who pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from genway.billing import money
from genway.cli.arguments import Amount, group
from genway.cli.output import moment, print_fields, print_json, print_table, say
from genway.cli.place import HERE, Opened, Place
from genway.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.access.store import Account
    from genway.billing.ledger import Transfer
    from genway.billing.usage import Sum

MOST_MOVEMENTS = 20

app = group("account", "Make, top up and show the accounts that pay for what their keys order.")


@app.command
def create(
    name: str,
    /,
    *,
    topup: Amount = 0,
    credit_limit: Amount = 0,
    unlimited: bool = False,
    currency: str = "",
    place: Place = HERE,
) -> None:
    """Make an account.

    Its balance starts at zero, and work that it does not cover is refused with 402, unless the account has a credit
    limit or is without limit.

    ```sh
    genway account create ada --topup 20
    genway account create workshop --credit-limit 100
    genway account create ourselves --unlimited
    ```

    Parameters
    ----------
    name
        What to call it.
    topup
        What its balance starts with, like 20 or 12.50.
    credit_limit
        How far below zero its balance may go.
    unlimited
        Never refuse its work for want of money; what it spends is counted all the same.
    currency
        Its currency; that of the settings by default.
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import ledger  # noqa: PLC0415

    if unlimited and credit_limit:
        raise InvalidRequest("either --credit-limit or --unlimited", field="--credit-limit")
    if credit_limit < 0 or topup < 0:
        raise InvalidRequest("0 or more", field="--credit-limit" if credit_limit < 0 else "--topup")
    with place.open() as opened:
        vault = opened.vault

        def write(connection: Any) -> Account:
            account = access.create_account(
                connection,
                vault,
                name,
                currency=currency or opened.config.billing.currency,
                credit_limit=None if unlimited else credit_limit,
                now=opened.now,
            )
            if topup:
                ledger.top_up(connection, account.id, "live", topup, "first top-up", opened.now)
            return access.get_account(connection, account.id)

        account = opened.write(write)
    if place.json:
        return print_json(view(account))
    say(f"The account {account.name} is there, with {_balance(account)}.")
    return say(f"Make a key for it: genway key create --account {account.name}")


@app.command
def topup(name: str, amount: Amount, /, *, memo: str = "", place: Place = HERE) -> None:
    """Add to an account's balance. A negative amount takes a mistake back.

    ```sh
    genway account topup ada 20
    genway account topup ada 20 --memo "invoice 1042"
    genway account topup ada -5 --memo "typed 25, meant 20"
    ```

    Parameters
    ----------
    name
        The account's name or id.
    amount
        How much, in the account's currency, like 20 or 12.50.
    memo
        What the movement is for; kept with it.
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import ledger  # noqa: PLC0415

    if not amount:
        raise InvalidRequest("an amount other than 0", field="AMOUNT")
    with place.open() as opened:

        def write(connection: Any) -> Account:
            account = access.get_account(connection, name)
            ledger.top_up(connection, account.id, "live", amount, memo, opened.now)
            return _exact(connection, [access.get_account(connection, account.id)])[0]

        account = opened.write(write)
    if place.json:
        return print_json(view(account))
    return say(f"{account.name} now has {_balance(account)}.")


@app.command
def show(
    name: Annotated[str | None, Parameter(help="The account's name or id; without it all are listed.")] = None,
    /,
    *,
    place: Place = HERE,
) -> None:
    """Show an account with its keys and its last movements of money, or list all accounts.

    ```sh
    genway account show
    genway account show ada
    ```
    """
    from genway.access import store as access  # noqa: PLC0415

    with place.open() as opened:
        if name is not None:
            return _show_one(opened, name, place.json)
        accounts = opened.read(lambda connection: [view(one) for one in _exact(connection, access.list_accounts(connection))])
    if place.json:
        return print_json(accounts)
    if not accounts:
        return say("There are no accounts yet; `genway account create NAME` makes one.")
    columns = {"name": "name", "available": "available", "held": "held", "credit_limit": "credit limit"}
    return print_table(accounts, columns | {"currency": "currency", "created_at": "created"})


@app.command
def callback_secret(name: Annotated[str, Parameter(help="The account's name or id.")], /, *, place: Place = HERE) -> None:
    """Print the secret that an account's callbacks are signed with, to be handed to those who receive them.

    ```sh
    genway account callback-secret ada
    ```
    """
    from genway.access import store as access  # noqa: PLC0415

    with place.open() as opened:
        account = opened.read(lambda connection: access.get_account(connection, name))
        vault = opened.vault
        secret = opened.read(lambda connection: access.callback_secret(connection, vault, account.id))
    if place.json:
        return print_json({"account": account.name, "callback_secret": secret})
    return say(secret)


def view(account: Account) -> dict[str, Any]:
    """An account as it is printed. credit_limit: `unlimited`, or an amount."""
    return {
        "id": account.id,
        "name": account.name,
        "currency": account.currency,
        "available": money.show(account.available),
        "held": money.show(account.held),
        "credit_limit": "unlimited" if account.credit_limit is None else money.show(account.credit_limit),
        "created_at": moment(account.created_at),
        "disabled_at": moment(account.disabled_at),
    }


def _show_one(opened: Opened, name: str, as_json: bool) -> None:
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import ledger, standing, usage  # noqa: PLC0415
    from genway.cli import key as keys  # noqa: PLC0415

    def read(connection: Connection) -> tuple[Account, list[dict[str, Any]], list[Transfer], list[Sum]]:
        (account,) = _exact(connection, [access.get_account(connection, name)])
        spent = standing.of_keys(connection, account.id)
        held = [keys.view(key, account.name, spent[key.id], opened.now) for key in access.list_keys(connection, account.id)]
        used = usage.sums(connection, ("account",), usage.Span(account_id=account.id))
        return account, held, ledger.of_account(connection, account.id, MOST_MOVEMENTS), used

    account, held, moved, used = opened.read(read)
    movements = [_movement(transfer) for transfer in moved]
    spent = {f"spent_{one.mode}": money.show(one.charged) for one in used}
    counts = {f"{what}_{one.mode}": getattr(one, what) for one in used for what in ("tasks", "calls")}
    if as_json:
        return print_json(view(account) | {"used": spent | counts, "keys": held, "movements": movements})
    print_fields(view(account) | {"used": _used(used, account.currency)})
    if held:
        keys.tabulate(held)
    if movements:
        print_table(
            movements,
            {"at": "when", "kind": "what", "amount": account.currency, "mode": "money", "task_id": "task", "memo": "for"},
        )
    return None


def _exact(connection: Connection, accounts: list[Account]) -> list[Account]:
    """The accounts with what they have while leases are open."""
    from genway.billing import standing  # noqa: PLC0415

    purses = [standing.of_account(connection, account.id, "live") for account in accounts]
    return [
        msgspec.structs.replace(account, available=purse.available, held=purse.held)
        for account, purse in zip(accounts, purses, strict=True)
    ]


def _used(used: list[Sum], currency: str) -> str | None:
    simulated = {"live": "", "test": " in simulated money"}
    told = [
        f"{money.show(one.charged, currency)}{simulated[one.mode]} for {one.tasks} tasks and {one.calls} calls" for one in used
    ]
    return "; ".join(told) or None


def _movement(transfer: Transfer) -> dict[str, Any]:
    return {
        "at": moment(transfer.created_at),
        "kind": transfer.kind,
        "amount": money.show(transfer.amount),
        "mode": transfer.mode,
        "task_id": transfer.task_id,
        "memo": transfer.memo,
    }


def _balance(account: Account) -> str:
    has = money.show(account.available, account.currency)
    if account.credit_limit is None:
        return f"{has} and no limit"
    if account.credit_limit:
        return f"{has} and a credit limit of {money.show(account.credit_limit, account.currency)}"
    return has
