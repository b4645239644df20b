from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from genway.dialects.body import Body, read
from genway.errors import InvalidRequest


class Motion(msgspec.Struct):
    x: Annotated[float, Meta(ge=-10, le=10)] = 0


class Picture(msgspec.Struct):
    uri: str
    position: Literal["first", "last"] | None = None


class Options(msgspec.Struct):
    seconds: Literal[5, 10] = 10
    flip: bool = False
    motion_vector: Motion = msgspec.field(default_factory=Motion)


class Generate(Body):
    image: str
    prompt: Annotated[str, Meta(max_length=12)] = ""
    count: Annotated[int, Meta(ge=1, le=4)] = 1
    model: Literal["gen2", "gen3", "gen4"] = "gen3"
    duration: int | Literal["auto"] = 5
    pictures: str | Annotated[list[Picture], Meta(min_length=1, max_length=2)] = ""
    seed: Annotated[int, Meta(ge=0)] | None = None
    tag: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    options: Options = msgspec.field(default_factory=Options)


def sent(**fields: Any) -> bytes:
    return json.dumps({"image": "a.jpg", **fields}).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read(Generate, raw)
    return str(refused.value)


def test_a_body_becomes_its_struct_with_the_defaults_of_what_is_left_out() -> None:
    body = read(Generate, sent(options={"seconds": 5}))
    assert body == Generate(image="a.jpg", options=Options(seconds=5))


@pytest.mark.parametrize(
    ("field", "came", "read_as"),
    [
        ("count", "3", 3),
        ("count", 3.0, 3),
        ("count", " 3 ", 3),
        ("duration", "7", 7),
        ("duration", "auto", "auto"),
        ("seed", "3975247627", 3975247627),
        ("pictures", "one", "one"),
        ("pictures", [{"uri": "a"}], [Picture("a")]),
    ],
)
def test_numbers_may_come_as_texts_and_a_union_takes_either_kind(field: str, came: object, read_as: object) -> None:
    assert getattr(read(Generate, sent(**{field: came})), field) == read_as


@pytest.mark.parametrize(
    ("came", "read_as"),
    [(True, True), ("true", True), ("False", False), ("1", True), (1, True), (0, False), ("0", False)],
)
def test_booleans_may_come_as_texts_and_numbers(came: object, read_as: bool) -> None:
    assert read(Generate, sent(options={"flip": came})).options.flip is read_as


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_null_and_blank_texts_stand_for_a_field_that_was_left_out(nothing: object) -> None:
    fields = ("prompt", "count", "model", "duration", "pictures", "seed", "options")
    assert read(Generate, sent(**dict.fromkeys(fields, nothing))) == Generate(image="a.jpg")


def test_a_literal_number_may_come_as_a_text_and_keeps_its_type() -> None:
    seconds = read(Generate, sent(options={"seconds": "5"})).options.seconds
    assert (seconds, type(seconds)) == (5, int)


def test_unknown_fields_are_kept_under_their_path() -> None:
    body = read(
        Generate,
        sent(
            watermark=False,
            options={"seconds": 5, "fps": 24, "motion_vector": {"x": 1, "ease": "in"}},
            pictures=[{"uri": "a", "crop": [1]}, {"uri": "b"}],
            extra="a field of that name",
        ),
    )
    assert body.extra == {
        "watermark": False,
        "options": {"fps": 24, "motion_vector": {"ease": "in"}},
        "pictures": [{"crop": [1]}, {}],
        "extra": "a field of that name",
    }
    assert body.options.motion_vector.x == 1


