"""What the relay counts."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter("genway_relay_calls_total", "Relayed calls answered", ["kind", "channel", "status"])
SECONDS = Histogram(
    "genway_relay_seconds",
    "From a relayed call's head to its answer's end",
    ["kind"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
TOKENS = Counter("genway_relay_tokens_total", "Tokens of relayed calls", ["channel", "direction"])
COST = Counter("genway_relay_cost_micro_total", "What relayed calls were charged, in millionths of the currency", ["channel"])
RETRIES = Counter(
    "genway_relay_retries_total", "Attempts of relayed calls that went wrong and were repeated", ["channel", "why"]
)
SESSIONS = Gauge("genway_relay_sessions", "Realtime sessions that are open", multiprocess_mode="livesum")
STREAMS = Gauge("genway_relay_streams", "Streams that are open", multiprocess_mode="livesum")


@lru_cache(4096)
def call(kind: str, channel: str, status: int) -> Counter:
    return CALLS.labels(kind, channel, status)


@lru_cache(64)
def seconds(kind: str) -> Histogram:
    return SECONDS.labels(kind)


@lru_cache(1024)
def channel(name: str) -> tuple[Counter, Counter, Counter]:
    """Input tokens, output tokens and cost of one channel."""
    return TOKENS.labels(name, "input"), TOKENS.labels(name, "output"), COST.labels(name)
