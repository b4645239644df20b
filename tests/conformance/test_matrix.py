"""Any system's clients in front of any provider, over real sockets.

One suite for every pair: the client asks, asks after, is called back, and has the file; it cancels; and the vendor fails,
refuses, is busy, answers too late or not at all. Or the request is refused with a reason before anything is charged. The
chosen stories are told side by side from the first test on, and each test waits for its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import groupby
from pathlib import Path

import pytest

from conformance.clients import CLIENTS, ENDINGS, video_formats
from conformance.matrix_cells import FAILURES, FORMATS, FORMATS_AT, SLOW, Cell, Story, cells, story
from conformance.matrix_stage import PLACES, SECOND, Hooks, House, Vendors, house
from durability.stage import Receiver
from genway import providers
from genway.operations import VideoRequest
from genway.providers.base import ChannelSettings
from genway.routing.channels import LOCAL

AT_ONCE = 8
LONGEST = 170.0


Half = tuple[Cell, Story, Future[None]]


class Told:
    """The chosen stories, told place by place; the halves of one place's stories between those of its neighbours'."""

    def __init__(self, chosen: list[Cell], folder: Path) -> None:
        self._chosen, self._folder = chosen, folder
        self._outcomes: dict[Cell, Future[None]] = {cell: Future() for cell in chosen}
        self._houses: dict[str, House] = {}
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._closing = False
        self._teller = threading.Thread(target=self._tell, daemon=True)
        self._teller.start()

    @property
    def places(self) -> set[str]:
        return {cell.place for cell in self._chosen}

    def wait_for(self, cell: Cell) -> None:
        """Until the cell's story has come to its end, and raise what went wrong in it."""
        self._outcomes[cell].result(LONGEST)

    def house(self, name: str) -> House:
        """A place of which all chosen stories have come to their end."""
        for cell in self._chosen:
            if cell.place == name:
                self._outcomes[cell].exception(LONGEST)
        return self._houses[name]

    def close(self) -> None:
        """Let what is being told come to its end, and tell nothing new."""
        self._closing = True
        self._teller.join()
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def _tell(self) -> None:
        try:
            vendors = self._stack.enter_context(closing(Vendors()))
            hooks = self._stack.enter_context(closing(Hooks()))
            receiver = self._stack.enter_context(closing(Receiver()))
            halves: dict[str, list[Half]] = {}
            for name, group in groupby(sorted(self._chosen, key=_place), key=lambda cell: cell.place):
                if self._closing:
                    return
                before = halves.pop(next((name for name in halves if name != LOCAL), ""), [])
                halves[name] = self._begin(self._open(name, vendors, hooks, receiver), list(group))
                self._finish(before)
            for begun in reversed(halves.values()):
                self._finish(begun)
        except BaseException as error:
            for outcome in self._outcomes.values():
                if not outcome.done():
                    outcome.set_exception(error)

    def _open(self, name: str, vendors: Vendors, hooks: Hooks, receiver: Receiver) -> House:
        behind = None
        if name in PLACES and PLACES[name].behind:
            behind = self._houses.get(SECOND) or self._enter(SECOND, "runwayml", vendors, hooks, receiver)
        return self._enter(name, name, vendors, hooks, receiver, behind)

    def _enter(
        self, known_as: str, name: str, vendors: Vendors, hooks: Hooks, receiver: Receiver, behind: House | None = None
    ) -> House:
        folder = self._folder / f"house-{len(self._houses)}"
        folder.mkdir()
        opened = self._stack.enter_context(house(name, folder, vendors, hooks, receiver, behind))
        self._houses[known_as] = opened
        return opened

    def _begin(self, place: House, group: list[Cell]) -> list[Half]:
        group.sort(key=lambda cell: cell.case not in SLOW)
        stories = [(cell, story(cell, place)) for cell in group]
        return [(cell, told, self._pool.submit(next, told)) for cell, told in stories]

    def _finish(self, halves: list[Half]) -> None:
        for cell, told, begun in sorted(halves, key=lambda half: half[0].case in SLOW):
            self._pool.submit(self._end, self._outcomes[cell], told, begun)

    @staticmethod
    def _end(outcome: Future[None], told: Story, begun: Future[None]) -> None:
        try:
            begun.result(LONGEST)
            next(told, None)
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)


def _place(cell: Cell) -> int:
    """A machine takes its time to render, so the stories of the built-in provider are begun first."""
    return list(FORMATS_AT).index(cell.place) if cell.place != LOCAL else -1


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    here = [item.callspec.params for item in request.session.items if item.path == Path(__file__) and hasattr(item, "callspec")]
    chosen = [params["cell"] for params in here if "cell" in params]
    telling = Told(chosen, tmp_path_factory.mktemp("matrix"))
    yield telling
    telling.close()


def in_cells(*cases: str) -> pytest.MarkDecorator:
    """In every cell of these cases, each with its own name."""
    named = len(cases) > 1
    found = cells(*cases)
    ids = ["-".join((cell.place, cell.form, *([cell.case] if named else []))) for cell in found]
    return pytest.mark.parametrize("cell", found, ids=ids)


def test_every_format_for_videos_has_a_client_here() -> None:
    assert set(CLIENTS) == video_formats()


def test_every_client_knows_its_formats_words_for_every_ending() -> None:
    for client in CLIENTS.values():
        assert set(client.words) == set(ENDINGS)


def test_every_provider_that_makes_videos_is_here() -> None:
    makers = {name for name, kind in providers.discover().items() if issubclass(VideoRequest, kind.operations)}
    assert {LOCAL, *(upstream.provider for upstream in PLACES.values())} == makers


@pytest.mark.parametrize("form", FORMATS)
def test_a_provider_that_makes_no_videos_says_so(form: str) -> None:
    for name, kind in providers.discover().items():
        if not issubclass(VideoRequest, kind.operations):
            provider = kind(ChannelSettings(name=name, base_url="http://vendor.example", secret="key"), None)  # type: ignore[arg-type]
            assert provider.refusal(VideoRequest(model=CLIENTS[form].model, prompt="a boat")) == f"{name} does not do video"


def test_every_format_meets_every_provider_in_every_case() -> None:
    for name in (LOCAL, *(name for name, upstream in PLACES.items() if not upstream.behind)):
        assert FORMATS_AT[name] == FORMATS
    assert {form for name, upstream in PLACES.items() if upstream.behind for form in FORMATS_AT[name]} == set(FORMATS)


@in_cells("made", "pictured")
def test_any_format_reaches_any_provider(cell: Cell, told: Told) -> None:
    told.wait_for(cell)


@in_cells(*FAILURES)
def test_a_failure_is_told_in_the_formats_own_words_and_costs_nothing(cell: Cell, told: Told) -> None:
    told.wait_for(cell)


@in_cells("throttled")
def test_a_throttled_request_is_sent_again_and_made_once(cell: Cell, told: Told) -> None:
    told.wait_for(cell)


@in_cells("late", "lost")
def test_a_work_whose_answer_is_late_or_lost_is_found_or_given_back_and_never_doubled(cell: Cell, told: Told) -> None:
    told.wait_for(cell)


@in_cells("cancelled")
def test_a_task_can_be_cancelled_and_the_vendor_is_told_where_it_can_be(cell: Cell, told: Told) -> None:
    told.wait_for(cell)


@pytest.mark.parametrize("name", FORMATS_AT)
def test_the_books_are_right_at_the_end(name: str, told: Told) -> None:
    if name not in told.places:
        pytest.skip("none of its stories is told in this run")
    told.house(name).site.check_money()
