"""A wire to a server, on which things go wrong: everything goes through as it is, but for what the body of a request orders.

`wire:throttled` is refused once, as by something that stands before the server; `wire:lost` goes through once and the
connection is cut before the answer; `wire:late` goes through once and is answered when nobody listens any more.

    PYTHONPATH=tests python -m standins.wire --to http://127.0.0.1:8700      # prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Self

import aiohttp
from aiohttp import web

WORD = re.compile(rb"wire:(throttled|lost|late)\b")
LATE_SECONDS = 30
# What holds for one connection only, and is made anew.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Wire:
    """The wire, in this process: `async with Wire(to) as wire: wire.url`. retry_after: what is said to what is throttled."""

    def __init__(self, to: str, retry_after: str = "0.2") -> None:
        self.url = ""
        self._to, self._retry_after = to, retry_after
        self._done: set[bytes] = set()
        self._released = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._through)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self._runner.cleanup()
        await self._http.close()

    async def _through(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        found = WORD.search(body)
        order = found[1].decode() if found and body not in self._done else ""
        self._done.add(body)
        if order == "throttled":
            said = {"error": {"message": "Too many requests", "type": "rate_limit_error", "code": "rate_limited"}}
            return web.json_response(said, status=429, headers={"Retry-After": self._retry_after})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        # The server's own links lead past the wire, as a public address would.
        async with self._http.request(request.method, self._to + request.path_qs, data=body, headers=headers) as answer:
            content = await answer.read()
        if order == "lost" and request.transport is not None:
            request.transport.abort()
        if order == "late":
            await self._wait()
        told = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
        return web.Response(status=answer.status, headers=told, body=content)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._released.wait(), LATE_SECONDS)
        except TimeoutError:
            return


async def _serve(to: str) -> None:
    async with Wire(to) as wire:
        print(wire.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A wire to a server, on which things go wrong.")
    parser.add_argument("--to", required=True, help="the address of the server")
    asyncio.run(_serve(parser.parse_args().to))


if __name__ == "__main__":
    main()
