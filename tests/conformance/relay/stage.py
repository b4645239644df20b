"""Where the SDKs for text are tried: straight at the stand-in vendors, at a gateway before them, and across formats.

`direct` proves the stand-in against the SDK. `genway` has a gateway in between that speaks one format on both sides. In
`across` the vendor behind the gateway speaks the other format; its stand-in refuses whatever is translated wrongly.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from genway.billing.prices import Price, set_price
from genway.cli.place import Place
from genway.routing.channels import Channel, add_channel
from running import Running, start_server
from standins import anthropic_bodies, anthropic_vendor, openai_bodies, openai_vendor
from standins.anthropic_vendor import AnthropicVendor
from standins.openai_media import png
from standins.openai_vendor import OpenAIVendor
from standins.relay_vendor import RelayVendor

Way = Literal["direct", "genway", "across"]
Wire = Literal["openai", "anthropic"]
SAME: tuple[Way, ...] = ("direct", "genway")
EVERY: tuple[Way, ...] = ("direct", "genway", "across")
FAULTS = (400, 401, 402, 403, 413, 429, 500, 503, 529)
"""What a vendor is made to answer. Each has a channel of its own, since a channel that failed is left alone for a while."""

PICTURE = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
PICTURE_SEEN = f"image/png of {len(png())} bytes"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
PDF_SEEN = f"application/pdf of {len(PDF)} bytes"
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TWO_CITIES = 'Please get_weather({"city": "Oslo"}) and get_weather({"city": "Zürich"}).'


class Target(msgspec.Struct, frozen=True):
    """Where a client is pointed. url: without `/v1`. model: a plain one; thinker: one that thinks before it answers.

    vendor: who answers in the end, in `wire`'s format.
    """

    way: Way
    url: str
    key: str
    model: str
    thinker: str
    vendor: RelayVendor
    wire: Wire

    def faulty(self, client: Wire, what: object) -> str:
        """A model for one fault alone."""
        return self.model if self.way == "direct" else faulty_model(client, self.wire, what)


PLAIN = {"openai": "gpt-4.1", "anthropic": "claude-haiku-4-5"}
THINKERS = {"openai": "gpt-6-sol", "anthropic": "claude-sonnet-5-5"}
KEYS = {"openai": openai_vendor.KEY, "anthropic": anthropic_vendor.KEY}
OTHER: dict[Wire, Wire] = {"openai": "anthropic", "anthropic": "openai"}


class Vendors(msgspec.Struct):
    openai: OpenAIVendor
    anthropic: AnthropicVendor

    def of(self, wire: Wire) -> RelayVendor:
        return self.openai if wire == "openai" else self.anthropic


def direct(client: Wire, vendors: Vendors) -> Target:
    """A client of this format at its own vendor."""
    vendor = vendors.of(client)
    return Target("direct", vendor.url, KEYS[client], PLAIN[client], THINKERS[client], vendor, client)


def through(client: Wire, way: Way, server: Running, vendors: Vendors) -> Target:
    """A client of this format at the gateway."""
    wire = OTHER[client] if way == "across" else client
    return Target(way, server.url, server.key, PLAIN[wire], THINKERS[wire], vendors.of(wire), wire)


def faulty_model(client: Wire, wire: Wire, what: object) -> str:
    return f"{PLAIN[wire]}-for-{client}-{what}"


@contextmanager
def gateway(data: Path, vendors: Vendors) -> Iterator[Running]:
    """A gateway with a channel to each stand-in, and one more for each fault."""
    wires: tuple[Wire, ...] = ("openai", "anthropic")
    with Place(data=data).open() as opened:
        for wire in wires:
            models: tuple[str, ...] = tuple(openai_bodies.MODELS if wire == "openai" else anthropic_bodies.MODELS)
            _add(opened, wire, wire, vendors, {model: model for model in models})
            for client in wires:
                for what in (*FAULTS, "retry", "error", "cut", "npm"):
                    _add(opened, f"{wire}-{client}-{what}", wire, vendors, {faulty_model(client, wire, what): PLAIN[wire]})
        opened.write(lambda connection: set_price(connection, Price("*", "call", 1), opened.now))
    with start_server(data) as server:
        yield server


def _add(opened: Any, name: str, wire: Wire, vendors: Vendors, models: dict[str, str]) -> None:
    address = f"{vendors.of(wire).url}/v1"
    channel = Channel(id="", name=name, provider=wire, base_url=address, models=models)
    opened.write(lambda connection: add_channel(connection, opened.vault, channel, KEYS[wire], opened.now))
