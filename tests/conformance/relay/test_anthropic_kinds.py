"""Anthropic's SDK beyond messages: batches, files and models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError

from conformance.relay.stage import PDF, SAME, Target

pytestmark = pytest.mark.parametrize("anthropic_target", SAME, indirect=True)


@pytest.fixture
def client(anthropic_target: Target) -> Iterator[Anthropic]:
    with Anthropic(api_key=anthropic_target.key, base_url=anthropic_target.url, max_retries=0) as made:
        yield made


def test_a_batch_is_made_and_its_results_are_fetched(client: Anthropic, anthropic_target: Target) -> None:
    def request(name: str, **more: Any) -> Any:
        params = {"model": anthropic_target.model, "max_tokens": 100, "messages": [{"role": "user", "content": name}]}
        return {"custom_id": name, "params": params | more}

    made = client.messages.batches.create(requests=[request("one"), request("two", nonsense=1)])
    assert (made.processing_status, made.request_counts.processing) == ("in_progress", 2)
    ended = client.messages.batches.retrieve(made.id)
    assert (ended.processing_status, ended.request_counts.succeeded, ended.request_counts.errored) == ("ended", 1, 1)
    rows: Any = {row.custom_id: row.result for row in client.messages.batches.results(made.id)}
    assert rows["one"].message.content[0].text == "You said: one"
    assert rows["two"].error.error.type == "invalid_request_error"
    assert made.id in {each.id for each in client.messages.batches.list()}
    doomed = client.messages.batches.create(requests=[request("three")])
    assert client.messages.batches.cancel(doomed.id).processing_status == "canceling"
    client.messages.batches.delete(made.id)
    with pytest.raises(NotFoundError):
        client.messages.batches.retrieve(made.id)


def test_a_file_is_kept_and_deleted(client: Anthropic, anthropic_target: Target) -> None:
    files = client.beta.files
    kept = files.upload(file=("page.pdf", PDF, "application/pdf"))
    assert (kept.filename, kept.mime_type, kept.size_bytes) == ("page.pdf", "application/pdf", len(PDF))
    assert files.retrieve_metadata(kept.id).id == kept.id
    assert kept.id in {each.id for each in files.list()}
    with pytest.raises(BadRequestError, match="not downloadable"):
        files.download(kept.id)
    files.delete(kept.id)
    with pytest.raises(NotFoundError):
        files.retrieve_metadata(kept.id)


def test_models_are_listed_in_this_format(client: Anthropic, anthropic_target: Target) -> None:
    found = {model.id: model for model in client.models.list(limit=100)}
    assert {anthropic_target.model, anthropic_target.thinker} <= set(found)
    assert found[anthropic_target.model].display_name
    assert client.models.retrieve(anthropic_target.model).type == "model"
    with pytest.raises(NotFoundError):
        client.models.retrieve("claude-of-nobody")
