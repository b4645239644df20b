"""`genway key`: what programs hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genway.billing import money
from genway.cli.arguments import Amount, Duration, group
from genway.cli.output import aside, moment, print_json, print_table, say
from genway.cli.place import HERE, Opened, Place
from genway.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.access.store import Account, Key
    from genway.billing.standing import Spending

DEFAULT_ACCOUNT = "default"
COLUMNS = {
    "id": "id",
    "name": "name",
    "account": "account",
    "ends_in": "ends in",
    "mode": "mode",
    "admin": "admin",
    "spent": "spent",
    "budget": "budget",
    "limits": "limits",
    "expires_at": "expires",
    "state": "state",
}

LIMITS = {
    "budget": "budget",
    "rpm": "requests_per_minute",
    "concurrent": "concurrent_tasks",
    "tokens-per-minute": "tokens_per_minute",
    "concurrent-streams": "concurrent_streams",
    "expires": "expires_at",
}

app = group("key", "Make, list, change and revoke the keys that programs hold.")


Requests = Annotated[int | None, Parameter(help="The most requests it may make in a minute; 0 for no limit.")]
Tasks = Annotated[int | None, Parameter(help="The most tasks it may have at once; 0 for no limit.")]
Tokens = Annotated[
    int | None,
    Parameter(
        help="The most tokens its relayed calls may read and produce in a minute, in each server process; 0 for no limit."
    ),
]
Streams = Annotated[
    int | None,
    Parameter(help="The most streamed answers it may have open at once, in each server process; 0 for no limit."),
]


@app.command
def create(
    *,
    account: str = "",
    name: str = "",
    test: bool = False,
    admin: bool = False,
    budget: Amount | None = None,
    rpm: Requests = None,
    concurrent: Tasks = None,
    tokens_per_minute: Tokens = None,
    concurrent_streams: Streams = None,
    expires: Duration | None = None,
    place: Place = HERE,
) -> None:
    """Make a key and print it, this once: only its hash is kept.

    A live key does real work for real money. A test key works on the built-in renderer with simulated money, whatever
    channels there are, and words in a prompt force outcomes (`genway:fail=moderation`, `genway:delay=8`).

    ```sh
    genway key create
    genway key create --test
    genway key create --account ada --name shop --budget 5 --expires 30d
    genway key create --account ada --name chat --rpm 60 --tokens-per-minute 100000 --concurrent-streams 8
    export GENWAY_KEY=$(genway key create --test)
    ```

    Parameters
    ----------
    account
        Who pays. Without it the account `default`, which is made without limit when there are no accounts yet.
    name
        What to call it; by default live or test, and the account's name.
    test
        Make a test key.
    admin
        Let it see and do what operators may.
    budget
        The most it may ever spend, like 5 or 12.50.
    expires
        After how long it ends: 12h, 30d, 52w.
    """
    from genway.access import store as access  # noqa: PLC0415

    _check(budget, rpm, concurrent, tokens_per_minute, concurrent_streams)
    with place.open() as opened:
        vault = opened.vault

        def write(connection: Connection) -> tuple[Account, Key, str]:
            payer = _payer(connection, opened, account)
            key, secret = access.create_key(
                connection,
                vault,
                payer.id,
                name=name or f"{'test' if test else 'live'} {payer.name}",
                mode="test" if test else "live",
                admin=admin,
                budget=budget,
                requests_per_minute=rpm,
                concurrent_tasks=concurrent,
                tokens_per_minute=tokens_per_minute,
                concurrent_streams=concurrent_streams,
                expires_at=None if expires is None else opened.now + expires,
                now=opened.now,
            )
            return payer, key, secret

        payer, key, secret = opened.write(write)
    if place.json:
        return print_json(view(key, payer.name) | {"key": secret})
    say(secret)
    aside(f"This {key.mode} key of the account {payer.name} is shown only now; keep it where secrets are kept.")
    return aside(f"Revoke it with: genway key revoke {key.id}")


@app.command(name="list")
def list_keys(
    *,
    account: Annotated[str, Parameter(help="Only the keys of this account.")] = "",
    place: Place = HERE,
) -> None:
    """List the keys, without their secrets.

    ```sh
    genway key list
    genway key list --account ada --json
    ```
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import standing  # noqa: PLC0415

    with place.open() as opened:

        def read(connection: Connection) -> list[dict[str, Any]]:
            names = {one.id: one.name for one in access.list_accounts(connection)}
            only = access.get_account(connection, account).id if account else None
            spent = standing.of_keys(connection, only)
            return [view(key, names[key.account_id], spent[key.id], opened.now) for key in access.list_keys(connection, only)]

        keys = opened.read(read)
    if place.json:
        return print_json(keys)
    if not keys:
        return say("There are no keys yet; `genway key create` makes one.")
    return tabulate(keys)


