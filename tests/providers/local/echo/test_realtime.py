"""The built-in realtime session: its events, in their order, and what it says of mistakes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from genway.providers.local.echo.realtime import Conversation

SECOND = b64encode(bytes(48_000)).decode()


class Talk:
    """A conversation, with what it says decoded."""

    def __init__(self, **what: Any) -> None:
        self.conversation = Conversation("seed", created=1_000, **what)
        self.opening = [msgspec.json.decode(event) for _, event in self.conversation.opening()]

    def send(self, name: str, **members: Any) -> list[dict[str, Any]]:
        return [event for _, event in self.timed(name, **members)]

    def timed(self, name: str, **members: Any) -> list[tuple[float, dict[str, Any]]]:
        raw = msgspec.json.encode({"type": name, **members})
        return [(wait, msgspec.json.decode(event)) for wait, event in self.conversation.hear(raw)]

    def user(self, text: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        assert [event["type"] for event in self.send("conversation.item.create", item=item)] == [
            "conversation.item.added",
            "conversation.item.done",
        ]

    def answer(self, text: str, **response: Any) -> list[dict[str, Any]]:
        self.user(text)
        return self.send("response.create", response={"output_modalities": ["text"], **response})


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_a_session_begins_with_its_settings_and_poses_as_no_model() -> None:
    [created] = Talk().opening
    assert created["type"] == "session.created"
    assert (created["session"]["type"], created["session"]["model"]) == ("realtime", "local-echo")


def test_settings_are_changed_and_what_was_not_named_stays() -> None:
    talk = Talk()
    wanted = {"type": "realtime", "instructions": "Be brief.", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    [updated] = talk.send("session.update", session=wanted)
    assert updated["type"] == "session.updated"
    assert updated["session"]["instructions"] == "Be brief."
    assert updated["session"]["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    assert updated["session"]["audio"]["output"]["voice"] == "alloy"


def test_the_last_words_come_back_as_text_in_order() -> None:
    talk = Talk()
    events = talk.answer("one 🌍 two")
    assert names(events) == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    assert "".join(event["delta"] for event in events[3:6]) == "one 🌍 two"
    done = events[-1]["response"]
    assert (done["status"], done["output"][0]["content"]) == ("completed", [{"type": "output_text", "text": "one 🌍 two"}])
    usage = done["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (3, 3, 6)
    assert len({event["event_id"] for event in events}) == len(events)
    assert len({event["response_id"] for event in events[1:-1]}) == 1


def test_what_was_said_before_counts_as_read() -> None:
    talk = Talk()
    talk.answer("one two")
    assert talk.answer("three")[-1]["response"]["usage"]["input_tokens"] == 5


def test_aloud_it_comes_as_tones_with_a_transcript() -> None:
    talk = Talk()
    talk.user("one two")
    events = talk.send("response.create")
    said = [event["delta"] for event in events if event["type"] == "response.output_audio_transcript.delta"]
    assert "".join(said) == "one two"
    assert names(events).count("response.output_audio.delta") == 2
    usage = events[-1]["response"]["usage"]
    assert usage["output_token_details"] == {"text_tokens": 2, "audio_tokens": 3}


def test_the_older_form_has_its_own_names() -> None:
    talk = Talk(legacy=True)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello there"}]}
    assert names(talk.send("conversation.item.create", item=item)) == ["conversation.item.created"]
    events = talk.send("response.create", response={"modalities": ["text"]})
    assert "response.text.delta" in names(events)
    assert next(event for event in events if event["type"] == "response.content_part.done")["part"]["type"] == "text"
    assert not [name for name in names(events) if "output_text" in name]


def test_sound_is_taken_and_counted_by_its_length() -> None:
    talk = Talk()
    for _ in range(2):
        assert talk.send("input_audio_buffer.append", audio=SECOND) == []
    assert names(talk.send("input_audio_buffer.commit")) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    talk.send("input_audio_buffer.append", audio=SECOND)
    assert names(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    [error] = talk.send("input_audio_buffer.commit", event_id="mine")
    assert (error["error"]["code"], error["error"]["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


def test_a_session_that_transcribes_writes_down_how_long_it_was() -> None:
    talk = Talk(transcribes=True)
    assert talk.opening[0]["session"]["type"] == "transcription"
    talk.send("input_audio_buffer.append", audio=SECOND)
    completed = talk.send("input_audio_buffer.commit")[-1]
    assert completed["type"] == "conversation.item.input_audio_transcription.completed"
    assert completed["transcript"] == "Sound, 1.0 seconds long."
    assert completed["usage"] == {"type": "duration", "seconds": 1.0}
    assert talk.send("response.create")[0]["error"]["code"] == "invalid_value"


def test_tools_are_called_as_the_words_force_it_and_their_results_are_told() -> None:
    talk = Talk()
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    talk.send("session.update", session={"type": "realtime", "tools": [tool]})
    events = talk.answer('genway:tool=get_weather:{"city":"Oslo"}')
    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert (done["name"], done["arguments"]) == ("get_weather", '{"city":"Oslo"}')
    [call] = events[-1]["response"]["output"]
    assert (call["type"], call["call_id"]) == ("function_call", done["call_id"])
    talk.send("conversation.item.create", item={"type": "function_call_output", "call_id": call["call_id"], "output": "rain"})
    assert talk.send("response.create")[-1]["response"]["output"][0]["content"][0]["transcript"] == "rain"


@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("rate_limit", "failed", "rate_limit_exceeded"),
        ("server_error", "failed", None),
        ("moderation", "incomplete", "content_filter"),
    ],
)
def test_failures_are_forced(word: str, status: str, reason: str | None) -> None:
    events = Talk().answer(f"genway:fail={word}")
    assert names(events) == ["response.created", "response.done"]
    response = events[-1]["response"]
    assert (response["status"], response["usage"]) == (status, None)
    details = response["status_details"]
    assert (details["reason"] if status == "incomplete" else details["error"]["code"]) == reason


def test_an_answer_breaks_off_and_is_paced_where_that_is_forced() -> None:
    talk = Talk()
    events = talk.answer("one two three genway:fail_after=4")
    assert len(events) == 5
    assert events[-1]["response"]["status"] == "failed"
    talk.user("one genway:delay=2 genway:pause=0.5")
    waits = [wait for wait, _ in talk.timed("response.create", response={"output_modalities": ["text"]})]
    assert (waits[0], set(waits[1:])) == (2.0, {0.5})


def test_an_answer_is_cancelled() -> None:
    talk = Talk()
    talk.user("one two three four")
    raw = msgspec.json.encode({"type": "response.create", "response": {"output_modalities": ["text"]}})
    steps = talk.conversation.hear(raw)
    begun = [next(steps) for _ in range(4)]
    assert len(begun) == 4
    assert talk.send("response.create")[0]["error"]["code"] == "conversation_already_has_active_response"
    assert talk.send("response.cancel") == []
    [(_, last)] = list(steps)
    assert msgspec.json.decode(last)["response"]["status"] == "cancelled"
    assert talk.send("response.cancel")[0]["error"]["code"] == "response_cancel_not_active"


def test_an_answer_ends_where_it_may_not_be_longer() -> None:
    response = Talk().answer("one two three", max_output_tokens=2)[-1]["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")


def test_items_are_shown_and_deleted() -> None:
    talk = Talk()
    item = {"id": "item_mine", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    talk.send("conversation.item.create", item=item)
    assert talk.send("conversation.item.retrieve", item_id="item_mine")[0]["item"]["content"] == item["content"]
    assert names(talk.send("conversation.item.truncate", item_id="item_mine")) == ["conversation.item.truncated"]
    assert talk.send("conversation.item.create", item=item)[0]["error"]["code"] == "item_already_exists"
    assert names(talk.send("conversation.item.delete", item_id="item_mine")) == ["conversation.item.deleted"]
    assert talk.send("conversation.item.delete", item_id="item_mine")[0]["error"]["code"] == "item_not_found"


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b'"hello"', "invalid_value", None),
        (b"\xff", "invalid_json", None),
        (b"{}", "invalid_value", "type"),
        (b'{"type":"nonsense"}', "invalid_value", "type"),
        (b'{"type":"session.update"}', "missing_required_parameter", "session"),
        (b'{"type":"session.update","session":{"type":"transcription"}}', "invalid_value", "session.type"),
        (b'{"type":"session.update","session":{"type":"realtime","tools":7}}', "invalid_value", "session.tools"),
        (b'{"type":"conversation.item.create"}', "missing_required_parameter", "item"),
        (b'{"type":"conversation.item.create","item":{"type":"picture"}}', "invalid_value", "item.type"),
        (b'{"type":"input_audio_buffer.append","audio":"%"}', "invalid_value", "audio"),
        (b'{"type":"conversation.item.retrieve","item_id":"x"}', "item_not_found", "item_id"),
    ],
)
def test_mistakes_are_events_and_the_session_goes_on(raw: bytes, code: str, param: str | None) -> None:
    talk = Talk()
    [(_, event)] = list(talk.conversation.hear(raw))
    error = msgspec.json.decode(event)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert talk.answer("still here")[-1]["response"]["status"] == "completed"


def test_of_too_much_that_was_said_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genway.providers.local.echo.realtime.MOST_BYTES", 2_000)
    talk = Talk()
    first = talk.send("conversation.item.create", item={"type": "message", "id": "item_first", "content": []})[0]["item"]["id"]
    for _ in range(20):
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("input_audio_buffer.commit")
        talk.answer("one two")
    assert talk.send("conversation.item.retrieve", item_id=first)[0]["error"]["code"] == "item_not_found"
    assert len(msgspec.json.encode(list(talk.conversation._items.values()))) < 2_100
    assert talk.answer("still here")[-1]["response"]["output"][0]["content"][0]["text"] == "still here"


def test_the_number_of_items_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genway.providers.local.echo.realtime.MOST_ITEMS", 10)
    talk = Talk()
    for number in range(30):
        talk.answer(f"word{number}")
    assert len(talk.conversation._items) == len(talk.conversation._sizes) == 10


def test_words_without_end_are_mistakes_and_so_are_instructions() -> None:
    talk = Talk()
    long = "x" * 200_000
    for item in (
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": long}]},
        {"type": "function_call_output", "call_id": "call_1", "output": long},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": long},
    ):
        assert talk.send("conversation.item.create", item=item)[0]["error"]["code"] == "too_large"
    told = talk.send("response.create", response={"instructions": long})[0]["error"]
    assert (told["code"], told["param"]) == ("too_large", "response.instructions")
    sound = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": long, "transcript": "Hi"}]}
    assert talk.send("conversation.item.create", item=sound)[0]["type"] == "conversation.item.added"


def test_an_item_and_settings_that_are_too_large_are_mistakes_and_nothing_of_them_stays() -> None:
    talk = Talk()
    large = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 5_000_000}]}
    assert talk.send("conversation.item.create", item=large)[0]["error"]["code"] == "too_large"
    for part in ({"note": "x" * 600_000}, {"audio": {"input": {"note": "x" * 600_000}}}):
        assert talk.send("session.update", session={"type": "realtime", **part})[0]["error"]["code"] == "too_large"
    [updated] = talk.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
    assert len(msgspec.json.encode(updated)) < 1_000