def test_two_bodies_do_not_share_their_unknown_fields() -> None:
    read(Generate, sent(a=1))
    assert read(Generate, sent()).extra == {}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"options": {"seconds": 7}}, "options.seconds: 5 or 10, got 7"),
        ({"options": {"seconds": True}}, "options.seconds: 5 or 10, got true"),
        ({"options": []}, "options: an object, got a list of 0"),
        ({"options": "fast"}, 'options: an object, got "fast"'),
        ({"options": {"motion_vector": {"x": 11}}}, "options.motion_vector.x: a number from -10 to 10, got 11"),
        ({"options": {"motion_vector": {"x": -10.01}}}, "options.motion_vector.x: a number from -10 to 10, got -10.01"),
        ({"options": {"motion_vector": {"x": "left"}}}, 'options.motion_vector.x: a number from -10 to 10, got "left"'),
        ({"options": {"flip": "maybe"}}, 'options.flip: true or false, got "maybe"'),
        ({"options": {"flip": 2}}, "options.flip: true or false, got 2"),
        ({"count": 0}, "count: a whole number from 1 to 4, got 0"),
        ({"count": 1.5}, "count: a whole number from 1 to 4, got 1.5"),
        ({"count": True}, "count: a whole number from 1 to 4, got true"),
        ({"count": {}}, "count: a whole number from 1 to 4, got an object"),
        ({"seed": -1}, "seed: a whole number of at least 0, got -1"),
        ({"model": "gen9"}, 'model: gen2, gen3 or gen4, got "gen9"'),
        ({"prompt": "1234567890123"}, "prompt: a text of at most 12 characters, got 13"),
        ({"prompt": 5}, "prompt: a text of at most 12 characters, got 5"),
        ({"prompt": "a\0b"}, 'prompt: a text of at most 12 characters, got "a\\u0000b"'),
        ({"tag": "A1"}, 'tag: a text of the form ^[a-z]+$, got "A1"'),
        ({"duration": "long"}, 'duration: a whole number or auto, got "long"'),
        ({"duration": [5]}, "duration: a whole number or auto, got a list of 1"),
        ({"pictures": []}, "pictures: a list of 1 to 2 items, got a list of 0"),
        ({"pictures": [{"uri": "a"}] * 3}, "pictures: a list of 1 to 2 items, got a list of 3"),
        ({"pictures": ["a"]}, 'pictures[0]: an object, got "a"'),
        ({"pictures": [{"uri": "a"}, {}]}, "pictures[1].uri: required"),
        ({"pictures": [{"uri": "a", "position": "middle"}]}, 'pictures[0].position: first or last, got "middle"'),
        ({"image": None}, "image: required"),
        ({"image": " "}, "image: required"),
        ({"image": ["a"]}, "image: a text, got a list of 1"),
    ],
)
def test_a_wrong_value_says_which_field_what_is_allowed_and_what_came(fields: dict[str, Any], said: str) -> None:
    assert refusal(sent(**fields)) == said


def test_a_long_value_is_cut_in_the_error() -> None:
    said = refusal(sent(count="9" * 1000))
    assert said.endswith('9…"')
    assert len(said) < 120


def test_an_empty_body_is_an_empty_object() -> None:
    assert refusal(b"") == "image: required"
    assert refusal(b" \n") == "image: required"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"image": "a",}', "the body is not valid JSON: trailing comma in object, line 1, column 15"),
        (b'{"image":\n  1 x}', "the body is not valid JSON: expected ',' or '}', line 2, column 5"),
        ('{"图片": x}'.encode(), "the body is not valid JSON: invalid character, line 1, column 8"),
        (b'{"image": NaN}', "the body is not valid JSON: invalid character, line 1, column 11"),
        (b'{"image": "a"', "the body is not valid JSON: Expecting ',' delimiter, line 1, column 14"),
        (b'{"image": "\\ud800"}', "the body is not valid JSON: half of a surrogate pair stands alone"),
        (b'{"image": "\xff"}', "the JSON body is not valid UTF-8"),
        (b'{"image": 1e999}', "the JSON body holds a number that is out of range"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, "the JSON body is nested too deeply"),
        (b"[" * 200_000, "the JSON body is nested too deeply"),
        (b"[1]", "the body is a JSON object, got a list of 1"),
        (b'"text"', 'the body is a JSON object, got "text"'),
        (b"null", "the body is a JSON object, got null"),
    ],
)
def test_what_is_not_json_says_where(raw: bytes, said: str) -> None:
    assert refusal(raw) == said


def test_a_byte_order_mark_is_passed_over_and_the_last_of_two_names_counts() -> None:
    assert read(Generate, b'\xef\xbb\xbf{"image": "a", "image": "b"}').image == "b"


def test_a_number_too_large_for_a_float_is_out_of_range() -> None:
    class Free(Body):
        number: float = 0

    with pytest.raises(InvalidRequest, match=r"number: a number, got 1{60}…"):
        read(Free, b'{"number": ' + b"1" * 400 + b"}")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["5", "auto", "true", "gen2", "1e400"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([field.encode_name for field in msgspec.structs.fields(Generate)] + ["other"])
options = st.dictionaries(st.sampled_from(["seconds", "flip", "motion_vector", "fps"]), anything, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, anything | options, max_size=8))
def test_any_json_is_read_or_refused_and_what_is_read_can_be_stored(content: dict[str, Any]) -> None:
    raw = json.dumps(content).encode()
    try:
        body = read(Generate, raw)
    except InvalidRequest as refused:
        msgspec.json.encode(str(refused))
        return
    assert body.options.seconds in (5, 10)
    assert -10 <= body.options.motion_vector.x <= 10
    assert body.count in range(1, 5)
    msgspec.json.encode(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0123456789truefalsn\\u ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert read(Generate, raw).image
