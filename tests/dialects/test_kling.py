"""Kling's wire format: what each endpoint takes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from dialects.kling_stage import (
    CLIP,
    MP3,
    OTHER,
    PICTURE,
    SOUND,
    V1,
    WAV,
    Client,
    refused,
    sound_made,
    submit,
    text2video,
    video_made,
)
from dialects.stage import FILES, FakeGateway, client_of
from genway.dialects.kling import dialect
from genway.operations import (
    AvatarRequest,
    Camera,
    EffectRequest,
    ExtendRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    PerformanceRequest,
    RestyleRequest,
    Size,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    VideoRequest,
)
from genway.tasks.model import State


@pytest.fixture(scope="module")
def kling() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def client(kling: Client, gateway: FakeGateway) -> Client:
    kling.app.state.gateway = gateway
    return kling


def test_a_text_becomes_a_video_request_with_klings_defaults(client: Client, gateway: FakeGateway) -> None:
    assert text2video(client, gateway) == VideoRequest(
        model="kling/kling-v1", format="kling", prompt="a paper boat", seconds=5, size=Size(1280, 720)
    )
    assert gateway.callback_urls == [None]


def test_every_field_of_a_text_to_video_arrives(client: Client, gateway: FakeGateway) -> None:
    operation = text2video(
        client,
        gateway,
        model_name="kling-v2-6",
        negative_prompt="rain",
        cfg_scale="0.7",
        mode="pro",
        aspect_ratio="9:16",
        duration="10",
        sound="on",
        voice_list=[{"voice_id": "v1"}],
        watermark_info={"enabled": True},
        callback_url="https://me.example/kling",
        future_field=7,
    )
    assert operation == VideoRequest(
        model="kling/kling-v2-6",
        format="kling",
        prompt="a paper boat",
        negative_prompt="rain",
        seconds=10,
        size=Size(1080, 1920),
        guidance=0.7,
        quality="pro",
        audio=True,
        extra={"voice_list": [{"voice_id": "v1"}], "watermark_info": {"enabled": True}, "future_field": 7},
    )
    assert gateway.callback_urls == ["https://me.example/kling"]


def test_the_request_of_the_usual_web_interface_is_served(client: Client, gateway: FakeGateway) -> None:
    body = {
        "model": "kling-v1-6",
        "prompt": "a boat",
        "negative_prompt": "",
        "image": "",
        "image_tail": "",
        "aspect_ratio": "1:1",
        "duration": "5",
        "cfg_scale": 0.5,
        "mode": "std",
        "camera_control": {"type": "down_back"},
    }
    operation = submit(client, gateway, "videos/text2video", body)
    assert operation.model == "kling/kling-v1-6"
    assert operation.size == Size(960, 960)
    assert operation.camera == Camera(vertical=-5, zoom=-5)
    assert submit(client, gateway, "videos/image2video", {**body, "image": PICTURE}).first_frame == MediaRef(url=PICTURE)


@pytest.mark.parametrize("empty", [None, "", " "])
def test_empty_values_are_left_out_values(client: Client, gateway: FakeGateway, empty: object) -> None:
    names = ("model_name", "model", "negative_prompt", "mode", "duration", "aspect_ratio", "cfg_scale", "sound", "callback_url")
    more = ("camera_control", "external_task_id", "watermark_info", "multi_shot", "voice_list")
    assert text2video(client, gateway, **dict.fromkeys((*names, *more), empty)) == text2video(client, gateway)


@pytest.mark.parametrize(
    ("control", "camera"),
    [
        ({"type": "simple", "config": {"horizontal": -3}}, Camera(horizontal=-3)),
        ({"type": "simple", "config": {"vertical": 2, "pan": 0, "tilt": 0}}, Camera(vertical=2)),
        ({"type": "simple", "config": {"pan": "4.5"}}, Camera(pan=4.5)),
        ({"type": "simple", "config": {"tilt": 1}}, Camera(tilt=1)),
        ({"type": "simple", "config": {"roll": -10}}, Camera(roll=-10)),
        ({"type": "simple", "config": {"zoom": 5}}, Camera(zoom=-5)),
        ({"type": "forward_up", "config": None}, Camera(zoom=5, tilt=5)),
        ({"type": "right_turn_forward"}, Camera(pan=5, zoom=5)),
        ({"type": "left_turn_forward", "config": {"pan": 0}}, Camera(pan=-5, zoom=5)),
        ({"type": ""}, Camera()),
    ],
)
def test_a_camera_control_becomes_a_motion_whose_zoom_turns_round(
    client: Client, gateway: FakeGateway, control: Any, camera: Camera
) -> None:
    assert text2video(client, gateway, camera_control=control).camera == camera


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"prompt": ""}, 1201, "prompt: required"),
        ({"prompt": "x" * 2501}, 1201, "prompt: a text of at most 2500 characters, got 2501"),
        ({"duration": "7"}, 1201, "duration: 5 or 10, got 7"),
        ({"model_name": "kling-v3", "duration": 16}, 1201, "duration: a whole number from 3 to 15, got 16"),
        ({"aspect_ratio": "4:3"}, 1201, 'aspect_ratio: 16:9, 1:1 or 9:16, got "4:3"'),
        ({"mode": "turbo"}, 1201, 'mode: pro or std, got "turbo"'),
        ({"cfg_scale": 1.5}, 1201, "cfg_scale: a number from 0 to 1, got 1.5"),
        (
            {"camera_control": {"type": "simple"}},
            1201,
            "camera_control.config: exactly one motion that is not 0, got 0",
        ),
        (
            {"camera_control": {"type": "simple", "config": {"pan": 1, "tilt": 1}}},
            1201,
            "camera_control.config: exactly one motion that is not 0, got 2",
        ),
        (
            {"camera_control": {"type": "down_back", "config": {"zoom": 1}}},
            1201,
            "camera_control.config: only for simple, and the type is down_back",
        ),
        ({"camera_control": {"type": "simple", "config": {"zoom": 11}}}, 1201, None),
        ({"voice_list": [{"voice_id": "v"}]}, 1201, "voice_list: needs `sound` on"),
        ({"multi_shot": "true"}, 1201, "shot_type: required with multi_shot"),
        ({"multi_shot": True, "shot_type": "customize"}, 1201, "multi_prompt: required with shot_type customize"),
        (
            {"multi_shot": True, "shot_type": "customize", "multi_prompt": [{"prompt": "a", "duration": "3"}]},
            1201,
            "multi_prompt: durations that make 5 together, got 3",
        ),
        ([1], 1200, "the body is a JSON object, got a list of 1"),
    ],
)
def test_a_wrong_value_is_400_and_says_where(
    client: Client, gateway: FakeGateway, body: Any, code: int, said: str | None
) -> None:
    status, got, message = refused(
        client, "videos/text2video", {"prompt": "a boat", **body} if isinstance(body, dict) else body
    )
    assert (status, got) == (400, code)
    assert said in (None, message)
    assert not gateway.tasks


def test_an_unknown_model_is_404_naming_those_there_are(client: Client) -> None:
    status, code, message = refused(client, "videos/text2video", {"prompt": "a", "model_name": "kling-v9"})
    assert (status, code) == (404, 1203)
    assert message.startswith("model_name: kling-v1, kling-v1-5")
    assert refused(
        client, "videos/multi-image2video", {"prompt": "a", "model": "kling-v1", "image_list": [{"image": PICTURE}]}
    )[:2] == (404, 1203)


def test_a_model_of_another_system_may_be_named(client: Client, gateway: FakeGateway) -> None:
    assert text2video(client, gateway, model_name="luma/ray-2", duration=9).model == "luma/ray-2"
    assert text2video(client, gateway, model_name="kling/kling-v1-6").model == "kling/kling-v1-6"


def test_several_shots_make_one_video(client: Client, gateway: FakeGateway) -> None:
    shots = [{"index": 1, "prompt": "a door", "duration": "2"}, {"index": 2, "prompt": "a sea", "duration": 3}]
    body = {"model_name": "kling-v3", "prompt": "", "multi_shot": "true", "shot_type": "customize", "multi_prompt": shots}
    operation = text2video(client, gateway, **body)
    assert operation.prompt == "a door a sea"
    assert operation.extra["multi_prompt"] == [
        {"index": 1, "prompt": "a door", "duration": 2},
        {"index": 2, "prompt": "a sea", "duration": 3},
    ]
    assert operation.extra["multi_shot"] is True


def test_a_picture_comes_as_an_address_or_as_bare_base64(client: Client, gateway: FakeGateway) -> None:
    bare = base64.b64encode(b"a picture").decode()
    operation = submit(client, gateway, "videos/image2video", {"image": bare, "image_tail": OTHER, "mode": "pro"})
    assert operation.first_frame == MediaRef(media_id="med_" + bare[-4:])
    assert operation.last_frame == MediaRef(url=OTHER)
    assert gateway.media == [("image", bare, ("image",)), ("image_tail", OTHER, ("image",))]
    assert submit(client, gateway, "videos/image2video", {"image_tail": OTHER}).first_frame is None


def test_a_motion_brush_is_kept_for_kling(client: Client, gateway: FakeGateway) -> None:
    masks = [{"mask": OTHER, "trajectories": [{"x": 279, "y": 219}, {"x": 417, "y": 65}]}]
    body = {"image": PICTURE, "static_mask": OTHER, "dynamic_masks": masks}
    assert submit(client, gateway, "videos/image2video", body).extra == {"static_mask": OTHER, "dynamic_masks": masks}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "image or image_tail: required"),
        (
            {"image": PICTURE, "image_tail": OTHER, "static_mask": OTHER},
            "dynamic_masks: cannot be combined with `image_tail`",
        ),
        (
            {"image": PICTURE, "static_mask": OTHER, "camera_control": {"type": "down_back"}},
            "camera_control: cannot be combined with `dynamic_masks`",
        ),
        ({"image": "http://10.0.0.1/1.png"}, "image: a private address"),
        ({"image": PICTURE, "image_tail": "broken"}, "image_tail: not a picture"),
        ({"image": PICTURE, "dynamic_masks": [{"mask": OTHER, "trajectories": [{"x": 1, "y": 1}]}]}, None),
    ],
)
def test_what_an_image_to_video_cannot_combine_is_refused(
    client: Client, gateway: FakeGateway, body: Any, said: str | None
) -> None:
    status, code, message = refused(client, "videos/image2video", body)
    assert (status, code) == (400, 1201)
    assert said in (None, message)
    assert not gateway.tasks


def test_pictures_of_several_things_are_references(client: Client, gateway: FakeGateway) -> None:
    body = {"prompt": "the dog wears the coat", "image_list": [{"image": PICTURE}, {"image": OTHER}]}
    operation = submit(client, gateway, "videos/multi-image2video", body)
    assert operation.references == (MediaRef(url=PICTURE), MediaRef(url=OTHER))
    assert operation.model == "kling/kling-v1-6"
    assert refused(client, "videos/multi-image2video", {**body, "image_list": []})[:2] == (400, 1201)
    assert refused(client, "videos/multi-image2video", {**body, "image_list": [{"image": PICTURE}] * 5})[:2] == (400, 1201)


def test_an_omni_video_sorts_its_pictures(client: Client, gateway: FakeGateway) -> None:
    pictures = [{"image_url": PICTURE, "type": "first_frame"}, {"image_url": OTHER}]
    operation = submit(client, gateway, "videos/omni-video", {"prompt": "<<<image_2>>>", "image_list": pictures, "duration": 3})
    assert operation.first_frame == MediaRef(url=PICTURE)
    assert operation.references == (MediaRef(url=OTHER),)
    assert (operation.quality, operation.size, operation.seconds) == ("pro", Size(1920, 1080), 3)
    clips = [{"video_url": CLIP, "refer_type": "base", "keep_original_sound": "no"}]
    changed = submit(client, gateway, "videos/omni-video", {"prompt": "in clay", "video_list": clips})
    assert isinstance(changed, RestyleRequest)
    assert changed.video == MediaRef(url=CLIP)
    assert changed.extra["video_list"] == [{"refer_type": "base", "keep_original_sound": "no"}]


def test_a_video_is_extended_by_the_id_of_the_video(client: Client, gateway: FakeGateway) -> None:
    task_id = video_made(client, gateway)
    body = {"video_id": f"{task_id}-0", "prompt": "it sails on", "cfg_scale": 0.4}
    assert submit(client, gateway, "videos/video-extend", body) == ExtendRequest(
        model="kling/kling-v1-6", format="kling", parent=Parent(task_id), prompt="it sails on", guidance=0.4
    )
    told = client.get(f"{V1}/videos/video-extend/{gateway.last.id}").json()["data"]["task_info"]["parent_video"]
    assert told == {"id": f"{task_id}-0", "url": FILES[0].url, "duration": "10"}
    assert submit(client, gateway, "videos/video-extend", {"video_id": task_id}).parent == Parent(task_id)


def test_a_video_that_is_not_there_cannot_be_extended(client: Client, gateway: FakeGateway) -> None:
    task_id = video_made(client, gateway)
    unknown = "0198f2c0-0000-7000-8000-00000000ffff"
    for video_id in (f"{task_id}-1", unknown, "743211632612511839"):
        assert refused(client, "videos/video-extend", {"video_id": video_id})[:2] == (400, 1201)
    text2video(client, gateway)
    status, code, message = refused(client, "videos/video-extend", {"video_id": gateway.last.id})
    assert (status, code) == (400, 1201)
    assert message.endswith("has no result to go on from: it is queued")


def test_lips_follow_a_text_or_a_sound(client: Client, gateway: FakeGateway) -> None:
    task_id = video_made(client, gateway)
    text = {"mode": "text2video", "text": "hello", "voice_id": "oversea_male1", "voice_language": "en", "voice_speed": "1.2"}
    assert submit(client, gateway, "videos/lip-sync", {"input": {"video_id": f"{task_id}-0", **text}}) == LipSyncRequest(
        model="kling/lip-sync",
        format="kling",
        parent=Parent(task_id),
        text="hello",
        voice="oversea_male1",
        language="en",
        speed=1.2,
        seconds=10,
    )
    sound = {"video_url": CLIP, "mode": "audio2video", "audio_type": "url", "audio_url": SOUND}
    operation = submit(client, gateway, "videos/lip-sync", {"input": sound})
    assert (operation.video, operation.sound) == (MediaRef(url=CLIP), MediaRef(url=SOUND))
    inline = {"video_url": CLIP, "mode": "audio2video", "audio_type": "file", "audio_file": "c291bmQ="}
    assert submit(client, gateway, "videos/lip-sync", {"input": inline}).sound == MediaRef(media_id="med_bmQ=")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"video_url": CLIP, "video_id": "v", "mode": "audio2video"},
            "input.video_id: exactly one of `video_id` and `video_url`",
        ),
        ({"mode": "audio2video"}, "input.video_id: exactly one of `video_id` and `video_url`"),
        ({"video_url": CLIP, "mode": "text2video", "voice_id": "v"}, "input.text: required for text2video"),
        ({"video_url": CLIP, "mode": "text2video", "text": "a"}, "input.voice_id: required for text2video"),
        ({"video_url": CLIP, "mode": "audio2video"}, "input.audio_url: required for audio2video"),
        ({"video_url": CLIP}, "input.mode: required"),
    ],
)
def test_a_lip_sync_says_what_is_missing(client: Client, given: Any, said: str) -> None:
    assert refused(client, "videos/lip-sync", {"input": given}) == (400, 1201, said)


def test_effects_take_one_picture_or_two_people(client: Client, gateway: FakeGateway) -> None:
    one = {"effect_scene": "squish", "input": {"model_name": "kling-v1-6", "image": PICTURE, "duration": "5"}}
    assert submit(client, gateway, "videos/effects", one) == EffectRequest(
        model="kling/kling-v1-6",
        format="kling",
        effect="squish",
        pictures=(MediaRef(url=PICTURE),),
        extra={"input": {"model_name": "kling-v1-6"}},
    )
    two = {
        "effect_scene": "hug",
        "input": {"model_name": "kling-v1", "mode": "pro", "duration": "10", "images": [PICTURE, OTHER]},
    }
    operation = submit(client, gateway, "videos/effects", two)
    assert (operation.model, operation.seconds, len(operation.pictures)) == ("kling/kling-v1", 10, 2)
    assert operation.extra["input"]["mode"] == "pro"
    alone = {"effect_scene": "hug", "input": {"image": PICTURE}}
    assert refused(client, "videos/effects", alone)[1:] == (1201, "input.images: a list of 2, the left person first, got 0")
    assert refused(client, "videos/effects", {"effect_scene": "Bad Scene", "input": {"image": PICTURE}})[0] == 400


def test_an_avatar_speaks_a_sound(client: Client, gateway: FakeGateway) -> None:
    body = {"image": PICTURE, "sound_file": SOUND, "prompt": "smiling", "mode": "pro"}
    operation = submit(client, gateway, "videos/avatar/image2video", body)
    assert operation == AvatarRequest(
        model="kling/avatar",
        format="kling",
        picture=MediaRef(url=PICTURE),
        sound=MediaRef(url=SOUND),
        prompt="smiling",
        quality="pro",
        seconds=10,
    )
    assert client.get(f"{V1}/videos/avatar/image2video/{gateway.last.id}").json()["data"]["task_status"] == "submitted"
    assert refused(client, "videos/avatar/image2video", {"image": PICTURE})[:2] == (400, 1201)


def test_a_motion_is_given_to_a_picture(client: Client, gateway: FakeGateway) -> None:
    body = {"image_url": PICTURE, "video_url": CLIP, "character_orientation": "video", "mode": "std"}
    operation = submit(client, gateway, "videos/motion-control", body)
    assert isinstance(operation, PerformanceRequest)
    assert (operation.seconds, operation.extra["character_orientation"]) == (30, "video")


def test_pictures_are_made_in_klings_sizes(client: Client, gateway: FakeGateway) -> None:
    body = {"model_name": "kling-v2", "prompt": "a puppy", "n": "9", "aspect_ratio": "21:9", "resolution": "2k"}
    assert submit(client, gateway, "images/generations", body) == ImageRequest(
        model="kling/kling-v2", format="kling", prompt="a puppy", size=Size(3136, 1344), count=9
    )
    person = {"prompt": "a", "image": PICTURE, "image_reference": "face", "image_fidelity": 0.6}
    operation = submit(client, gateway, "images/generations", person)
    assert operation.references == (MediaRef(url=PICTURE),)
    assert operation.extra == {"image_reference": "face", "image_fidelity": 0.6}
    assert refused(client, "images/generations", {"prompt": "a", "n": 10})[:2] == (400, 1201)
    assert refused(client, "images/generations", {"prompt": "a", "image": PICTURE, "negative_prompt": "b"})[:2] == (400, 1201)
    assert refused(client, "images/generations", {"prompt": "a", "image_reference": "face"})[:2] == (400, 1201)


def test_the_other_pictures_say_what_each_reference_is(client: Client, gateway: FakeGateway) -> None:
    several = {"subject_image_list": [{"subject_image": PICTURE}], "style_image": OTHER, "prompt": "a"}
    operation = submit(client, gateway, "images/multi-image2image", several)
    assert operation.reference_tags == ("subject", "style")
    omni = submit(client, gateway, "images/omni-image", {"prompt": "<<<image_1>>>", "image_list": [{"image": PICTURE}]})
    assert (omni.model, omni.references) == ("kling/kling-image-o1", (MediaRef(url=PICTURE),))
    sides = {f"{side}_expansion_ratio": 0.2 for side in ("up", "down", "left", "right")} | {"up_expansion_ratio": "0"}
    grown = submit(client, gateway, "images/editing/expand", {"image": PICTURE, **sides})
    assert (grown.model, grown.extra["up_expansion_ratio"], grown.extra["left_expansion_ratio"]) == ("kling/expand", 0, 0.2)
    assert refused(client, "images/editing/expand", {"image": PICTURE, **dict.fromkeys(sides, 2)})[:2] == (400, 1201)


def test_a_person_tries_a_garment_on(client: Client, gateway: FakeGateway) -> None:
    body = {"human_image": PICTURE, "cloth_image": OTHER}
    assert submit(client, gateway, "images/kolors-virtual-try-on", body) == TryOnRequest(
        model="kling/kolors-virtual-try-on-v1", format="kling", person=MediaRef(url=PICTURE), garment=MediaRef(url=OTHER)
    )


def test_sounds_are_made_of_a_text_and_of_a_clip(client: Client, gateway: FakeGateway) -> None:
    assert submit(client, gateway, "audio/text-to-audio", {"prompt": "rain", "duration": "3.14"}) == SoundRequest(
        model="kling/text-to-audio", format="kling", prompt="rain", seconds=3.1
    )
    body = {"video_url": CLIP, "sound_effect_prompt": "steps", "bgm_prompt": "jazz", "asmr_mode": "true"}
    operation = submit(client, gateway, "audio/video-to-audio", body)
    assert (operation.video, operation.prompt, operation.music_prompt) == (MediaRef(url=CLIP), "steps", "jazz")
    assert operation.extra == {"asmr_mode": True}


def test_a_sound_is_told_of_in_each_encoding(client: Client, gateway: FakeGateway) -> None:
    task_id = sound_made(client, gateway)
    assert client.get(f"{V1}/audio/text-to-audio/{task_id}").json()["data"]["task_result"] == {
        "audios": [
            {
                "id": f"{task_id}-0",
                "audio_id": f"{task_id}-0",
                "url_mp3": MP3.url,
                "duration_mp3": "3.2",
                "url_wav": WAV.url,
                "duration_wav": "3.2",
            }
        ]
    }


def test_speech_is_answered_within_the_request(client: Client, gateway: FakeGateway) -> None:
    gateway.on_wait = lambda: gateway.change(state=State.SUCCEEDED, files=(MP3,))
    answer = client.post(f"{V1}/audio/tts", json={"text": "hello", "voice_id": "v", "voice_language": "en", "voice_speed": 0.8})
    data = answer.json()["data"]
    assert data["task_status"] == "succeed"
    assert data["task_result"]["audios"] == [{"id": f"{data['task_id']}-0", "url": MP3.url, "duration": "3.2"}]
    assert gateway.last.operation == SpeechRequest(
        model="kling/tts", format="kling", text="hello", voice="v", language="en", speed=0.8
    )


def test_speech_that_takes_too_long_is_504_and_can_be_asked_for(client: Client, gateway: FakeGateway) -> None:
    status, code, message = refused(client, "audio/tts", {"text": "hello", "voice_id": "v"})
    assert (status, code) == (504, 5002)
    assert message.endswith(f"{V1}/audio/tts/{gateway.last.id}")
    gateway.change(state=State.SUCCEEDED, files=(MP3,))
    assert client.get(f"{V1}/audio/tts/{gateway.last.id}").json()["data"]["task_status"] == "succeed"
