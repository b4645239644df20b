"""A gateway with relay channels and one for tasks, as its operator and the holders of its keys see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import Connection

from genway.access import store as access
from genway.billing import ledger, money
from genway.cli.place import Opened, Place
from genway.routing.channels import Channel, add_channel
from running import Running, start_server
from standins.openai_vendor import KEY, OpenAIVendor

BAD_KEY = "sk-refused-by-the-vendor"


class Operated:
    """vendor: who is behind the channels `main` (two keys, one bad), `official` (no models of its own) and `film` (tasks)."""

    def __init__(self, running: Running, vendor: OpenAIVendor) -> None:
        self.running = running
        self.vendor = vendor
        self.url = running.url

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        with Place(data=self.running.data).open() as opened:
            yield opened

    def key(self, name: str, *, topup: int = 0, unlimited: bool = False, **what: Any) -> str:
        """A key of an account of the same name."""
        with self.opened() as opened:
            vault, now = opened.vault, opened.now

            def write(connection: Connection) -> str:
                limit = None if unlimited else 0
                account = access.create_account(connection, vault, name, currency="USD", credit_limit=limit, now=now)
                if topup:
                    ledger.top_up(connection, account.id, "live", topup, "", now)
                return access.create_key(connection, vault, account.id, name=name, now=now, **what)[1]

            return opened.write(write)

    def get(self, path: str, key: str = "", method: str = "GET", **headers: str) -> requests.Response:
        sent = {"authorization": f"Bearer {key or self.running.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, f"{self.url}{path}", headers=sent, timeout=30)

    def chat(self, key: str, model: str = "gpt-4.1") -> int:
        """A call; returns what it cost, in millionths."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello to all of us here."}]}
        answer = self.running.post("/v1/chat/completions", body, key)
        assert answer.status_code == 200, answer.text
        return money.parse(answer.headers["x-genway-cost"])


@contextmanager
def operated(data: Path, **environ: str) -> Iterator[Operated]:
    with OpenAIVendor() as vendor:
        models = {"gpt-4.1": "gpt-4.1", "fast": "gpt-4.1", "house": "gpt-4.1"}
        address = f"{vendor.url}/v1"
        with Place(data=data).open() as opened:
            for channel, secret in (
                (Channel(id="", name="main", provider="openai", base_url=address, models=models), f"{KEY},{BAD_KEY}"),
                (Channel(id="", name="official", provider="openai", priority=-1), KEY),
                (Channel(id="", name="film", provider="luma"), "luma-key"),
            ):
                opened.write(lambda c, one=channel, secret=secret: add_channel(c, opened.vault, one, secret, opened.now))  # type: ignore[misc]
        with start_server(data, **environ) as running:
            yield Operated(running, vendor)
