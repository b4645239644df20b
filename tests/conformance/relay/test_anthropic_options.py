"""Anthropic's SDK at the gateway alone: pages of lists, and what is not served; with a live key and with a test key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, NotFoundError

from conformance.relay.stage import PDF, Vendors
from running import Running


@pytest.fixture(params=["live", "test"])
def client(request: pytest.FixtureRequest, relay_server: Running, vendors: Vendors) -> Iterator[Anthropic]:
    key = relay_server.key if request.param == "live" else relay_server.test_key
    with Anthropic(api_key=key, base_url=relay_server.url, max_retries=0) as made:
        yield made


def test_what_is_not_served_says_what_to_do_instead(client: Anthropic) -> None:
    with pytest.raises(NotFoundError, match="operator") as refused:
        client.skills.list()
    assert refused.value.type == "not_found_error"
    with pytest.raises(NotFoundError, match="POST /v1/messages"):
        client.post("/v1/complete", body={"model": "claude-2"}, cast_to=object)


def test_lists_are_walked_page_by_page_both_ways(client: Anthropic) -> None:
    asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "one"}]}
    batches = client.messages.batches
    made = [batches.create(requests=[{"custom_id": "a", "params": asked}]).id for _ in range(3)]
    assert [batch.id for batch in batches.list(limit=1)][:3] == made[::-1]
    assert [batch.id for batch in batches.list(limit=1, before_id=made[0])][:2] == made[1:]
    files = client.beta.files
    kept = [files.upload(file=("page.pdf", PDF, "application/pdf")).id for _ in range(3)]
    assert [file.id for file in files.list(limit=1)][:3] == kept[::-1]
    models = [model.id for model in client.models.list(limit=1)]
    assert len(set(models)) == len(models) > 2
