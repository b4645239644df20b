"""Values for schemas, judged by another's validator."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from genway.errors import InvalidRequest
from genway.providers.local.echo.schemas import instance

TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "other": {"$ref": "#/$defs/node"},
            },
            "required": ["name", "children", "next"],
        }
    },
}
EXPRESSION: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "required": ["left", "right"]},
        {"type": "number"},
    ]
}
SCHEMAS: list[Any] = [
    {},
    True,
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["null", "integer"]}}, "required": ["c"]},
    {"properties": {"a": {"enum": ["x", 1]}, "b": {"const": {"k": [1]}}}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    {"type": "object", "properties": {each: {} for each in "abcd"}, "required": ["d"], "maxProperties": 2},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 2},
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"type": "string", "maxLength": 0},
    *({"type": "string", "format": each} for each in ("date", "date-time", "email", "uri", "uuid", "ipv4", "ipv6")),
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4,}$", "minLength": 12},
    {"type": "integer", "minimum": 7},
    {"type": "integer", "maximum": -7},
    {"type": "integer", "exclusiveMinimum": 7, "exclusiveMaximum": 9},
    {"type": "integer", "minimum": 2.5, "multipleOf": 3},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 0.3, "maximum": 0.3},
    {"type": "number", "minimum": 10, "multipleOf": 2.5},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "array"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {
        "type": "array",
        "items": {"type": "object", "properties": {"id": {"type": "string"}}},
        "minItems": 2,
        "uniqueItems": True,
    },
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 4},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
    {"type": "array", "contains": {"const": 5}, "minContains": 2},
    {
        "allOf": [{"properties": {"a": {"minimum": 3}}}, {"properties": {"a": {"type": "integer", "maximum": 3}}}],
        "type": "object",
    },
    {"allOf": [{"type": ["number", "string"]}, {"type": "integer"}, {"minimum": 2}, {"minimum": 5}]},
    {"oneOf": [{"type": "string", "minLength": 9, "maxLength": 2}, {"type": "integer"}]},
    {"anyOf": [False, {"type": "string"}], "maxLength": 3},
    {"type": "string", "enum": [1, "one"]},
    {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}},
    {"type": "object", "properties": {"n": {"$ref": "#/$defs/n", "minimum": 8}}, "$defs": {"n": {"type": "integer"}}},
    TREE,
    EXPRESSION,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_the_value_satisfies_the_schema_and_is_always_the_same(schema: Any) -> None:
    value = instance(schema, field="schema")
    jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
    assert instance(schema, field="schema") == value


def test_free_texts_are_named_after_their_properties() -> None:
    schema = {"properties": {"city": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}}
    assert instance(schema, field="schema") == {"city": "city", "tags": ["tags"]}


def test_what_contains_itself_ends_soon() -> None:
    assert instance(TREE, field="schema") == {"name": "name", "children": [], "next": None}
    assert instance(EXPRESSION, field="schema") == 1


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/missing"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "teapot"},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"enum": []},
        {"anyOf": []},
        {"type": "number", "minimum": "low"},
        {"properties": 7},
        {"items": "x", "type": "array"},
        {"type": "array", "items": {"type": "array", "minItems": 1000}, "minItems": 1000},
        {"type": "array", "minItems": 10**12},
        {"type": "array", "contains": {"type": "integer"}, "minContains": 10**9},
        {"type": "object", "minProperties": 10**9, "additionalProperties": {}},
        {"properties": {str(index): {"pattern": "a{9999}"} for index in range(100)}},
        {"allOf": [{"anyOf": [{"title": f"{index}"}, {"description": f"{index}"}]} for index in range(30)]},
    ],
    ids=str,
)
def test_what_nothing_satisfies_is_refused_soon(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        instance(schema, field="tools")
    assert caught.value.field == "tools"


def test_a_schema_of_any_depth_is_answered_or_refused() -> None:
    schema: Any = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidRequest):
        instance(schema, field="tools")
