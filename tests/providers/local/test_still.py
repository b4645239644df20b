"""Pictures from words, and from pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.still import render
from providers.local.scenes import Pixels, ignore, photo, photo_path, psnr, save

PHOTOS = tuple(photo_path(name) for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg"))


def made(folder: Path, **more: object) -> list[Pixels]:
    values = {"width": 320, "height": 240, "seed": 2} | more
    result = render(RenderJob(kind="still", out_dir=str(folder), **values), ignore)  # type: ignore[arg-type]
    assert [Path(path).name for path in result.images] == [f"image-{index}.png" for index in range(len(result.images))]
    return [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in result.images]


def test_words_become_as_many_cards_as_asked_each_in_other_colours(tmp_path: Path) -> None:
    cards = made(tmp_path, prompt="一只猫坐在窗边", count=3)
    assert [card.shape for card in cards] == [(240, 320, 3)] * 3
    assert psnr(cards[0], cards[1]) < 30
    words = [(card.min(2) > 190) for card in cards]
    assert words[0].sum() > 500
    assert (words[0] & words[1]).sum() > 0.7 * words[0].sum()


@pytest.mark.parametrize("images", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(320, 240), (181, 333), (400, 150)])
def test_any_number_of_pictures_fills_any_size(tmp_path: Path, images: int, size: tuple[int, int]) -> None:
    (rgb,) = made(tmp_path, images=PHOTOS[:images], width=size[0], height=size[1], prompt="")
    assert rgb.shape == (size[1], size[0], 3)


def test_one_picture_of_the_right_size_is_left_as_it_is(tmp_path: Path) -> None:
    rgb = photo("coffee.png", 320, 240)
    first, second = made(tmp_path, images=(save(tmp_path / "source.png", rgb),), prompt="a cup", count=2)
    assert (first == rgb).all()
    assert psnr(second, rgb) < 25


def test_every_picture_is_on_the_board(tmp_path: Path) -> None:
    colours = [(220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 210, 40), (180, 60, 200)]
    paths = tuple(
        save(tmp_path / f"{index}.png", np.full((90, 60 + 40 * index, 3), colour, np.uint8))
        for index, colour in enumerate(colours)
    )
    (board,) = made(tmp_path, images=paths, prompt="")
    shares = [float((np.abs(board.astype(int) - colour).max(2) < 6).mean()) for colour in colours]
    assert min(shares) > 0.05
    assert 0.85 < sum(shares) < 1


def test_a_look_in_the_words_and_the_style_cinematic_are_seen(tmp_path: Path) -> None:
    plain, drawn, graded = (
        made(tmp_path, images=PHOTOS[1:2], **more)[0]
        for more in ({}, {"prompt": "a pencil sketch of it"}, {"style": "cinematic"})
    )
    assert np.ptp(drawn.astype(int), axis=2).mean() < 0.4 * np.ptp(plain.astype(int), axis=2).mean()
    assert 15 < psnr(graded, plain) < 30


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (made(tmp_path, images=PHOTOS[:3], style="cinematic", prompt="oil painting") for _ in range(2))
    assert (one[0] == two[0]).all()


def test_a_broken_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    with pytest.raises(RenderFailed) as failure:
        made(tmp_path, images=(str(tmp_path / "broken.png"),))
    assert failure.value.code == "invalid_request"
