from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FILES, IMAGE, OTHER_KEY, FakeGateway
from genway.billing.usage import Usage
from genway.dialects.runway import dialect
from genway.operations import (
    ImageRequest,
    MediaRef,
    PerformanceRequest,
    RestyleRequest,
    Size,
    UpscaleRequest,
    VideoRequest,
)
from genway.tasks.model import State

Client = TestClient[Litestar]

VERSION = {"X-Runway-Version": "2024-11-06"}
PICTURE = "https://a.example/1.jpg"
LAST = "https://a.example/2.jpg"
CLIP = "https://a.example/1.mp4"


def post(client: Client, route: str, **body: Any) -> Any:
    return client.post(f"/runwayml/v1/{route}", json=body, headers=VERSION)


def operation(client: Client, gateway: FakeGateway, route: str, **body: Any) -> Any:
    answer = post(client, route, **body)
    assert answer.status_code == 200, answer.text
    return gateway.last.operation


def refusal(client: Client, route: str, **body: Any) -> str:
    answer = post(client, route, **body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


def image_to_video(client: Client, gateway: FakeGateway, **body: Any) -> VideoRequest:
    body = {"model": "gen4_turbo", "promptImage": PICTURE, "ratio": "1280:720", **body}
    made = operation(client, gateway, "image_to_video", **body)
    assert isinstance(made, VideoRequest)
    return made


def test_image_to_video_becomes_a_video_request(client: Client, gateway: FakeGateway) -> None:
    made = image_to_video(
        client,
        gateway,
        promptText="the bunny eats a carrot",
        ratio="1104:832",
        duration=5,
        seed=4294967295,
        contentModeration={"publicFigureThreshold": "low"},
        watermark=False,
    )
    assert made == VideoRequest(
        model="runway/gen4_turbo",
        format="runwayml",
        prompt="the bunny eats a carrot",
        first_frame=MediaRef(url=PICTURE),
        seconds=5,
        size=Size(1104, 832),
        seed=4294967295,
        extra={"contentModeration": {"publicFigureThreshold": "low"}, "watermark": False},
    )
    assert gateway.media == [("promptImage", PICTURE, ("image",))]


def test_a_create_answers_with_the_id_and_the_estimated_cost(client: Client, gateway: FakeGateway) -> None:
    answer = post(client, "image_to_video", model="gen4_turbo", promptImage=PICTURE, ratio="1280:720")
    assert answer.content == f'{{"id":"{gateway.last.id}","estimatedCost":{{"credits":50}}}}'.encode()
    assert answer.headers["X-Genway-Provider"] == "local"


def test_the_version_header_and_a_trailing_slash_make_no_difference(client: Client, gateway: FakeGateway) -> None:
    body = {"model": "gen4_turbo", "promptImage": PICTURE, "ratio": "1280:720"}
    assert client.post("/runwayml/v1/image_to_video", json=body).status_code == 200
    assert client.post("/runwayml/v1/image_to_video/", json=body, headers=VERSION).status_code == 200


def test_first_and_last_pictures_find_their_places(client: Client, gateway: FakeGateway) -> None:
    pictures = [{"uri": LAST, "position": "last"}, {"uri": PICTURE, "position": "first"}]
    made = image_to_video(client, gateway, model="gen3a_turbo", ratio="768:1280", promptImage=pictures)
    assert (made.first_frame, made.last_frame) == (MediaRef(url=PICTURE), MediaRef(url=LAST))
    assert (made.size, made.seconds) == (Size(768, 1280), 10)
    assert [field for field, _, _ in gateway.media] == ["promptImage[0]", "promptImage[1]"]


def test_gen3a_turbo_takes_a_last_picture_alone(client: Client, gateway: FakeGateway) -> None:
    made = image_to_video(
        client, gateway, model="gen3a_turbo", ratio="1280:768", promptImage=[{"uri": LAST, "position": "last"}]
    )
    assert (made.first_frame, made.last_frame) == (None, MediaRef(url=LAST))


def test_a_single_picture_without_a_position_is_the_first_frame(client: Client, gateway: FakeGateway) -> None:
    assert image_to_video(client, gateway, promptImage=[{"uri": PICTURE}]).first_frame == MediaRef(url=PICTURE)


def test_several_pictures_without_positions_are_references(client: Client, gateway: FakeGateway) -> None:
    made = image_to_video(client, gateway, model="seedance2", promptImage=[{"uri": PICTURE}, {"uri": LAST}])
    assert made.first_frame is None
    assert made.references == (MediaRef(url=PICTURE), MediaRef(url=LAST))


@pytest.mark.parametrize(
    ("model", "ratio", "size"),
    [
        *(("gen4_turbo", r, r) for r in ("1280:720", "720:1280", "1104:832", "832:1104", "960:960", "1584:672")),
        ("gen3a_turbo", "16:9", "1280:768"),
        ("gen3a_turbo", "9:16", "768:1280"),
        ("veo3.1", "1080:1920", "1080:1920"),
        ("kling3.0_pro", "1440:1440", "1440:1440"),
        ("seedance2", "3840:3840", "3840:3840"),
        ("hailuo3", "21:9", "1584:672"),
        ("grok_imagine_1_5", "3:2", "1080:720"),
        ("grok_imagine_1_5", "2:3", "720:1080"),
    ],
)
def test_a_models_own_ratios_are_taken(client: Client, gateway: FakeGateway, model: str, ratio: str, size: str) -> None:
    made = image_to_video(client, gateway, model=model, ratio=ratio)
    assert f"{made.size.width}:{made.size.height}" == size


@pytest.mark.parametrize("ratio", ["auto_720p", "adaptive"])
def test_a_ratio_that_leaves_the_size_to_the_model_is_passed_on(client: Client, gateway: FakeGateway, ratio: str) -> None:
    made = image_to_video(client, gateway, model="kling_4", ratio=ratio)
    assert (made.size, made.extra) == (Size(1280, 720), {"ratio": ratio})


@pytest.mark.parametrize(
    ("model", "came", "seconds"),
    [
        ("gen4_turbo", None, 10),
        ("gen4_turbo", 2, 2),
        ("gen4_turbo", "7", 7),
        ("gen3a_turbo", 5, 5),
        ("veo3.1", None, 8),
        ("veo3.1", 4, 4),
        ("kling2.5_turbo_pro", None, 5),
        ("seedance2", "auto", 5),
        ("seedance2", 12, 12),
    ],
)
def test_a_models_own_durations_are_taken(client: Client, gateway: FakeGateway, model: str, came: object, seconds: int) -> None:
    assert image_to_video(client, gateway, model=model, ratio=None, duration=came).seconds == seconds


def test_sound_negative_prompts_and_references_are_understood(client: Client, gateway: FakeGateway) -> None:
    made = image_to_video(client, gateway, model="veo3.1", audio=True, negativePrompt="rain", references=[{"uri": LAST}])
    assert (made.audio, made.negative_prompt, made.references) == (True, "rain", (MediaRef(url=LAST),))


def test_fields_of_other_makers_models_are_kept(client: Client, gateway: FakeGateway) -> None:
    settings = {"shotType": "customize", "multiPrompt": [{"prompt": "a", "duration": 3}]}
    made = image_to_video(client, gateway, model="kling3.0_pro", ratio=None, providerSettings=settings, cfgScale=0.5)
    assert made.extra == {"providerSettings": settings, "cfgScale": 0.5}


GOOD = {"model": "gen4_turbo", "promptImage": PICTURE, "ratio": "1280:720"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"promptImage": None}, "promptImage: required"),
        ({"promptImage": []}, "promptImage: a list of 1 to 32 items, got a list of 0"),
        ({"promptImage": [{"position": "first"}]}, "promptImage[0].uri: required"),
        (
            {"promptImage": [{"uri": PICTURE, "position": "middle"}]},
            'promptImage[0].position: first or last, got "middle"',
        ),
        (
            {"promptImage": [{"uri": PICTURE, "position": "last"}]},
            'promptImage[0].position: gen4_turbo can do first, got "last"',
        ),
        (
            {"promptImage": [{"uri": PICTURE, "position": "first"}, {"uri": LAST, "position": "first"}]},
            "promptImage[1].position: there is a first frame already",
        ),
        (
            {"model": "veo3.1", "promptImage": [{"uri": PICTURE, "position": "last"}]},
            "promptImage[0].position: veo3.1 takes a last frame only beside a first one",
        ),
        ({"model": None}, "model: required"),
        ({"ratio": "16:10"}, 'ratio: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9, or a size like 1280:720, got "16:10"'),
        ({"ratio": "1:2"}, 'ratio: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9, or a size like 1280:720, got "1:2"'),
        ({"ratio": "1280:768"}, 'ratio: 1280:720, 720:1280, 1104:832, 832:1104, 960:960 or 1584:672, got "1280:768"'),
        ({"ratio": "auto"}, 'ratio: 1280:720, 720:1280, 1104:832, 832:1104, 960:960 or 1584:672, got "auto"'),
        ({"model": "gen3a_turbo", "ratio": "1:1"}, "ratio: gen3a_turbo can do 16:9 and 9:16, got 1:1"),
        (
            {"model": "kling_4", "ratio": "9999:9999"},
            "ratio: even sides from 128 to 4096 and at most 14745600 pixels in all, got 9999:9999",
        ),
        ({"duration": 1}, "duration: a whole number from 2 to 10, got 1"),
        ({"duration": "auto"}, 'duration: a whole number from 2 to 10, got "auto"'),
        ({"duration": "long"}, 'duration: a whole number or auto, got "long"'),
        ({"model": "gen3a_turbo", "ratio": None, "duration": 7}, "duration: 5 or 10, got 7"),
        ({"model": "veo3", "duration": 6}, "duration: 8, got 6"),
        ({"model": "gen4.5", "promptText": "a"}, "duration: required"),
        ({"model": "gen4.5", "duration": 5}, "promptText: required"),
        ({"model": "seedance2", "duration": 61}, "duration: a whole number from 1 to 60, got 61"),
        ({"seed": 4294967296}, "seed: a whole number from 0 to 4294967295, got 4294967296"),
        ({"seed": -1}, "seed: a whole number from 0 to 4294967295, got -1"),
        ({"promptText": "x" * 1001}, "promptText: a text of at most 1000 UTF-16 units, got 1001"),
        ({"promptText": "😀" * 501}, "promptText: a text of at most 1000 UTF-16 units, got 1002"),
        ({"promptImage": "broken"}, "promptImage: not a picture"),
        (
            {"references": [{"uri": PICTURE, "tag": "no-good"}]},
            'references[0].tag: a text of the form ^[A-Za-z][A-Za-z0-9_]{2,15}$, got "no-good"',
        ),
    ],
)
def test_a_wrong_image_to_video_is_refused(client: Client, gateway: FakeGateway, body: dict[str, Any], said: str) -> None:
    assert refusal(client, "image_to_video", **{**GOOD, **body}) == said
    assert not gateway.tasks


