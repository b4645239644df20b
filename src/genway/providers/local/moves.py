"""Camera words of film people, English and Chinese, into a camera motion; and a gentle one where no word fits."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from genway.operations import CAMERA_LIMIT, Camera


class Move(NamedTuple):
    """A pattern and the motion it stands for, one pair of member and size each."""

    pattern: re.Pattern[str]
    motion: tuple[tuple[str, float], ...]


def _move(pattern: str, **motion: float) -> Move:
    return Move(re.compile(pattern, re.IGNORECASE), tuple(motion.items()))


_LEFT = r"(?:\s+\w+){0,2}?\s*[- ](?:to\s+the\s+)?left(?:wards?)?\b"
_RIGHT = r"(?:\s+\w+){0,2}?\s*[- ](?:to\s+the\s+)?right(?:wards?)?\b"
_UP = r"(?:\s+\w+){0,2}?\s*[- ]up(?:wards?)?\b"
_DOWN = r"(?:\s+\w+){0,2}?\s*[- ]down(?:wards?)?\b"
_TRUCK = (
    r"(?:truck(?:s|ing)?|slid(?:es?|ing)|track(?:s|ing)?|camera\s+(?:\w+\s+)?(?:moves?|moving|glid(?:es?|ing)|drift(?:s|ing)?))"
)
_CRANE = r"(?:crane[sd]?|craning|pedestal|boom|camera\s+(?:\w+\s+)?(?:moves?|moving|ris(?:es?|ing)|goes|drift(?:s|ing)?))"

STATIC = re.compile(
    r"\b(?:static|stationary|locked[- ]?(?:off|down)|tripod)\b(?!\s+electric)"
    r"|\b(?:fixed|still|unmoving)\s+(?:camera|shot|frame|view)"
    r"|\bcamera\s+(?:is|stays|remains|holds|stands)?\s*(?:fixed|still|steady|locked)\b"
    r"|\bno\s+camera\s+(?:movement|motion)"
    r"|固定(?:镜头|机位|视角|画面|拍摄)|镜头(?:保持)?(?:固定|静止|不动)|静止|机位不动|静态镜头|定机位",
    re.IGNORECASE,
)

# The first pattern of a group that fits speaks for the group, so the plain word comes after those that say where to.
GROUPS: tuple[tuple[Move, ...], ...] = (
    (
        _move(
            r"\bzoom(?:s|ed|ing)?[- ]?out|\bpull(?:s|ing)?(?:[- ](?:back|out|away))|\bdoll(?:y|ies|ying)[- ]?(?:out|back)"
            r"|镜头?拉远|拉远|拉镜|推远|拉开|后拉|后退|远离|缩小",
            zoom=-4,
        ),
        _move(
            r"\bzoom(?:s|ed|ing)?[- ]?in|\bpush(?:es|ing)?[- ]?in|\bdoll(?:y|ies|ying)[- ]?(?:in|forward)"
            r"|\bmov(?:e|es|ing)\s+(?:in|closer|forward)|\bcamera\s+(?:\w+\s+)?(?:approach|push)"
            r"|推近|推进|推镜|拉近|靠近|放大|前推|向前推|推向",
            zoom=4,
        ),
        _move(r"\bclose[- ]?up\s+zoom|\bzoom(?:s|ing)?\b|\bdolly\b|变焦", zoom=4),
    ),
    (
        _move(
            r"\b(?:orbit|arc|circl)\w*[^.,;]{0,30}?\b(?:left|counter[- ]?clockwise)|(?:向左|逆时针)(?:环绕|围绕)",
            horizontal=-5,
            pan=5,
        ),
        _move(
            r"\borbit(?:s|al|ing)?\b|\barc\s+shot|\bcircl(?:e|es|ing)\s+(?:around|the\s+(?:subject|scene))"
            r"|\b(?:rotat|revolv|mov|turn)\w*\s+around|环绕|围绕|绕着|360度",
            horizontal=5,
            pan=-5,
        ),
    ),
    (
        _move(rf"\bpan(?:s|ned|ning)?{_LEFT}|\bleft\s+pan|左摇|向左摇|摇向左|左转", pan=-5),
        _move(rf"\bpan(?:s|ned|ning)?{_RIGHT}|\bright\s+pan|右摇|向右摇|摇向右|右转", pan=5),
        _move(r"\bpan(?:s|ning)\b|\b(?:camera|slow|gentle|smooth)\s+pan\b|摇镜|横摇", pan=4),
    ),
    (
        _move(rf"\b(?:tilt(?:s|ed|ing)?|camera\s+pans?|pan){_UP}|上摇|向上摇|仰拍|仰起|抬头", tilt=5),
        _move(rf"\b(?:tilt(?:s|ed|ing)?|camera\s+pans?|pan){_DOWN}|下摇|向下摇|俯拍|俯下|低头", tilt=-5),
        _move(r"\btilt(?:s|ing)\b", tilt=4),
    ),
    (
        _move(rf"\b{_TRUCK}{_LEFT}|左移|向左(?:平移|移动|滑动|推移)|左平移", horizontal=-5),
        _move(rf"\b{_TRUCK}{_RIGHT}|右移|向右(?:平移|移动|滑动|推移)|右平移", horizontal=5),
        _move(
            r"\b(?:truck|track)(?:s|ing)\b(?:\s+shot)?|\bside(?:ways)?\s+(?:slide|movement)|平移|横移|跟拍|跟随", horizontal=4
        ),
    ),
    (
        _move(
            rf"\b{_CRANE}{_UP}|\bcamera\s+(?:\w+\s+)?(?:ris(?:es?|ing)|ascend\w*|lifts?)|\bris(?:es?|ing)\s+shot"
            r"|上升|升起|升镜|上移|向上(?:平移|移动)|升高",
            vertical=5,
        ),
        _move(
            rf"\b{_CRANE}{_DOWN}|\bcamera\s+(?:\w+\s+)?(?:descend\w*|lower\w*|sinks?)|下降|降镜|降落镜头|下移|向下(?:平移|移动)|降低",
            vertical=-5,
        ),
    ),
    (
        _move(
            r"\b(?:roll|rotat|spin)\w*\s+(?:\w+\s+){0,2}?(?:counter|anti)[- ]?clockwise|\bcounter[- ]?clockwise"
            r"|\banti[- ]?clockwise|逆时针",
            roll=-4,
        ),
        _move(
            r"\b(?:camera|slow|gentle)\s+(?:\w+\s+)?(?:roll|rotat|spin)\w*|\b(?:roll|rotat|spin)\w*\s+(?:\w+\s+)?clockwise|\bclockwise"
            r"|\bdutch\s+(?:angle|roll|tilt)|\brotating\s+shot|顺时针|镜头旋转|旋转镜头|画面旋转|旋转",
            roll=4,
        ),
    ),
)

SLOWER = re.compile(
    r"\b(?:slow(?:ly)?|gentl[ey]|subtl[ey]|slight(?:ly)?|soft(?:ly)?)\b|缓慢|缓缓|慢慢|轻轻|轻微|微微", re.IGNORECASE
)
FASTER = re.compile(r"\b(?:fast|quick(?:ly)?|rapid(?:ly)?|crash|dramatic(?:ally)?|whip)\b|快速|迅速|急速|猛", re.IGNORECASE)

GENTLE = (
    Camera(zoom=3),
    Camera(horizontal=3, zoom=1.5),
    Camera(horizontal=-3, zoom=1.5),
    Camera(zoom=-3),
    Camera(horizontal=4, pan=-3, zoom=1),
    Camera(horizontal=-4, pan=3, zoom=1),
    Camera(vertical=2, zoom=2),
)


def chosen(camera: Camera, prompt: str, seed: int) -> Camera:
    """The motion to use: what was asked for in numbers, else in words, else a gentle one that the seed picks."""
    if not camera.still:
        return camera
    spoken = from_words(prompt)
    return GENTLE[seed % len(GENTLE)] if spoken is None else spoken


def onward(camera: Camera, prompt: str, seed: int, towards_rest: bool = False) -> Camera:
    """The same for a motion that must begin (or, `towards_rest`, end) with exactly a given frame.

    Nothing is known beyond the frame's border, so a motion that nobody asked for does not go out over it.
    """
    motion = chosen(camera, prompt, seed)
    if not camera.still or from_words(prompt) is not None:
        return motion
    return msgspec.structs.replace(motion, zoom=-abs(motion.zoom) if towards_rest else abs(motion.zoom))


def from_words(prompt: str) -> Camera | None:
    """The motion the words name, `Camera()` where they ask for a camera that stands still, None where they say nothing."""
    members: dict[str, float] = {}
    strength = 0.6 if SLOWER.search(prompt) else 1.6 if FASTER.search(prompt) else 1.0
    for group in GROUPS:
        move = next((move for move in group if move.pattern.search(prompt)), None)
        for name, size in move.motion if move else ():
            members[name] = members.get(name, 0.0) + size * strength
    if members:
        return Camera(**{name: max(-CAMERA_LIMIT, min(CAMERA_LIMIT, size)) for name, size in members.items()})
    return Camera() if STATIC.search(prompt) else None
