from __future__ import annotations

from typing import Any

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate.traits import Traits
from relay.translate.stage import PDF, PNG, to_chat

HI = {"role": "user", "content": "hi"}


def turns(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = to_chat({"messages": list(messages), **more})["messages"]
    return made


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(identity: str, **given: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "weather", "input": given}


def result(identity: str, content: object = "sun", **more: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


@pytest.mark.parametrize("system", ["One.\nTwo.", [text("One."), text("Two.")]])
def test_instructions_come_first(system: object) -> None:
    assert turns(HI, system=system) == [{"role": "system", "content": "One.\nTwo."}, HI]


def test_a_line_that_changes_with_every_call_is_not_part_of_the_instructions() -> None:
    blocks = [text("x-anthropic-billing-header: cc_version=2.1; cch=abc12;"), text("Be brief.")]
    assert turns(HI, system=blocks)[0]["content"] == "Be brief."
    assert turns(HI, system=blocks[:1]) == [HI]
    assert turns(HI, system="x-anthropic-billing-header: cch=abc12;\nBe brief.")[0]["content"] == "Be brief."


def test_instructions_in_the_middle_stay_there() -> None:
    middle = {"role": "system", "content": [text("Now in French.")]}
    assert [message["role"] for message in turns(HI, middle, HI)] == ["user", "system", "user"]


def test_texts_alone_are_one_text_and_with_others_they_are_parts() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://a.example/1.png"}}
    assert turns(user(text("a"))) == [{"role": "user", "content": "a"}]
    assert turns(user(text("a"), text(""), text("b")))[0]["content"] == "a\nb"
    assert [part["type"] for part in turns(user(text("a"), picture, text("b")))[0]["content"]] == ["text", "image_url", "text"]


def test_pictures_and_documents_become_parts() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/1.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "context": "old"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "Notes"},
        {"type": "document", "source": {"type": "content", "content": [text("inner")]}, "title": "Book"},
        {"type": "search_result", "source": "https://a.example", "title": "A", "content": [text("found")]},
    ]
    assert turns(user(*blocks))[0]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        text("old"),
        {"type": "file", "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        text("Notes\nwords"),
        text("Book"),
        text("inner"),
        text("A\nhttps://a.example\nfound"),
    ]


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "source.type"),
        ({"type": "image"}, "source.type"),
        ({"type": "document", "source": {"type": "url", "url": "https://a.example/1.pdf"}}, "source.type"),
        ({"type": "smell"}, "type"),
        ({"type": "tool_result", "content": "x"}, "tool_use_id"),
    ],
)
def test_a_block_that_cannot_cross_is_named(block: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, user(text("see"), block))
    assert refused.value.field == f"messages[1].content[1].{field}"


def test_results_are_messages_of_their_own_before_the_users_words() -> None:
    made = turns(
        HI,
        assistant(text("Looking."), use("a", city="Oslo"), use("b")),
        user(text("And?"), result("b", "rain"), result("a", [text("sun"), text("wind")])),
    )
    assert made[1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "tool", "tool_call_id": "a", "content": "sun\nwind"},
        {"role": "user", "content": "And?"},
    ]


def test_pictures_in_a_result_go_with_the_users_words() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://a.example/1.png"}}
    made = turns(HI, assistant(use("a")), user(result("a", [text("see"), picture]), text("And?")))
    assert made[2] == {"role": "tool", "tool_call_id": "a", "content": "see"}
    assert [part["type"] for part in made[3]["content"]] == ["image_url", "text"]


def test_a_failed_call_says_so() -> None:
    made = turns(HI, assistant(use("a"), use("b")), user(result("a", "no such city", is_error=True), result("b", None)))
    assert [message["content"] for message in made[2:]] == ["Error: no such city", ""]


def test_a_call_without_text_has_no_content() -> None:
    assert turns(HI, assistant(use("a")), user(result("a")))[1]["content"] is None


def test_a_wrapped_id_is_turned_back() -> None:
    made = turns(HI, assistant(use("wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA")), user(result("wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA")))
    assert made[1]["tool_calls"][0]["id"] == made[2]["tool_call_id"] == "functions.weather:0"


def test_what_only_its_own_vendor_understands_is_left_out() -> None:
    made = turns(
        HI,
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "error", "error_code": "unavailable"}},
            {"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []},
            {"type": "mcp_tool_use", "id": "m", "name": "look", "server_name": "s", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "m", "content": [text("seen")]},
            {"type": "compaction", "content": None},
            text("Sun."),
        ),
        HI,
    )
    assert made[1] == {"role": "assistant", "content": "Sun."}


def test_an_empty_answer_leaves_no_message() -> None:
    assert turns(HI, assistant(), HI) == [HI, HI]
    assert turns(HI, assistant({"type": "thinking", "thinking": "hm", "signature": "s"}), HI) == [HI, HI]


def test_reasoning_alone_is_a_message_where_it_is_wanted() -> None:
    thought = assistant({"type": "thinking", "thinking": "hm", "signature": "s"})
    made = to_chat({"messages": [HI, thought, HI]}, given=Traits(reasoning_content=True))["messages"]
    assert made[1] == {"role": "assistant", "content": "", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "tool", "content": "x"}, "messages[1].role"),
        (assistant({"type": "tool_use", "name": "x", "input": {}}), "messages[1].content[0].id"),
        (assistant({"type": "tool_use", "id": "x", "input": {}}), "messages[1].content[0].name"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "system", "content": [{"type": "image"}]}, "messages[1].content[0].type"),
    ],
)
def test_a_message_that_makes_no_sense_is_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, message)
    assert refused.value.field == field


