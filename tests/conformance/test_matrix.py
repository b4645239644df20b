"""Any system's clients in front of any provider, over real sockets.

One suite for every pair: the client asks, asks after, is called back, and has the file; or it is refused with a reason before
anything is charged. A provider's pairs are played at once, so the first test of a provider waits for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import requests

from conformance.clients import CLIENTS, Client, video_formats
from conformance.matrix_stage import SECOND_GENWAY, UNFIT, UPSTREAMS, Hooks, House, Vendors, house
from durability.stage import Receiver
from genway import providers
from genway.routing.channels import LOCAL

FORMATS = tuple(CLIENTS)
PICTURED = ("kling.videos/image2video", "runway.pro", "runwayml", "luma.official", "minimax.video", "pika.pro", "openai.videos")
# Where each video is really rendered, those formats that can ask for a short one, and two of a gateway behind this one.
BRIEF = {
    LOCAL: ("runway.pro", "runwayml", "luma.official", "openai.videos"),
    SECOND_GENWAY: ("runway.pro", "kling.videos/text2video"),
}
PAIRS = [(name, form) for name in (LOCAL, *UPSTREAMS) for form in BRIEF.get(name, FORMATS)]

# Who is asked in which format for what goes wrong; the word that makes it go wrong there, and the error that the task has then.
TROUBLES = [
    *((LOCAL, form, "genway:fail=moderation", "moderation") for form in FORMATS),
    (LOCAL, "luma", "genway:fail=vendor", "vendor_error"),
    ("runwayml", "kling.videos/text2video", "vendor:fail_moderation", "moderation"),
    ("runwayml", "minimax.video", "vendor:fail_output", "vendor_error"),
    ("runwayml", "pika.pro", "vendor:moderated", "moderation"),
    ("runway_compat", "luma.official", "vendor:fail_moderation", "moderation"),
    ("luma", "runway.pro", "vendor:fail_moderation", "moderation"),
    ("luma", "pika.web", "vendor:fail_output", "vendor_error"),
    ("luma_compat", "openai.videos", "vendor:fail_moderation", "moderation"),
    ("minimax", "openai.videos", "vendor:fail_moderation", "moderation"),
    ("minimax", "runwayml", "vendor:moderated", "moderation"),
    ("minimax_compat", "kling.videos/text2video", "vendor:fail", "vendor_error"),
    (SECOND_GENWAY, "openai.videos", "genway:fail=moderation", "moderation"),
]
THROTTLED = [("runwayml", "luma"), ("runway_compat", "minimax.video"), ("luma", "openai.videos"), ("luma_compat", "pika.pro")]

Play = Callable[[str], Future[None]]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    running = Vendors()
    yield running
    running.close()


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hooks]:
    listening = Hooks()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def unused_receiver() -> Iterator[Receiver]:
    listening = Receiver()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def town(
    tmp_path_factory: pytest.TempPathFactory, vendors: Vendors, hooks: Hooks, unused_receiver: Receiver
) -> Iterator[Callable[[str], tuple[House, Play]]]:
    """Opens a place when it is first asked for, and begins all of its pairs at once; gives it, and each pair's outcome."""
    opened: dict[str, tuple[House, Play]] = {}
    with ExitStack() as stack:

        def get(name: str) -> tuple[House, Play]:
            if name not in opened:
                running = stack.enter_context(house(name, tmp_path_factory.mktemp("house"), vendors, hooks, unused_receiver))
                pool = stack.enter_context(ThreadPoolExecutor(8))
                outcomes = {form: pool.submit(play, running, form) for form in BRIEF.get(name, FORMATS)}
                opened[name] = running, outcomes.__getitem__
            return opened[name]

        yield get


@pytest.fixture
def place(request: pytest.FixtureRequest, town: Callable[[str], tuple[House, Play]]) -> House:
    return town(request.param)[0]


@pytest.fixture
def playing(place: House, town: Callable[[str], tuple[House, Play]]) -> Play:
    return town(place.name)[1]


def play(place: House, form: str) -> None:
    client = place.client(form)
    seconds = fitting(place, client)
    pictures = [place.picture] if form in PICTURED and place.name not in BRIEF else []
    if form != "kling.videos/image2video":
        pictures.append("")
    for picture in pictures:
        if not seconds:
            be_refused(place, client, picture, "seconds")
        elif not picture and (place.name, form) in UNFIT:
            be_refused(place, client, picture, UNFIT[place.name, form])
        else:
            succeed(place, client, seconds, picture)