@app.command
def edit(
    key: Annotated[str, Parameter(help="The key's id or name.")],
    /,
    *,
    name: str = "",
    budget: Amount | None = None,
    rpm: Requests = None,
    concurrent: Tasks = None,
    tokens_per_minute: Tokens = None,
    concurrent_streams: Streams = None,
    expires: Duration | None = None,
    remove_limit: list[Literal["budget", "rpm", "concurrent", "tokens-per-minute", "concurrent-streams", "expires"]]
    | None = None,
    place: Place = HERE,
) -> None:
    """Change a key's limits; what is not named stays as it is, and so does its secret.

    ```sh
    genway key edit shop --budget 20
    genway key edit shop --rpm 120 --expires 30d
    genway key edit shop --remove-limit budget --remove-limit expires
    ```

    Parameters
    ----------
    name
        What to call it from now on.
    budget
        The most it may ever spend, with what it has spent already.
    expires
        After how long from now it ends: 12h, 30d, 52w.
    remove_limit
        A limit of its own that it shall no longer have; that of the settings counts then, if there is one. May be repeated.
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import standing  # noqa: PLC0415

    _check(budget, rpm, concurrent, tokens_per_minute, concurrent_streams)
    with place.open() as opened:
        given = {
            "name": name or None,
            "budget": budget,
            "requests_per_minute": rpm,
            "concurrent_tasks": concurrent,
            "tokens_per_minute": tokens_per_minute,
            "concurrent_streams": concurrent_streams,
            "expires_at": None if expires is None else opened.now + expires,
        }
        changes: dict[str, str | float | None] = dict.fromkeys(LIMITS[limit] for limit in remove_limit or ())
        changes |= {field: value for field, value in given.items() if value is not None}
        if not changes:
            raise InvalidRequest("say what to change, as in --budget 20")

        def write(connection: Connection) -> dict[str, Any]:
            changed = access.change_key(connection, access.get_key(connection, key).id, changes)
            account = access.get_account(connection, changed.account_id).name
            return view(changed, account, standing.of_key(connection, changed.id), opened.now)

        changed = opened.write(write)
    if place.json:
        return print_json(changed)
    return say(f"The key {changed['name']} (…{changed['ends_in']}) is changed; servers know within a second.")


@app.command
def revoke(key: Annotated[str, Parameter(help="The key's id or name.")], /, *, place: Place = HERE) -> None:
    """Refuse a key from now on. What runs under it goes on; a revoked key does not come back.

    ```sh
    genway key revoke shop
    ```
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import standing  # noqa: PLC0415

    with place.open() as opened:

        def write(connection: Connection) -> dict[str, Any]:
            found = access.get_key(connection, key)
            access.revoke_key(connection, found.id, opened.now)
            account = access.get_account(connection, found.account_id).name
            return view(access.get_key(connection, found.id), account, standing.of_key(connection, found.id))

        revoked = opened.write(write)
    if place.json:
        return print_json(revoked)
    return say(f"The key {revoked['name']} (…{revoked['ends_in']}) is refused from now on.")


def view(key: Key, account: str, spending: Spending | None = None, now: float = 0) -> dict[str, Any]:
    """A key as it is printed; never its secret. state: `valid`, `revoked` or `expired`. spending: nothing for a new key."""
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.id,
        "name": key.name,
        "account": account,
        "mode": key.mode,
        "admin": key.admin,
        "ends_in": key.hint,
        "budget": None if key.budget is None else money.show(key.budget),
        "spent": money.show(spending.spent if spending else 0),
        "held": money.show(spending.held if spending else 0),
        "active_tasks": key.active_tasks,
        "requests_per_minute": key.requests_per_minute,
        "concurrent_tasks": key.concurrent_tasks,
        "tokens_per_minute": key.tokens_per_minute,
        "concurrent_streams": key.concurrent_streams,
        "state": "revoked" if key.revoked_at is not None else "expired" if expired else "valid",
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
    }


def tabulate(keys: Sequence[dict[str, Any]]) -> None:
    """Print keys, as `view` made them. Columns for what none of them has are left out."""
    shown = {option: name for option, name in LIMITS.items() if name not in COLUMNS}
    rows = [
        key | {"limits": "\n".join(f"{option} {key[name]}" for option, name in shown.items() if key[name] is not None)}
        for key in keys
    ]
    missing = {name for name in ("limits", "expires_at") if not any(row[name] for row in rows)}
    print_table(rows, {name: heading for name, heading in COLUMNS.items() if name not in missing})


def _check(*limits: int | None) -> None:
    """Raises InvalidRequest naming the option."""
    for option, value in zip(LIMITS, limits, strict=False):
        if value is not None and value < 0:
            raise InvalidRequest("0 or more", field=f"--{option}")


def _payer(connection: Connection, opened: Opened, name: str) -> Account:
    from genway.access import store as access  # noqa: PLC0415
    from genway.server import BOOTSTRAP  # noqa: PLC0415

    if name:
        return access.get_account(connection, name)
    names = [one.name for one in access.list_accounts(connection) if one.name != BOOTSTRAP]
    if DEFAULT_ACCOUNT in names:
        return access.get_account(connection, DEFAULT_ACCOUNT)
    if names:
        raise NotFound(f"say who pays: one of {', '.join(names)}", field="--account")
    return access.create_account(
        connection,
        opened.vault,
        DEFAULT_ACCOUNT,
        currency=opened.config.billing.currency,
        credit_limit=None,
        now=opened.now,
    )