def test_a_thousand_utf_16_units_are_taken(client: Client, gateway: FakeGateway) -> None:
    assert image_to_video(client, gateway, promptText="😀" * 500).prompt == "😀" * 500


def test_an_unknown_model_is_refused_naming_those_of_the_route(client: Client) -> None:
    said = refusal(client, "video_upscale", model="gen4_turbo", videoUri=CLIP)
    assert said == 'model: upscale_v1, magnific_video_upscaler_creative or enhance_frame_rate, got "gen4_turbo"'


def test_text_to_video_becomes_a_video_request(client: Client, gateway: FakeGateway) -> None:
    made = operation(
        client, gateway, "text_to_video", model="gen4.5", promptText="a wave", ratio="720:1280", duration=2, seed=1
    )
    assert made == VideoRequest(
        model="runway/gen4.5", format="runwayml", prompt="a wave", seconds=2, size=Size(720, 1280), seed=1
    )
    assert refusal(client, "text_to_video", model="gen4.5", ratio="1280:720", duration=5) == "promptText: required"
    said = refusal(client, "text_to_video", model="gen4.5", promptText="a", ratio="1104:832", duration=5)
    assert said == 'ratio: 1280:720 or 720:1280, got "1104:832"'
    assert "gen4_turbo" in refusal(client, "text_to_video", model="gen4_turbo", promptText="a")


