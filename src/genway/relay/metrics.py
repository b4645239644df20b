"""What the relay counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class GatheredHistogram(Histogram):
    """A histogram that takes many numbers at once: one by one, those of a busy second would hold everything up."""

    def observe_gathered(self, counts: Sequence[int], total: float) -> None:
        """counts: how many numbers fell into each bucket, and above the last; total: their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


CALLS = Counter("genway_relay_calls_total", "Relayed calls answered", ["kind", "channel", "status"])
SECONDS = GatheredHistogram("genway_relay_seconds", "From a relayed call's head to its answer's end", ["kind"], buckets=BUCKETS)
TOKENS = Counter("genway_relay_tokens_total", "Tokens of relayed calls", ["channel", "direction"])
COST = Counter("genway_relay_cost_micro_total", "What relayed calls were charged, in millionths of the currency", ["channel"])
RETRIES = Counter("genway_relay_retries_total", "Attempts of relayed calls that came to nothing", ["channel", "why"])
SESSIONS = Gauge("genway_relay_sessions", "Realtime sessions that are open", multiprocess_mode="livesum")
STREAMS = Gauge("genway_relay_streams", "Streams that are open", multiprocess_mode="livesum")


class _Gathered:
    """How often a number fell into each bucket of a histogram, and the sum of the numbers."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


_calls: dict[tuple[str, str, int], int] = {}
_seconds: dict[str, _Gathered] = {}
_totals: dict[str, list[int]] = {}


def called(kind: str, channel: str, status: int, seconds: float) -> None:
    """One call, or inquiry, was answered. It is gathered, and counted by the next `flush`."""
    key = (kind, channel, status)
    _calls[key] = _calls.get(key, 0) + 1
    times = _seconds.get(kind)
    if times is None:
        times = _seconds[kind] = _Gathered()
    times.counts[bisect_left(BUCKETS, seconds)] += 1
    times.total += seconds


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
        SECONDS.labels(kind).observe_gathered(times.counts, times.total)
    for channel, (read, produced, cost) in _totals.items():
        TOKENS.labels(channel, "input").inc(read)
        TOKENS.labels(channel, "output").inc(produced)
        COST.labels(channel).inc(cost)
    _calls.clear()
    _seconds.clear()
    _totals.clear()
