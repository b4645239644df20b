"""The card that stands in for a video: every script is really drawn, and the card says what it is."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from genway.providers.local import fonts, lettering
from genway.providers.local.job import RenderJob
from genway.providers.local.storyboard import Card, render
from providers.local.scenes import Pixels, frames_of, ignore, psnr

CHINESE = "黄昏的城市街道，霓虹灯在雨后的路面上闪烁。一个穿红色风衣的女孩撑着伞慢慢走过，镜头缓慢推进。"
PROMPTS = {
    "Chinese": CHINESE,
    "traditional Chinese": "黃昏的城市街道，鏡頭緩慢推進。",
    "Japanese": "夜の東京を走る電車、カメラは右へパン。",
    "Korean": "서울의 밤거리, 카메라가 천천히 위로 올라간다.",
    "English": "A lone astronaut walks across a quiet desert at sunset; the camera pulls back.",
    "Russian": "Ночной город под дождём, камера медленно отъезжает.",
    "Greek": "Το ηλιοβασίλεμα πάνω από τη θάλασσα.",
    "Vietnamese": "Thành phố về đêm, máy quay lia sang phải.",
    "Arabic": "مدينة في المساء، الكاميرا تتحرك نحو البحر.",
    "Hebrew": "עיר בערב, המצלמה נעה לאט.",
    "Hindi": "नदी के किनारे एक बूढ़ा पेड़।",
    "Thai": "ทะเลยามค่ำคืน",
    "emoji": "🚀 launch 🔥🌊",
}


def job(folder: Path | str = ".", **more: object) -> RenderJob:
    values = {"width": 480, "height": 288, "seconds": 2.0, "prompt": CHINESE, "seed": 7} | more
    return RenderJob(kind="storyboard", out_dir=str(folder), **values)  # type: ignore[arg-type]


def bright(rgb: Pixels) -> Pixels:
    """Where the ink is."""
    return rgb.min(2) > 170


def lines_of(block: lettering.Block) -> list[str]:
    lines: dict[float, str] = {}
    for placed in block.words:
        lines[placed.baseline] = lines.get(placed.baseline, "") + "".join(run.text for run in placed.word.runs)
    return list(lines.values())


@pytest.mark.parametrize("language", PROMPTS)
def test_every_character_of_a_language_is_drawn_by_a_font_that_has_it(language: str) -> None:
    text = PROMPTS[language]
    found = fonts.runs(text.replace(" ", ""))
    assert "".join(run.text for run in found) == unicodedata.normalize("NFC", text.replace(" ", ""))
    for run in found:
        font = fonts.load(run.file, 48, 400)
        box = bytes(font.getmask("\U0010fffe"))
        for character in run.text:
            if not unicodedata.combining(character) and unicodedata.category(character) not in ("Mn", "Mc"):
                assert font.getmask(character).getbbox() is not None
                assert bytes(font.getmask(character)) != box


@pytest.mark.parametrize("encoding", ["gb2312", "big5", "shift_jis", "euc_kr"])
def test_the_common_characters_of_east_asia_are_complete(encoding: str) -> None:
    characters = set()
    for lead in range(0x81, 0xFA):
        for trail in range(0x40, 0xFF):
            try:
                characters |= set(bytes([lead, trail]).decode(encoding))
            except UnicodeDecodeError:
                continue
    ranges = [("\u3040", "\u9fff"), ("\uac00", "\ud7a3")]
    ideographs = [character for character in characters if any(first <= character <= last for first, last in ranges)]
    assert len(ideographs) > 2000
    assert [character for character in ideographs if fonts.file_for(character) is None] == []


def test_what_no_font_has_is_left_out() -> None:
    card = Card(job(prompt="before \ue123\U000fffff\x07\u202e\ufe0f after"), seconds=2)
    assert card.text == "before after"


def test_other_words_make_another_card() -> None:
    one, same, other = (Card(job(prompt=text), seconds=0).at(0) for text in (CHINESE, CHINESE, "雨后的城市"))
    assert (one == same).all()
    assert (bright(one) != bright(other)).mean() > 0.02


def test_another_seed_makes_other_lights_behind_the_same_words() -> None:
    one, other = (Card(job(seed=seed), seconds=0).at(0) for seed in (1, 2))
    assert psnr(one, other) < 30
    assert (bright(one) & bright(other)).sum() > 0.8 * bright(one).sum()


@pytest.mark.parametrize("size", [(480, 288), (288, 480), (300, 300)])
def test_the_card_names_itself_a_storyboard(size: tuple[int, int]) -> None:
    card = Card(job(width=size[0], height=size[1], prompt="."), seconds=0)
    label = card.furniture()
    assert "STORYBOARD 分镜" in card.labels
    assert any("LOCAL PREVIEW · 本地预览" in text or "NO AI MODEL" in text for text in card.labels)
    top = np.s_[: size[1] // 5]
    assert (label[top] > 128).sum() > 60
    seen = card.at(0)[top].max(2).astype(int)
    inked = label[top] > 200
    assert seen[inked].mean() > seen[label[top] == 0].mean() + 60


@pytest.mark.parametrize("prompt", ["", "   \n\n ", "\ue123"])
def test_without_words_the_card_says_what_it_is(prompt: str) -> None:
    assert Card(job(prompt=prompt), seconds=1).text == "Storyboard 分 镜"


def test_a_very_long_prompt_is_cut_and_stays_inside_the_frame() -> None:
    card = Card(job(prompt="word " * 5000), seconds=2)
    assert card.text.endswith("word …")
    ink = card.at(1.9).min(2) > 200
    assert ink.any()
    assert not ink[:, :8].any()
    assert not ink[:, -8:].any()


def test_a_word_without_end_is_broken() -> None:
    card = Card(job(prompt="https://example.com/" + "a" * 300), seconds=0)
    assert card.text.replace(" ", "") == "https://example.com/" + "a" * 300


def test_no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one() -> None:
    text = "他说：“你好，世界！”（真的吗？）“是的。”" * 4
    pieces = lettering.words(text, 500)
    for size in range(14, 40, 3):
        lines = lines_of(lettering.placed(pieces, size, 260, 500, fonts.CHINA))
        assert len(lines) > 2
        assert not any(line[0] in "，。！？”）" or line[-1] in "“（" for line in lines)


def test_lines_written_to_the_left_start_at_the_right() -> None:
    block = lettering.placed(lettering.words("مدينة في المساء with neon lights", 500), 20, 2000, 500, fonts.CHINA)
    x = {"".join(run.text for run in placed.word.runs): placed.x for placed in block.words}
    assert x["مدينة"] > x["في"] > x["المساء"] > x["lights"] > x["neon"] > x["with"]


def test_new_lines_of_the_prompt_are_kept() -> None:
    assert lines_of(lettering.placed(lettering.words("one\n\ntwo three", 500), 20, 500, 500, fonts.CHINA)) == [
        "one",
        "twothree",
    ]


def test_more_time_gives_more_pages_and_larger_type() -> None:
    text = " ".join(f"This is sentence number {number} of a long story." for number in range(20))
    short, long = (Card(job(prompt=text, seconds=seconds), seconds=seconds) for seconds in (2, 10))
    assert len(short.blocks) == 1 < len(long.blocks)
    assert long.blocks[0].size > short.blocks[0].size
    assert all("".join(run.text for run in block.words[-1].word.runs).endswith(".") for block in long.blocks)


def test_the_words_light_up_as_they_are_read() -> None:
    card = Card(job(prompt="one two three four five six", seconds=3), seconds=3)
    ink = [int(bright(card.at(second)).sum()) for second in (0, 0.8, 2.9)]
    assert ink[0] < ink[1] < ink[2]


def test_the_camera_in_the_prompt_moves_the_card() -> None:
    def extent(camera: str, second: float) -> float:
        columns = np.flatnonzero(
            (Card(job(prompt=f"mountain lake, {camera}"), seconds=2).at(second)[70:-70].min(2) > 215).any(0)
        )
        return float(columns[-1] - columns[0])

    assert extent("zoom in", 1.99) > extent("zoom in", 1.4) * 1.005
    assert abs(extent("static camera", 1.99) - extent("static camera", 1.4)) <= 1


def test_the_video_has_the_asked_size_and_length_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    videos = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        result = render(job(tmp_path / name, width=320, height=192, seconds=1.0, style="cinematic"), ignore)
        videos.append(Path(str(result.video)).read_bytes())
    assert videos[0] == videos[1]
    frames = frames_of(result.video)
    assert len(frames) == 24
    assert frames[0].shape == (192, 320, 3)
    assert psnr(frames[-1], cv2.cvtColor(cv2.imread(str(result.last_frame)), cv2.COLOR_BGR2RGB)) > 32
    assert psnr(frames[0], frames[-1]) < 40


@pytest.mark.parametrize("size", [(64, 64), (128, 720), (1024, 96)])
def test_no_size_is_too_odd(size: tuple[int, int]) -> None:
    assert Card(job(width=size[0], height=size[1]), seconds=1).at(0.5, 12).shape == (size[1], size[0], 3)


def test_the_end_of_a_loop_goes_over_into_its_beginning(tmp_path: Path) -> None:
    frames = frames_of(render(job(tmp_path, width=320, height=192, seconds=1.0, loop=True), ignore).video)
    straight = frames_of(render(job(tmp_path, width=320, height=192, seconds=1.0), ignore).video)
    assert len(frames) == 24
    neighbours = float(np.median([psnr(one, other) for one, other in pairwise(frames)]))
    assert psnr(frames[-1], frames[0]) > neighbours - 1
    assert psnr(straight[-1], straight[0]) < neighbours - 10
    assert psnr(frames[11], straight[11]) > 34
