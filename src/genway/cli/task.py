"""`genway task`: what was asked for, what became of it, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from genway.billing import money
from genway.cli import callback as callbacks
from genway.cli.arguments import group
from genway.cli.output import moment, print_fields, print_json, print_table, say, size
from genway.cli.place import HERE, Opened, Place
from genway.errors import Conflict, InvalidRequest, TaskNotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from genway.tasks.model import File, State, Task
    from genway.tasks.store import TaskStore

MOVEMENTS = {"hold": "set aside", "settle": "charged", "release": "given back"}
COLUMNS = {
    "id": "id",
    "state": "state",
    "progress": "done",
    "model": "model",
    "provider": "by",
    "mode": "mode",
    "account": "account",
    "cost": "cost",
    "created_at": "asked",
}
TaskId = Annotated[str, Parameter(help="The task's id.")]

app = group("task", "List tasks, explain one and what it cost, cancel some.")


@app.command(name="list")
def list_tasks(
    *,
    state: Annotated[list[str] | None, Parameter(help="Only tasks in this state, like running. May be repeated.")] = None,
    account: Annotated[str, Parameter(help="Only tasks of this account.")] = "",
    limit: Annotated[int, Parameter(help="How many at most.")] = 20,
    place: Place = HERE,
) -> None:
    """List tasks, the newest first.

    ```sh
    genway task list
    genway task list --state queued --state running
    genway task list --account ada --limit 100 --json
    ```
    """
    from genway.access import store as access  # noqa: PLC0415

    states = [_state(word) for word in state or ()]
    with place.open() as opened:
        store = _reader(opened)

        def read(connection: Connection) -> list[dict[str, Any]]:
            names = {one.id: (one.name, one.currency) for one in access.list_accounts(connection)}
            only = access.get_account(connection, account).id if account else None
            found = store.listing(connection, account_id=only, states=states, limit=limit)
            return [_line(task, *names.get(task.account_id, (task.account_id, ""))) for task in found]

        shown = opened.read(read)
    if place.json:
        return print_json(shown)
    return print_table(shown, COLUMNS) if shown else say("There are no such tasks.")


@app.command
def show(task_id: TaskId, /, *, place: Place = HERE) -> None:
    """Explain a task: what was asked, what it cost line by line, what happened when, what came out, who was told.

    ```sh
    genway task show 0199f5f0-…
    genway task show 0199f5f0-… --json
    ```
    """
    with place.open() as opened:
        told = opened.read(lambda connection: explain(connection, opened, task_id))
    if place.json:
        return print_json(told)
    return _print(told)


@app.command
def cancel(*task_ids: Annotated[str, Parameter(help="The tasks' ids.")], place: Place = HERE) -> None:
    """End tasks that have not ended, and give their money back.

    ```sh
    genway task cancel 0199f5f0-…
    ```
    """
    from genway.tasks.model import ENDED, State  # noqa: PLC0415

    if not task_ids:
        raise InvalidRequest("say which: one or more ids")
    before = [state for state in State if state not in ENDED]
    with place.open() as opened:
        store = _writer(opened)

        def write(connection: Connection) -> list[Task]:
            ended = []
            for task_id in task_ids:
                task = store.get(connection, task_id)
                if task is None:
                    raise TaskNotFound(f"there is no task {task_id}")
                done = store.end(
                    connection,
                    task_id,
                    before,
                    State.CANCELLED,
                    opened.now,
                    "cancelled by the operator",
                    error_code="cancelled",
                    error_message="cancelled by the operator",
                )
                if done is None:
                    raise Conflict(f"the task {task_id} has {task.state} already; nothing was changed")
                ended.append(done)
            return ended

        cancelled = opened.write(write)
    if place.json:
        return print_json([{"id": task.id, "state": task.state, "given_back": money.show(task.held)} for task in cancelled])
    for task in cancelled:
        say(f"{task.id} is cancelled; {money.show(task.held, task.quote.get('currency', ''))} given back.")
    return None


def _state(word: str) -> State:
    from genway.tasks.model import State  # noqa: PLC0415

    try:
        return State(word)
    except ValueError:
        raise InvalidRequest(f"one of {', '.join(State)}, got {word}", field="--state") from None


def _reader(opened: Opened) -> TaskStore:
    from genway.tasks.store import TaskStore  # noqa: PLC0415

    return TaskStore(opened.config.callbacks, lambda dialect, state: False)


def _writer(opened: Opened) -> TaskStore:
    """Tasks as the server keeps them: what ends here is told to the client just the same."""
    from genway.dialects.base import discover  # noqa: PLC0415 - loads the web framework
    from genway.tasks.store import TaskStore  # noqa: PLC0415

    formats = {name: form for dialect in discover().values() for name, form in dialect.formats.items()}
    return TaskStore(opened.config.callbacks, lambda dialect, state: dialect in formats and formats[dialect].tells(state))


def _line(task: Task, account: str, currency: str) -> dict[str, Any]:
    cost = task.charged if task.state.ended else task.held
    return {
        "id": task.id,
        "state": task.state,
        "progress": f"{1 if task.state == 'succeeded' else task.progress:.0%}",
        "model": task.operation.model,
        "operation": task.operation.kind,
        "provider": "local" if task.local else task.provider,
        "mode": task.mode,
        "account": account,
        "cost": money.show(cost, currency),
        "created_at": moment(task.created_at),
    }


def explain(connection: Connection, opened: Opened, task_id: str) -> dict[str, Any]:
    from genway.access import store as access  # noqa: PLC0415
    from genway.billing import ledger  # noqa: PLC0415
    from genway.callbacks import outbox  # noqa: PLC0415
    from genway.routing import channels  # noqa: PLC0415

    store = _reader(opened)
    task = store.get(connection, task_id)
    if task is None:
        raise TaskNotFound(f"there is no task {task_id}; `genway task list` lists them")
    account = access.get_account(connection, task.account_id)
    names = {channel.id: channel.name for channel in channels.list_channels(connection)}
    operation = task.operation
    return {
        "id": task.id,
        "state": task.state,
        "progress": 1.0 if task.state == "succeeded" else task.progress,
        "queue_position": store.queue_position(connection, task) if task.state == "queued" else None,
        "error": {"code": task.error_code, "message": task.error_message} if task.error_code else None,
        "operation": operation.kind,
        "model": operation.model,
        "prompt": getattr(operation, "prompt", ""),
        "format": task.dialect,
        "mode": task.mode,
        "account": account.name,
        "key": task.key_id,
        "request_id": task.request_id,
        "provider": "local" if task.local else task.provider,
        "channel": names.get(task.channel_id or "", task.channel_id),
        "vendor_id": task.vendor_id,
        "attempts": task.attempt,
        "warnings": task.warnings,
        "created_at": moment(task.created_at),
        "started_at": moment(task.started_at),
        "finished_at": moment(task.finished_at),
        "deadline_at": moment(task.deadline_at),
        "charge": _charge(task, ledger.of_task(connection, task.id)),
        "history": [event | {"at": moment(event["at"])} for event in store.events(connection, task.id)],
        "files": [_file(opened, task, file) for file in task.files],
        "callbacks": [callbacks.view(callback) for callback in outbox.listing(connection, task_id=task.id)],
    }


def _charge(task: Task, movements: list[Any]) -> dict[str, Any]:
    """The price line by line, and each movement of money that followed from it."""
    return {
        "currency": task.quote.get("currency", ""),
        "simulated": task.mode == "test",
        "sold_as": task.quote.get("model"),
        "lines": [
            {
                "unit": line["unit"],
                "quantity": line["quantity"],
                "unit_price": money.show(line["amount"]),
                "total": money.show(line["total"]),
            }
            for line in task.quote.get("lines", ())
        ],
        "held": money.show(task.held),
        "charged": money.show(task.charged),
        "given_back": money.show(task.held - task.charged if task.state.ended else 0),
        "movements": [
            {"at": moment(one.created_at), "kind": one.kind, "amount": money.show(one.amount), "reason": one.memo}
            for one in movements
        ],
    }


def _file(opened: Opened, task: Task, file: File) -> dict[str, Any]:
    from genway.media.links import LinkSigner  # noqa: PLC0415

    until = int(opened.now) + opened.config.storage.link_seconds
    path = LinkSigner(opened.vault.link_key).path(file.media_id, file.extension, account_id=task.account_id, expires_at=until)
    base = (opened.config.server.public_url or task.base_url).rstrip("/")
    return {
        "role": file.role,
        "content_type": file.content_type,
        "bytes": file.bytes,
        "width": file.width,
        "height": file.height,
        "seconds": file.seconds,
        "sha256": file.sha256,
        "url": base + path,
        "url_works_until": moment(until),
    }


def _print(told: dict[str, Any]) -> None:
    error = told["error"]
    print_fields(
        {
            "task": told["id"],
            "state": told["state"] + (f" at {told['progress']:.0%}" if told["state"] == "running" else ""),
            "in the queue": told["queue_position"],
            "because": f"{error['message'] or ''} ({error['code']})".strip() if error else None,
            "asked for": f"{told['operation']} by {told['model']}, in the format {told['format']}",
            "prompt": told["prompt"] or None,
            "account": f"{told['account']}, with the {told['mode']} key {told['key']}",
            "done by": told["provider"],
            "channel": told["channel"],
            "vendor's id": told["vendor_id"] if told["vendor_id"] != told["id"] else None,
            "attempts": told["attempts"],
            "request id": told["request_id"] or None,
            "asked": told["created_at"],
            "begun": told["started_at"],
            "ended": told["finished_at"],
            "deadline": None if told["finished_at"] else told["deadline_at"],
            "note": "; ".join(told["warnings"]) or None,
        }
    )
    _print_charge(told["charge"])
    say("\nWhat happened")
    print_table(told["history"], {"at": "when", "before": "from", "after": "to", "reason": "why"})
    if told["files"]:
        say("What came out")
        for file in told["files"]:
            what = [file["role"], file["content_type"], size(file["bytes"])]
            if file["width"]:
                what.append(f"{file['width']}x{file['height']}")
            if file["seconds"]:
                what.append(f"{file['seconds']:g} s")
            say(f"  {', '.join(what)}\n    {file['url']}")
        say(f"  The links work until {told['files'][0]['url_works_until']}, while a server runs.\n")
    if told["callbacks"]:
        say("Who was told")
        print_table(told["callbacks"], {name: title for name, title in callbacks.COLUMNS.items() if name != "task_id"})


def _print_charge(charge: dict[str, Any]) -> None:
    currency = charge["currency"]
    say(f"\nWhat it cost{' (simulated money of a test key)' if charge['simulated'] else ''}")
    for line in charge["lines"]:
        each = f"{line['quantity']:g} × {line['unit_price']} {currency} for each {line['unit']}"
        say(f"  {each} of {charge['sold_as']} = {line['total']} {currency}")
    if not charge["lines"]:
        say("  nothing: no price applies")
    for one in charge["movements"]:
        why = f" ({one['reason']})" if one["reason"] else ""
        say(f"  {one['at']}  {one['amount']} {currency} {MOVEMENTS[one['kind']]}{why}")
    say(f"  in all: {charge['charged']} {currency} charged, {charge['given_back']} {currency} given back")
