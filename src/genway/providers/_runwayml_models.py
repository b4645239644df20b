"""What each model of the official Runway API takes, route by route, as data.

Source: `docs.dev.runwayml.com` and the request types of the `runwayml` SDK 5.24; for the models that are no
longer in it (gen3a_turbo, gen4_aleph, upscale_v1, veo3) those of SDK 2 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Route = Literal["image_to_video", "text_to_video", "video_to_video", "text_to_image", "video_upscale", "character_performance"]
Frames = Literal["first", "first, last", "any"]
NO_LIMIT = 1_000_000


class Takes(msgspec.Struct, frozen=True):
    """What one model takes at one route.

    ratios: as the vendor writes them, in pixels or in words; empty where the output follows the input; None where
    any size may be sent.
    seconds: the durations; empty where there is no such field; None where any whole number may be sent.
    frames: which frames of the video a picture may set; `any` also takes a last one alone.
    prompt: the most UTF-16 units of text. prompt_needed: whether it may be left out.
    references: the fewest and the most reference pictures.
    counts: how many pictures may be asked for at once, like `seconds`; without the field one is made.
    fields: the optional fields of an operation that the route has. needed: fields that only a client of this
    format can give. video: the field that a source clip goes into.
    """

    ratios: tuple[str, ...] | None = ()
    seconds: tuple[int, ...] | None = ()
    frames: Frames = "first"
    prompt: int = NO_LIMIT
    prompt_needed: bool = True
    references: tuple[int, int] = (0, 0)
    counts: tuple[int, ...] | None = ()
    fields: frozenset[str] = frozenset()
    needed: tuple[str, ...] = ()
    video: Literal["videoUri", "promptVideo"] = "videoUri"


SEED = frozenset({"seed"})
AUDIO = frozenset({"audio"})
WORDY = frozenset({"seed", "audio", "negativePrompt"})


def _of(ratios: str) -> tuple[str, ...]:
    return tuple(ratios.split())


HD = _of("1280:720 720:1280")
FULL_HD = _of("1920:1080 1080:1920")
GEN4 = (*HD, *_of("1104:832 832:1104 960:960 1584:672"))
ALEPH = (*GEN4, *_of("848:480 640:480"))
VEO = (*HD, *FULL_HD)
KLING_4K = _of("3840:2160 2160:3840 2880:2880")
KLING_PRO = (*FULL_HD, *_of("1440:1440"))
KLING_STANDARD = (*HD, *_of("960:960"))
KLING_2_5 = (*FULL_HD, *_of("1440:1440"), *HD, *_of("720:720"))
KLING_4 = (*HD, *_of("940:940 1460:624"), *FULL_HD, *_of("1440:1440 2200:940"))
OMNI = (*HD, *_of("640:360 360:640"), *FULL_HD, *_of("3840:2160 2160:3840"))
WORDS = _of("16:9 9:16 1:1 4:3 3:4 21:9")
GROK = _of("16:9 9:16 1:1 4:3 3:4 3:2 2:3")
GROK_LITE = (
    *_of("848:480 480:848 480:480 640:480 480:640 720:480 480:720"),
    *HD,
    *_of("720:720 960:720 720:960 1088:720 720:1088 1904:1072 1072:1904 1424:1424 1648:1232 1232:1648 1744:1152 1152:1744"),
)
HAPPYHORSE = (*HD, *_of("960:960 1108:832 832:1108"), *FULL_HD, *_of("1440:1440 1662:1248 1248:1662"))
WAN = (
    *_of("832:480 720:544 624:624 544:720 480:832"),
    *HD,
    *_of("1104:832 960:960 832:1104"),
    *FULL_HD,
    *_of("1648:1248 1440:1440 1248:1648"),
)
SEEDANCE_720 = _of("1470:630 1280:720 1112:834 960:960 834:1112 720:1280")
SEEDANCE_1080 = _of("2206:946 1920:1080 1664:1248 1440:1440 1248:1664 1080:1920")
SEEDANCE_4K = _of("3840:1646 3840:2160 3840:2880 3840:3840 2880:3840 2160:3840")
SEEDANCE_FAST = (*_of("992:432 864:496 752:560 640:640 560:752 496:864"), *SEEDANCE_720)
SEEDANCE = (*SEEDANCE_FAST, *SEEDANCE_1080, *SEEDANCE_4K)
SEEDANCE_2_5 = (*_of("992:432 854:480 752:560 640:640 560:752 480:854"), *SEEDANCE_720, *SEEDANCE_1080)
GEN4_IMAGE = _of(
    "1024:1024 1080:1080 1168:880 1360:768 1440:1080 1080:1440 1808:768 1920:1080 1080:1920 2112:912 1280:720 "
    "720:1280 720:720 960:720 720:960 1680:720"
)
GEMINI_1K = _of("1344:768 768:1344 1024:1024 1184:864 864:1184 1536:672 832:1248 1248:832 896:1152 1152:896")
GEMINI_2K = _of("2048:2048 1696:2528 2528:1696 1792:2400 2400:1792 1856:2304 2304:1856 1536:2752 2752:1536 3168:1344")
GEMINI_4K = _of("4096:4096 3392:5056 5056:3392 3584:4800 4800:3584 3712:4608 4608:3712 3072:5504 5504:3072 6336:2688")
GEMINI_LONG = _of(
    "512:512 416:624 624:416 432:592 592:432 448:576 576:448 384:672 672:384 768:336 256:1024 1024:256 176:1408 "
    "1408:176 512:2048 2048:512 352:2816 2816:352 1024:4096 4096:1024 704:5632 5632:704 2048:8192 8192:2048 "
    "1408:11264 11264:1408"
)
GEMINI_LITE = _of("1024:1024 848:1264 1264:848 896:1200 1200:896 928:1152 1152:928 768:1376 1376:768 1584:672")
NANO_LONG = _of(
    "512:2064 2064:512 352:2928 2928:352 1024:4128 4128:1024 704:5856 5856:704 2048:8256 8256:2048 1408:11712 11712:1408"
)
GPT = _of(
    "2048:880 1920:1088 1920:1280 1920:1440 1920:1536 1920:1920 1536:1920 1440:1920 1280:1920 1088:1920 2912:1248 "
    "2560:1440 2560:1712 2560:1920 2560:2048 2560:2560 2048:2560 1920:2560 1712:2560 1440:2560 3840:1648 "
    "3840:2160 3504:2336 3264:2448 3200:2560 2880:2880 2560:3200 2448:3264 2336:3504 2160:3840"
)
MUSE = _of("2352:1008 2016:1152 1920:1280 1792:1344 1600:1600 1344:1792 1280:1920 1152:2016")
SEEDREAM_1K = _of("1024:1024 1184:896 896:1184 1376:768 768:1376")
SEEDREAM_2K = _of("2048:2048 2304:1728 1728:2304 2496:1664 1664:2496")
SEEDREAM_FLASH = (*SEEDREAM_1K, *_of("1248:832 832:1248 1568:672"), *SEEDREAM_2K, *_of("2848:1600 1600:2848 3136:1344"))
SEEDREAM_LITE = (
    *SEEDREAM_2K,
    *_of("2848:1600 1600:2848 3136:1344 3072:3072 3456:2592 2592:3456 4096:2304 2304:4096 3744:2496 2496:3744 4704:2016"),
)
SEEDREAM_PRO = (*SEEDREAM_1K, *_of("1296:864 864:1296"), *SEEDREAM_2K, *_of("2720:1530 1530:2720"))
GROK_IMAGE = _of(
    "1024:1024 1280:720 720:1280 1152:864 864:1152 1248:832 832:1248 1248:576 576:1248 1280:576 576:1280 1408:704 "
    "704:1408 2048:2048 2816:1584 1584:2816 2368:1776 1776:2368 2496:1664 1664:2496 2912:1344 1344:2912 3200:1440 "
    "1440:3200 2912:1456 1456:2912"
)
BRIA_1MP = _of("1024:1024 768:1152 1152:768 768:1024 1024:768 768:960 960:768 576:1024 1024:576")
BRIA_4MP = _of("2048:2048 1536:2304 2304:1536 1536:2048 2048:1536 1536:1920 1920:1536 1152:2048 2048:1152")
IDEOGRAM_4 = _of("2048:2048 2560:1440 1440:2560 2304:1728 1728:2304 2496:1664 1664:2496")
IDEOGRAM_4_5 = (
    *_of("1024:1024 1280:720 720:1280 1152:864 864:1152 1248:832 832:1248 1120:896 896:1120 1440:720 720:1440"),
    *IDEOGRAM_4,
    *_of("2240:1792 1792:2240 2880:1440 1440:2880 1024:576 576:1024 1408:704 704:1408"),
)
RECRAFT_VECTOR = _of("1024:1024 1216:896 896:1216 1344:768 768:1344")
RECRAFT = (*RECRAFT_VECTOR, *_of("1536:768 768:1536 1280:832 832:1280 1152:896 896:1152 832:1344 1280:896 896:1280"))

KEYFRAMES = Takes(seconds=None, frames="first, last", prompt_needed=False)
FREE = Takes(seconds=None, prompt_needed=False)


def _with(base: Takes, **changes: object) -> Takes:
    return msgspec.structs.replace(base, **changes)


IMAGE_TO_VIDEO: Mapping[str, Takes] = {
    "gen3a_turbo": Takes(("1280:768", "768:1280"), (5, 10), "any", prompt=1000, fields=SEED),
    "gen4_turbo": Takes(GEN4, None, prompt=1000, prompt_needed=False, fields=SEED),
    "gen4.5": Takes(GEN4, tuple(range(2, 11)), prompt=1000, fields=SEED),
    "veo3": Takes(VEO, (8,), prompt=1000, prompt_needed=False, fields=SEED),
    "veo3.1": Takes(VEO, (4, 6, 8), "first, last", prompt=1000, prompt_needed=False, fields=WORDY),
    "veo3.1_fast": Takes(VEO, (4, 6, 8), "first, last", prompt=1000, prompt_needed=False, fields=WORDY),
    "kling2.5_turbo_pro": Takes((), (5, 10), "first, last"),
    "kling3.0_pro": _with(KEYFRAMES, ratios=KLING_PRO, fields=AUDIO),
    "kling3.0_standard": _with(KEYFRAMES, ratios=KLING_STANDARD, fields=AUDIO),
    "kling3.0_4k": _with(KEYFRAMES, ratios=KLING_4K, fields=AUDIO),
    "klingO3_pro": _with(KEYFRAMES, ratios=KLING_PRO, references=(0, 7), fields=AUDIO),
    "klingO3_standard": _with(KEYFRAMES, ratios=KLING_STANDARD, references=(0, 7), fields=AUDIO),
    "klingO3_4k": _with(KEYFRAMES, ratios=KLING_4K, references=(0, 7), fields=AUDIO),
    "kling_4": _with(KEYFRAMES, references=(0, 9)),
    "seedance2": _with(KEYFRAMES, ratios=SEEDANCE, prompt=3500, fields=SEED | AUDIO),
    "seedance2_fast": _with(KEYFRAMES, ratios=SEEDANCE_FAST, prompt=3500, fields=SEED | AUDIO),
    "seedance2_mini": _with(KEYFRAMES, ratios=SEEDANCE_FAST, prompt=3500, fields=SEED | AUDIO),
    "seedance2_5": _with(KEYFRAMES, ratios=SEEDANCE_2_5, prompt=15000, fields=SEED | AUDIO),
    "hailuo3": Takes(WORDS, None, "first, last"),
    "h3_max": Takes((), None, "first, last", fields=SEED),
    "happyhorse_1_0": _with(FREE, prompt=2500),
    "gemini_omni_flash": _with(FREE, ratios=HD, seconds=tuple(range(3, 11))),
    "gemini_omni_flash_1.1": Takes(OMNI, tuple(range(3, 11)), "first, last"),
    "grok_imagine_1_5": FREE,
    "grok_imagine_1_5_lite": FREE,
    # With frames these two follow the first one's shape and take quality words only.
    "wan3": Takes((), None, "first, last", fields=AUDIO),
    "wan3_prime": Takes((), None, "first, last", fields=AUDIO),
}

TEXT_TO_VIDEO: Mapping[str, Takes] = {
    "gen4.5": Takes(HD, tuple(range(2, 11)), prompt=1000, fields=SEED),
    "veo3": Takes(VEO, (8,), prompt=1000, fields=SEED),
    "veo3.1": Takes(VEO, (4, 6, 8), prompt=1000, fields=WORDY),
    "veo3.1_fast": Takes(VEO, (4, 6, 8), prompt=1000, fields=WORDY),
    "kling2.5_turbo_pro": Takes(KLING_2_5, (5, 10)),
    "kling3.0_pro": _with(FREE, ratios=KLING_PRO, fields=AUDIO),
    "kling3.0_standard": _with(FREE, ratios=KLING_STANDARD, fields=AUDIO),
    "kling3.0_4k": _with(FREE, ratios=KLING_4K, fields=AUDIO),
    "klingO3_pro": _with(FREE, ratios=KLING_PRO, fields=AUDIO),
    "klingO3_standard": _with(FREE, ratios=KLING_STANDARD, fields=AUDIO),
    "klingO3_4k": _with(FREE, ratios=KLING_4K, fields=AUDIO),
    "kling_4": Takes(KLING_4, None, references=(0, 10)),
    "seedance2": Takes(SEEDANCE, None, prompt=3500, references=(0, 9), fields=SEED | AUDIO),
    "seedance2_fast": Takes(SEEDANCE_FAST, None, prompt=3500, references=(0, 9), fields=SEED | AUDIO),
    "seedance2_mini": Takes(SEEDANCE_FAST, None, prompt=3500, references=(0, 9), fields=SEED | AUDIO),
    "seedance2_5": Takes(SEEDANCE_2_5, None, prompt=15000, prompt_needed=False, references=(0, 30), fields=SEED | AUDIO),
    "hailuo3": Takes(WORDS, None, references=(0, 9)),
    "h3_max": Takes((), None, fields=SEED),
    "happyhorse_1_0": Takes(HAPPYHORSE, None, prompt=2500),
    "gemini_omni_flash": Takes(HD, tuple(range(3, 11))),
    "gemini_omni_flash_1.1": Takes(OMNI, tuple(range(3, 11)), references=(0, NO_LIMIT)),
    "grok_imagine_1_5": Takes(GROK, None, references=(0, NO_LIMIT)),
    "grok_imagine_1_5_lite": Takes(GROK_LITE, None),
    "wan3": Takes(WAN, None, references=(0, 10), fields=AUDIO),
    "wan3_prime": Takes(WAN, None, references=(0, 10), fields=AUDIO),
}

# Where a model edits the source clip, its length and framing stay, so neither is sent.
VIDEO_TO_VIDEO: Mapping[str, Takes] = {
    "gen4_aleph": Takes(ALEPH, prompt=1000, references=(0, 1), fields=SEED),
    "aleph2": Takes(prompt_needed=False, fields=SEED),
    "gemini_omni_flash": Takes(references=(0, NO_LIMIT)),
    "gemini_omni_flash_1.1": Takes(references=(0, NO_LIMIT)),
    "kling_4": Takes(references=(0, 10)),
    "klingO3_pro": Takes(references=(0, 4), video="promptVideo"),
    "klingO3_standard": Takes(references=(0, 4), video="promptVideo"),
    "klingO3_4k": Takes(references=(0, 4), video="promptVideo"),
    "hailuo3": Takes(WORDS, None, references=(0, 9), video="promptVideo"),
    "seedance2": _with(FREE, ratios=SEEDANCE, prompt=3500, references=(0, 9), fields=SEED | AUDIO, video="promptVideo"),
    "seedance2_fast": _with(
        FREE, ratios=SEEDANCE_FAST, prompt=3500, references=(0, 9), fields=SEED | AUDIO, video="promptVideo"
    ),
    "seedance2_mini": _with(
        FREE, ratios=SEEDANCE_FAST, prompt=3500, references=(0, 9), fields=SEED | AUDIO, video="promptVideo"
    ),
    "seedance2_5": _with(FREE, ratios=SEEDANCE_2_5, prompt=15000, references=(0, 30), fields=SEED | AUDIO, video="promptVideo"),
}

TEXT_TO_IMAGE: Mapping[str, Takes] = {
    "gen4_image": Takes(GEN4_IMAGE, prompt=1000, references=(0, 3), fields=SEED),
    "gen4_image_turbo": Takes(GEN4_IMAGE, prompt=1000, references=(1, 3), fields=SEED),
    "gemini_2.5_flash": Takes(GEMINI_1K, references=(0, 3)),
    "gemini_image3_pro": Takes((*GEMINI_1K, *GEMINI_2K, *GEMINI_4K), references=(0, 14), counts=(1, 4)),
    "gemini_image3.1_flash": Takes(
        tuple(dict.fromkeys((*GEMINI_1K, *GEMINI_2K, *GEMINI_4K, *GEMINI_LONG))), references=(0, 14), counts=(1, 4)
    ),
    "gemini_image3.1_flash_lite": Takes(GEMINI_LITE, references=(0, 14), counts=(1, 4)),
    "nano_banana_2.1": Takes((*GEMINI_LITE, *GEMINI_2K, *GEMINI_4K, *NANO_LONG), references=(0, 14), counts=None),
    "gpt_image_2": Takes(GPT, prompt=32000, references=(0, 16), counts=tuple(range(1, 11))),
    "gpt_image_2_5_flare": Takes(GPT, references=(0, 16), counts=tuple(range(1, 11))),
    "gpt_image_2_5_sunburst": Takes(GPT, references=(0, 16), counts=tuple(range(1, 11))),
    "muse_image": Takes(MUSE, references=(0, 10), counts=None),
    "seedream5_pro": Takes(SEEDREAM_PRO, prompt=4000, references=(0, NO_LIMIT), counts=None),
    "seedream5_lite": Takes(SEEDREAM_LITE, prompt=4000, references=(0, NO_LIMIT), counts=None),
    "seedream5_flash": Takes(SEEDREAM_FLASH, references=(0, NO_LIMIT), counts=None),
    "grok_imagine_image_2": Takes(GROK_IMAGE, references=(0, 3), counts=None),
    "bria_fibo_1_5": Takes((*BRIA_1MP, *BRIA_4MP), references=(0, 1), fields=SEED),
    # A size is only taken with several references; the output keeps the framing of the first one.
    "bria_fibo_edit_1_5": Takes(references=(1, 4), fields=SEED),
    "ideogram_4_0": Takes((*IDEOGRAM_4, "3072:1280", "1280:3072"), references=(0, 1), counts=None),
    "ideogram_4_5": Takes(IDEOGRAM_4_5, references=(0, 5), counts=None),
    "recraft_v4_1_flash": Takes(RECRAFT, counts=None, fields=SEED),
    "recraft_v4_1_vector": Takes(RECRAFT_VECTOR),
}

ROUTES: Mapping[Route, Mapping[str, Takes]] = {
    "image_to_video": IMAGE_TO_VIDEO,
    "text_to_video": TEXT_TO_VIDEO,
    "video_to_video": VIDEO_TO_VIDEO,
    "text_to_image": TEXT_TO_IMAGE,
    "video_upscale": {
        "upscale_v1": Takes(),
        "magnific_video_upscaler_creative": Takes(),
        "enhance_frame_rate": Takes(needed=("targetFramerate",)),
    },
    "character_performance": {"act_two": Takes(GEN4, fields=SEED)},
}

# For a model that is newer than this table.
UNTOLD = Takes(None, None, "first, last", prompt_needed=False, references=(0, NO_LIMIT))

NAMES = tuple(dict.fromkeys(name for models in ROUTES.values() for name in models))

# One name of the page's dialect stands for several official models, by the work.
BY_WORK: Mapping[tuple[Route, str], str] = {
    ("video_to_video", "runway/gen4"): "gen4_aleph",
    ("text_to_image", "runway/gen4"): "gen4_image",
}
