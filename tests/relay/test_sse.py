"""Streams of events at the level of bytes, against a reader written from the standard."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genway.relay import sse
from genway.relay.sse import Splitter, data_of, events

LINES = st.sampled_from(
    [
        "data: {}",
        'data:{"a":"é😀"}',
        "data:",
        "data:  x ",
        "event: ping",
        ": comment",
        "id: 1",
        "retry: 5",
        "odd: data: y",
        'data: {"text":"data: z"}',
        "",
        "日本",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn, ends: st.SearchStrategy[str] = ENDS) -> bytes:
    """Any lines; each event of one has the same ends, as one writer writes."""
    made = ""
    for _ in range(draw(st.integers(0, 6))):
        end = draw(ends)
        made += "".join(f"{line}{end}" for line in draw(st.lists(LINES, max_size=4))) + end
    return made.encode()


def read(stream: bytes) -> list[str]:
    """The data of every event, as the HTML standard has it; an event without data is none."""
    found: list[str] = []
    current: list[str] = []
    for line in re.split("\r\n|\n|\r", stream.decode())[:-1]:
        if not line and current:
            found.append("\n".join(current))
            current = []
        elif line == "data":
            current.append("")
        elif line.startswith("data:"):
            current.append(line[5:].removeprefix(" "))
    return found


@given(streams(), st.data())
@example(b"data: x\r\n\r\ndata: y\r\n\r\n", None)
def test_events_come_whole_however_the_pieces_are_cut(stream: bytes, data: st.DataObject | None) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12))) if data is not None else range(len(stream))
    splitter, came = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        ready = splitter.feed(stream[start:end])
        if ready:
            assert re.search(rb"(\n|\r)(\n|\r|\r\n)\Z", ready), "it ends where an event does"
            came.append(ready)
    rest = splitter.take_rest()
    assert b"".join(came) + rest == stream
    assert splitter.take_rest() == b""


@given(streams(), st.integers(1, 7))
def test_nothing_that_is_whole_is_held_back(stream: bytes, step: int) -> None:
    splitter, came = Splitter(), b""
    for start in range(0, len(stream), step):
        came += splitter.feed(stream[start : start + step])
    assert read(came) == read(stream)


@given(streams())
def test_events_are_told_apart_as_the_standard_has_it(stream: bytes) -> None:
    parts = events(stream)
    assert b"".join(parts) == stream
    said = [data_of(part).decode().strip(" ") for part in parts]
    assert [text for text in said if text] == [text.strip(" ") for text in read(stream) if text.strip(" ")]


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data:[DONE]\r\n\r\n", b"[DONE]"),
        (b"event: x\ndata: {}\nid: 5\n\n", b"{}"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b": data: no\n\n", b""),
        (b"event: data: no\ndata: yes\n\n", b"yes"),
        (b'data: {"t": "data: x"}\n\n', b'{"t": "data: x"}'),
        (b"\n", b""),
    ],
)
def test_the_data_of_an_event(event: bytes, found: bytes) -> None:
    assert data_of(event) == found


def test_an_event_without_end_is_not_gathered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 1000)
    splitter = Splitter()
    for _ in range(10):
        assert splitter.feed(b"x" * 100) == b""
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        splitter.feed(b"x")


def test_a_large_event_costs_no_more_than_its_size() -> None:
    piece = b"x" * 50
    splitter = Splitter()
    for _ in range(200_000):  # gathered anew with each piece, these would be a terabyte
        splitter.feed(piece)
    assert len(splitter.feed(b"\n\n")) == 10_000_002