def test_video_to_video_becomes_a_restyle_request(client: Client, gateway: FakeGateway) -> None:
    made = operation(
        client,
        gateway,
        "video_to_video",
        model="gen4_aleph",
        videoUri=CLIP,
        promptText="noir",
        ratio="848:480",
        references=[{"type": "image", "uri": PICTURE}],
        seed=7,
    )
    assert made == RestyleRequest(
        model="runway/gen4_aleph",
        format="runwayml",
        video=MediaRef(url=CLIP),
        prompt="noir",
        references=(MediaRef(url=PICTURE),),
        seconds=5,
        size=Size(848, 480),
        seed=7,
        extra={"references": [{"type": "image"}]},
    )
    assert gateway.media[0] == ("videoUri", CLIP, ("video",))


def test_the_source_of_other_makers_models_is_the_prompt_video(client: Client, gateway: FakeGateway) -> None:
    made = operation(client, gateway, "video_to_video", model="klingO3_pro", promptVideo=CLIP, promptText="noir")
    assert made.video == MediaRef(url=CLIP)
    assert gateway.media == [("promptVideo", CLIP, ("video",))]


def test_keyframes_and_the_target_shape_go_to_the_vendor_as_they_are(client: Client, gateway: FakeGateway) -> None:
    frames = [{"seconds": 1.5, "uri": PICTURE, "range": {"start_seconds": 1, "end_seconds": 2}}, {"at": 0.5, "uri": LAST}]
    made = operation(
        client, gateway, "video_to_video", model="aleph2", videoUri=CLIP, keyframes=frames, targetAspectRatio="3:2"
    )
    assert made.extra == {"keyframes": frames, "targetAspectRatio": "3:2"}
    assert made.size == Size(1080, 720)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"videoUri": None}, "videoUri: required"),
        ({"model": "gen4_aleph"}, "promptText: required"),
        ({"keyframes": [{"uri": PICTURE}]}, "keyframes[0]: exactly one of `seconds` and `at`"),
        ({"keyframes": [{"uri": PICTURE, "at": 2}]}, "keyframes[0].at: a number from 0 to 1, got 2"),
        (
            {"keyframes": [{"uri": "runway://upl_1", "at": 0}]},
            'keyframes[0].uri: an https address or a data URI, got "runway://upl_1"',
        ),
        ({"keyframes": [{"uri": PICTURE, "at": 0}] * 6}, "keyframes: a list of at most 5 items, got a list of 6"),
        ({"targetAspectRatio": "5:4"}, 'targetAspectRatio: 16:9, 1:1, 21:9, 2:3, 3:2, 3:4, 4:3 or 9:16, got "5:4"'),
        (
            {"model": "gen4_aleph", "promptText": "a", "references": [{"uri": PICTURE}, {"uri": LAST}]},
            "references: gen4_aleph takes at most 1, got 2",
        ),
    ],
)
def test_a_wrong_video_to_video_is_refused(client: Client, body: dict[str, Any], said: str) -> None:
    assert refusal(client, "video_to_video", **{"model": "aleph2", "videoUri": CLIP, **body}) == said


