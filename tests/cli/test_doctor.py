"""`genway doctor` finds what is wrong, says what to do, and never falls over it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from cli_stage import Genway, accepted, add_channel, closed_port
from genway.callbacks import outbox
from genway.cli.examination import Machine, examine
from genway.cli.findings import Finding
from genway.cli.place import Opened
from genway.config import load
from genway.tasks.model import State


@pytest.fixture(autouse=True)
def without_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_LOCAL_ENABLED", "false")


def found(data: Path, machine: Machine | None = None) -> dict[str, Finding]:
    """What the doctor finds, by check; of several for one check the worst."""

    async def look() -> dict[str, Finding]:
        findings: dict[str, Finding] = {}
        config = load(overrides={"data": str(data), "local": {"enabled": False}})
        async for finding in examine(config, machine or Machine()):
            if finding.check not in findings or finding.state == "wrong":
                findings[finding.check] = finding
        return findings

    return asyncio.run(look())


def test_an_empty_folder_with_the_renderer_is_well(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_LOCAL_ENABLED", "true")
    said = genway("doctor", "--json")
    assert said.code == 0, said.out
    states = {finding["check"]: finding["state"] for finding in said.json}
    checks = ["settings", "data folder", "disk", "secret key", "database", "ledger", "tasks", "callbacks", "channels", "calls"]
    assert list(states) == [*checks, "clock", "object store", "renderer", "subject mask"]
    assert "wrong" not in states.values()
    assert states["renderer"] == "ok"


def test_it_may_be_run_beside_a_server_and_leaves_nothing_behind(genway: Genway, opened: Opened) -> None:
    accepted(opened)
    before = sorted(path.name for path in opened.config.data_dir.iterdir())
    assert genway("doctor").out.endswith("All is well.\n")
    left = {path.name for path in opened.config.data_dir.iterdir()} - set(before)
    assert left <= {"media"}
    assert not [path for path in (opened.config.data_dir / "media").rglob("*") if path.is_file()]


def test_a_full_disk_is_found(data: Path) -> None:
    finding = found(data, Machine(free_bytes=lambda folder: 150 * 1024 * 1024))["disk"]
    assert finding.state == "wrong"
    assert "150 MiB free" in finding.message
    assert "storage.keep_days" in finding.advice


def test_a_disk_that_is_getting_full_is_a_warning(data: Path) -> None:
    assert found(data, Machine(free_bytes=lambda folder: 1024**3))["disk"].state == "warning"


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_clock_that_differs_from_the_file_system_is_found(data: Path, off: float) -> None:
    finding = found(data, Machine(clock=lambda: time.time() + off))["clock"]
    assert finding.state == "wrong"
    assert re.search(rf"the file system is 3[56]\d\d s {'behind' if off > 0 else 'ahead of'}", finding.message)
    assert "NTP" in finding.advice


def test_a_clock_behind_what_was_recorded_is_found(data: Path, opened: Opened) -> None:
    accepted(opened, now=time.time() + 7200)
    finding = found(data)["clock"]
    assert finding.state == "wrong"
    assert re.search(r"the newest record is (7200|719\d) s ahead", finding.message)


def test_a_clock_that_differs_from_a_vendors_is_found(genway: Genway, data: Path) -> None:
    with vendor_whose_clock(lambda: time.time() + 600) as url:
        add_channel(genway, "main", url)
        findings = found(data)
    assert findings["channel main"].state == "ok"
    assert findings["clock"].state == "wrong"
    assert re.search(r"127.0.0.1 is (600|59\d) s ahead", findings["clock"].message)


def test_a_dead_channel_is_found_and_a_disabled_one_is_none_of_its_business(genway: Genway, data: Path) -> None:
    add_channel(genway, "main", f"http://127.0.0.1:{closed_port()}")
    said = genway("doctor")
    assert said.code == 1
    assert "✗ channel main: " in said.out
    assert "`genway channel disable main` keeps work away from it." in said.out
    genway("channel", "disable", "main")
    assert genway("doctor").code == 0


def test_a_channel_whose_secret_cannot_be_decrypted_is_found(genway: Genway, data: Path) -> None:
    add_channel(genway, "main", "http://127.0.0.1:9")
    (data / "secret.key").write_text("another secret, which is as long as it has to be")
    assert found(data)["channel main"].message == "not usable"


def test_a_secret_that_others_can_read_is_found(genway: Genway, data: Path) -> None:
    genway("key", "create")
    (data / "secret.key").chmod(0o644)
    said = genway("doctor")
    assert said.code == 1
    assert f"chmod 600 {data / 'secret.key'}" in said.out


def test_a_ledger_that_does_not_sum_to_zero_is_found(genway: Genway, opened: Opened) -> None:
    accepted(opened)
    opened.write(lambda c: c.execute(text("UPDATE entries SET amount = amount + 1 WHERE id = 1")).rowcount)
    said = genway("doctor")
    assert said.code == 1
    assert "✗ ledger: all entries sum to 1, not 0" in said.out
    assert "Nothing here repairs a ledger" in said.out


def test_a_damaged_database_is_found_and_the_rest_is_looked_at_all_the_same(genway: Genway, opened: Opened) -> None:
    for _ in range(40):
        accepted(opened)
    opened.database.close()
    path = opened.config.data_dir / "genway.sqlite3"
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    said = genway("doctor", "--json")
    assert said.code == 1
    states = {finding["check"]: finding["state"] for finding in said.json}
    assert states["database"] == "wrong"
    assert states["object store"] == "ok"


def test_a_missing_table_is_found(data: Path, opened: Opened) -> None:
    opened.write(lambda c: c.execute(text("DROP TABLE uploads")).rowcount)
    assert found(data)["database"].message == "tables are missing: uploads"


def test_an_object_store_that_cannot_be_written_is_found(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_STORAGE_URL", "file:///proc/genway")
    said = genway("doctor")
    assert said.code == 1
    assert "✗ object store: " in said.out


def test_settings_that_cannot_be_read_are_found(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_SERVER_PORT", "many")
    said = genway("doctor", "--json")
    assert said.code == 1
    assert [(finding["check"], finding["state"]) for finding in said.json] == [("settings", "wrong")]


def test_parked_tasks_and_dead_callbacks_are_told_without_alarm(genway: Genway, opened: Opened) -> None:
    task_id = accepted(opened)
    opened.write(lambda c: c.execute(text("UPDATE tasks SET state = :s"), {"s": State.PARKED}).rowcount)

    def give_up(connection: Connection) -> bool:
        details: dict[str, Any] = {
            "account_id": "a",
            "url": "http://r.example/",
            "event": "failed",
            "now": opened.now,
            "give_up_seconds": 1,
        }
        callback_id = outbox.enqueue(connection, task_id=task_id, **details)
        outbox.claim(connection, [callback_id], owner="p", now=opened.now, lease_seconds=9)
        return outbox.dead(connection, callback_id, owner="p", error="answered 500", status=500)

    assert opened.write(give_up)
    said = genway("doctor")
    assert said.code == 0
    assert "! tasks: 1 parked" in said.out
    assert "! callbacks: 0 delivered, 0 waiting, 1 given up" in said.out
    assert "genway callback replay --dead" in said.out


def test_work_that_nobody_does_is_told(data: Path, opened: Opened) -> None:
    accepted(opened, now=time.time() - 600)
    finding = found(data)["tasks"]
    assert (finding.state, finding.message) == ("warning", "1 wait and no server works on them")
    assert "genway serve" in finding.advice


@contextmanager
def vendor_whose_clock(clock: Callable[[], float]) -> Iterator[str]:
    """A vendor that finds every key good and says that it is another time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"creditBalance": 5}'
            self.send_response_only(200)
            for name, value in {"Date": formatdate(clock(), usegmt=True), "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
