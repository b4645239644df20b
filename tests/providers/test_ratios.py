from __future__ import annotations

import pytest

from genway.operations import Size
from genway.providers.ratios import nearest_ratio

SIX = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        (Size(1280, 768), "16:9"),
        (Size(1024, 768), "4:3"),
        (Size(720, 1280), "9:16"),
        (Size(800, 1000), "3:4"),
        (Size(512, 512), "1:1"),
        (Size(4000, 1000), "21:9"),
    ],
)
def test_the_nearest_ratio_lies_the_same_way(size: Size, ratio: str) -> None:
    assert nearest_ratio(size, SIX) == ratio


def test_among_equal_shapes_the_nearest_area_is_taken() -> None:
    assert nearest_ratio(Size(1300, 730), ("1920:1080", "1280:720", "640:360")) == "1280:720"


def test_there_is_none_where_nothing_lies_the_same_way() -> None:
    assert nearest_ratio(Size(512, 512), ("16:9", "9:16", "auto")) is None
    assert nearest_ratio(Size(512, 512), ()) is None
