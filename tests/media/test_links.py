"""Signed links open one file until a time, and cannot be made up."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genway.errors import Forbidden
from genway.media.links import LinkSigner

SIGNER = LinkSigner(b"s" * 32)
MEDIA = "med_" + "0" * 32


def query_of(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def test_a_link_names_the_file_and_carries_its_own_end() -> None:
    parts = urlsplit(SIGNER.path(MEDIA, "mp4", account_id="acc_1", expires_at=1000))
    assert parts.path == f"/media/{MEDIA}.mp4"
    assert SIGNER.verify(MEDIA, query_of(parts.query), 999.9, account_id="acc_1") == 1000


def test_a_link_ends_when_it_says() -> None:
    query = query_of(SIGNER.sign(MEDIA, account_id="acc_1", expires_at=1000))
    with pytest.raises(Forbidden, match="expired"):
        SIGNER.verify(MEDIA, query, 1000, account_id="acc_1")
    assert SIGNER.genuine(MEDIA, query, account_id="acc_1")


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "1001"},
        {"expires": "01000"},
        {"expires": " 1000"},
        {"expires": "1000\n"},
        {"expires": ""},
        {"signature": ""},
        {"signature": "A" * 43},
        {"signature": "é"},
    ],
)
def test_a_changed_link_is_refused(change: dict[str, str]) -> None:
    query = query_of(SIGNER.sign(MEDIA, account_id="acc_1", expires_at=1000)) | change
    with pytest.raises(Forbidden, match="not valid"):
        SIGNER.verify(MEDIA, query, 0, account_id="acc_1")


@given(st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None)
def test_a_made_up_link_is_refused(expires: str, signature: str) -> None:
    with pytest.raises(Forbidden):
        SIGNER.verify(MEDIA, {"expires": expires, "signature": signature}, 0, account_id="acc_1")


def test_a_link_opens_no_other_file_no_other_accounts_and_works_on_no_other_server() -> None:
    query = query_of(SIGNER.sign(MEDIA, account_id="acc_1", expires_at=1000))
    others = [(SIGNER, MEDIA[:-1] + "1", "acc_1"), (SIGNER, MEDIA, "acc_2"), (LinkSigner(b"t" * 32), MEDIA, "acc_1")]
    for signer, media_id, account_id in others:
        with pytest.raises(Forbidden):
            signer.verify(media_id, query, 0, account_id=account_id)


def test_a_link_without_a_query_is_refused() -> None:
    with pytest.raises(Forbidden):
        SIGNER.verify(MEDIA, {}, 0, account_id="acc_1")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        LinkSigner(b"short")
