"""What is played in each cell of the matrix: one format's client in front of one provider, in one case.

A story is told in two halves. In the first the client asks, in the second it looks at what has become of it, so that many
stories wait at the same time for what takes its time.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator
from itertools import count
from typing import Any, NamedTuple

import av
import msgspec
import requests
from sqlalchemy import Row

from conformance.clients import CLIENTS
from conformance.matrix_stage import PLACES, SECOND_GENWAYS, UPSTREAMS, House
from durability.stage import until
from genway.operations import VideoRequest, from_json
from genway.routing.channels import LOCAL
from genway.tasks.stops import UNTOLD

FORMATS = tuple(CLIENTS)
NEEDS_PICTURE = "kling.videos/image2video"
PICTURED = (
    *(NEEDS_PICTURE, "runway.pro", "runwayml", "luma.official", "minimax.video", "minimax.video_v2", "pika.pro"),
    "openai.videos",
)
# Who speaks to another genway in the format that it is reached by; the one door does in each.
OWN = {
    "runwayml": ("runwayml",),
    "runway_compat": ("runway.pro", "runway.web"),
    "luma": ("luma.official",),
    "luma_compat": ("luma",),
    "kling": ("kling.videos/text2video", NEEDS_PICTURE),
    "minimax_compat": ("minimax.video", "minimax.video_v2"),
    "pika_compat": ("pika.pro",),
    "pika_compat mirror": ("pika.web",),
}
FORMATS_AT = {
    **dict.fromkeys(UPSTREAMS, FORMATS),
    **{name: (*OWN[name.partition(" by ")[2]], "openai.videos") for name in SECOND_GENWAYS},
    LOCAL: FORMATS,
}
# What goes wrong, and the words of a prompt that order it: from the vendor, and from the built-in provider.
ORDERS = {
    "moderation": "vendor:moderated",
    "moderation of the result": "vendor:fail_moderation",
    "vendor_error": "vendor:fail vendor:fail_output",
    "late": "vendor:late",
    "lost": "vendor:lost",
    "cancelled": "vendor:endless",
}
LOCAL_ORDERS = {
    "moderation": "genway:fail=moderation",
    "moderation of the result": "genway:fail=moderation",
    "vendor_error": "genway:fail=vendor",
    "throttled": "genway:fail=rate",
    "late": "genway:fail=late",
    "lost": "genway:fail=lost",
    "cancelled": "genway:delay=600",
}
CASES = ("made", "pictured", *LOCAL_ORDERS)
FAILURES = ("moderation", "moderation of the result", "vendor_error")
# Those that take their time are begun first and looked at last.
SLOW = ("throttled", "cancelled", "lost", "late")

_numbers = count(1)


class Cell(NamedTuple):
    """One format's client at one place, in one of `CASES`."""

    place: str
    form: str
    case: str

    @property
    def seconds(self) -> int:
        """The shortest duration that the client can ask for and the place can do; 0 where there is none."""
        able = CLIENTS[self.form].seconds
        return min(able if self.place == LOCAL else set(able) & set(PLACES[self.place].seconds), default=0)

    @property
    def pictured(self) -> bool:
        """Whether the client sends a picture."""
        return self.case == "pictured" or self.form == NEEDS_PICTURE

    @property
    def orders(self) -> str:
        """The words of the prompt that let things go wrong."""
        if self.place == LOCAL:
            return LOCAL_ORDERS.get(self.case, "")
        upstream = PLACES[self.place]
        if self.case == "throttled":
            return upstream.throttled
        if self.case in {"late", "lost"} and upstream.behind:
            return f"wire:{self.case}"
        return ORDERS.get(self.case, "")


def cells(*cases: str) -> list[Cell]:
    """All cells of these cases, place by place."""
    return [
        Cell(place, form, case)
        for place, forms in FORMATS_AT.items()
        for case in cases
        for form in forms
        if case != "pictured" or (form in PICTURED and place != LOCAL)
    ]