def test_text_to_image_becomes_an_image_request(client: Client, gateway: FakeGateway) -> None:
    made = operation(
        client,
        gateway,
        "text_to_image",
        model="gen4_image",
        promptText="@Lara in the rain",
        ratio="1080:1440",
        seed=3,
        referenceImages=[{"uri": PICTURE, "tag": "Lara"}, {"uri": LAST}],
    )
    assert made == ImageRequest(
        model="runway/gen4_image",
        format="runwayml",
        prompt="@Lara in the rain",
        references=(MediaRef(url=PICTURE), MediaRef(url=LAST)),
        reference_tags=("Lara", ""),
        size=Size(1080, 1440),
        seed=3,
    )


def test_other_makers_picture_models_take_any_size_and_a_number(client: Client, gateway: FakeGateway) -> None:
    made = operation(client, gateway, "text_to_image", model="gpt_image_2", promptText="a", ratio="3840:2160", outputCount=4)
    assert (made.size, made.count, made.extra) == (Size(3840, 2160), 4, {})
    made = operation(client, gateway, "text_to_image", model="gpt_image_2", promptText="a", ratio="auto")
    assert (made.size, made.extra) == (Size(1024, 1024), {"ratio": "auto"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"promptText": ""}, "promptText: required"),
        ({"promptText": "x" * 1001}, "promptText: a text of at most 1000 UTF-16 units, got 1001"),
        ({"model": "gen4_image_turbo"}, "referenceImages: a list of 1 to 3, got 0"),
        ({"referenceImages": [{"uri": PICTURE}] * 4}, "referenceImages: a list of 0 to 3, got 4"),
        (
            {"referenceImages": [{"uri": PICTURE, "tag": "abc"}, {"uri": LAST, "tag": "abc"}]},
            "referenceImages: each tag may be given once",
        ),
        (
            {"referenceImages": [{"uri": PICTURE, "tag": "ab"}]},
            'referenceImages[0].tag: a text of the form ^[A-Za-z][A-Za-z0-9_]{2,15}$, got "ab"',
        ),
        ({"referenceImages": [{"uri": "broken"}]}, "referenceImages[0].uri: not a picture"),
    ],
)
def test_a_wrong_text_to_image_is_refused(client: Client, body: dict[str, Any], said: str) -> None:
    assert refusal(client, "text_to_image", **{"model": "gen4_image", "promptText": "a", **body}) == said


