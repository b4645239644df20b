"""`kill -9` while calls are relayed: who saw the end of an answer has it on record, and money is exact afterwards."""

from __future__ import annotations

import itertools
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import Connection, func, select

import genway.relay.meter
from durability.conftest import MakeSite
from durability.crashing_server import Kill
from durability.stage import DEADLINE, FUNDS, LIVE, Site, until
from genway.billing import ledger
from genway.db.checkpoints import RELAY_POINTS
from genway.db.tables import calls, leases
from relay.counting import check_books
from standins import openai_vendor
from standins.openai_vendor import OpenAIVendor

MODEL = "gpt-4.1"
KEPT: dict[str, Any] = {"relay_idle_lease_seconds": 600}
SHORT: dict[str, Any] = {"relay_first_lease": 20_000, "relay_largest_lease": 20_000}


@pytest.fixture(scope="module")
def text_vendor() -> Iterator[OpenAIVendor]:
    with OpenAIVendor() as vendor:
        yield vendor


class Crowd:
    """Clients that go on asking. ended: the request ids of the answers whose end they saw."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ended: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def ask(self, streamed: bool) -> bool:
        """One call; False where the server ended before it did."""
        with self._lock:
            number = f"asked-{next(self._numbers)}"
        body: Any = {"model": MODEL, "messages": [{"role": "user", "content": "one two three"}], "stream": streamed}
        headers = {"Authorization": f"Bearer {LIVE}", "X-Request-Id": number}
        try:
            answer = requests.post(f"{self.site.url}/v1/chat/completions", json=body, headers=headers, timeout=DEADLINE)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return False
        assert answer.status_code == 200, answer.text
        if not streamed or answer.text.endswith("data: [DONE]\n\n"):
            with self._lock:
                self.ended.add(number)
        return True

    def ask_until(self, over: Callable[[], bool], gone: threading.Event | None = None) -> None:
        """Several at once, again and again, until it is over. gone: set when the server ends before an answer does."""

        def one(client: int) -> None:
            while not over():
                if not self.ask(streamed=client % 2 == 0) and gone is not None:
                    gone.set()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(4)))


def open_leases(site: Site) -> list[Any]:
    query = select(leases).where(leases.c.closed_at.is_(None))
    found: list[Any] = site.read(lambda connection: connection.execute(query).all())
    return found


def check(site: Site, crowd: Crowd) -> None:
    """Nobody was told more than is on record, nothing is lent any more, and the account has paid just that."""

    def look(connection: Connection) -> None:
        known = list(connection.execute(select(calls.c.request_id)).scalars())
        assert len(known) == len(set(known))
        assert crowd.ended <= set(known)
        check_books(connection, site.account_id, FUNDS)
        cost = connection.execute(select(func.coalesce(func.sum(calls.c.cost), 0))).scalar_one()
        assert ledger.balance(connection, site.account_id, "live") == (FUNDS - cost, 0)

    assert open_leases(site) == []
    site.read(look)


def furnish(make_site: MakeSite, vendor: OpenAIVendor, **settings: Any) -> Site:
    site = make_site(**settings)
    site.write(
        lambda connection: site.add_channel(connection, "openai", f"{vendor.url}/v1", openai_vendor.KEY, models={MODEL: MODEL})
    )
    return site


def die_at(site: Site, crowd: Crowd, kill: Kill, **settings: Any) -> None:
    """Serve until the step, with clients that go on asking or, where it is a lease's return, have stopped."""
    process = site.serve(kill, **settings)
    if kill.point.startswith("returning."):
        crowd.ask(streamed=False)
    else:
        gone = threading.Event()
        crowd.ask_until(gone.is_set, gone)
    assert process.exit_code() == -signal.SIGKILL
    assert process.came_to()[0] == kill.point


def test_strict_calls_whose_end_was_seen_are_on_record_wherever_the_server_is_killed(
    make_site: MakeSite, text_vendor: OpenAIVendor
) -> None:
    site = furnish(make_site, text_vendor, **SHORT)
    crowd = Crowd(site)
    for point in ("leasing.committed", "recording.before_commit", "recording.committed", "returning.before_commit"):
        settings = {"relay_idle_lease_seconds": 0} if point.startswith("returning.") else KEPT
        die_at(site, crowd, Kill(point, 1 if point.startswith("returning.") else 4), **settings)
    last = site.serve(**KEPT)
    check(site, crowd)
    before = len(crowd.ended)
    assert crowd.ask(streamed=True)
    assert len(crowd.ended) == before + 1 > 10
    assert open_leases(site) != []
    last.send(signal.SIGTERM)
    assert last.exit_code() == 0
    check(site, crowd)


def test_relaxed_calls_whose_end_was_seen_are_on_record_after_the_next_start(
    make_site: MakeSite, text_vendor: OpenAIVendor
) -> None:
    site = furnish(make_site, text_vendor, relay_durability="relaxed", relay_relaxed_seconds=0.1)
    crowd = Crowd(site)
    for point in ("recording.before_commit", "recording.committed"):
        die_at(site, crowd, Kill(point, 2), **KEPT)
    assert list(Path(site.config.data_dir).glob("calls/*.jsonl"))
    site.serve(**KEPT)
    check(site, crowd)
    assert len(crowd.ended) > 10


def test_when_one_worker_is_killed_what_it_owes_is_seen_to_while_the_others_go_on(
    make_site: MakeSite, text_vendor: OpenAIVendor
) -> None:
    site = furnish(make_site, text_vendor, relay_durability="relaxed", relay_relaxed_seconds=0.1, **KEPT)
    crowd = Crowd(site)
    parent = site.start_workers(2)

    def owners() -> set[str]:
        return {lease.owner for lease in open_leases(site)}

    crowd.ask_until(lambda: len(owners()) == 2)
    before = owners()
    psutil.Process(parent.pid).children()[0].kill()
    crowd.ask_until(lambda: len(before - owners()) == 1)
    until(lambda: len(psutil.Process(parent.pid).children()) == 2, "the dead worker is replaced")
    assert crowd.ask(streamed=True)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(DEADLINE) == 0
    check(site, crowd)


def test_every_step_there_is_is_told() -> None:
    text = Path(genway.relay.meter.__file__).read_text("utf-8")
    steps = set(re.findall(r'_told\(\s*"(\w+)"', text))
    assert {f"{step}.{part}" for step in steps for part in ("ready", "before_commit", "committed")} == set(RELAY_POINTS)