class Work:
    """One request of a cell's client. words: what its prompt alone has."""

    def __init__(self, cell: Cell, place: House) -> None:
        self.cell, self.place, self.client = cell, place, place.client(cell.form)
        self.words = f"boat {next(_numbers):05}"
        self.hook = place.hooks.address() if self.client.calls_back else ""
        self.task_id = ""

    def asked(self, *, small: bool = False) -> requests.Response:
        """The answer to the request."""
        prompt = f"a {self.words} {self.cell.orders}".strip()
        picture = self.place.vendors.picture if self.cell.pictured else ""
        if small:
            # MiniMax has a small size for what begins with a picture.
            picture = picture or (self.place.vendors.picture if self.cell.form == "minimax.video" else "")
            return self.client.begin_small(prompt, picture=picture, hook=self.hook)
        seconds = self.cell.seconds or self.client.seconds[0]
        return self.client.begin(prompt, seconds, picture=picture, hook=self.hook)

    def begun(self, *, small: bool = False) -> None:
        """Ask, and be told a task."""
        answer = self.asked(small=small)
        assert answer.ok, answer.text
        self.task_id = self.client.id(answer.json())

    def succeeded(self) -> Row[Any]:
        """The task, which has: the query and the callback lead to the file that was stored."""
        answer = self.place.ended(self.client, self.task_id, self.hook)
        row = self.place.row(self.task_id)
        sizes = [file["bytes"] for file in msgspec.json.decode(row.results or "[]") if file["role"] == "video"]
        for told in (answer, *([self.place.told(self.client, self.hook)] if self.hook else [])):
            word, link = self.client.read(told)
            assert word == "succeeded", link
            content = self.client.fetch(link)
            assert content[4:8] == b"ftyp"
            assert [len(content)] == sizes
        assert (row.state, row.charged, row.dialect) == ("succeeded", row.held, self.cell.form)
        assert row.provider == (LOCAL if self.place.local else self.place.upstream.provider)
        return row

    def failed(self, case: str, code: str) -> None:
        """It has, as the query and the callback say in the format's own words for that case, and nothing was charged."""
        answer = self.place.ended(self.client, self.task_id, self.hook)
        word, reason = self.client.read(answer)
        assert (word, self.client.verdict(answer)) == ("failed", self.client.words[case]), answer
        assert reason
        if self.hook:
            told = self.place.told(self.client, self.hook)
            assert (self.client.read(told), self.client.verdict(told)) == ((word, reason), self.client.words[case])
        row = self.place.row(self.task_id)
        assert (row.state, row.error_code, row.charged) == ("failed", code, 0)

    def was_made(self, *, seen: int = 1) -> None:
        """Whoever is asked was asked so often, and has begun the work once."""
        if self.place.behind:
            assert len(self.place.behind.rows(self.words)) == 1
            assert self.place.passed_through(self.task_id).count("submitting") == seen
            seen = 1
        works = self.place.vendors.works(self.words)
        assert (works.seen, works.taken) == (seen, 1)


Story = Generator[None, None, None]


def story(cell: Cell, place: House) -> Story:
    """The story of a cell; its first half ends at the `yield`."""
    work = Work(cell, place)
    try:
        if not cell.seconds:
            be_refused(work)
            yield
        elif place.local and cell.case in LOCAL_STORIES:
            yield from LOCAL_STORIES[cell.case](work)
        elif cell.case in FAILURES:
            yield from fail(work)
        else:
            yield from STORIES[cell.case](work)
    finally:
        work.client.close()


def be_refused(work: Work) -> None:
    """What nobody can do is refused with the reason, and nobody hears of it."""
    answer = work.asked()
    content = answer.json()
    assert not answer.ok
    assert re.search(rf"{work.place.upstream.provider}: .*seconds", work.client.refusal(content)), content
    assert work.place.rows(work.words) == []
    assert work.place.vendors.works(work.words) == (0, 0, 0)


def succeed(work: Work) -> Story:
    work.begun()
    yield
    work.succeeded()
    work.was_made()


def fail(work: Work) -> Story:
    work.begun()
    yield
    # The built-in provider is told to refuse a work that it has taken, and another genway has taken what its vendor refuses.
    taken = work.place.local or work.place.upstream.behind
    case = "moderation of the result" if taken and work.cell.case == "moderation" else work.cell.case
    work.failed(case, "vendor_error" if case == "vendor_error" else "moderation")
    if not work.place.local:
        assert work.place.vendors.works(work.words).seen == 1


def be_sent_again(work: Work) -> Story:
    """A vendor that has refused because it is busy is asked again, and makes it once."""
    work.begun()
    yield
    work.succeeded()
    work.was_made(seen=2)