def test_a_picture_size_that_gen4_image_lacks_is_refused(client: Client) -> None:
    assert refusal(client, "text_to_image", model="gen4_image", promptText="a", ratio="1024:1000").startswith(
        "ratio: 1024:1024, "
    )


def test_video_upscale_becomes_an_upscale_request(client: Client, gateway: FakeGateway) -> None:
    assert operation(client, gateway, "video_upscale", model="upscale_v1", videoUri=CLIP) == UpscaleRequest(
        model="runway/upscale_v1", format="runwayml", video=MediaRef(url=CLIP), factor=4
    )
    made = operation(client, gateway, "video_upscale", model="enhance_frame_rate", videoUri=CLIP, targetFramerate="60")
    assert (made.factor, made.extra) == (1, {"targetFramerate": "60"})
    assert refusal(client, "video_upscale", model="upscale_v1") == "videoUri: required"


def test_character_performance_becomes_a_performance_request(client: Client, gateway: FakeGateway) -> None:
    made = operation(
        client,
        gateway,
        "character_performance",
        model="act_two",
        character={"type": "video", "uri": CLIP},
        reference={"type": "video", "uri": "https://a.example/act.mp4"},
        ratio="960:960",
        bodyControl=True,
        expressionIntensity=5,
        seed=9,
    )
    assert made == PerformanceRequest(
        model="runway/act_two",
        format="runwayml",
        performance=MediaRef(url="https://a.example/act.mp4"),
        character=MediaRef(url=CLIP),
        character_kind="video",
        size=Size(960, 960),
        seconds=30,
        intensity=5,
        body_control=True,
        seed=9,
    )
    assert gateway.media == [
        ("reference.uri", "https://a.example/act.mp4", ("video",)),
        ("character.uri", CLIP, ("video",)),
    ]
    said = refusal(client, "character_performance", model="act_two", character={"type": "image"}, reference={"uri": CLIP})
    assert said == "character.uri: required"


def retrieve(client: Client, gateway: FakeGateway) -> Any:
    return client.get(f"/runwayml/v1/tasks/{gateway.last.id}", headers=VERSION)


def test_a_finished_task_is_the_originals_byte_for_byte(client: Client, gateway: FakeGateway) -> None:
    gateway.local = False
    image_to_video(client, gateway)
    gateway.succeed()
    answer = retrieve(client, gateway)
    assert answer.content.decode() == (
        f'{{"id":"{gateway.last.id}","status":"SUCCEEDED","createdAt":"2024-08-22T07:50:52.250Z",'
        '"output":["http://gen.test/media/med_v.mp4?signature=v"],"cost":{"credits":50}}'
    )


