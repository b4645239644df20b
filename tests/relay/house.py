"""A gateway behind a real socket, in the test's own event loop: its clock and its waits are the test's."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec

from genway.access import store as access
from genway.app import Application
from genway.billing import ledger
from genway.billing.prices import Price, set_price
from genway.config import Config, load
from genway.db import Database
from genway.db.tables import calls, channels, keys, metadata
from genway.errors import GenwayError
from genway.relay.seats import Seat
from genway.routing.channels import Channel, add_channel
from genway.vault import open_vault
from genway.wire.exchange import Exchange
from genway.wire.pool import Unreachable
from genway.wire.server import Server

DEADLINE = 10.0
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
SECRET = "gw_live_the_key_of_the_house"
Way = Literal["as it comes", "long", "straight"]


class Told(msgspec.Struct, frozen=True):
    """An answer. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def channel(self) -> str:
        return self.headers["x-genway-channel"]


class House:
    """A gateway in this process. now: what its clock shows, in Unix seconds. url: without `/v1`.

    waited: the seconds between tries, which pass at once. It has one account without limit; `SECRET` is its key.
    way: how calls are led: the long way, by a task each; straight, for which all is made ready before each `post`; or whichever
    suits. straight: how many went straight, from where some go on the long way.
    """

    def __init__(self, config: Config, way: Way = "as it comes") -> None:
        self.config = config
        self.now = time.time()
        self.waited: list[float] = []
        self.way = way
        self.straight = 0
        self.url = ""
        config.data_dir.mkdir(parents=True, exist_ok=True)
        self.database = Database(config.database_url, readers=1)
        metadata.create_all(self.database.engine)
        self.vault = open_vault(config)
        self.app = Application(config, owner="house", clock=lambda: self.now)

    async def start(self) -> None:
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        self.write(lambda connection: set_price(connection, Price("*", "call", 7), self.now))
        self.account = self.write(
            lambda c: access.create_account(c, self.vault, "house", currency="USD", credit_limit=None, now=self.now)
        ).id
        self.key_id = self.key(SECRET)
        await self.app.start()
        self.relay = self.app.relay
        self.board = self.relay.board
        self.relay._sender.wait = self._wait
        self.server = Server(self.app.handle, take=self._take)
        self.url = f"http://127.0.0.1:{await self.server.listen('127.0.0.1', 0)}"

    async def stop(self) -> None:
        await self.http.close()
        await self.server.close(0)
        await self.app.stop(0)
        self.database.close()

    async def clear(self) -> None:
        """Without channels, calls and waits, and with no key but the first."""

        def empty(connection: Any) -> None:
            for table in (channels, calls):
                connection.execute(table.delete())
            connection.execute(keys.delete().where(keys.c.id != self.key_id))

        self.write(empty)
        self.forget_callers()
        self.waited.clear()
        self.straight = 0
        await self.board.refresh()

    def forget_callers(self) -> None:
        """As a second later: who a key belongs to is looked up anew."""
        self.relay.callers._by_header.clear()
        self.app.gateway._callers.clear()

    def _take(self, exchange: Exchange) -> bool:
        taken = self.way != "long" and self.app.take(exchange)
        self.straight += taken
        return taken

    async def warm(self, key: str = SECRET) -> None:
        """Where calls go straight, make all ready for one: a key that is known, money at hand, a connection to each channel."""
        if self.way != "straight":
            return
        callers, meter, pool = self.relay.callers, self.relay.meter, self.app._pool
        with contextlib.suppress(GenwayError):
            holder = callers._by_header[key.encode()] = callers.known(await callers._identify(key))
            meter.release(meter.reserve(holder.caller, 1) or await meter.fetch(holder.caller, 1))
        for origin in {seat.origin for seat in self.board.seats}:
            if not any(connection.usable for connection in origin.idle):
                with contextlib.suppress(Unreachable):
                    connection = await pool._connect(origin, DEADLINE)
                    connection.idle_since = time.monotonic()
                    origin.idle.append(connection)

    async def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def write(self, work: Callable[[Any], Any]) -> Any:
        return self.database.write_now(work)

    def key(self, secret: str, account: str = "", **what: Any) -> str:
        """Another key, of the house's account or another. Returns its id."""
        made, _ = self.write(
            lambda connection: access.create_key(
                connection, self.vault, account or self.account, name=secret, secret=secret, now=self.now, **what
            )
        )
        return str(made.id)

    def purse(self, secret: str, amount: int, **what: Any) -> str:
        """A key of an account of its own with so many millionths. Returns the account's id."""
        vault, now, name = self.vault, self.now, uuid.uuid4().hex
        account = self.write(lambda c: access.create_account(c, vault, name, currency="USD", credit_limit=0, now=now)).id
        if amount:
            self.write(lambda connection: ledger.top_up(connection, account, "live", amount, "purse", now))
        self.key(secret, account, **what)
        return str(account)

    async def channel(self, name: str, url: str, provider: str = "openai", secret: str = "sk-channel", **what: Any) -> Seat:
        """A channel to an address, without `/v1`; it is there at once."""
        path = {"openai": "/v1", "anthropic": "/v1", "azure-openai": "/openai"}[provider]
        channel = Channel(id="", name=name, provider=provider, base_url=f"{url}{path}", **what)
        made = self.write(lambda connection: add_channel(connection, self.vault, channel, secret, self.now))
        await self.board.refresh()
        seat = self.board.seat(made.id)
        assert seat is not None
        return seat

    async def post(self, path: str, body: Any, key: str = SECRET, **headers: str) -> Told:
        """One request. body: bytes as they are, anything else as JSON. Underscores of headers stand for hyphens."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        await self.warm(key)
        async with self.http.post(f"{self.url}{path}", data=data, headers=sent) as answer:
            return Told(answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read())

    async def chat(self, model: str = "gpt-5", **more: Any) -> Told:
        key = more.pop("key", SECRET)
        return await self.post(CHAT, {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}, key)

    async def messages(self, model: str = "claude-x", **more: Any) -> Told:
        key = more.pop("key", SECRET)
        body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}], **more}
        return await self.post(MESSAGES, body, key)

    def recorded(self) -> list[Any]:
        """The calls on record, oldest first."""
        return list(self.database.read_now(lambda c: c.execute(calls.select().order_by(calls.c.created_at, calls.c.id)).all()))


@contextlib.asynccontextmanager
async def opened(data: Path, way: Way = "as it comes", **settings: Any) -> AsyncIterator[House]:
    """A house as long as the block lasts. settings: sections of the configuration."""
    house = House(load(overrides={"data": str(data), **settings}), way)
    await house.start()
    try:
        yield house
    finally:
        await house.stop()


async def until(found: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Return when `found`. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not found():
            await asyncio.sleep(0.005)


def chat_answer(text: str = "Hello", **usage: int) -> bytes:
    """A chat completion."""
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **usage},
        }
    )  # fmt: skip


def message_answer(text: str = "Hello") -> bytes:
    """A message."""
    return msgspec.json.encode(
        {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": text}],
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }
    )  # fmt: skip


def data(value: Any, name: str = "") -> bytes:
    """One event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + msgspec.json.encode(value) + b"\n\n"


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
DONE = b"data: [DONE]\n\n"


def chat_events(*texts: str, usage: bool = True, done: bool = True) -> list[bytes]:
    """The events of a chat stream that says these pieces."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
    told = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    told.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        told.append({**base, "choices": [], "usage": USAGE})
    return [data(event) for event in told] + ([DONE] if done else [])


def message_events(*texts: str) -> list[bytes]:
    """The events of a message stream that says these pieces."""
    begun: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
    }  # fmt: skip
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [data(event, event["type"]) for event in told]
