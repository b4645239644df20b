"""What vendors keep for accounts here: voices, elements, sessions and files, with two tenants and a test key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from genway.access import store as access
from genway.cli.place import Place
from genway.routing.channels import Channel, add_channel
from running import Running, start_server
from standins.kling_vendor import ACCESS, SECRET, KlingVendor
from standins.minimax_vendor import KEY, MiniMaxVendor, sound

PRIVATE = {"GENWAY_MEDIA_ALLOW_PRIVATE": "127.0.0.0/8"}
KLING = "/kling/v1"
SPEECH = {"model": "speech-2.6-hd", "text": "Hello there", "output_format": "url"}


class Town:
    """A gateway with a channel to each vendor, and its clients: `owner` and `stranger` are live keys of two accounts."""

    def __init__(
        self, kling: KlingVendor, minimax: MiniMaxVendor, server: Running, http: aiohttp.ClientSession, stranger: str
    ) -> None:
        self.kling, self.minimax, self.server, self.http = kling, minimax, server, http
        self.owner, self.stranger, self.test = server.key, stranger, server.test_key

    async def ask(self, key: str, method: str, path: str, body: Any = None, form: Any = None, *, wait: int = 60) -> Any:
        headers = {"Authorization": f"Bearer {key}", "Prefer": f"wait={wait}"}
        async with self.http.request(method, self.server.url + path, json=body, data=form, headers=headers) as response:
            return await response.json()

    async def send(self, key: str, purpose: str, content: bytes, name: str) -> int:
        """The number of a file that was sent in MiniMax's format."""
        form = aiohttp.FormData({"purpose": purpose})
        form.add_field("file", content, filename=name)
        told = await self.ask(key, "POST", "/v1/files/upload", form=form)
        assert told["base_resp"]["status_code"] == 0, told
        return int(told["file"]["file_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    data = tmp_path_factory.mktemp("town")
    async with KlingVendor() as kling, MiniMaxVendor() as minimax, aiohttp.ClientSession() as http:
        # Both are asked seconds apart, so they are done when they are asked first.
        kling.steps, minimax.steps = ("succeed",), ("Success",)
        with Place(data=data).open() as opened:
            channels = ((kling, "kling", f"{ACCESS}:{SECRET}"), (minimax, "minimax", KEY))
            for vendor, name, secret in channels:
                channel = Channel(id="", name=name, provider=name, base_url=vendor.url)
                opened.write(lambda c, x=channel, s=secret: add_channel(c, opened.vault, x, s, time.time()).name)
        starting = start_server(data, **PRIVATE)
        server = await asyncio.to_thread(starting.__enter__)
        try:
            yield Town(kling, minimax, server, http, second_account(data))
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


def second_account(data: Path) -> str:
    """A live key of another account, which may spend without limit."""
    now = time.time()
    with Place(data=data).open() as opened:
        account = opened.write(
            lambda connection: access.create_account(
                connection, opened.vault, "second", currency=opened.config.billing.currency, credit_limit=None, now=now
            )
        )
        _, secret = opened.write(lambda connection: access.create_key(connection, opened.vault, account.id, name="k", now=now))
    return secret


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_element_is_made_used_and_deleted_by_its_own_account_alone(town: Town) -> None:
    picture = f"{town.kling.url}/files/p.png"
    body = {
        "element_name": "Rex",
        "element_description": "a dog",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": picture, "refer_images": [{"image_url": picture}]},
    }
    path = f"{KLING}/general/advanced-custom-elements"
    made = (await town.ask(town.owner, "POST", path, body))["data"]
    assert made["task_status"] == "succeed", made
    ours = made["task_result"]["elements"][0]["element_id"]
    vendors = next(reversed(town.kling.tasks.values()))
    kept = int(f"77{vendors.id[-6:]}")
    shown = {"model_name": "kling-v3", "prompt": "<<<element_1>>>", "image": picture}

    video = await town.ask(town.owner, "POST", f"{KLING}/videos/image2video", {**shown, "element_list": [{"element_id": ours}]})
    assert video["data"]["task_status"] == "succeed", video
    assert town.kling.submits[-1][1]["element_list"] == [{"element_id": kept}]

    for named in (ours, kept):
        stolen = {**shown, "element_list": [{"element_id": named}]}
        refused = (await town.ask(town.stranger, "POST", f"{KLING}/videos/image2video", stolen))["data"]
        assert (refused["task_status"], refused["task_status_msg"]) == ("failed", f"there is no element {named}")
    assert (await town.ask(town.stranger, "GET", path))["data"] == []
    assert (await town.ask(town.stranger, "POST", f"{KLING}/general/delete-elements", {"element_id": ours}))["code"] == 1201
    assert (await town.ask(town.owner, "POST", f"{KLING}/general/delete-elements", {"element_id": ours}))["code"] == 0
    assert town.kling.deleted == [str(kept)]
    assert (await town.ask(town.owner, "GET", path))["data"] == []


async def test_a_clip_is_marked_and_changed_in_one_session(town: Town) -> None:
    elements = f"{KLING}/videos/multi-elements"
    opened = await town.ask(town.owner, "POST", f"{elements}/init-selection", {"video_url": f"{town.kling.url}/files/v.mp4"})
    assert (opened["code"], opened["data"]["total_frame"]) == (0, 120), opened
    session = opened["data"]["session_id"]
    assert session != "session-2"
    marks = {"session_id": session, "frame_index": 3, "points": [{"x": 0.5, "y": 0.5}]}
    marked = await town.ask(town.owner, "POST", f"{elements}/add-selection", marks)
    assert marked["data"]["res"]["frame_index"] == 3
    assert marked["data"]["session_id"] == session
    assert (await town.ask(town.stranger, "POST", f"{elements}/add-selection", marks))["code"] == 1201
    changed = await town.ask(
        town.owner, "POST", elements, {"session_id": session, "edit_mode": "removal", "prompt": "without the hat"}
    )
    assert changed["data"]["task_status"] == "succeed", changed
    assert town.kling.submits[-1][1]["session_id"] == "session-2"


async def test_a_face_is_found_and_speaks(town: Town) -> None:
    found = await town.ask(town.owner, "POST", f"{KLING}/videos/identify-face", {"video_url": f"{town.kling.url}/files/v.mp4"})
    [face] = found["data"]["face_data"]
    assert face["face_id"] == "7"
    async with town.http.get(face["face_image"]) as picture:
        assert (await picture.read())[:4] == b"\x89PNG"
    choice = {"face_id": "7", "sound_file": f"{town.kling.url}/files/a.wav"}
    times = {"sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 1000}
    body = {"session_id": found["data"]["session_id"], "face_choose": [{**choice, **times}]}
    spoken = await town.ask(town.owner, "POST", f"{KLING}/videos/advanced-lip-sync", body)
    assert spoken["data"]["task_status"] == "succeed", spoken
    assert spoken["data"]["task_info"]["parent_video"]["url"].endswith("v.mp4")
    assert town.kling.submits[-1][1]["session_id"] == "session-1"


async def test_two_accounts_call_their_voices_the_same_and_each_hears_its_own(town: Town) -> None:
    for key in (town.owner, town.stranger):
        number = await town.send(key, "voice_clone", sound(), "me.wav")
        made = await town.ask(
            key,
            "POST",
            "/v1/voice_clone",
            {"file_id": number, "voice_id": "MyVoice001", "text": "hi", "model": SPEECH["model"]},
        )
        assert made["base_resp"]["status_code"] == 0, made
        assert made["demo_audio"].startswith(town.server.url)
    first, second = town.minimax.voices
    assert first != second
    for key, kept in ((town.owner, first), (town.stranger, second)):
        spoken = await town.ask(key, "POST", "/v1/t2a_v2", {**SPEECH, "voice_setting": {"voice_id": "MyVoice001"}})
        assert spoken["base_resp"]["status_code"] == 0, spoken
        assert town.minimax.submits[-1].body["voice_setting"]["voice_id"] == kept
        told = await town.ask(key, "POST", "/v1/get_voice", {"voice_type": "all"})
        assert [row["voice_id"] for row in told["voice_cloning"]] == ["MyVoice001"]
        assert [row["voice_id"] for row in told["system_voice"]] == ["male-qn-qingse"]
    guessed = await town.ask(town.stranger, "POST", "/v1/t2a_v2", {**SPEECH, "voice_setting": {"voice_id": first}})
    assert guessed["base_resp"]["status_code"] != 0

    again = await town.ask(town.owner, "POST", "/v1/voice_clone", {"file_id": number, "voice_id": "MyVoice001"})
    assert again["base_resp"]["status_code"] == 2013
    body = {"voice_type": "voice_cloning", "voice_id": "MyVoice001"}
    assert (await town.ask(town.owner, "POST", "/v1/delete_voice", body))["voice_id"] == "MyVoice001"
    assert town.minimax.voices == [second]
    assert (await town.ask(town.owner, "POST", "/v1/delete_voice", body))["base_resp"]["status_code"] == 2013


async def test_a_voice_is_designed_and_its_sample_comes_as_hex(town: Town) -> None:
    body = {"prompt": "deep and calm", "preview_text": "Good evening"}
    made = await town.ask(town.owner, "POST", "/minimax/v1/voice_design", body)
    assert bytes.fromhex(made["trial_audio"]) == sound()
    listed = await town.ask(town.owner, "POST", "/v1/get_voice", {"voice_type": "voice_generation"})
    assert listed["voice_generation"][0]["voice_id"] == made["voice_id"]
    assert "system_voice" not in listed


async def test_files_are_kept_for_their_account(town: Town) -> None:
    number = await town.send(town.owner, "t2a_async_input", b"Once upon a time.", "story.txt")
    told = (await town.ask(town.owner, "GET", f"/v1/files/retrieve?file_id={number}"))["file"]
    assert (told["purpose"], told["bytes"], told["filename"]) == ("t2a_async_input", 17, f"{number}.txt")
    async with town.http.get(told["download_url"]) as content:
        assert await content.text() == "Once upon a time."
    listed = (await town.ask(town.owner, "GET", "/v1/files/list?purpose=t2a_async_input"))["files"]
    assert [row["file_id"] for row in listed] == [number]
    long = {"model": "speech-2.6-hd", "text_file_id": number, "voice_setting": {"voice_id": "male-qn-qingse"}}
    begun = await town.ask(town.owner, "POST", "/v1/t2a_async_v2", long, wait=0)
    assert begun["usage_characters"] == 17

    assert (await town.ask(town.stranger, "GET", f"/v1/files/retrieve?file_id={number}"))["base_resp"]["status_code"] == 2013
    assert (await town.ask(town.stranger, "POST", "/v1/files/delete", {"file_id": number}))["base_resp"]["status_code"] == 2013
    assert (await town.ask(town.owner, "POST", "/v1/files/delete", {"file_id": number}))["file_id"] == number
    assert (await town.ask(town.owner, "GET", f"/v1/files/retrieve?file_id={number}"))["base_resp"]["status_code"] == 2013


@pytest.mark.parametrize(("purpose", "name"), [("voice_clone", "a.txt"), ("t2a_async_input", "a.wav"), ("party", "a.wav")])
async def test_a_file_of_another_kind_than_its_purpose_is_refused(town: Town, purpose: str, name: str) -> None:
    form = aiohttp.FormData({"purpose": purpose})
    form.add_field("file", b"text" if name.endswith("txt") else sound(), filename=name)
    told = await town.ask(town.owner, "POST", "/v1/files/upload", form=form)
    assert told["base_resp"]["status_code"] == 2013


async def test_lyrics_are_written_by_the_vendor(town: Town) -> None:
    told = await town.ask(town.owner, "POST", "/v1/lyrics_generation", {"mode": "write_full_song", "prompt": "a summer day"})
    assert told["lyrics"].startswith("[Verse]")
    assert (told["song_title"], told["style_tags"]) == ("Summer", "pop, calm")
    edited = {"mode": "edit", "lyrics": "la", "title": "Mine"}
    assert (await town.ask(town.owner, "POST", "/v1/lyrics_generation", edited))["song_title"] == "Mine"
    assert (await town.ask(town.owner, "POST", "/v1/lyrics_generation", {"mode": "edit"}))["base_resp"]["status_code"] == 2013


async def test_a_test_key_tries_everything_out_without_a_vendor(town: Town) -> None:
    before = (len(town.kling.submits), len(town.minimax.submits))
    clip = {"video_url": f"{town.kling.url}/files/v.mp4"}
    for _ in range(2):
        found = await town.ask(town.test, "POST", f"{KLING}/videos/identify-face", clip)
        assert found["data"]["face_data"] == [{"face_id": "0", "face_image": "", "start_time": 0, "end_time": 10_000}]
    session = (await town.ask(town.test, "POST", f"{KLING}/videos/multi-elements/init-selection", clip))["data"]["session_id"]
    marks = {"session_id": session, "frame_index": 0, "points": [{"x": 0.5, "y": 0.5}]}
    marked = await town.ask(town.test, "POST", f"{KLING}/videos/multi-elements/add-selection", marks)
    assert len(marked["data"]["res"]["rle_mask_list"]) == 1
    voices = await town.ask(town.test, "GET", f"{KLING}/general/presets-voices")
    assert voices["data"][0]["task_result"]["voices"][0]["owned_by"] == "local"
    voice = {"voice_name": "Me", "voice_url": f"{town.kling.url}/files/a.wav"}
    made = (await town.ask(town.test, "POST", f"{KLING}/general/custom-voices", voice))["data"]
    assert made["final_unit_deduction"] == "1", made
    name = made["task_result"]["voices"][0]["voice_id"]
    assert (await town.ask(town.test, "POST", f"{KLING}/general/delete-voices", {"voice_id": name}))["code"] == 0
    song = await town.ask(
        town.test, "POST", "/v1/lyrics_generation", {"mode": "write_full_song", "prompt": "rain on tin roofs"}
    )
    assert "rain on tin roofs" in song["lyrics"]
    failed = {"mode": "write_full_song", "prompt": "genway:fail=moderation"}
    assert (await town.ask(town.test, "POST", "/v1/lyrics_generation", failed))["base_resp"]["status_code"] in {1026, 1027}
    assert (len(town.kling.submits), len(town.minimax.submits)) == before
