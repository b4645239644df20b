"""A whole gateway in the test's event loop before the strict stand-ins: two accounts, and a clock that stands."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from sqlalchemy import select

from genway.access import store as access
from genway.app import Application
from genway.billing import ledger
from genway.billing.prices import Price, set_price
from genway.config import load
from genway.db.migrate import migrate
from genway.db.tables import balances, calls, keys, objects
from genway.routing.channels import Channel, add_channel
from genway.vault import open_vault
from genway.wire.server import Server
from standins import anthropic_vendor, openai_vendor
from standins.anthropic_vendor import AnthropicVendor
from standins.openai_vendor import OpenAIVendor

MODEL = "gpt-4.1"
CLAUDE = "claude-haiku-4-5"
ANN, BOB, TEST = "gw_live_key_of_ann_0001", "gw_live_key_of_bob_0001", "gw_test_key_of_ann_0001"
MONEY = 100_000_000
MESSAGE = [{"role": "user", "content": "one"}]


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Gateway:
    """now: its clock. ANN and BOB are keys of two accounts with `MONEY` each, TEST a test key of Ann's."""

    def __init__(self, data: Path, openai: OpenAIVendor, anthropic: AnthropicVendor, settings: dict[str, Any]) -> None:
        self.openai, self.anthropic = openai, anthropic
        self.now = float(int(time.time()))
        self.config = load(overrides={"data": str(data), **settings})
        self.url = ""

    async def start(self) -> None:
        self.application = Application(self.config, owner="here", clock=lambda: self.now)
        self.config.data_dir.mkdir(parents=True, exist_ok=True)
        vault = open_vault(self.config)
        from genway.db import Database

        database = Database(self.config.database_url)
        migrate(database.engine)

        def write(connection: Any) -> None:
            for secret, name in ((ANN, "ann"), (BOB, "bob")):
                account = access.create_account(connection, vault, name, currency="USD", credit_limit=0, now=self.now)
                ledger.top_up(connection, account.id, "live", MONEY, "", self.now)
                access.create_key(connection, vault, account.id, name=name, secret=secret, now=self.now)
                if secret == ANN:
                    access.create_key(connection, vault, account.id, name="t", mode="test", secret=TEST, now=self.now)
            for name, provider, url, keys_of in (
                ("first", "openai", self.openai.url, openai_vendor.KEY),
                ("second", "openai", self.openai.url, openai_vendor.KEY),
                ("claude", "anthropic", self.anthropic.url, anthropic_vendor.KEY),
            ):
                priority = 1 if name == "first" else 0
                channel = Channel(id="", name=name, provider=provider, base_url=f"{url}/v1", priority=priority)
                add_channel(connection, vault, channel, keys_of, self.now)
            for unit in ("input_mtok", "output_mtok"):
                set_price(connection, Price("*", unit, 10_000_000), self.now)

        database.write_now(write)
        database.close()
        await self.application.start()
        for job in self.application._background:
            if job.get_name() == "batches":  # vendors are asked when a test says so, and not in between
                job.cancel()
        self.database = self.application.database
        self.http = aiohttp.ClientSession()
        self.server = Server(self.application.handle)
        self.url = f"http://127.0.0.1:{await self.server.listen('127.0.0.1', 0)}"

    async def stop(self) -> None:
        await self.http.close()
        await self.server.close(0)
        await self.application.stop(0)

    async def ask(self, method: str, path: str, body: Any = None, key: str = ANN, **headers: str) -> Answer:
        """body: bytes as they are, anything else as JSON. Underscores of headers stand for hyphens."""
        sent = {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, aiohttp.FormData):
            sent.setdefault("content-type", "application/json")
            body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with self.http.request(method, f"{self.url}{path}", data=body, headers=sent) as answer:
            return Answer(answer.status, {name.lower(): text for name, text in answer.headers.items()}, await answer.read())

    async def later(self, seconds: float = 600) -> int:
        """Let time pass and have the vendors asked about what is open; returns how many things that were."""
        self.now += seconds
        return await self.application.relay.endings.look()

    async def settled(self) -> None:
        """Give back all that is leased, so that what is held is held for what goes on."""
        await self.application.relay.meter.stop()

    def calls(self, kind: str = "") -> list[Any]:
        """The calls on record."""
        query = select(calls) if not kind else select(calls).where(calls.c.kind == kind)
        return list(self.database.read_now(lambda connection: connection.execute(query.order_by(calls.c.id)).all()))

    def objects(self, kind: str = "") -> list[Any]:
        query = select(objects) if not kind else select(objects).where(objects.c.kind == kind)
        return list(self.database.read_now(lambda connection: connection.execute(query).all()))

    def money(self, name: str = "ann") -> tuple[int, int]:
        """What an account has live: available, held."""

        def read(connection: Any) -> tuple[int, int]:
            account = access.get_account(connection, name)
            return ledger.balance(connection, account.id, "live")

        return self.database.read_now(read)

    def spent(self, secret: str = "ann") -> tuple[int, int]:
        """Of a key's budget: held, spent."""
        query = select(keys.c.held, keys.c.spent).where(keys.c.name == secret)
        row = self.database.read_now(lambda connection: connection.execute(query).one())
        return row.held, row.spent

    def audit(self) -> list[str]:
        return self.database.read_now(ledger.audit)

    def empty(self, name: str) -> None:
        """Take all money out of an account."""

        def write(connection: Any) -> None:
            account = access.get_account(connection, name)
            available = connection.execute(
                select(balances.c.amount).where(balances.c.book == ledger.book("live", account.id, "available"))
            ).scalar_one()
            ledger.top_up(connection, account.id, "live", -available, "", self.now)

        self.database.write_now(write)


@contextlib.asynccontextmanager
async def gateway(data: Path, **settings: Any) -> AsyncIterator[Gateway]:
    async with OpenAIVendor() as openai, AnthropicVendor() as anthropic:
        made = Gateway(data, openai, anthropic, settings)
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


def batch_lines(*contents: str, model: str = MODEL) -> bytes:
    """The lines of a batch of chats."""
    return b"".join(
        msgspec.json.encode(
            {
                "custom_id": f"c{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [{"role": "user", "content": content}]},
            }
        )
        + b"\n"
        for number, content in enumerate(contents)
    )