def test_the_output_of_a_picture_task_are_its_pictures(client: Client, gateway: FakeGateway) -> None:
    operation(client, gateway, "text_to_image", model="gen4_image", promptText="a")
    gateway.change(state=State.SUCCEEDED, files=(IMAGE, IMAGE, FILES[1]))
    assert retrieve(client, gateway).json()["output"] == [IMAGE.url, IMAGE.url]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": State.QUEUED}, {"status": "PENDING", "estimatedCost": {"credits": 50}}),
        ({"state": State.QUEUED, "queue_position": 2}, {"status": "THROTTLED", "estimatedCost": {"credits": 50}}),
        ({"state": State.SUBMITTING}, {"status": "PENDING", "estimatedCost": {"credits": 50}}),
        (
            {"state": State.RUNNING, "progress": 0.25},
            {"status": "RUNNING", "progress": 0.25, "estimatedCost": {"credits": 50}},
        ),
        ({"state": State.STORING, "progress": 0.99}, {"status": "RUNNING", "progress": 0.99, "estimatedCost": {"credits": 50}}),
        ({"state": State.PARKED}, {"status": "RUNNING", "progress": 0.0, "estimatedCost": {"credits": 50}}),
        (
            {"state": State.FAILED, "error_code": "moderation", "error_message": "no such pictures here"},
            {
                "status": "FAILED",
                "failure": "no such pictures here",
                "failureCode": "SAFETY.INPUT.TEXT",
                "cost": {"credits": 0},
            },
        ),
        (
            {"state": State.FAILED, "error_code": "vendor_error", "error_message": "it broke"},
            {"status": "FAILED", "failure": "it broke", "failureCode": "INTERNAL.VENDOR_ERROR", "cost": {"credits": 0}},
        ),
        (
            {"state": State.EXPIRED},
            {
                "status": "FAILED",
                "failure": "the task ran out of time",
                "failureCode": "INTERNAL.EXPIRED",
                "cost": {"credits": 0},
            },
        ),
        ({"state": State.CANCELLED}, {"status": "CANCELLED", "cost": {"credits": 0}}),
    ],
)
def test_every_state_has_its_status_and_fields(
    client: Client, gateway: FakeGateway, changes: dict[str, Any], told: dict[str, Any]
) -> None:
    gateway.local = False
    image_to_video(client, gateway)
    gateway.change(**changes)
    body = retrieve(client, gateway).json()
    assert body.pop("id") == gateway.last.id
    assert body.pop("createdAt") == "2024-08-22T07:50:52.250Z"
    assert body == told
    assert dialect.formats["runwayml"].render(gateway.last) == retrieve(client, gateway).json()


def test_work_of_the_built_in_provider_is_called_so(client: Client, gateway: FakeGateway) -> None:
    image_to_video(client, gateway)
    answer = retrieve(client, gateway)
    assert answer.headers["X-Genway-Provider"] == "local"
    assert answer.json()["warnings"] == ["the built-in provider did the work"]


def test_a_deleted_task_is_gone(client: Client, gateway: FakeGateway) -> None:
    image_to_video(client, gateway)
    path = f"/runwayml/v1/tasks/{gateway.last.id}"
    answer = client.delete(path, headers={"Accept": "*/*", **VERSION})
    assert (answer.status_code, answer.content) == (204, b"")
    for gone in (client.get(path, headers=VERSION), client.delete(path, headers=VERSION)):
        assert gone.status_code == 404
        assert gone.json()["code"] == "task_not_exist"


def test_a_foreign_task_is_not_there(client: Client, gateway: FakeGateway) -> None:
    image_to_video(client, gateway)
    answer = client.get(f"/runwayml/v1/tasks/{gateway.last.id}", headers={"Authorization": OTHER_KEY})
    assert answer.status_code == 404


def test_official_clients_read_the_error_as_a_text(client: Client) -> None:
    answer = post(client, "image_to_video", model="gen4_turbo")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "promptImage: required",
        "message": "promptImage: required",
        "code": "invalid_request",
        "request_id": "",
    }


