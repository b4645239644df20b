"""What the relay counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

MOST_GATHERED = 20_000

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


_calls: dict[tuple[str, str, int], int] = {}
_seconds: dict[str, list[float]] = {}
_totals: dict[str, list[int]] = {}


def called(kind: str, channel: str, status: int, seconds: float) -> None:
    """One call, or inquiry, was answered. It is gathered, and counted by the next `flush`."""
    key = (kind, channel, status)
    _calls[key] = _calls.get(key, 0) + 1
    times = _seconds.get(kind)
    if times is None:
        times = _seconds[kind] = []
    times.append(seconds)
    if len(times) > MOST_GATHERED:
        flush()


def used(channel: str, read: int, produced: int, cost: int) -> None:
    """What a call used and cost; gathered like `called`."""
    totals = _totals.get(channel)
    if totals is None:
        totals = _totals[channel] = [0, 0, 0]
    totals[0] += read
    totals[1] += produced
    totals[2] += cost


def flush() -> None:
    """Count what was gathered: to be called each second, and before anybody looks."""
    for (kind, channel, status), count in _calls.items():
        CALLS.labels(kind, channel, status).inc(count)
    for kind, times in _seconds.items():
        observe = SECONDS.labels(kind).observe
        for seconds in times:
            observe(seconds)
    for channel, (read, produced, cost) in _totals.items():
        TOKENS.labels(channel, "input").inc(read)
        TOKENS.labels(channel, "output").inc(produced)
        COST.labels(channel).inc(cost)
    _calls.clear()
    _seconds.clear()
    _totals.clear()
