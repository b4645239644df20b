"""`genway usage`: what was used and charged, by day, model, key or channel."""

from __future__ import annotations

import csv as files
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from genway.billing import money
from genway.cli.arguments import Duration
from genway.cli.output import print_json, print_table, say
from genway.cli.place import HERE, Place
from genway.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.billing.usage import Span, Sum

By = Literal["day", "model", "key", "channel", "account", "kind"]
DEFAULT_BY: tuple[By, ...] = ("day", "model")
DEFAULT_SINCE = 30 * 86_400.0
LOCAL = "local"
COUNTS = {
    "tasks": "tasks",
    "calls": "calls",
    "estimated": "estimated",
    "input": "tokens in",
    "output": "tokens out",
    "charged": "charged",
}


def usage(
    *,
    by: list[By] | None = None,
    account: str = "",
    key: str = "",
    model: str = "",
    channel: str = "",
    since: Duration | None = None,
    test: bool = False,
    csv: bool = False,
    place: Place = HERE,
) -> None:
    """Add up what tasks and calls were charged, also those whose money is in an open lease.

    A task counts when it was asked for, a call when it ended. Days are in UTC.

    ```sh
    genway usage
    genway usage --by key --by model --since 7d
    genway usage --account ada --by day --csv
    genway usage --channel main --json
    ```

    Parameters
    ----------
    by
        What to add up by; may be repeated. Day and model, unless given.
    account
        Only this account's.
    key
        Only with this key, by its id or name.
    model
        Only this model's, as it was named by the client.
    channel
        Only what this channel did; `local` is the built-in provider.
    since
        Of so long ago at most: 12h, 7d, 52w. Thirty days, unless given.
    test
        What test keys used, in simulated money, in place of what was real.
    csv
        Print CSV.
    """
    from genway.billing import usage as billing  # noqa: PLC0415

    if csv and place.json:
        raise InvalidRequest("either --csv or --json", field="--csv")
    groups = tuple(dict.fromkeys(by or DEFAULT_BY))
    with place.open() as opened:

        def read(connection: Connection) -> tuple[list[Sum], list[dict[str, Any]]]:
            mode = "test" if test else "live"
            wanted = span(
                connection,
                opened.now,
                account=account,
                key=key,
                model=model,
                channel=channel,
                since=DEFAULT_SINCE if since is None else since,
                mode=mode,
            )
            names = Names(connection)
            sums = billing.sums(connection, groups, wanted)
            return sums, [_view(one, groups, names) for one in sums]

        found, shown = opened.read(read)
    columns = {name: name for name in groups} | COUNTS | {"currency": "currency"}
    if place.json:
        return print_json(shown)
    if csv:
        return say(_csv(shown, list(columns)).rstrip("\n"))
    if not shown:
        return say("Nothing was used in that time." + ("" if test else " What test keys used is told with --test."))
    print_table(shown, columns)
    totals = {one.currency: sum(other.charged for other in found if other.currency == one.currency) for one in found}
    return say(f"In all: {', '.join(money.show(total, currency) for currency, total in totals.items())}")


class Names:
    """What accounts, keys and channels are called, by id; those that are gone keep their id."""

    def __init__(self, connection: Connection) -> None:
        from genway.access import store as access  # noqa: PLC0415
        from genway.routing import channels  # noqa: PLC0415

        self._accounts = {one.id: one for one in access.list_accounts(connection)}
        self._keys = {one.id: one.name for one in access.list_keys(connection)}
        self._channels = {one.id: one for one in channels.list_channels(connection)}

    def account(self, number: str) -> str:
        return self._accounts[number].name if number in self._accounts else number

    def currency(self, number: str) -> str:
        return self._accounts[number].currency if number in self._accounts else ""

    def key(self, number: str) -> str:
        return self._keys.get(number, number)

    def channel(self, number: str) -> str:
        return self._channels[number].name if number in self._channels else number

    def providers(self, number: str) -> Sequence[str]:
        """The provider of a channel; of one that is gone all it may have had.

        The built-in one stands in for those by whose prices a test key is charged.
        """
        from genway.providers import discover  # noqa: PLC0415
        from genway.relay.cards import SOLD_BY  # noqa: PLC0415

        if number == LOCAL:
            return (LOCAL, *SOLD_BY)
        return (self._channels[number].provider,) if number in self._channels else sorted(discover())


def span(
    connection: Connection,
    now: float,
    *,
    account: str = "",
    key: str = "",
    model: str = "",
    channel: str = "",
    since: float | None = None,
    mode: str = "",
) -> Span:
    """What is meant by such options. Raises NotFound for a name that nothing has."""
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing.usage import Span  # noqa: PLC0415
    from genway.routing import channels  # noqa: PLC0415

    return Span(
        since=0 if since is None else now - since,
        account_id=access.get_account(connection, account).id if account else "",
        key_id=access.get_key(connection, key).id if key else "",
        channel_id=channel if channel in {"", LOCAL} else channels.get_channel(connection, channel).id,
        model=model,
        mode=mode,
    )


def _view(one: Sum, groups: Sequence[By], names: Names) -> dict[str, Any]:
    told = {"key": names.key, "channel": names.channel, "account": names.account}
    return {
        **{name: told.get(name, str)(value) for name, value in zip(groups, one.group, strict=True)},
        "tasks": one.tasks,
        "calls": one.calls,
        "estimated": one.estimated,
        "input": one.input,
        "output": one.output,
        "charged": money.show(one.charged),
        "currency": one.currency,
    }


def _csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    table = io.StringIO()
    writer = files.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()
