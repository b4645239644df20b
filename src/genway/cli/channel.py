"""`genway channel`: vendors and other gateways that do the work."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from genway.cli.arguments import group, pairs
from genway.cli.output import moment, print_fields, print_json, print_table, say
from genway.cli.place import HERE, Opened, Place
from genway.errors import InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    import aiohttp
    from sqlalchemy import Connection

    from genway.db import Database
    from genway.providers.relaying import RelayProvider
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
    genway channel add gpt --provider openai --secret-env OPENAI_API_KEYS --option requests_per_minute=500
    genway channel add house --provider openai --base-url http://10.0.0.7:8000/v1 --secret-stdin --option unpriced=free
    ```

    For text, speech and pictures (`openai`, `anthropic`, `azure-openai`) the secret may be several keys with commas between,
    which share the work. Such a channel has the models of `--model`, or else those its provider is known for; with an address
    of its own and no model it takes any name. Its options:

    | option | what it does |
    |---|---|
    | `requests_per_minute`, `tokens_per_minute` | the most that each server process sends it in a minute |
    | `unpriced=free` | models without a price cost nothing, in place of being refused |
    | `stream_usage=no` | streams are not asked for their usage, for servers that refuse that; it is counted here then |
    | `shared` | which vector stores, prompts, skills, voices, tunnels of the account all may name, like `vs_1 pmpt_*` |
    | `header.NAME`, `query.NAME` | is sent with every call; a header in place of the usual one of that name |
    | `traits.NAME` | what its models take where calls are translated, like `traits.ceiling=8192` |
    | `organization`, `project` | of an OpenAI account |
    | `api_version` | of Azure |

    Parameters
    ----------
    name
        What to call it; the provider's name by default.
    provider
        Who does the work: runwayml, openai, anthropic …, or one that an installed package brings.
    base_url
        Where it is, if it is not at the vendor's usual address.
    secret_stdin
        Read the secret from standard input.
    secret_env
        Read the secret from this variable.
    model
        One of our models by the vendor's own name, like runway/gen3=gen3a_turbo or fast=gpt-5-mini. May be repeated.
    option
        A setting of the provider, like NAME=VALUE. May be repeated.
    priority
        Channels with a higher number are asked first.
    weight
        Among equals of priority, how large a share of the work it gets.
    concurrency
        How many tasks or calls it gets at once; 0 for no limit.
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
    _check_relayed(channel)
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


@app.command
def show(name: Name, /, *, place: Place = HERE) -> None:
    """Show all of a channel but its secret: of its keys only what they are called elsewhere, the start of their SHA-256.

    ```sh
    genway channel show main
    ```
    """
    from genway.providers.relaying import fingerprint  # noqa: PLC0415
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:
        found = opened.read(lambda connection: channels.get_channel(connection, name))
        secrets = opened.vault.decrypt(found.secret).replace(",", " ").split() if _relay_provider(found) else []
    told = view(found) | ({"keys": [fingerprint(secret) for secret in secrets]} if secrets else {})
    if place.json:
        return print_json(told)
    return print_fields(told | {"keys": ", ".join(told.get("keys", ())) or None})


@app.command
def edit(
    name: Name,
    /,
    *,
    base_url: str | None = None,
    secret_stdin: bool = False,
    secret_env: str = "",
    model: list[str] | None = None,
    remove_model: list[str] | None = None,
    option: list[str] | None = None,
    remove_option: list[str] | None = None,
    priority: int | None = None,
    weight: int | None = None,
    concurrency: int | None = None,
    timeout: float | None = None,
    place: Place = HERE,
) -> None:
    """Change a channel; what is not named stays as it is.

    Work under way goes on. What servers have learned of the channel's troubles is forgotten.

    ```sh
    genway channel edit main --priority 5 --concurrency 10
    genway channel edit gpt --model fast=gpt-5-mini --remove-model slow
    genway channel edit gpt --option requests_per_minute=500 --remove-option unpriced
    pass openai | genway channel edit gpt --secret-stdin
    ```

    Parameters
    ----------
    base_url
        Where it is; empty for the vendor's usual address.
    secret_stdin
        Read a new secret from standard input.
    secret_env
        Read a new secret from this variable.
    model
        One of our models by the vendor's own name: a new one, or another name for one it has. May be repeated.
    remove_model
        One of our models that it shall no longer have. May be repeated.
    option
        A setting of the provider, like NAME=VALUE. May be repeated.
    remove_option
        A setting that it shall no longer have. May be repeated.
    priority
        Channels with a higher number are asked first.
    weight
        Among equals of priority, how large a share of the work it gets.
    concurrency
        How many tasks or calls it gets at once; 0 for no limit.
    timeout
        How many seconds one call to it may take; 0 for what is usual for the provider.
    """
    import msgspec  # noqa: PLC0415

    from genway.routing import channels  # noqa: PLC0415

    for given, least, field in ((weight, 1, "--weight"), (concurrency, 0, "--concurrency"), (timeout, 0, "--timeout")):
        if given is not None and given < least:
            raise InvalidRequest(f"{least} or more, got {given:g}", field=field)
    numbers = {"priority": priority, "weight": weight, "concurrency": concurrency, "timeout": timeout}
    changes: dict[str, Any] = {field: given for field, given in numbers.items() if given is not None}
    if base_url is not None:
        changes["base_url"] = _address(base_url)
    if not (changes or secret_stdin or secret_env or model or remove_model or option or remove_option):
        raise InvalidRequest("say what to change, as in --priority 5")
    with place.open() as opened:
        vault = opened.vault
        before = opened.read(lambda connection: channels.get_channel(connection, name))
        secret = _secret(before.provider, secret_stdin, secret_env) if secret_stdin or secret_env else None
        named, set_ = pairs(model or (), field="--model"), pairs(option or (), field="--option")

        def write(connection: Connection) -> Channel:
            found = channels.get_channel(connection, before.id)
            changed = msgspec.structs.replace(
                found,
                models=_without(found.models, remove_model, "--remove-model") | named,
                options=_without(found.options, remove_option, "--remove-option") | set_,
                **changes,
            )
            _check_relayed(changed)
            return channels.change_channel(connection, vault, changed, secret)

        stored = opened.write(write)
    if place.json:
        return print_json(view(stored))
    return say(f"The channel {stored.name} is changed; servers know within a second.")


@app.command
def reset(name: Name, /, *, place: Place = HERE) -> None:
    """Give a channel work again at once, with all its models and keys, whatever went wrong with them before.

    A server leaves alone for a while what fails: a model for seconds to minutes, a key that was refused for ten minutes.

    ```sh
    genway channel reset main
    ```
    """
    from genway.routing import channels  # noqa: PLC0415

    with place.open() as opened:

        def write(connection: Connection) -> Channel:
            found = channels.get_channel(connection, name)
            channels.renew_channel(connection, found.id)
            return channels.get_channel(connection, found.id)

        renewed = opened.write(write)
    if place.json:
        return print_json(view(renewed))
    return say(f"The channel {renewed.name} gets work again; servers know within a second.")


@app.command
def health(name: Name = "", /, *, url: str = "", key_env: str = "GENWAY_KEY", place: Place = HERE) -> int:
    """Ask a running server how the channels fare: what is left alone, until when and why. It must know an admin key.

    Of several workers the one that answers tells what it has seen itself. The exit code is 1 if anything is left alone.

    ```sh
    genway channel health
    genway channel health main --url https://gen.example.com --key-env GENWAY_ADMIN_KEY
    ```

    Parameters
    ----------
    url
        Where the server is; on this machine, at the port of the settings, unless given.
    key_env
        The variable that holds an admin key.
    """
    server = place.settings().server
    host = "127.0.0.1" if server.host in {"0.0.0.0", "::"} else server.host  # noqa: S104 - where it listens, not where to call
    where = _address(url, "--url") or f"http://{host}:{server.port}"
    if not os.environ.get(key_env):
        raise NotFound(f"there is no variable {key_env}; put an admin key there (genway key create --admin)", field="--key-env")
    told = fetch(f"{where}/v1/admin/channels", os.environ[key_env])["data"]
    if name and not (told := [channel for channel in told if name in {channel["name"], channel["id"]}]):
        raise NotFound(f"the server has no channel {name}")
    if place.json:
        print_json(told)
    else:
        for line in (line for channel in told for line in _fares(channel)):
            say(line)
    return 0 if all(channel["state"] in {"well", "disabled"} for channel in told) else 1


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


def fetch(url: str, key: str) -> Any:
    """What a server answers to an admin key. Raises Unavailable saying why it does not."""
    import json  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - checked by the caller
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TEST_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(2000).decode("utf-8", "replace")
        try:
            said = json.loads(said)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            said = said[:200]
        raise Unavailable(f"{url} answered {error.code}: {said}") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{url} does not answer: {getattr(error, 'reason', error)}") from None


def _fares(channel: dict[str, Any]) -> list[str]:
    """A channel as a server sees it, and a line for each thing that is left alone."""
    busy = f", {channel['busy']} calls under way" if channel.get("busy") else ""
    lines = [f"{'✓' if channel['state'] in {'well', 'disabled'} else '!'} {channel['name']}: {channel['state']}{busy}"]
    parts = [*channel.get("keys", ()), *channel.get("models", ())]
    if channel.get("until"):
        lines.append(f"    until {channel['until']}: {channel['why']}")
    for part in parts:
        if part["state"] != "well":
            what = f"key {part['key']}" if "key" in part else f"model {part['model']}"
            until = f" until {part['until']}" if part["until"] else ""
            lines.append(f"    {what} {part['state']}{until}: {part['why']}")
    return lines


def _relay_provider(channel: Channel) -> type[RelayProvider] | None:
    """The provider of a channel that calls are relayed to."""
    from genway.providers import discover  # noqa: PLC0415
    from genway.providers.relaying import RelayProvider  # noqa: PLC0415

    kind = discover().get(channel.provider)
    return kind if kind is not None and issubclass(kind, RelayProvider) else None


def _check_relayed(channel: Channel) -> None:
    """What only a channel that calls are relayed to must not have: other options than there are, patterns of models.

    Raises InvalidRequest.
    """
    if kind := _relay_provider(channel):
        from genway.relay import options  # noqa: PLC0415

        options.check(kind, channel.options)
        for ours, theirs in channel.models.items():
            if "*" in ours + theirs and (ours, theirs) != ("*", "*"):
                raise InvalidRequest(f"names, or *=* for any other name, got {ours}={theirs}", field="--model")


def _without(values: Mapping[str, str], names: Sequence[str] | None, field: str) -> dict[str, str]:
    for name in names or ():
        if name not in values:
            raise NotFound(f"it has no {name}; it has {', '.join(values) or 'none'}", field=field)
    return {name: value for name, value in values.items() if name not in (names or ())}


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


def _address(given: str, field: str = "--base-url") -> str:
    """An address without a slash at its end. Raises InvalidRequest naming `field` where nobody can be there."""
    address = given.strip()
    try:
        parts = urlsplit(address)
        found = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        found = False
    if address and (not found or not re.fullmatch(r"[!-~]+", address)):
        raise InvalidRequest(f"an address like https://gen.example.com, got {address}", field=field)
    if address and parts.username is not None:
        raise InvalidRequest(
            "an address without a name and a password, since it is shown; they go into the secret", field=field
        )
    if "?" in address or "#" in address:
        raise InvalidRequest("an address without ? and #", field=field)
    return address.rstrip("/")


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
