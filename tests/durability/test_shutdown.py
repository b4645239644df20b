"""SIGTERM: what is quickly finished is finished, and the rest goes on in the next process as if nothing had been."""

from __future__ import annotations

import json
import signal
import socket

from durability.conftest import MakeSite
from durability.crashing_server import Process
from durability.stage import DEADLINE, LIVE, TEST, Site, Vendor, Work, local_work, official_work, page_work, until

DRAIN = 3
LATE = 4.0


def test_renderings_and_polls_go_on_in_the_next_process(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url, "runway_compat": vendor.url}, server_drain_seconds=DRAIN)
    process = site.serve()
    works = [make(f"shutdown {number} vendor:poll_error=12") for number in range(2) for make in (official_work, page_work)]
    works = [work._replace(prompt=f"{work.model} {work.prompt}") for work in works]
    works += [local_work("shutdown local", seconds=12, key=TEST), local_work("shutdown genway:delay=600", key=TEST)]
    known = {work: site.accepted(work) or "" for work in works}
    until(lambda: all(row.state == "running" for row in site.tasks()), "all tasks are running")
    _stop(process)
    assert process.orphans() == []
    for row in site.tasks():
        assert (row.state, row.owner, row.lease_until) == ("running", None, None)

    site.serve()
    waiting = known.pop(works[-1])
    until(lambda: "queued" in site.passed_through(waiting)[1:], "the delayed task is begun again")
    site.receiver.wait_for(known.values())
    for work, task_id in known.items():
        assert site.feed(task_id, work.key)["status"] == "3"
    site.check_vendor(vendor, works)


def test_a_submit_under_way_gets_its_answer_recorded(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url}, server_drain_seconds=DRAIN)
    work = official_work("shutdown while the vendor thinks")
    vendor.fault("late", work.prompt, seconds=0.7)
    process = site.serve()
    task_id = site.accepted(work)
    assert task_id
    until(lambda: vendor.submits(work.prompt), "the vendor has the submit")
    _stop(process)
    assert site.passed_through(task_id) == ["queued", "submitting", "running"]
    site.serve()
    [row] = site.check(vendor, {work: task_id})
    assert row.state == "succeeded"


def test_a_request_that_has_begun_is_answered(make_site: MakeSite, vendor: Vendor) -> None:
    site = make_site({"runwayml": vendor.url}, server_drain_seconds=DRAIN)
    process = site.serve()
    work = official_work("shutdown in the middle of a request")
    with HalfSent(site, work) as (connection, rest):
        process.send(signal.SIGTERM)
        until(lambda: "server.stopping" in _log(site), "it has noticed")
        connection.sendall(rest)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if b"exec_time" in answer:
                break
    assert answer.startswith(b"HTTP/1.1 200"), answer
    task_id = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["task_id"]
    assert process.exit_code(DRAIN + LATE) == 0
    site.serve()
    [row] = site.check(vendor, {work: task_id})
    assert row.state == "succeeded"


def test_a_callback_whose_receiver_hangs_is_given_back(make_site: MakeSite) -> None:
    site = make_site(server_drain_seconds=1)
    process = site.serve()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        site.receiver, listening = _Deaf(f"http://127.0.0.1:{deaf.getsockname()[1]}/"), site.receiver
        work = local_work("shutdown genway:fail=vendor", key=TEST)
        assert site.accepted(work)
        connection, _ = deaf.accept()
        _stop(process, 1)
        connection.close()
    [callback] = site.callbacks()
    assert (callback.state, callback.owner, callback.lease_until) == ("waiting", None, None)
    site.receiver = listening


class _Deaf:
    def __init__(self, url: str) -> None:
        self.url = url


def _stop(process: Process, drain: float = DRAIN) -> None:
    process.send(signal.SIGTERM)
    assert process.exit_code(drain + LATE) == 0


def _log(site: Site) -> str:
    return (site.folder / "server-0.log").read_text()


class HalfSent:
    """A connection on which half of a submit was sent, and the other half."""

    def __init__(self, site: Site, work: Work) -> None:
        self._address = site.url.removeprefix("http://")
        body = json.dumps(work.body | {"callback_url": site.receiver.url}).encode()
        head = (
            f"POST /runway/pro/generate HTTP/1.1\r\nHost: {self._address}\r\nAuthorization: Bearer {LIVE}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._parts = head.encode() + body[:10], body[10:]

    def __enter__(self) -> tuple[socket.socket, bytes]:
        host, port = self._address.split(":")
        self._connection = socket.create_connection((host, int(port)), timeout=DEADLINE)
        self._connection.sendall(self._parts[0])
        return self._connection, self._parts[1]

    def __exit__(self, *_: object) -> None:
        self._connection.close()
