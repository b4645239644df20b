from __future__ import annotations

from typing import Any

import pytest

from genway.providers.extra import with_extra

BODY = {
    "model": "gen4_turbo",
    "ratio": "1280:720",
    "options": {"seconds": 5, "flip": False},
    "pictures": [{"uri": "a"}, {"uri": "b"}],
}


@pytest.mark.parametrize(
    ("extra", "changes"),
    [
        ({}, {}),
        ({"watermark": False}, {"watermark": False}),
        ({"ratio": "auto_720p"}, {"ratio": "auto_720p"}),
        ({"model": "gen4.5", "options": {"seconds": 10}}, {}),
        ({"options": {"resolution": "4k"}}, {"options": {"seconds": 5, "flip": False, "resolution": "4k"}}),
        ({"pictures": [{}, {"subject": "human"}]}, {"pictures": [{"uri": "a"}, {"uri": "b", "subject": "human"}]}),
        ({"pictures": [{"subject": "human"}]}, {}),
        ({"ratio": {"unit": "px"}}, {}),
    ],
)
def test_unknown_fields_join_what_is_known(extra: dict[str, Any], changes: dict[str, Any]) -> None:
    assert with_extra(BODY, extra, keep=("model", "options.seconds")) == BODY | changes


def test_the_body_itself_stays_as_it_was() -> None:
    body = {"options": {"seconds": 5}}
    with_extra(body, {"options": {"resolution": "4k"}})
    assert body == {"options": {"seconds": 5}}
