from __future__ import annotations

import base64

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate import media
from relay.translate.stage import PDF, PNG


def test_an_address_stays_an_address() -> None:
    assert media.picture("https://a.example/1.png", "f") == {
        "type": "image",
        "source": {"type": "url", "url": "https://a.example/1.png"},
    }


@pytest.mark.parametrize(
    ("said", "kind"), [("image/png", "image/png"), ("image/jpg", "image/jpeg"), ("IMAGE/WEBP;x=y", "image/webp")]
)
def test_a_data_uri_is_taken_apart(said: str, kind: str) -> None:
    block = media.picture(f"data:{said};base64,{PNG}", "f")
    assert block == {"type": "image", "source": {"type": "base64", "media_type": kind, "data": PNG}}


@pytest.mark.parametrize(
    "address",
    [f"data:image/bmp;base64,{PNG}", "data:image/png,abc", "ftp://a.example/1", PNG, f"data:application/pdf;base64,{PDF}", ""],
)
def test_what_is_no_picture_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        media.picture(address, "here")
    assert refused.value.field == "here"


def test_a_pdf_is_a_document_with_its_name() -> None:
    expected = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        "title": "a.pdf",
    }
    assert media.document(f"data:application/pdf;base64,{PDF}", "a.pdf", "f") == expected
    assert media.document(PDF, "a.pdf", "f") == expected


def test_a_text_is_a_document_in_plain_text() -> None:
    text = base64.b64encode("Größe".encode()).decode()
    block = media.document(f"data:text/markdown;base64,{text}", None, "f")
    assert block == {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Größe"}}


def test_a_picture_sent_as_a_file_is_a_picture() -> None:
    assert media.document(f"data:image/png;base64,{PNG}", "a.png", "f")["type"] == "image"


@pytest.mark.parametrize("uri", ["data:text/plain;base64,@@@", "data:text/plain;base64,/w==", "data:audio/wav;base64,AAAA"])
def test_a_file_that_cannot_be_read_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        media.document(uri, None, "f")
