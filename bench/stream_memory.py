"""What streams weigh: a client that does not read, one very long stream, and many streams at once.

A gateway of its own, as `genway serve` runs it, stands between a vendor and clients in this process. First a client asks for a
stream of so many megabytes and reads nothing until the vendor can write no more: what the vendor got rid of by then lies in
the buffers between. Then the client reads all of it, while the gateway's memory is looked at. Last, so many streams are open
together, each with its first event.

    uv run python bench/stream_memory.py [--megabytes 1000] [--streams 1000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from genway.billing.prices import Price, set_price
from genway.cli.place import Place
from genway.routing.channels import Channel, add_channel

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from running import Running, start_server  # noqa: E402 - the tests' folder is no package
from standins.raw_vendor import EVENTS, RawVendor, Taken, chunk, head_of  # noqa: E402

MEGABYTE = 1_000_000
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 16_000 + b'"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
STILL_SECONDS = 0.5
READ = 1 << 20


class Source:
    """Answers with so many events; with a gate, after the first one only when it is open. written: bytes so far."""

    def __init__(self, events: int, gate: asyncio.Event | None = None) -> None:
        self.events = events
        self.gate = gate
        self.written = 0

    async def __call__(self, _: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(200, EVENTS, {}))
        event = chunk(EVENT)
        for number in range(self.events):
            writer.write(event)
            self.written += len(EVENT)
            await writer.drain()
            if number == 0 and self.gate is not None:
                await self.gate.wait()
        writer.write(chunk(DONE) + b"0\r\n\r\n")


async def ask(server: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream that has been asked for, and of which nothing was read."""
    body = b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=64 * 1024)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\nconnection: close\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    return reader, writer


async def flood(server: Running, vendor: RawVendor, megabytes: int) -> dict[str, Any]:
    gateway = psutil.Process(server.process.pid)
    source = vendor.answer = Source(megabytes * MEGABYTE // len(EVENT))
    before = gateway.memory_info().rss
    reader, writer = await ask(server)
    seen, still_since = -1, time.monotonic()
    while time.monotonic() - still_since < STILL_SECONDS:
        if source.written != seen:
            seen, still_since = source.written, time.monotonic()
        await asyncio.sleep(0.02)
    ahead, waiting = source.written, gateway.memory_info().rss
    began, got, most, tail = time.perf_counter(), 0, waiting, b""
    while data := await reader.read(READ):
        got += len(data)
        tail = (tail + data)[-64:]
        if got % (16 * READ) < READ:
            most = max(most, gateway.memory_info().rss)
    writer.close()
    return {
        "megabytes": round(got / MEGABYTE, 1),
        "whole": DONE in tail and got > source.written == source.events * len(EVENT),
        "ahead_megabytes": round(ahead / MEGABYTE, 2),
        "megabytes_a_second": round(got / MEGABYTE / (time.perf_counter() - began)),
        "grown_megabytes": round((most - before) / MEGABYTE, 1),
    }


async def many(server: Running, vendor: RawVendor, streams: int) -> dict[str, Any]:
    gateway = psutil.Process(server.process.pid)
    gate = asyncio.Event()
    vendor.answer = Source(2, gate)
    before = gateway.memory_info().rss
    opened = []
    for start in range(0, streams, 50):
        opened += await asyncio.gather(*[ask(server) for _ in range(min(50, streams - start))])
        await asyncio.gather(*[reader.readuntil(EVENT[-20:]) for reader, _ in opened[start:]])
    together = gateway.memory_info().rss
    gate.set()
    ends = await asyncio.gather(*[reader.read(-1) for reader, _ in opened])
    for _, writer in opened:
        writer.close()
    return {
        "streams": len(opened),
        "whole": sum(DONE in end for end in ends),
        "megabytes": round(together / MEGABYTE, 1),
        "grown_megabytes": round((together - before) / MEGABYTE, 1),
    }


async def measure(data: Path, megabytes: int, streams: int) -> dict[str, Any]:
    async with RawVendor() as vendor:
        with Place(data=data).open() as opened:
            channel = Channel(id="", name="vendor", provider="openai", base_url=f"{vendor.url}/v1", models={"m": "m"})
            opened.write(lambda connection: add_channel(connection, opened.vault, channel, "sk-bench", opened.now))
            opened.write(lambda connection: set_price(connection, Price("*", "call", 1), opened.now))
        with start_server(data) as server:
            return {"many": await many(server, vendor, streams), "flood": await flood(server, vendor, megabytes)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What streams weigh.")
    parser.add_argument("--megabytes", type=int, default=1000, help="how long the one long stream is")
    parser.add_argument("--streams", type=int, default=1000, help="how many are open together")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    asked = parser.parse_args()
    needed = 4 * asked.streams + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(needed, hard) if hard > 0 else needed), hard))
    with tempfile.TemporaryDirectory(prefix="genway-bench-") as folder:
        found = asyncio.run(measure(Path(folder), asked.megabytes, asked.streams))
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(f"{name:6}", "  ".join(f"{what.replace('_', ' ')} {value}" for what, value in row.items()))


if __name__ == "__main__":
    main()
