"""`genway channel`: vendors and other gateways that do the work."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from genway.cli.arguments import group, pairs
from genway.cli.output import moment, print_json, print_table, say
from genway.cli.place import HERE, Opened, Place
from genway.errors import InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    import aiohttp
    from sqlalchemy import Connection

    from genway.db import Database
    from genway.routing.channels import Channel
    from genway.routing.choose import Seat
    from genway.vault import Vault

TEST_SECONDS = 20.0
Name = Annotated[str, Parameter(help="The channel's name or id.")]

app = group(
    "channel",
    "Connect vendors and other gateways. While no channel does a kind of work, the built-in renderer does it.",
)


@app.command
def add(
    name: str = "",
    /,
    *,
    provider: str,
    base_url: str = "",
    secret_stdin: bool = False,
    secret_env: str = "",
    model: list[str] | None = None,
    option: list[str] | None = None,
    priority: int = 0,
    weight: int = 1,
    concurrency: int = 0,
    timeout: float = 0,
    place: Place = HERE,
) -> None:
    """Connect a vendor's account, or another gateway.

    The secret is asked for, or read from standard input or a variable; it is never an argument, which others on the
    machine could see, and it is stored encrypted.

    ```sh
    genway channel add --provider runwayml
    genway channel add main --provider runwayml --secret-env RUNWAYML_API_SECRET --concurrency 3
    pass runway | genway channel add spare --provider runwayml --secret-stdin --priority -1
    genway channel add other --provider runway_compat --base-url https://gen.example.com
    ```

    Parameters
    ----------
    name
        What to call it; the provider's name by default.
    provider
        Who does the work: runwayml, runway_compat, or one that an installed package brings.
    base_url
        Where it is, if it is not at the vendor's usual address.
    secret_stdin
        Read the secret from standard input.
    secret_env
        Read the secret from this variable.
    model
        One of our models by the vendor's own name, like runway/gen3=gen3a_turbo. May be repeated.
    option
        A setting of the provider, like NAME=VALUE. May be repeated.
    priority
        Channels with a higher number are asked first.
    weight
        Among equals of priority, how large a share of the work it gets.
    concurrency
        How many tasks it gets at once; 0 for no limit.
    timeout
        How many seconds one call to it may take; by default what is usual for the provider.
    """
    from genway.routing import channels  # noqa: PLC0415

    for given, least, field in ((weight, 1, "--weight"), (concurrency, 0, "--concurrency"), (timeout, 0, "--timeout")):
        if given < least:
            raise InvalidRequest(f"{least} or more, got {given:g}", field=field)
    channel = channels.Channel(
        id="",
        name=name or provider,
        provider=provider,
        base_url=_address(base_url),
        models=pairs(model or (), field="--model"),
        options=pairs(option or (), field="--option"),
        priority=priority,
        weight=weight,
        concurrency=concurrency,
        timeout=timeout,
    )
    with place.open() as opened:
        vault = opened.vault
        secret = _secret(provider, secret_stdin, secret_env)
        stored = opened.write(lambda connection: channels.add_channel(connection, vault, channel, secret, opened.now))
    if place.json:
        return print_json(view(stored))
    say(f"The channel {stored.name} is there. Live work it can do goes to it from now on.")
    return say(f"Check it with: genway channel test {stored.name}")


@app.command(name="list")
def list_channels(*, place: Place = HERE) -> None:
    """List the channels, without their secrets.

    ```sh
    genway channel list
    genway channel list --json
    ```
    """
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:
        shown = [view(channel) for channel in opened.read(channels.list_channels)]
    if place.json:
        return print_json(shown)
    if not shown:
        return say("There are no channels, so the built-in renderer does the work; `genway channel add` connects a vendor.")
    columns = {"name": "name", "provider": "provider", "base_url": "address", "state": "state", "priority": "priority"}
    return print_table(shown, columns | {"weight": "weight", "concurrency": "at once", "models": "models", "id": "id"})


@app.command(name="test")
def ask_all(name: Name = "", /, *, place: Place = HERE) -> int:
    """Ask a channel, or all that are enabled, whether its address and secret are good. This costs nothing.

    ```sh
    genway channel test
    genway channel test main
    ```
    """
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:
        chosen = (
            [opened.read(lambda connection: channels.get_channel(connection, name))]
            if name
            else [channel for channel in opened.read(channels.list_channels) if channel.disabled_at is None]
        )
        answers = asyncio.run(_test(opened, chosen))
    if place.json:
        print_json(answers)
    elif not answers:
        say("There are no channels to test.")
    else:
        for answer in answers:
            say(f"{'✓' if answer['ok'] else '✗'} {answer['name']}: {answer['answer']}")
    return 0 if all(answer["ok"] for answer in answers) else 1


@app.command
def disable(name: Name, /, *, place: Place = HERE) -> None:
    """Give a channel no new work; what it has is seen through. `genway channel enable` takes it back.

    ```sh
    genway channel disable main
    ```
    """
    _enable(name, False, place)


@app.command
def enable(name: Name, /, *, place: Place = HERE) -> None:
    """Give a channel work again.

    ```sh
    genway channel enable main
    ```
    """
    _enable(name, True, place)


@app.command
def remove(name: Name, /, *, place: Place = HERE) -> None:
    """Forget a channel and its secret; refused while it has work. Disable it first and wait for that.

    ```sh
    genway channel remove main
    ```
    """
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:

        def write(connection: Connection) -> Channel:
            found = channels.get_channel(connection, name)
            channels.remove_channel(connection, found.id)
            return found

        removed = opened.write(write)
    if place.json:
        return print_json(view(removed) | {"state": "removed"})
    return say(f"The channel {removed.name} is gone.")


def view(channel: Channel) -> dict[str, Any]:
    """A channel as it is printed; never its secret."""
    return {
        "id": channel.id,
        "name": channel.name,
        "provider": channel.provider,
        "base_url": channel.base_url,
        "models": channel.models,
        "options": channel.options,
        "priority": channel.priority,
        "weight": channel.weight,
        "concurrency": channel.concurrency,
        "timeout": channel.timeout,
        "state": "enabled" if channel.disabled_at is None else "disabled",
        "created_at": moment(channel.created_at),
    }


@asynccontextmanager
async def seated(
    database: Database,
    vault: Vault,
    *,
    tracing: list[aiohttp.TraceConfig] | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[dict[str, Seat]]:
    """Every usable channel with its provider at work, by id. tracing: told of each call that is made."""
    import aiohttp  # noqa: PLC0415

    from genway.routing.choose import Router  # noqa: PLC0415

    async with aiohttp.ClientSession(trust_env=False, trace_configs=tracing) as http:
        router = Router(database, vault, http, local=None, clock=clock)
        try:
            yield {seat.channel.id: seat for seat in await router.seats()}
        finally:
            await router.close()


async def ask(seat: Seat) -> str:
    """The channel's own words that it is well. Raises Unavailable saying what is wrong."""
    from genway.providers.base import ProviderError  # noqa: PLC0415

    try:
        return await asyncio.wait_for(seat.provider.test(), min(seat.channel.timeout, TEST_SECONDS))
    except ProviderError as error:
        raise Unavailable(f"{error.message} ({error.code})") from error
    except TimeoutError as error:
        raise Unavailable("no answer in time") from error


