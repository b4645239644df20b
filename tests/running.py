"""A real gateway as a process of its own, for tests that speak to it over a socket."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from genway.access import store as access
from genway.cli import child
from genway.cli.place import Place
from genway.server import BOOTSTRAP

KEY = "gw_live_running_gateway"


class Running:
    """A gateway that answers at `url`. key: its bootstrap key (live, admin, without limit). data: its folder."""

    def __init__(self, url: str, key: str, process: subprocess.Popen[str], data: Path) -> None:
        self.url = url
        self.key = key
        self.process = process
        self.data = data

    @cached_property
    def test_key(self) -> str:
        """A test key of the same account."""
        with Place(data=self.data).open() as opened:
            vault = opened.vault
            account = opened.read(lambda connection: access.get_account(connection, BOOTSTRAP))
            _, secret = opened.write(
                lambda connection: access.create_key(connection, vault, account.id, name="test", mode="test", now=time.time())
            )
        return secret

    def post(self, path: str, body: Any, key: str | None = None) -> requests.Response:
        """One JSON request."""
        return requests.post(f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=30)


@contextmanager
def start_server(data: Path, *arguments: str, **environ: str) -> Iterator[Running]:
    """`genway serve` on a free port with these further arguments and variables; ready when the block begins."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GENWAY_")}
    variables = clean | {"GENWAY_BOOTSTRAP_KEY": KEY, "GENWAY_SERVER_DRAIN_SECONDS": "2"} | environ
    with child.started(data, variables, arguments=arguments) as gateway:
        yield Running(gateway.url, variables["GENWAY_BOOTSTRAP_KEY"], gateway.process, data)
