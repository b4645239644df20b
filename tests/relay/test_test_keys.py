"""What a test key is shown: the price that a live key would pay; and that its work holds nobody else up."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from genway.billing.prices import Price, set_price
from genway.db.tables import prices
from genway.providers.local import echo
from relay.house import opened

KEY = "gw_test_the_key_of_a_programmer"


async def test_a_test_key_is_shown_the_price_of_the_model_behind_the_name_it_asks_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.channel("main", "http://127.0.0.1:9", models={"fast": "gpt-4.1"})
        house.key(KEY, mode="test")
        house.write(lambda connection: connection.execute(prices.delete()))
        house.write(lambda connection: set_price(connection, Price("openai/gpt-4.1", "call", 500), house.now))
        await house.relay._refresh()
        answer = await house.chat("fast", key=KEY)
        assert (answer.channel, answer.headers["x-genway-cost"]) == ("local", "0.0005")


async def test_a_long_text_is_answered_beside_the_event_loop_and_a_short_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, beside = echo.answer, []

    def watched(*arguments: Any, **more: Any) -> Any:
        beside.append(threading.current_thread() is not threading.main_thread())
        return answer(*arguments, **more)

    async with opened(tmp_path) as house:
        house.key(KEY, mode="test")
        monkeypatch.setattr(echo, "answer", watched)
        for text in ("Hi", "Hi " * 50_000, "Hi" + " " * 200_000):
            told = await house.chat(messages=[{"role": "user", "content": text}], key=KEY)
            assert told.json["choices"][0]["message"]["content"].startswith("Hi")
    assert beside == [False, True, True]