def be_found_or_given_back(work: Work) -> Story:
    """The vendor has the work and nobody here knows: it is never asked twice.

    What it can be asked for by our own name is found, or what it calls back about, and so is had; all else is given back after
    the time that is set.
    """
    work.begun()
    yield
    if work.place.upstream.finds:
        work.succeeded()
    else:
        work.failed("outcome_unknown", "outcome_unknown")
    assert "parked" in work.place.passed_through(work.task_id)
    work.was_made()


def be_cancelled(work: Work) -> Story:
    """The client cancels what its vendor is at work on, which is stopped there as well where it can be."""
    work.begun()
    yield
    place, vendors = work.place, work.place.vendors
    place.reaches(work.task_id, "running")
    if place.behind:
        [row] = place.behind.rows(work.words)
        place.behind.reaches(row.id, "running")
    cancel(work)
    if not place.upstream.cancels:
        assert place.vendors.works(work.words) == (1, 1, 0)
        return
    until(lambda: vendors.works(work.words).cancelled, "the vendor is told")
    work.was_made()
    teller, row = place, place.row(work.task_id)
    if place.behind:
        teller, [row] = place.behind, place.behind.rows(work.words)
        assert (row.state, row.charged) == ("cancelled", 0)
    until(lambda: teller.row(row.id).stop_at is None, "nothing is left to be told")
    # Once: only where no answer came, which is noted, it is told again.
    unheard = [why for why in teller.notes(row.id) if why.startswith(UNTOLD)]
    assert 1 <= vendors.works(work.words).cancelled <= 1 + len(unheard), unheard


def cancel(work: Work) -> None:
    """By the format's own call or the door's; the end is told in the format's own words, and nothing is charged."""
    client, place = work.client, work.place
    answer = client.cancel(work.task_id)
    assert answer.ok, answer.text
    row = place.row(work.task_id)
    assert (row.state, row.charged) == ("cancelled", 0)
    if client.forgets:
        assert client.ask(*client.question(work.task_id)).status_code == 404
        return
    ended = place.ended(client, work.task_id, work.hook)
    assert client.verdict(ended) == client.words["cancelled"], ended
    if work.hook:
        assert client.verdict(place.told(client, work.hook)) == client.words["cancelled"]


# What is different where the built-in provider does the work.


def be_rendered(work: Work) -> Story:
    work.begun(small=True)
    yield
    row = work.succeeded()
    operation = from_json(row.request)
    assert isinstance(operation, VideoRequest)
    size = operation.size
    _, link = work.client.state(work.task_id)
    with av.open(io.BytesIO(work.client.fetch(link)), "r") as clip:
        [stream] = clip.streams.video
        frames = len(list(clip.decode(stream)))
        assert stream.average_rate
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert abs(stream.width - size.width) <= 1
        assert abs(stream.height - size.height) <= 1
        assert abs(frames / float(stream.average_rate) - operation.seconds) < 0.1


def be_told_to_come_back(work: Work) -> Story:
    """The built-in provider is never too busy; a program can rehearse that the gateway is."""
    answer = work.asked()
    yield
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "genway:fail=rate" in work.client.refusal(answer.json())
    assert work.place.rows(work.words) == []


def be_impossible(work: Work) -> Story:
    """No answer of the built-in provider is late or lost: it can be asked anew at no cost. There is no rehearsing it."""
    answer = work.asked()
    yield
    assert answer.status_code == 400
    assert "one of moderation, vendor, invalid, balance, rate, expire" in work.client.refusal(answer.json())
    assert work.place.rows(work.words) == []


def be_stopped(work: Work) -> Story:
    work.begun()
    yield
    cancel(work)


STORIES: dict[str, Callable[[Work], Story]] = {
    "made": succeed,
    "pictured": succeed,
    "throttled": be_sent_again,
    "late": be_found_or_given_back,
    "lost": be_found_or_given_back,
    "cancelled": be_cancelled,
}
LOCAL_STORIES: dict[str, Callable[[Work], Story]] = {
    "made": be_rendered,
    "throttled": be_told_to_come_back,
    "late": be_impossible,
    "lost": be_impossible,
    "cancelled": be_stopped,
}
