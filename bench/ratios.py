"""What the rows of `bench/relay.py` come to: medians, ratios to the peers, and what is wanted of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

Row = dict[str, Any]

EVENTS = 20
OPEN_STREAMS = 1000
OURS = "genway"
FASTER = 3
NOISY = 0.05

# Of one measurement and peer: the least ratio wanted of ours to it.
RATIOS = {
    "plain": {"go": 1.0, "nginx": 0.2, "portkey": 15.0, "litellm": 100.0},
    "streams": {"go": 0.9},
}
MOST_ADDED_MS = {"latency": {"p50": 0.3, "p99": 1.0}, "first": {"p99": 2.0}}
MOST_MB = {"idle": 120.0, "open": 250.0}
MOST_LOST_TO_STRICT = 0.15
LEAST_OF_TWO_WORKERS = 1.7


def report(rows: Sequence[Row]) -> Iterator[str]:
    """The lines to print."""
    yield from _vendor(rows)
    for what, title, unit in (("plain", "answers", "answers/s"), ("streams", "streams", "streams/s")):
        yield from _rates(rows, what, title, unit)
    for what, title, times in (("latency", "an answer", "whole_ms"), ("first", "the first event", "first_ms")):
        yield from _added(rows, what, title, times)
    yield from _memory(rows)
    yield from _variants(rows)
    yield from _doubts(rows)


def _vendor(rows: Sequence[Row]) -> Iterator[str]:
    """Whether the stand-in vendor is fast enough to measure others with."""
    alone = _median(rows, "vendor", "direct", "per_second")
    if alone is None:
        return
    cost = _median(rows, "vendor", "direct", "vendor_cpu_us") or alone
    yield f"the stand-in vendor alone: {alone:,.0f} answers/s; by its use of the processor {1e6 / cost:,.0f} on a free core"
    for gateway in _gateways(rows, "plain"):
        rate, busy = (_median(rows, "plain", gateway, name) for name in ("per_second", "load_core"))
        if gateway != "direct" and rate:
            short = "" if alone >= FASTER * rate else f", LESS than {FASTER} x"
            yield f"  {alone / rate:8.1f} x {gateway}{short}; load and vendor were busy {busy:.0%} of the time"


def _rates(rows: Sequence[Row], what: str, title: str, unit: str) -> Iterator[str]:
    gateways = _gateways(rows, what)
    if not gateways:
        return
    yield f"\n{title}:"
    ours = _rate(rows, what, OURS)
    for gateway in gateways:
        rate, cost = _rate(rows, what, gateway), _median(rows, what, gateway, "cpu_us")
        if rate is None:
            continue
        line = f"  {gateway:15} {rate:10,.1f} {unit}"
        if cost:
            line += f"  {cost:7,.0f} us of the processor each"
        if ours is not None and rate and gateway != OURS:
            line += f"  {OURS} is {ours / rate:.2f} x {_wanted(ours / rate, least=RATIOS[what].get(gateway))}"
        yield line.rstrip()


def _added(rows: Sequence[Row], what: str, title: str, times: str) -> Iterator[str]:
    gateways = [gateway for gateway in _gateways(rows, what) if gateway != "direct"]
    straight = {share: _median(rows, what, "direct", times, share) for share in ("p50", "p99")}
    if not gateways or None in straight.values():
        return
    yield f"\nadded to {title}, in ms (the stand-in vendor itself: p50 {straight['p50']:.3f}, p99 {straight['p99']:.3f}):"
    for gateway in gateways:
        said = []
        for share, base in straight.items():
            whole = _median(rows, what, gateway, times, share)
            if whole is None or base is None:
                said.append(f"{share} -")
                continue
            most = MOST_ADDED_MS[what].get(share) if gateway == OURS else None
            said.append(f"{share} {whole - base:9.3f} {_wanted(whole - base, most=most)}")
        yield f"  {gateway:15} {'  '.join(said)}".rstrip()


def _memory(rows: Sequence[Row]) -> Iterator[str]:
    states = {(row["gateway"], row["state"]): row for row in rows if row["what"] == "memory"}
    if states:
        yield "\nmemory, MB resident:"
    for gateway in dict.fromkeys(name for name, _ in states):
        said = []
        for state, title in (("idle", "idle"), ("open", f"{OPEN_STREAMS:,} streams")):
            if row := states.get((gateway, state)):
                most = MOST_MB[state] if gateway == OURS else None
                whole = "" if state == "idle" or row["answers_in_all"] == OPEN_STREAMS else f"({row['answers_in_all']} ended) "
                said.append(f"{title} {row['resident_mb']:.0f} {whole}{_wanted(row['resident_mb'], most=most)}")
        if (row := states.get((gateway, "soak"))) and len(row["samples"]) > 5:
            sizes = [sample["resident_mb"] for sample in row["samples"]]
            early, late = (
                statistics.median(sizes[len(sizes) // 5 : 2 * len(sizes) // 5]),
                statistics.median(sizes[-len(sizes) // 5 :]),
            )
            said.append(f"under load {early:.0f} -> {late:.0f} in {row['seconds']:.0f} s, {row['answers_in_all']:,} answers")
        yield f"  {gateway:15} {'  '.join(said)}".rstrip()


def _variants(rows: Sequence[Row]) -> Iterator[str]:
    strict, relaxed, two = (_rate(rows, "plain", f"{OURS}{suffix}") for suffix in ("", "-relaxed", "-2"))
    if strict and relaxed:
        lost = 1 - strict / relaxed
        yield f"\nstrict accounting: {lost:.1%} fewer answers a second {_wanted(lost, most=MOST_LOST_TO_STRICT)}"
    if strict and two:
        yield f"\ntwo workers: {two / strict:.2f} x one {_wanted(two / strict, least=LEAST_OF_TWO_WORKERS)}"
        one_cost, two_cost = (_median(rows, "plain", f"{OURS}{suffix}", "cpu_us") for suffix in ("", "-2"))
        if one_cost and two_cost:
            yield f"  by what an answer costs of the processor: {2 * one_cost / two_cost:.2f} x, on two free cores"


def _doubts(rows: Sequence[Row]) -> Iterator[str]:
    """What stands in the way of believing the figures."""
    for row in rows:
        if row["what"] == "missing":
            yield f"\nnot measured: {row['gateway']}: {row['reason']}"
    for row in rows:
        if row.get("errors"):
            told = f"{row['errors']} answers wrong, {row['answers_in_all']} right: {row['first_error']}"
            yield f"{row['what']} {row['gateway']} run {row['run']}: {told}"
    noise = [row["others"] for row in rows if "others" in row]
    if noise:
        quiet = "quiet" if statistics.median(noise) < NOISY else "NOT QUIET: no verdict above counts"
        yield f"\nother programs used {statistics.median(noise):.2f} cores (median; at most {max(noise):.2f}): {quiet}"


def _wanted(value: float, *, least: float | None = None, most: float | None = None) -> str:
    if least is not None:
        return f"(at least {least:g}: {'met' if value >= least else 'NOT MET'})"
    if most is not None:
        return f"(at most {most:g}: {'met' if value <= most else 'NOT MET'})"
    return ""


def _gateways(rows: Sequence[Row], what: str) -> list[str]:
    return list(dict.fromkeys(row["gateway"] for row in rows if row["what"] == what))


def _rate(rows: Sequence[Row], what: str, gateway: str) -> float | None:
    """Answers a second; of streams by their events, so that long ones which did not end in time count as well."""
    if what == "streams":
        marks = _median(rows, what, gateway, "marks_per_second")
        return None if marks is None else marks / EVENTS
    return _median(rows, what, gateway, "per_second")


def _median(rows: Sequence[Row], what: str, gateway: str, *path: str) -> float | None:
    """The median over the runs of a value in the rows; None where there is none."""
    values = []
    for row in rows:
        if row["what"] == what and row["gateway"] == gateway:
            value: Any = row
            for name in path:
                value = value.get(name) if value else None
            if value is not None:
                values.append(float(value))
    return statistics.median(values) if values else None