def fitting(place: House, client: Client) -> int:
    """The shortest duration that the client can ask for and the place can do; 0 where there is none."""
    return min(set(client.seconds) & set(place.seconds), default=0)


def succeed(place: House, client: Client, seconds: int, picture: str) -> None:
    hook = place.hooks.address() if client.calls_back else ""
    begun = client.begin(f"a boat {client.format}", seconds, picture=picture, hook=hook)
    assert begun.ok, begun.text
    task_id = client.id(begun.json())
    word, link = place.ended(client, task_id)
    assert word == "succeeded", link
    assert requests.get(link, timeout=60).content[4:8] == b"ftyp"
    if client.calls_back:
        told, link = place.told(client, hook)
        assert told == "succeeded"
        assert requests.get(link, timeout=60).content[4:8] == b"ftyp"
    row = place.row(task_id)
    assert row.dialect == client.format
    assert row.provider == (LOCAL if place.local else UPSTREAMS[place.name].provider)


def be_refused(place: House, client: Client, picture: str, why: str) -> None:
    refused = client.begin("a boat that nobody makes", fitting(place, client) or client.seconds[0], picture=picture)
    content = refused.json()
    assert not refused.ok or content["base_resp"]["status_code"] != 0
    assert re.search(rf"{UPSTREAMS[place.name].provider}: .*{why}", client.refusal(content)), content
    assert not [row for row in place.site.tasks() if "nobody makes" in row.request]


def test_every_format_for_videos_has_a_client_here() -> None:
    assert set(CLIENTS) == video_formats()


def test_every_provider_is_here() -> None:
    assert {LOCAL, *(upstream.provider for upstream in UPSTREAMS.values())} == set(providers.discover())


@pytest.mark.parametrize(("place", "form"), PAIRS, indirect=["place"])
def test_any_format_reaches_any_provider(playing: Play, form: str) -> None:
    playing(form).result(120)


@pytest.mark.parametrize(("place", "form", "word", "code"), TROUBLES, indirect=["place"])
def test_a_failure_is_told_in_the_format_s_own_words_and_costs_nothing(place: House, form: str, word: str, code: str) -> None:
    client = place.client(form)
    hook = place.hooks.address() if client.calls_back else ""
    prompt = f"a boat of {place.name} {word}"
    begun = client.begin(prompt, fitting(place, client), picture=place.picture if "image2video" in form else "", hook=hook)
    assert begun.ok, begun.text
    task_id = client.id(begun.json())
    told, reason = place.ended(client, task_id)
    assert told == "failed"
    assert reason
    if hook:
        assert place.told(client, hook) == (told, reason)
    row = place.row(task_id)
    assert (row.state, row.error_code, row.charged) == ("failed", code, 0)


@pytest.mark.parametrize(("place", "form"), THROTTLED, indirect=["place"])
def test_a_throttled_request_is_sent_again_and_made_once(place: House, form: str, vendors: Vendors) -> None:
    client, vendor = place.client(form), UPSTREAMS[place.name].vendor
    prompt = f"a throttled boat {place.name}"
    vendors.order(vendor, lambda stand_in: stand_in.fault("throttled", match=prompt, retry_after="1"))
    begun = client.begin(prompt, fitting(place, client))
    assert begun.ok, begun.text
    word, link = place.ended(client, client.id(begun.json()))
    assert word == "succeeded", link
    seen = [submit.accepted for submit in vendors.by_name[vendor].submits if prompt in submit.prompt]
    assert seen == [False, True]


@pytest.mark.parametrize(("place", "form"), [(LOCAL, form) for form in FORMATS], indirect=["place"])
def test_a_task_can_be_cancelled(place: House, form: str) -> None:
    client = place.client(form)
    picture = place.picture if "image2video" in form else ""
    begun = client.begin("a boat genway:delay=60", fitting(place, client), picture=picture)
    task_id = client.id(begun.json())
    assert client.cancel(task_id).ok
    row = place.row(task_id)
    assert (row.state, row.charged) == ("cancelled", 0)


@pytest.mark.parametrize("place", [LOCAL, *UPSTREAMS], indirect=True)
def test_the_books_are_right_at_the_end(place: House, playing: Play) -> None:
    for form in BRIEF.get(place.name, FORMATS):
        playing(form).exception(120)
    place.site.check_money()
