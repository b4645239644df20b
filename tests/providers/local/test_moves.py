"""Camera words, English and Chinese."""

from __future__ import annotations

import pytest

from genway.operations import Camera
from genway.providers.local.moves import GENTLE, chosen, from_words, onward


@pytest.mark.parametrize(
    ("words", "member", "sign"),
    [
        ("the camera slowly zooms in on her face", "zoom", 1),
        ("Push in", "zoom", 1),
        ("dolly in towards the door", "zoom", 1),
        ("镜头缓慢推近", "zoom", 1),
        ("画面放大", "zoom", 1),
        ("zoom out to reveal the city", "zoom", -1),
        ("pull back", "zoom", -1),
        ("镜头拉远", "zoom", -1),
        ("camera pans left", "pan", -1),
        ("pan slowly to the right", "pan", 1),
        ("镜头左摇", "pan", -1),
        ("the camera tilts up", "tilt", 1),
        ("pan down to the table", "tilt", -1),
        ("镜头上摇", "tilt", 1),
        ("truck left", "horizontal", -1),
        ("the camera moves right", "horizontal", 1),
        ("镜头向左平移", "horizontal", -1),
        ("右移", "horizontal", 1),
        ("crane up over the roofs", "vertical", 1),
        ("镜头上升", "vertical", 1),
        ("下降", "vertical", -1),
        ("rotate clockwise", "roll", 1),
        ("spin counter-clockwise", "roll", -1),
        ("顺时针旋转", "roll", 1),
        ("逆时针旋转", "roll", -1),
    ],
)
def test_words_name_a_move(words: str, member: str, sign: int) -> None:
    found = from_words(words)
    assert found is not None
    moved = {name: getattr(found, name) for name in found.__struct_fields__ if getattr(found, name)}
    assert moved.keys() == {member}
    assert moved[member] * sign > 0


@pytest.mark.parametrize("words", ["orbit around the car", "环绕拍摄", "circling around the subject"])
def test_an_orbit_moves_the_camera_one_way_and_turns_it_the_other(words: str) -> None:
    found = from_words(words)
    assert found is not None
    assert found.horizontal > 0 > found.pan


@pytest.mark.parametrize(
    "words", ["static shot of a lake", "a fixed camera", "locked-off", "固定镜头", "镜头静止不动", "tripod shot"]
)
def test_words_for_a_camera_that_stands_still_give_no_motion(words: str) -> None:
    assert from_words(words) == Camera()
    assert chosen(Camera(), words, 3) == Camera()


@pytest.mark.parametrize(
    "words",
    [
        "",
        "a cat on a roll of paper",
        "rolling hills",
        "static electricity",
        "a man pushes a cart",
        "头发随风飘动",
        "a frying pan",
    ],
)
def test_words_that_only_sound_like_a_move_are_not_one(words: str) -> None:
    assert from_words(words) is None


def test_moves_combine_and_slow_is_less_than_fast() -> None:
    both = from_words("zoom in and pan left")
    assert both is not None
    assert both.zoom > 0 > both.pan
    slow, plain, fast = (from_words(words) for words in ("slowly zoom in", "zoom in", "quickly zoom in"))
    assert slow is not None
    assert plain is not None
    assert fast is not None
    assert 0 < slow.zoom < plain.zoom < fast.zoom <= 10


def test_numbers_win_over_words_and_words_over_the_seed() -> None:
    assert chosen(Camera(zoom=2), "pan left", 1) == Camera(zoom=2)
    assert chosen(Camera(), "pan left", 1) == from_words("pan left")
    assert {chosen(Camera(), "a quiet morning", seed) for seed in range(50)} == set(GENTLE)


def test_a_gentle_motion_from_a_given_frame_goes_in_and_one_towards_it_comes_from_inside() -> None:
    for seed in range(len(GENTLE)):
        assert onward(Camera(), "a quiet morning", seed).zoom >= 0
        assert onward(Camera(), "a quiet morning", seed, towards_rest=True).zoom <= 0
    assert onward(Camera(zoom=-5), "", 0) == Camera(zoom=-5)
    assert onward(Camera(), "zoom out", 0) == from_words("zoom out")
