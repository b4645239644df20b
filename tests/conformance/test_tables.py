"""The tables in the guides say what the program says."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.tables import DOCS, PAGES, PLACE, TABLES, filled, motions, said, vocabularies


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_tables_are_up_to_date(page: Path) -> None:
    """If not: `PYTHONPATH=tests uv run python -m conformance.tables`."""
    assert page.read_text() == filled(page.read_text())


def test_every_table_is_in_the_guides_of_both_languages() -> None:
    for folder in (DOCS, DOCS / "zh"):
        found = [match[2] for page in PAGES if page.parent == folder for match in PLACE.finditer(page.read_text())]
        assert sorted(found) == sorted(TABLES)


def test_every_word_for_the_camera_is_in_a_table() -> None:
    single = [said(motion) for _, motion in motions()]
    for system, words in vocabularies().items():
        for word, camera in words.items():
            assert said(camera) in single or len(said(camera)) > 1, (system, word)