async def _test(opened: Opened, chosen: list[Channel]) -> list[dict[str, Any]]:
    async with seated(opened.database, opened.vault) as seats:

        async def one(channel: Channel) -> dict[str, Any]:
            try:
                if channel.id not in seats:
                    raise Unavailable("its secret cannot be decrypted, or its provider is not installed")
                said, ok = await ask(seats[channel.id]), True
            except Unavailable as error:
                said, ok = error.message, False
            return {"name": channel.name, "ok": ok, "answer": said}

        return list(await asyncio.gather(*map(one, chosen)))


def _enable(name: str, enabled: bool, place: Place) -> None:
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:

        def write(connection: Connection) -> Channel:
            found = channels.get_channel(connection, name)
            channels.set_enabled(connection, found.id, enabled, opened.now)
            return channels.get_channel(connection, found.id)

        changed = opened.write(write)
    if place.json:
        return print_json(view(changed))
    return say(f"The channel {changed.name} {'gets work again' if enabled else 'gets no new work'}.")


def _address(base_url: str) -> str:
    if base_url and not base_url.startswith(("http://", "https://")):
        raise InvalidRequest(f"an address like https://gen.example.com, got {base_url}", field="--base-url")
    return base_url.rstrip("/")


def _secret(provider: str, from_stdin: bool, variable: str) -> str:
    if from_stdin and variable:
        raise InvalidRequest("either --secret-stdin or --secret-env", field="--secret-env")
    if variable:
        if variable not in os.environ:
            raise NotFound(f"there is no variable {variable}", field="--secret-env")
        secret = os.environ[variable]
    elif from_stdin:
        secret = sys.stdin.read()
    elif sys.stdin.isatty():
        import getpass  # noqa: PLC0415

        secret = getpass.getpass(f"The secret of {provider} (not shown): ")
    else:
        raise InvalidRequest("give the secret with --secret-stdin or --secret-env NAME")
    if not secret.strip():
        raise InvalidRequest("the secret is empty")
    return secret.strip()
