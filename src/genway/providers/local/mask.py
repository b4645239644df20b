"""Where the subject of a picture is."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from genway.providers.local.picture import Pixels, Weights

MODEL_SIDE = 320
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
SMALLEST, LARGEST = 0.012, 0.72
GRABCUT_SIDE = 288
LEAST_CONTRAST = 14.0
TRUST_LOST = 4.0


def network() -> Any:
    """U^2-Net (the small one), ready to run; None where its weights or onnxruntime are not installed."""
    path = weights()
    return None if path is None else _loaded(path)


_INSTALLED: Any = object()


def subject(rgb: Pixels, session: Any = _INSTALLED) -> Weights | None:
    """How much each pixel belongs to the subject, 0…1, on a grid of about 320 pixels a side; None without a clear subject.

    session: the network to ask, by default the installed one; None for GrabCut from a saliency prior instead.
    """
    if session is _INSTALLED:
        session = network()
    found = grabcut(rgb) if session is None else _asked(session, rgb)
    return _clear(found)


def weights() -> Path | None:
    """The file of the network's weights inside the installed package that ships it; none of its code is loaded."""
    try:
        package = find_spec("rembg")
    except (ImportError, ValueError):
        return None
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "u2netp.onnx"
        if path.is_file():
            return path
    return None


@cache
def _loaded(path: Path) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - not there on every version of Python
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _asked(session: Any, rgb: Pixels) -> Weights:
    small = cv2.resize(rgb, (MODEL_SIDE, MODEL_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    normal = (small / max(float(small.max()), 1.0) - MEAN) / DEVIATION
    name = session.get_inputs()[0].name
    answer = session.run([session.get_outputs()[0].name], {name: normal.transpose(2, 0, 1)[None]})[0]
    return np.asarray(answer[0, 0], np.float32)


def grabcut(rgb: Pixels) -> Weights:
    """The same answer without a network: GrabCut, told by colour contrast and position where to begin."""
    height, width = rgb.shape[:2]
    factor = GRABCUT_SIDE / max(height, width)
    size = (max(16, round(width * factor)), max(16, round(height * factor)))
    small: Pixels = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    unlike = _unlike_border(small)
    prior = _saliency(unlike)
    inside, outside = float(np.quantile(prior, 0.82)), float(np.quantile(prior, 0.45))
    labels: Pixels = np.full(prior.shape, cv2.GC_PR_BGD, np.uint8)
    labels[prior > (inside + outside) / 2] = cv2.GC_PR_FGD
    labels[prior >= max(inside, 1e-3)] = cv2.GC_FGD
    labels[prior <= outside] = cv2.GC_BGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return np.zeros(prior.shape, np.float32)
    cv2.setRNGSeed(1)
    cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    found: Pixels = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # It cuts something out of any texture; a subject stands out from what is around it.
    inner, outer = unlike[found > 0], unlike[found == 0]
    if not inner.size or not outer.size or inner.mean() < max(LEAST_CONTRAST, 1.8 * outer.mean()):
        return np.zeros(prior.shape, np.float32)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return np.asarray(cv2.GaussianBlur(found.astype(np.float32), (0, 0), 1.0), np.float32)


def _unlike_border(small: Pixels) -> Weights:
    """How far each pixel's colour is from those along the picture's border, in units of 8-bit Lab."""
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
    edge = max(2, min(lab.shape[:2]) // 20)
    # A subject mostly stands on the lower border, so that one does not tell what the background looks like.
    border = np.concatenate([part.reshape(-1, 3) for part in (lab[:edge], lab[:, :edge], lab[:, -edge:])])
    cv2.setRNGSeed(1)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    labels = np.zeros((len(border), 1), np.int32)
    centres = cv2.kmeans(border, min(4, len(border)), labels, criteria, 1, cv2.KMEANS_PP_CENTERS)[2]
    return np.asarray(np.min([np.linalg.norm(lab - centre, axis=2) for centre in centres], axis=0), np.float32)


def _saliency(unlike: Weights) -> Weights:
    """Where a subject is to be expected, 0…1: unlike the border, and more so near the middle."""
    height, width = unlike.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centred = unlike * np.exp(-1.6 * (x**2 + 0.7 * (y - 0.1) ** 2))
    smooth = cv2.GaussianBlur(centred.astype(np.float32), (0, 0), max(height, width) / 60)
    return np.asarray(smooth / max(float(smooth.max()), 12.0), np.float32)


def trust(found: Weights) -> float:
    """How well a picture can be cut along a mask, 0…1: the less of it is neither subject nor background, the better.

    Not at all where the subject fills nearly everything: there is nothing to put behind it.
    """
    solid = (found > 0.5).astype(np.uint8)
    if solid.mean() > LARGEST:
        return 0.0
    outline = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))
    vague = (found > 0.15) & (found < 0.85) & (outline == 0)
    # A thin thing is nearly all outline, and not to be blamed for that.
    size = int(solid.sum()) + 0.6 * int(outline.sum())
    return float(np.clip(1 - TRUST_LOST * vague.sum() / max(1.0, size), 0, 1))


def _clear(found: Weights) -> Weights | None:
    """The mask without stray specks, or None if it is too small or too vague to tell where the subject is."""
    solid = (found > 0.5).astype(np.uint8)
    area = float(solid.mean())
    if area < SMALLEST:
        return None
    vague = float(((found > 0.2) & (found < 0.8)).mean())
    if vague > area * 0.8:
        return None
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    sizes = statistics[:, cv2.CC_STAT_AREA]
    kept = [label for label in range(1, count) if sizes[label] >= 0.12 * sizes[1:].max()]
    near = cv2.dilate(np.isin(labels, kept).astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.where(near > 0, found, 0).astype(np.float32)