def test_results_follow_their_calls_at_once_however_the_users_turn_is_split() -> None:
    made = turns(
        HI,
        assistant(use("a"), use("b")),
        user(result("a"), text("First.")),
        {"role": "system", "content": "Now in French."},
        user(result("b", "rain"), text("Second.")),
    )
    assert [(message["role"], message["content"]) for message in made[1:]] == [
        ("assistant", None),
        ("tool", "sun"),
        ("tool", "rain"),
        ("user", "First."),
        ("system", "Now in French."),
        ("user", "Second."),
    ]


def test_the_assistants_messages_in_a_row_are_one_turn() -> None:
    made = turns(HI, assistant(text("Looking. "), use("a")), assistant(text("And there."), use("b")), user(result("a")))
    assert made[1]["content"] == "Looking. And there."
    assert [call["id"] for call in made[1]["tool_calls"]] == ["a", "b"]
    assert [message["role"] for message in made] == ["user", "assistant", "tool"]
    assert turns(HI, assistant(use("a")), assistant(use("b")), HI)[1]["content"] is None


def test_who_wants_its_reasoning_back_gets_an_empty_one_where_the_client_kept_none() -> None:
    def reasoning(*said: dict[str, Any]) -> list[object]:
        made = to_chat({"messages": [HI, *said]}, given=Traits(reasoning_content=True))["messages"]
        return [message["reasoning_content"] for message in made if message["role"] == "assistant"]

    assert reasoning(assistant(use("a")), user(result("a")), assistant(text("Sun.")), HI) == ["", ""]
    assert reasoning(assistant(text("Sun")), assistant(text("ny.")), HI) == [""]


def test_thinking_in_a_row_is_one_reasoning() -> None:
    thoughts = [assistant({"type": "thinking", "thinking": each, "signature": ""}, text(each)) for each in ("a", "b")]
    made = to_chat({"messages": [HI, *thoughts, HI]}, given=Traits(reasoning_content=True))["messages"]
    assert made[1] == {"role": "assistant", "content": "ab", "reasoning_content": "ab"}


def test_a_summary_stands_for_all_before_it() -> None:
    made = turns(
        HI,
        assistant(text("Long ago."), use("a")),
        user(result("a")),
        {"role": "system", "content": "Now in French."},
        assistant(text("Before."), {"type": "compaction", "content": "They said hi."}, text("Sun."), use("b")),
        user(result("b"), text("And now?")),
        system="Be brief.",
    )
    assert [(message["role"], message["content"]) for message in made] == [
        ("system", "Be brief."),
        ("user", "They said hi."),
        ("assistant", "Sun."),
        ("tool", "sun"),
        ("user", "And now?"),
    ]
    assert [call["id"] for call in made[2]["tool_calls"]] == ["b"]


def test_the_last_summary_counts_and_one_that_failed_does_not() -> None:
    first, last, failed = ({"type": "compaction", "content": each} for each in ("One.", "Two.", None))
    assert turns(assistant(first), HI, assistant(last), HI)[0]["content"] == "Two."
    assert turns(user(last, text("hi")), HI, assistant(failed), HI)[0]["content"] == "Two."
    assert turns(HI, assistant(failed), HI) == [HI, HI]


def test_a_place_behind_a_summary_is_told_as_it_is_in_the_body() -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, user({"type": "compaction", "content": "One."}, text("hi"), {"type": "hologram"}))
    assert refused.value.field == "messages[1].content[2].type"


def test_instructions_for_one_turn_are_gone_when_the_user_speaks_again() -> None:
    once = {"role": "system", "content": "Look at the sky.", "clear_at": "next_user_message"}
    assert [message["role"] for message in turns(HI, once)] == ["user", "system"]
    assert [message["role"] for message in turns(HI, once, assistant(text("Sun.")), HI)] == ["user", "assistant", "user"]
    lasting = once | {"clear_at": "never"}
    assert [message["role"] for message in turns(HI, lasting, HI)] == ["user", "system", "user"]


def test_instructions_without_words_are_none() -> None:
    assert turns(HI, {"role": "system", "output_config": {"effort": "low"}}, HI) == [HI, HI]


def test_a_tool_that_was_found_is_named_in_the_result() -> None:
    found = [{"type": "tool_reference", "tool_name": "weather"}, {"type": "tool_reference", "tool_name": "sky"}]
    assert turns(HI, assistant(use("a")), user(result("a", found)))[2]["content"] == "weather\nsky"


@pytest.mark.parametrize(("model", "shortened"), [("gpt-4o", True), ("o4-mini", True), ("llama-4", False)])
def test_ids_of_another_vendors_calls_fit_openais_models(model: str, shortened: bool) -> None:
    longer = f"chatcmpl-tool-{'0' * 32}"
    made = to_chat({"messages": [HI, assistant(use(longer)), user(result(longer))]}, model)["messages"]
    assert made[1]["tool_calls"][0]["id"] == made[2]["tool_call_id"]
    assert (made[2]["tool_call_id"] != longer) == shortened
    assert len(made[2]["tool_call_id"]) <= (40 if shortened else 46)


@pytest.mark.parametrize(
    ("title", "name"), [("Report", "Report.pdf"), ("Report.PDF", "Report.PDF"), ("1.2", "1.2.pdf"), (None, "document.pdf")]
)
def test_a_document_has_the_name_of_a_file(title: str | None, name: str) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    (part,) = turns(user({"type": "document", "title": title, "source": source}))[0]["content"]
    assert part["file"]["filename"] == name
