"""One stream by itself: what goes out at once, what is held back, and what becomes of pauses and faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from genway.relay import flow as flows
from genway.relay import sse
from genway.relay.flow import LINGER_SECONDS, Flow
from genway.relay.kinds import KINDS
from genway.relay.translate import chat_to_messages, messages_to_chat
from relay.house import DONE, USAGE, chat_events, data, message_events


class Client:
    """As much of an exchange as a flow uses."""

    def __init__(self, *, crowded: bool = False) -> None:
        self.crowded = crowded
        self.got = b""
        self.started = 0
        self.finished = False
        self.on_gone: Callable[[], None] | None = None
        self.on_room: Callable[[bool], None] | None = None

    def start(self) -> None:
        self.started += 1

    def write(self, piece: bytes) -> None:
        assert self.started, "nothing goes out before the head"
        self.got += piece

    def finish(self, last: bytes) -> None:
        self.got += last
        self.finished = True


class Upstream:
    """A source that a test speaks for."""

    def __init__(self) -> None:
        self.paused = False
        self.aborted = False
        self.ended = False
        self.lingers = 0.0

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        self.say = on_data
        self._on_end = on_end

    def end(self, problem: str | None = None) -> None:
        self.ended = True
        self._on_end(problem)

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def abort(self) -> None:
        self.aborted = True

    def linger(self, seconds: float) -> None:
        self.lingers = seconds


def make(kind: str = "chat", client: Client | None = None, **what: Any) -> tuple[Client, Upstream, Flow]:
    client, upstream = client or Client(), Upstream()
    exchange: Any = client
    flow = Flow(exchange, upstream, KINDS[kind], client.start, **({"has_events": True} | what))
    return client, upstream, flow


LAST = {
    "chat": DONE,
    "completions": DONE,
    "responses": data({"type": "response.completed", "response": {}}, "response.completed"),
    "messages": data({"type": "message_stop"}, "message_stop"),
    "image_generations": data({"b64_json": "x" * 500, "type": "image_generation.completed"}),
    "speech": data({"type": "speech.audio.done"}),
    "transcriptions": data({"text": "x", "type": "transcript.text.done"}),
}


@pytest.mark.parametrize("kind", LAST)
async def test_the_last_event_is_held_back_until_the_flow_is_finished(kind: str) -> None:
    client, upstream, flow = make(kind)
    first = data({"type": "x", "choices": [{"delta": {"content": "Hi"}}]})
    upstream.say(first)
    upstream.say(LAST[kind][:9])
    upstream.say(LAST[kind][9:] + b": after it\n\n")
    assert (client.got, flow.over, client.finished) == (first, True, False)
    flow.finish()
    assert (client.got, client.finished) == (first + LAST[kind] + b": after it\n\n", True)


@pytest.mark.parametrize("kind", LAST)
async def test_the_mark_of_the_end_in_a_text_is_no_end(kind: str) -> None:
    client, upstream, flow = make(kind)
    quoted = data({"type": "delta", "delta": LAST[kind].decode(), "more": {"type": "message_stop"}})
    upstream.say(quoted)
    assert (client.got, flow.over) == (quoted, False)


async def test_nothing_goes_out_before_an_event_is_whole() -> None:
    client, upstream, flow = make()
    upstream.say(b"data: {")
    assert (client.started, flow.first.done()) == (0, False)
    upstream.say(b"}\n\n")
    assert (client.started, flow.first.done(), client.got) == (1, True, b"data: {}\n\n")
    upstream.say(b"data: 1\n\ndata: 2\n\ndata: ")
    assert client.got == b"data: {}\n\ndata: 1\n\ndata: 2\n\n"


async def test_a_sign_of_life_comes_between_events_and_only_while_the_stream_runs() -> None:
    client, upstream, flow = make()
    flow.keep_alive(b": sign\n\n")
    assert client.got == b"", "the head has not gone out yet"
    first, second = chat_events("Hi")[:2]
    upstream.say(first + second[:10])
    flow.keep_alive(b": sign\n\n")
    upstream.say(second[10:])
    assert client.got == first + b": sign\n\n" + second
    upstream.say(DONE)
    flow.keep_alive(b": sign\n\n")
    assert client.got == first + b": sign\n\n" + second


async def test_bytes_that_are_no_events_get_no_signs_of_life() -> None:
    client, upstream, flow = make("speech", has_events=False)
    upstream.say(b"\x00\x01")
    flow.keep_alive(b": sign\n\n")
    assert client.got == b"\x00\x01"
    upstream.end()
    assert flow.over


async def test_usage_is_read_and_hidden_where_nobody_asked_for_it() -> None:
    client, upstream, flow = make(hides_usage=True)
    for event in chat_events("Hi"):
        upstream.say(event.replace(b'"choices"', b'"x":1,"usage":null,"choices"') if b'"usage"' not in event else event)
    flow.finish()
    assert b'"usage"' not in client.got
    assert flow.used is not None
    assert (flow.used.read, flow.used.produced) == (10, 5)


async def test_usage_beside_content_stays_where_it_is() -> None:
    both = data({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": USAGE})
    client, upstream, flow = make(hides_usage=True)
    upstream.say(both)
    assert client.got == both
    assert flow.used is not None


async def test_usage_is_shown_where_it_was_asked_for() -> None:
    client, upstream, flow = make()
    for event in chat_events("Hi"):
        upstream.say(event)
    flow.finish()
    assert client.got == b"".join(chat_events("Hi"))
    assert flow.used is not None


async def test_a_break_in_the_middle_leaves_out_what_is_not_whole() -> None:
    client, upstream, flow = make()
    first = chat_events("Hi")[0]
    upstream.say(first + b'data: {"cho')
    upstream.end("the connection broke off")
    assert (flow.over, flow.problem) == (True, "the connection broke off")
    flow.finish(b"data: error\n\n")
    assert client.got == first + b"data: error\n\n"


async def test_an_end_without_the_last_event_is_an_end() -> None:
    client, upstream, flow = make()
    upstream.say(b"data: 1\n\ndata: 2")
    upstream.end()
    flow.finish()
    assert (flow.problem, client.got) == (None, b"data: 1\n\ndata: 2")


async def test_a_last_event_without_its_empty_line_is_the_last_event() -> None:
    client, upstream, flow = make()
    upstream.say(b"data: 1\n\ndata: [DONE]")
    assert not flow.over
    upstream.end()
    assert (flow.over, client.got) == (True, b"data: 1\n\n")
    flow.finish()
    assert client.got == b"data: 1\n\ndata: [DONE]"


async def test_the_upstream_is_held_back_while_the_client_does_not_read() -> None:
    client, upstream, flow = make()
    assert client.on_room is not None
    states = []
    for room in (False, True, False):
        client.on_room(room)
        states.append(upstream.paused)
    upstream.say(DONE)
    flow.finish()
    states.append(upstream.paused)
    assert states == [True, False, True, False], "at the end it goes on, or its connection would never be free again"


async def test_a_client_that_has_not_read_its_last_answer_holds_the_next_one_back() -> None:
    _, upstream, _ = make(client=Client(crowded=True))
    assert upstream.paused


async def test_an_upstream_that_does_not_end_after_its_last_event_may_linger_a_while() -> None:
    _, upstream, flow = make()
    upstream.say(DONE)
    assert upstream.lingers == 0
    flow.finish()
    assert upstream.lingers == LINGER_SECONDS


async def test_a_client_that_leaves_ends_the_upstream() -> None:
    client, upstream, flow = make()
    upstream.say(chat_events("Hi")[0])
    assert client.on_gone is not None
    client.on_gone()
    assert (flow.gone, flow.over, upstream.aborted) == (True, True, True)
    upstream.say(b"data: late\n\n")
    assert b"late" not in client.got


async def test_an_upstream_that_is_given_up_is_broken_off() -> None:
    _, upstream, flow = make()
    flow.give_up("nothing came")
    assert (flow.problem, upstream.aborted, flow.began) == ("nothing came", True, False)


async def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 100)
    _, upstream, flow = make()
    upstream.say(b"data: " + b"x" * 200)
    assert (upstream.aborted, flow.problem) == (True, "an event has more than 100 bytes")


async def test_a_channels_secret_is_struck_out() -> None:
    client, upstream, _ = make(secret=b"sk-secret")
    upstream.say(b'data: {"error": "who is sk-sec')
    upstream.say(b'ret?"}\n\n')
    assert client.got == b'data: {"error": "who is ***?"}\n\n'


@pytest.mark.parametrize("way", ["chat", "messages"])
async def test_comments_and_pings_of_an_upstream_do_no_harm_to_a_translation(way: str) -> None:
    module, events = (chat_to_messages, message_events) if way == "chat" else (messages_to_chat, chat_events)
    upstream_kind = "messages" if way == "chat" else "chat"
    plain: list[bytes] = []
    noisy: list[bytes] = []
    for out, noise in ((plain, b""), (noisy, b": OPENROUTER PROCESSING\n\n")):
        translator: Any = module.Stream(model="m", include_usage=True, created=1)
        client, upstream, flow = make(upstream_kind, translator=translator, client_kind=way)
        for event in events("Hi", " there"):
            upstream.say(noise + event)
        flow.finish()
        out.append(client.got)
    assert plain == noisy
    assert b"Hi" in plain[0]


async def test_what_is_kept_for_an_estimate_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "KEPT_BYTES", 1000)
    _, upstream, flow = make()
    event = data({"x": "y" * 80})
    for _ in range(50):
        upstream.say(event)
    assert flow.kept_bytes == sum(map(len, flow.kept)) < 1000 + len(event)
    assert flow.total_bytes == 50 * len(event)


async def test_pieces_cut_anywhere_give_the_same_translation() -> None:
    stream = b"".join(message_events("é", "日本", "😀"))
    made = []
    for step in (1, 2, 7, len(stream)):
        translator: Any = chat_to_messages.Stream(model="m", include_usage=True, created=1)
        client, upstream, flow = make("messages", translator=translator, client_kind="chat")
        for start in range(0, len(stream), step):
            upstream.say(stream[start : start + step])
        flow.finish()
        said = [line.removeprefix(b"data: ") for line in client.got.split(b"\n\n") if line.startswith(b"data: {")]
        choices = [choice for line in said for choice in msgspec.json.decode(line)["choices"]]
        made.append("".join(choice["delta"].get("content") or "" for choice in choices))
    assert made == ["é日本😀"] * 4
