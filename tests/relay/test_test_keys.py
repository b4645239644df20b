"""What a test key is shown: the price that a live key would pay."""

from __future__ import annotations

from pathlib import Path

from genway.billing.prices import Price, set_price
from genway.db.tables import prices
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
