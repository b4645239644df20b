"""The routes of calls, and what is read of their bodies."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.errors import InvalidRequest
from genway.relay import kinds
from genway.relay.kinds import KINDS, PATHS, PREFIXES, ROUTES, read, rewrite, under_v1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "chat"),
        ("/chat/completions", "chat"),
        ("/v1/v1/chat/completions", "chat"),
        ("/openai/v1/responses/", "responses"),
        ("/anthropic/v1/messages", "messages"),
        ("/v1/messages/count_tokens", "count_tokens"),
        ("/openai/embeddings", "embeddings"),
    ],
)
def test_the_spellings_of_a_route(path: str, kind: str) -> None:
    assert ROUTES[path].name == kind


def test_every_path_has_every_spelling_and_no_two_kinds_share_one() -> None:
    assert len(ROUTES) == 2 * len(PATHS) * len(PREFIXES)
    assert set(PATHS.values()) <= set(KINDS)


def test_translations_go_both_ways() -> None:
    for kind in KINDS.values():
        if kind.translated:
            assert KINDS[kind.translated].translated == kind.name
            assert KINDS[kind.translated].wire != kind.wire


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/v1/models", "/models"),
        ("/v1/v1/models/", "/models"),
        ("/openai/v1/models/gpt", "/models/gpt"),
        ("/anthropic/models", "/models"),
        ("/models", "/models"),
        ("/v1", "/"),
        ("/v1x/models", "/v1x/models"),
        ("/openaix", "/openaix"),
    ],
)
def test_what_stands_after_v1(path: str, rest: str) -> None:
    assert under_v1(path) == rest


@pytest.mark.parametrize(
    ("body", "streamed", "most"),
    [
        ({}, False, None),
        ({"stream": True, "max_tokens": 5}, True, 5),
        ({"stream": False, "max_tokens": 5, "max_completion_tokens": 7}, False, 7),
        ({"stream": None, "max_output_tokens": 9}, False, 9),
        ({"max_tokens": -1}, False, None),
        ({"max_completion_tokens": -(10**9), "max_tokens": 5}, False, None),
        ({"stream_format": "sse"}, True, None),
        ({"stream_format": "audio"}, False, None),
    ],
)
def test_what_is_read_of_a_body(body: dict[str, Any], streamed: bool, most: int | None) -> None:
    call = read(msgspec.json.encode({"model": "m", "unknown": [1], **body}))
    assert (call.model, call.streamed, call.most_output) == ("m", streamed, most)


def test_a_pictures_background_is_a_word_and_a_responses_a_switch() -> None:
    assert read(b'{"model": "m", "background": "transparent"}').background == "transparent"
    assert read(b'{"model": "m", "background": true}').background is True


@pytest.mark.parametrize(
    ("options", "wanted"),
    [(None, False), ({}, False), ({"include_usage": False}, False), ({"include_usage": True}, True), ({"other": 1}, False)],
)
def test_whether_a_client_asked_for_usage(options: Any, wanted: bool) -> None:
    assert read(msgspec.json.encode({"model": "m", "stream_options": options})).wants_usage is wanted


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"", None, "empty"),
        (b"\n ", None, "empty"),
        (b"{", None, "not valid JSON"),
        (b"5", None, "a JSON object"),
        (b'{"model": null}', "model", "expected `str`, got `null`"),
        (b'{"stream_options": {"include_usage": 1}}', "stream_options.include_usage", "expected `bool | null`, got `int`"),
        (b'{"n": 1.5}', "n", "expected `int | null`, got `float`"),
        (b'{"model": "\xc3"}', None, "not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_body_is_said_and_where(body: bytes, field: str | None, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert (refused.value.field, words in refused.value.message) == (field, True), refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","messages":[],"model":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"model":"cheap","Model":"dear"}',
        b'{"\\u004dodel":"dear","model":"cheap"}',
        b'{"model":{"x":1},"model":"cheap"}',
    ],
)
def test_a_model_that_is_given_twice_is_refused_since_the_vendor_might_take_the_other(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert (refused.value.field, refused.value.message) == ("model", "given twice")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"one","tools":[{"parameters":{"properties":{"model":{}}}}]}',
        b'{"messages":[{"content":"\\"model\\" and \\u0041"}],"model":"one"}',
        b'{"mod\\u0065l":"one"}',
    ],
)
def test_a_model_that_is_given_once_is_read(body: bytes) -> None:
    assert read(body).model == "one"


def test_members_are_set_removed_and_added() -> None:
    body = b' {"a": 1.0, "model": "x" , "b": [1e2,\n3]} '
    assert rewrite(body, {"model": "y"}) == b'{"a":1.0,"model":"y","b":[1e2,\n3]}'
    assert rewrite(body, {"model": None, "c": True, "absent": None}) == b'{"a":1.0,"b":[1e2,\n3],"c":true}'


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=6), st.text(max_size=5))
def test_rewriting_leaves_all_else_alone(members: dict[str, Any], model: str) -> None:
    body = msgspec.json.encode(members)
    assert msgspec.json.decode(rewrite(body, {"model": model})) == members | {"model": model}


@given(st.binary(max_size=60))
def test_no_body_at_all_breaks_the_reader(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(read(body), kinds.Call)
