from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema
from hypothesis import given
from hypothesis import strategies as st

from genway.relay.translate import schemas

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=6)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    members = draw(st.dictionaries(WORDS, inner, max_size=3))
    return {"type": "object", "properties": members, "required": sorted(members)}


LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string", "description": "words"},
        {"type": "string", "format": "date"},
        {"type": "integer", "title": "N"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", "b"], "type": "string"},
        {"const": 1},
        {"$ref": "#/$defs/City"},
    ]
)


def larger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        objects(inner),
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1}),
        several.map(lambda each: {"anyOf": each}),
        several.map(lambda each: {"oneOf": each, "description": "one"}),
    )


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=6)


@given(objects(SCHEMAS))
def test_a_schema_is_closed_as_the_vendors_own_library_closes_it(schema: dict[str, Any]) -> None:
    schema = schema | {"$defs": {"City": CITY}}
    assert schemas.for_messages(schema) == transform_schema(schema)


def test_what_the_vendors_grammar_lacks_is_said_in_words() -> None:
    assert schemas.for_messages({"type": "string", "description": "A name.", "pattern": "^a", "maxLength": 3}) == {
        "type": "string",
        "description": 'A name.\n\n{pattern: "^a", maxLength: 3}',
    }
    assert schemas.for_messages({"type": "string", "format": "phone"}) == {"type": "string", "description": '{format: "phone"}'}
    assert schemas.for_messages({"type": "array", "minItems": 3}) == {"type": "array", "description": "{minItems: 3}"}


def test_one_of_several_types_is_one_of_several_schemas() -> None:
    assert schemas.for_messages({"type": ["string", "null"], "title": "T", "maxLength": 3}) == {
        "title": "T",
        "anyOf": [{"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}],
    }


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": "x"},
        {"type": "object", "properties": []},
        {"type": "colour"},
        {"type": [{"type": "string"}, "null"]},
        {"type": "string", "description": ["A name."]},
        {"$ref": "#/definitions/A", "definitions": {"A": CITY}},
    ],
)
def test_what_cannot_be_closed_is_not_sent_closed(schema: Any) -> None:
    assert schemas.for_messages(schema) is None


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CITY, True),
        (CITY | {"required": []}, False),
        (CITY | {"required": [{}]}, False),
        (CITY | {"required": True}, False),
        (CITY | {"additionalProperties": True}, False),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "array", "items": {"anyOf": [CITY, {"type": "null"}]}}, True),
        ({"type": "array", "items": {"anyOf": [CITY, CITY | {"required": []}]}}, False),
        ({"oneOf": [CITY]}, False),
        (CITY | {"$defs": {"A": {"type": "object", "properties": {"a": {}}}}}, False),
        (CITY | {"properties": {"city": {"allOf": [CITY]}}}, False),
    ],
)
def test_a_schema_is_strict_where_every_object_is_closed_and_requires_all(schema: dict[str, Any], strict: bool) -> None:
    assert schemas.can_be_strict(schema) is strict


def test_a_list_says_that_it_may_hold_anything_where_it_did_not_say_of_what() -> None:
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array"},
            "rows": {"type": ["array", "null"], "description": "rows"},
            "names": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "array"}, {"type": "string"}]},
            "default": {"type": "array", "default": [{"type": "array"}]},
            "type": {"type": "string", "enum": ["array"]},
            "inner": {"$ref": "#/$defs/List"},
        },
        "$defs": {"List": {"type": "array", "items": {"type": "array"}}},
    }
    made = schemas.for_chat(schema)
    assert made["properties"] == {
        "tags": {"type": "array", "items": {}},
        "rows": {"type": ["array", "null"], "description": "rows", "items": {}},
        "names": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "array", "items": {}}, {"type": "string"}]},
        "default": {"type": "array", "default": [{"type": "array"}], "items": {}},
        "type": {"type": "string", "enum": ["array"]},
        "inner": {"$ref": "#/$defs/List"},
    }
    assert made["$defs"] == {"List": {"type": "array", "items": {"type": "array", "items": {}}}}
    assert schemas.for_chat(made) == made


def test_a_tools_object_names_its_members_even_where_it_has_none() -> None:
    assert schemas.for_chat({"type": "object"}) == {"type": "object", "properties": {}}
    assert schemas.for_chat({}) == {"type": "object", "properties": {}}
    assert schemas.for_chat({"type": "object", "properties": {"a": {}}}) == {"type": "object", "properties": {"a": {}}}


def test_a_schema_that_is_nested_too_deeply_is_left_alone() -> None:
    deep: dict[str, Any] = {"type": "array"}
    for _ in range(2000):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"], "additionalProperties": False}
    assert schemas.for_chat(deep) is deep
    assert not schemas.can_be_strict(deep)
    assert schemas.for_messages(deep) is None