def test_clients_of_gateways_read_the_error_as_an_object(client: Client) -> None:
    answer = client.post("/runwayml/v1/image_to_video", json={"model": "gen4_turbo"})
    assert answer.json()["error"] == {
        "message": "promptImage: required",
        "type": "invalid_request_error",
        "code": "invalid_request",
        "param": "promptImage",
    }


def test_a_stranger_learns_nothing_of_the_body(client: Client) -> None:
    answer = client.post("/runwayml/v1/image_to_video", json={}, headers={"Authorization": "Bearer no", **VERSION})
    assert (answer.status_code, answer.json()["error"]) == (401, "unknown key")


def test_a_busy_key_is_told_when_to_come_back(client: Client) -> None:
    answer = client.get("/runwayml/v1/tasks/x", headers={"Authorization": "Bearer sk-busy", **VERSION})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


def test_a_dry_run_answers_the_price(client: Client, gateway: FakeGateway) -> None:
    answer = client.post("/runwayml/v1/image_to_video", json=GOOD, headers={"X-Genway-Dry-Run": "true", **VERSION})
    content = answer.json()
    assert (content["dryRun"], content["estimatedCost"], content["quote"]["total"]) == (True, {"credits": 50}, "0.50")
    assert not gateway.tasks


def test_the_organization_tells_credits_limits_and_the_last_day(client: Client, gateway: FakeGateway) -> None:
    gateway.used = [Usage("2025-06-26", "runway/gen4_turbo", 2, 9), Usage("2025-06-27", "runway/gen4_turbo", 1, 9)]
    content = client.get("/runwayml/v1/organization", headers={"Authorization": OTHER_KEY}).json()
    assert content["creditBalance"] == 1234
    assert content["tier"]["models"]["gen4_turbo"] == {"maxConcurrentGenerations": 3, "maxDailyGenerations": None}
    assert content["usage"] == {"models": {"gen4_turbo": {"dailyGenerations": 3}}}


def test_the_credits_are_those_that_the_key_may_spend(client: Client, gateway: FakeGateway) -> None:
    gateway.budget_left = 1_999_999
    assert client.get("/runwayml/v1/organization").json()["creditBalance"] == 199
    gateway.budget_left, gateway.unlimited = None, True
    assert client.get("/runwayml/v1/organization").json()["creditBalance"] == 2**31 - 1


def test_the_usage_is_told_by_day_and_model(client: Client, gateway: FakeGateway) -> None:
    gateway.used = [
        Usage("2025-06-26", "runway/gen4_turbo", 2, 500_000),
        Usage("2025-06-26", "runway/act_two", 1, 10_000),
        Usage("2025-06-27", "runway/gen4_turbo", 1, 250_000),
    ]
    span = {"startDate": "2025-06-26", "beforeDate": "2025-06-28"}
    assert client.post("/runwayml/v1/organization/usage", json=span).json() == {
        "results": [
            {
                "date": "2025-06-26",
                "usedCredits": [{"model": "act_two", "amount": 1}, {"model": "gen4_turbo", "amount": 50}],
            },
            {"date": "2025-06-27", "usedCredits": [{"model": "gen4_turbo", "amount": 25}]},
        ],
        "models": ["act_two", "gen4_turbo"],
    }
    assert client.post("/runwayml/v1/organization/usage").status_code == 200


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ({"startDate": "yesterday"}, 'startDate: a day like 2025-06-27, got "yesterday"'),
        (
            {"startDate": "2025-01-01", "beforeDate": "2025-04-02"},
            "beforeDate: a day 1 to 90 days after startDate, got 2025-04-02",
        ),
        (
            {"startDate": "2025-01-02", "beforeDate": "2025-01-02"},
            "beforeDate: a day 1 to 90 days after startDate, got 2025-01-02",
        ),
        ({"startDate": "9999-12-30"}, 'startDate: a day like 2025-06-27, got "9999-12-30"'),
    ],
)
def test_a_wrong_span_is_refused(client: Client, span: dict[str, str], said: str) -> None:
    assert refusal(client, "organization/usage", **span) == said
