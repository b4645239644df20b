"""`genway callback`: what is told to clients' own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genway.cli.arguments import group
from genway.cli.output import moment, print_json, print_table, say
from genway.cli.place import HERE, Place
from genway.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from genway.callbacks.outbox import Callback

COLUMNS = {
    "id": "id",
    "task_id": "task",
    "event": "tells",
    "state": "state",
    "attempts": "tries",
    "last_status": "last status",
    "last_error": "last error",
    "next_at": "next try",
    "url": "address",
}

app = group("callback", "List callbacks, and send them again.")


@app.command(name="list")
def list_callbacks(
    *,
    state: Annotated[
        Literal["waiting", "delivered", "dead"] | None, Parameter(help="Only those; `dead` ones are not tried any more.")
    ] = None,
    task: Annotated[str, Parameter(help="Only those of this task.")] = "",
    account: Annotated[str, Parameter(help="Only those of this account.")] = "",
    limit: Annotated[int, Parameter(help="How many at most.")] = 50,
    place: Place = HERE,
) -> None:
    """List callbacks, the newest first.

    ```sh
    genway callback list
    genway callback list --state dead
    genway callback list --task 0199f5f0-…
    ```
    """
    from genway.access import store as access  # noqa: PLC0415
    from genway.callbacks import outbox  # noqa: PLC0415

    with place.open() as opened:
        callbacks = opened.read(
            lambda connection: outbox.listing(
                connection,
                account_id=access.get_account(connection, account).id if account else None,
                task_id=task or None,
                state=state,
                limit=limit,
            )
        )
    shown = [view(callback) for callback in callbacks]
    if place.json:
        return print_json(shown)
    return print_table(shown, COLUMNS) if shown else say("There are no such callbacks.")


@app.command
def replay(
    callback: Annotated[str, Parameter(help="A callback's id.")] = "",
    /,
    *,
    dead: Annotated[bool, Parameter(help="All that are not tried any more.")] = False,
    task: Annotated[str, Parameter(help="All of this task, delivered or not.")] = "",
    place: Place = HERE,
) -> None:
    """Send callbacks again, from the first try on: one, those of a task, or all dead ones.

    A receiver that has seen a callback before knows it by its `webhook-id`, which stays the same.

    ```sh
    genway callback replay cb_0199f5f0…
    genway callback replay --task 0199f5f0-…
    genway callback replay --dead
    ```
    """
    from genway.callbacks import outbox  # noqa: PLC0415

    if sum(map(bool, (callback, dead, task))) != 1:
        raise InvalidRequest("say which: a callback's id, --task ID or --dead")
    with place.open() as opened:
        sent = opened.write(
            lambda connection: outbox.replay(
                connection,
                now=opened.now,
                give_up_seconds=opened.config.callbacks.give_up_seconds,
                callback_id=callback or None,
                task_id=task or None,
            )
        )
    if not sent and not dead:
        raise NotFound(f"there is no callback {callback or f'of task {task}'} that is not being tried right now")
    if place.json:
        return print_json({"replayed": sent})
    return say(f"{len(sent)} will be sent again as soon as a server runs." if sent else "There are no dead callbacks.")


def view(callback: Callback) -> dict[str, Any]:
    """A callback as it is printed."""
    return {
        "id": callback.id,
        "task_id": callback.task_id,
        "event": callback.event,
        "state": callback.state,
        "url": callback.url,
        "attempts": callback.attempts,
        "last_status": callback.last_status,
        "last_error": callback.last_error,
        "next_at": moment(callback.next_at) if callback.state == "waiting" else None,
        "give_up_at": moment(callback.give_up_at),
        "created_at": moment(callback.created_at),
        "delivered_at": moment(callback.delivered_at),
    }
