"""Files inside request bodies, in every spelling that clients use."""

from __future__ import annotations

from base64 import b64encode, encodebytes, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genway.errors import MediaRefused
from genway.media.inline import decode


@given(st.binary(max_size=400), st.data())
@settings(deadline=None)
def test_every_spelling_of_base64_gives_the_same_bytes(content: bytes, data: st.DataObject) -> None:
    plain = data.draw(st.sampled_from([b64encode, urlsafe_b64encode, encodebytes]))(content).decode()
    text = data.draw(st.sampled_from([plain, plain.rstrip("=\n"), plain.replace("\n", "\r\n"), f" {plain}\t"]))
    prefix = data.draw(st.sampled_from(["", "data:;base64,", "data:text/html;base64,", "DATA:image/png;x=y; BASE64,"]))
    if prefix:
        text = data.draw(st.sampled_from([text, quote(text)]))
    assert decode(prefix + text, 400) == content


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_percent_encoded_data_uris_give_their_bytes(content: bytes) -> None:
    assert decode("data:image/png," + quote(content), 200) == content


@pytest.mark.parametrize(
    "text", ["hello world!", "www.example.com/a.png", "日本", "a===b", "AAAAA", "data:image/png", "<svg/>"]
)
def test_what_is_none_of_these_is_refused(text: str) -> None:
    with pytest.raises(MediaRefused):
        decode(text, 100)


@pytest.mark.parametrize("text", ["A" * 200, "data:;base64," + "A" * 200, "data:," + "a" * 101, "data:," + "%41" * 500])
def test_more_than_is_allowed_is_refused_before_it_is_decoded(text: str) -> None:
    with pytest.raises(MediaRefused, match="too large"):
        decode(text, 100)
