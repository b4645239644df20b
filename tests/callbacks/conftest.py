from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from callbacks.stage import Answer, Clock, Delivery, Receiver
from genway.db import Database

Receive = Callable[..., Awaitable[Receiver]]
Deliver = Callable[..., Delivery]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def receive() -> AsyncIterator[Receive]:
    """Starts receivers, each with the answers it is to give."""
    started: list[Receiver] = []

    async def start(answer: Answer = lambda number: 200) -> Receiver:
        started.append(Receiver(answer))
        return await started[-1].start()

    yield start
    for receiver in started:
        await receiver.close()


@pytest.fixture
async def deliver(database: Database, clock: Clock, receive: Receive) -> AsyncIterator[Deliver]:
    """Starts deliverers on the test's database, which stop before the receivers do."""
    started: list[Delivery] = []

    def start(on: Database = database, **changes: Any) -> Delivery:
        started.append(Delivery(on, clock, **changes))
        return started[-1]

    yield start
    for delivery in started:
        await delivery.stop()
