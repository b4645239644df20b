"""What each model takes, as data: the names of the page's dialect, then the official API route by route.

Source: `vendors/runway.md`, sections 3 and 4.1 to 4.2, which cite docs.dev.runwayml.com and the request types of the
official SDK 2.0 to 5.24. Models of other makers whose limits Runway passes through are listed by name, not limited here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from genway.dialects.body import one_of, shown
from genway.dialects.runway.ratios import STANDARD
from genway.errors import InvalidRequest

Takes = TypeVar("Takes")

SYSTEM = "runway/"
OWN_PROMPT = 1000
OTHER_PROMPT = 32_000
LONGEST = 60


class Video(msgspec.Struct, frozen=True):
    """What a model takes where a video comes out.

    ratios: its sizes, the default first; empty: any. seconds: the durations; empty: any whole number up to LONGEST.
    usual: the duration where none is given; None: it has to be given. last: whether a picture may be the last frame,
    ends: even without a first one. prompt: the most UTF-16 units. prompt_needed: it may not be left out.
    references: the most pictures to take subjects or style from.
    """

    ratios: tuple[str, ...] = ()
    seconds: tuple[int, ...] = ()
    usual: int | None = 5
    last: bool = True
    ends: bool = True
    prompt: int = OTHER_PROMPT
    prompt_needed: bool = False
    references: int = 30


class Image(msgspec.Struct, frozen=True):
    """What a model takes where pictures come out. references: the fewest and the most reference pictures."""

    ratios: tuple[str, ...] = ()
    prompt: int = OTHER_PROMPT
    references: tuple[int, int] = (0, 30)


LANDSCAPE_OR_PORTRAIT = ("1280:720", "720:1280")
GEN3 = ("1280:768", "768:1280")
GEN4 = STANDARD
VEO = (*LANDSCAPE_OR_PORTRAIT, "1080:1920", "1920:1080")
KLING_PRO = ("1920:1080", "1080:1920", "1440:1440")
KLING_2_5 = ("1280:720", "1920:1080", "1080:1920", "1440:1440", "720:720", "720:1280")
GEN4_IMAGE = (
    *("1024:1024", "1080:1080", "1168:880", "1360:768", "1440:1080", "1080:1440", "1808:768", "1920:1080", "1080:1920"),
    *("2112:912", "1280:720", "720:1280", "720:720", "960:720", "720:960", "1680:720"),
)
FIVE_OR_TEN = (5, 10)
TWO_TO_TEN = tuple(range(2, 11))

# Other makers' models that make videos from pictures and from text alike.
OTHERS = (
    *("kling3.0_standard", "kling3.0_4k", "klingO3_pro", "klingO3_standard", "klingO3_4k", "kling_4"),
    *("seedance2", "seedance2_fast", "seedance2_mini", "seedance2_5", "hailuo3", "h3_max", "happyhorse_1_0"),
    *("gemini_omni_flash", "gemini_omni_flash_1.1", "grok_imagine_1_5", "grok_imagine_1_5_lite", "wan3", "wan3_prime"),
)
OTHER_VIDEOS: Mapping[str, Video] = dict.fromkeys(OTHERS, Video())

# The page of the site names gen2, gen3 and gen4; the size for a ratio in words is the first of that shape.
PAGE: Mapping[str, Video] = {
    "gen2": Video(GEN4, FIVE_OR_TEN, 10),
    "gen3": Video(GEN3, FIVE_OR_TEN, 10),
    "gen4": Video(GEN4, FIVE_OR_TEN, 10),
}

IMAGE_TO_VIDEO: Mapping[str, Video] = {
    "gen3a_turbo": Video(GEN3, FIVE_OR_TEN, 10, prompt=OWN_PROMPT),
    "gen4_turbo": Video(GEN4, TWO_TO_TEN, 10, last=False, prompt=OWN_PROMPT),
    "gen4.5": Video(GEN4, TWO_TO_TEN, None, last=False, prompt=OWN_PROMPT, prompt_needed=True),
    "veo3": Video(VEO, (8,), 8, last=False, prompt=OWN_PROMPT),
    "veo3.1": Video(VEO, (4, 6, 8), 8, ends=False, prompt=OWN_PROMPT),
    "veo3.1_fast": Video(VEO, (4, 6, 8), 8, ends=False, prompt=OWN_PROMPT),
    "kling2.5_turbo_pro": Video((), FIVE_OR_TEN, 5),
    "kling3.0_pro": Video(KLING_PRO),
    **OTHER_VIDEOS,
}

TEXT_TO_VIDEO: Mapping[str, Video] = {
    "gen4.5": Video(LANDSCAPE_OR_PORTRAIT, TWO_TO_TEN, None, prompt=OWN_PROMPT, prompt_needed=True),
    "veo3": Video(VEO, (8,), 8, prompt=OWN_PROMPT, prompt_needed=True),
    "veo3.1": Video(VEO, (4, 6, 8), 8, prompt=OWN_PROMPT, prompt_needed=True),
    "veo3.1_fast": Video(VEO, (4, 6, 8), 8, prompt=OWN_PROMPT, prompt_needed=True),
    "kling2.5_turbo_pro": Video(KLING_2_5, FIVE_OR_TEN, 5),
    "kling3.0_pro": Video(KLING_PRO),
    **OTHER_VIDEOS,
}

VIDEO_TO_VIDEO: Mapping[str, Video] = {
    "gen4_aleph": Video((*GEN4, "848:480", "640:480"), prompt=OWN_PROMPT, prompt_needed=True, references=1),
    "aleph2": Video(),
    **{
        name: OTHER_VIDEOS[name]
        for name in (
            *("kling_4", "klingO3_pro", "klingO3_standard", "klingO3_4k", "hailuo3", "seedance2", "seedance2_fast"),
            *("seedance2_mini", "seedance2_5", "gemini_omni_flash", "gemini_omni_flash_1.1"),
        )
    },
}

TEXT_TO_IMAGE: Mapping[str, Image] = {
    "gen4_image": Image(GEN4_IMAGE, OWN_PROMPT, (0, 3)),
    "gen4_image_turbo": Image(GEN4_IMAGE, OWN_PROMPT, (1, 3)),
    **dict.fromkeys(
        (
            *("gemini_2.5_flash", "gemini_image3_pro", "gemini_image3.1_flash", "gemini_image3.1_flash_lite"),
            *("nano_banana_2.1", "gpt_image_2", "gpt_image_2_5_flare", "gpt_image_2_5_sunburst", "muse_image"),
            *("seedream5_pro", "seedream5_lite", "seedream5_flash", "grok_imagine_image_2", "bria_fibo_1_5"),
            *("bria_fibo_edit_1_5", "ideogram_4_0", "ideogram_4_5", "recraft_v4_1_flash", "recraft_v4_1_vector"),
        ),
        Image(),
    ),
}

# How many times each side grows; the frame rate model keeps the size.
VIDEO_UPSCALE: Mapping[str, float] = {"upscale_v1": 4, "magnific_video_upscaler_creative": 2, "enhance_frame_rate": 1}

CHARACTER_PERFORMANCE: Mapping[str, Video] = {"act_two": Video(GEN4)}

# The page's dialect takes the official names too.
PAGE_VIDEO: Mapping[str, Video] = {**PAGE, **TEXT_TO_VIDEO, **IMAGE_TO_VIDEO}
PAGE_RESTYLE: Mapping[str, Video] = {
    **PAGE,
    **VIDEO_TO_VIDEO,
    **{name: IMAGE_TO_VIDEO[name] for name in ("gen3a_turbo", "gen4_turbo")},
}


NAMES = tuple(
    dict.fromkeys((*IMAGE_TO_VIDEO, *TEXT_TO_VIDEO, *VIDEO_TO_VIDEO, *TEXT_TO_IMAGE, *VIDEO_UPSCALE, *CHARACTER_PERFORMANCE))
)


def named(table: Mapping[str, Takes], model: str, field: str = "model") -> tuple[str, Takes]:
    """The model's name without `runway/`, and what it takes. Raises InvalidRequest naming the models there are."""
    bare = model.strip().removeprefix(SYSTEM)
    if bare not in table:
        raise InvalidRequest(f"{one_of(list(table))}, got {shown(model)}", field=field)
    return bare, table[bare]


def duration(takes: Video, seconds: int | str | None, field: str, *, usual: int | None = None) -> int:
    """The duration asked for, or `usual` where the model can do that, or the model's own usual one.

    `auto` leaves it to a model that has no durations of its own. Raises InvalidRequest naming those it can do.
    """
    if seconds is None and usual in takes.seconds:
        seconds = usual
    if seconds is None or (seconds == "auto" and not takes.seconds):
        seconds = takes.usual
    if seconds is None:
        raise InvalidRequest("required", field=field)
    allowed = takes.seconds or tuple(range(1, LONGEST + 1))
    if isinstance(seconds, int) and seconds in allowed:
        return seconds
    words = one_of(allowed) if len(allowed) <= 3 else f"a whole number from {allowed[0]} to {allowed[-1]}"
    raise InvalidRequest(f"{words}, got {shown(seconds)}", field=field)
