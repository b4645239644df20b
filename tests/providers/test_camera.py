from __future__ import annotations

import pytest

from genway.operations import Camera
from genway.providers.camera import BACKGROUND, PHRASES, in_words


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (Camera(), ""),
        (Camera(zoom=5), "The camera zooms in."),
        (Camera(zoom=-3, roll=8), "The camera slowly zooms out and quickly rolls clockwise."),
        (Camera(background_pan_y=-7), "The background drifts down behind the subject."),
        (
            Camera(tilt=1, background_pan_x=1),
            "The camera slowly tilts up, the background drifts slowly right behind the subject.",
        ),
    ],
)
def test_a_motion_is_one_sentence(camera: Camera, words: str) -> None:
    assert in_words(camera) == words


def test_every_motion_has_words() -> None:
    assert set(Camera.__struct_fields__) == PHRASES.keys() | BACKGROUND.keys()
