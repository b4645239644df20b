"""Finding the subject, with the network and without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from genway.providers.local import layers, mask, picture
from providers.local.scenes import photo_path
from providers.local.views import Pixels


def overlap(found: Pixels, truth: Pixels) -> float:
    """Intersection over union of a mask, of any size, with a true one."""
    solid = cv2.resize(found, (truth.shape[1], truth.shape[0])) > 0.5
    return float((solid & truth).sum() / (solid | truth).sum())


@pytest.fixture(scope="module")
def scene() -> tuple[Pixels, Pixels]:
    """A reddish figure before a green wall, and where it is."""
    noise = np.random.default_rng(2).normal(0, 5, (240, 320, 3))
    truth = np.zeros((240, 320), np.uint8)
    cv2.ellipse(truth, (165, 130), (55, 80), 8, 0, 360, 1, -1)
    rgb = np.where(truth[..., None] > 0, (205, 70, 55), (70, 120, 80)) + noise
    return rgb.clip(0, 255).astype(np.uint8), truth > 0


def test_the_network_finds_the_subject(scene: tuple[Pixels, Pixels]) -> None:
    found = mask.subject(scene[0])
    assert found is not None
    assert overlap(found, scene[1]) > 0.85
    assert mask.trust(found) > 0.8


def test_the_network_is_used_where_it_is_installed() -> None:
    path = mask.weights()
    assert path is not None
    assert path.name == "u2netp.onnx"


def test_grabcut_finds_it_without_a_network(scene: tuple[Pixels, Pixels]) -> None:
    found = mask.subject(scene[0], session=None)
    assert found is not None
    assert overlap(found, scene[1]) > 0.85


def test_grabcut_gives_the_same_mask_each_time() -> None:
    photo = picture.load(photo_path("coffee.png"))
    assert np.array_equal(mask.grabcut(photo), mask.grabcut(photo))


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("name", ["brick.png", "grass.png"])
def test_a_texture_has_no_subject(name: str, network: bool) -> None:
    photo = picture.load(photo_path(name))
    assert (mask.subject(photo) if network else mask.subject(photo, session=None)) is None


def test_one_colour_has_no_subject() -> None:
    flat = np.full((100, 140, 3), 128, np.uint8)
    assert mask.subject(flat) is None
    assert mask.subject(flat, session=None) is None


def test_a_vague_outline_or_a_subject_that_fills_everything_is_not_cut_along() -> None:
    vague = np.full((100, 100), 0.4, np.float32)
    vague[40:60, 40:60] = 1
    assert mask.trust(vague) == 0
    assert mask.trust(np.ones((100, 100), np.float32)) == 0


def test_layers_give_the_picture_back_and_the_background_has_lost_the_subject(scene: tuple[Pixels, Pixels]) -> None:
    rgb, truth = scene
    parts = layers.separate(rgb, cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 2))
    cover = parts.alpha[..., None]
    assert cv2.PSNR((parts.foreground * cover + parts.background * (1 - cover) + 0.5).astype(np.uint8), rgb) > 38
    inside = cv2.erode(truth.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(parts.background[inside].astype(int) - (70, 120, 80)).mean() < 15
    outside = cv2.dilate(truth.astype(np.uint8), np.ones((41, 41))) == 0
    assert np.array_equal(parts.background[outside], rgb[outside])
