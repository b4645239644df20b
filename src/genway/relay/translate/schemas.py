"""What each vendor's structured output takes of JSON Schema."""

from __future__ import annotations

from typing import Any

import msgspec

# What the vendor's own library keeps of a text's formats; all else it says in the description.
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
# Keywords that OpenAI refuses in a strict schema.
NEVER_STRICT = frozenset(
    ("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties")
)

# Keywords whose members are schemas by any name, and those that hold no schema.
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_VALUES = frozenset(("default", "const", "enum", "examples"))


class _CannotBeSaid(Exception):
    pass


def can_be_strict(schema: Any) -> bool:
    """Whether OpenAI takes the schema as strict: every object is closed and requires all its members."""
    try:
        return _strict(schema)
    except RecursionError:
        return False


def _strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_strict(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    if NEVER_STRICT & schema.keys():
        return False
    members = schema.get("properties")
    if isinstance(members, dict) or schema.get("type") == "object":
        members = members if isinstance(members, dict) else {}
        required = schema.get("required") or []
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if any(name not in required for name in members):
            return False
        schema = members | {"$defs": schema.get("$defs")}
    return all(_strict(each) for each in schema.values())


def for_chat(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool's schema as OpenAI takes it: an object says that it has no members, a list that it may hold anything.

    One that is nested too deeply for us to look into stays as it is.
    """
    try:
        out: dict[str, Any] = {"type": "object"} | _with_items(schema)
    except RecursionError:
        return schema
    if out["type"] == "object" and not isinstance(out.get("properties"), dict):
        out["properties"] = {}
    return out


def _with_items(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_items(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _NAMED and isinstance(value, dict):
            out[name] = {member: _with_items(each) for member, each in value.items()}
        else:
            out[name] = value if name in _VALUES else _with_items(value)
    kind = schema.get("type")
    if "items" not in schema and (kind == "array" or (isinstance(kind, list) and "array" in kind)):
        out["items"] = {}
    return out


def for_messages(schema: Any) -> dict[str, Any] | None:
    """The schema as Anthropic takes it; None where it says something that cannot be said there.

    Objects are closed, and what is no part of the vendor's grammar (lengths, ranges, patterns …) is left to the
    description, as the vendor's own library does it. An object with members of any name cannot be closed.
    """
    try:
        return _closed(schema)
    except (_CannotBeSaid, RecursionError):
        return None


def _closed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict) or "definitions" in schema or not isinstance(schema.get("description", ""), str):
        raise _CannotBeSaid
    rest = dict(schema)
    out: dict[str, Any] = {}
    if "$defs" in rest:
        out["$defs"] = {name: _closed(each) for name, each in _members(rest.pop("$defs")).items()}
    if "$ref" in rest:
        return out | {"$ref": rest["$ref"]}
    out |= {name: rest.pop(name) for name in ("title", "description") if name in rest}
    kind = rest.pop("type", "object" if "properties" in rest else None)
    variants = next((name for name in ("anyOf", "oneOf", "allOf") if name in rest), None)
    if "enum" in rest or "const" in rest:
        out |= {name: rest.pop(name) for name in ("enum", "const") if name in rest}
    elif variants is not None:
        out["allOf" if variants == "allOf" else "anyOf"] = [_closed(each) for each in _listed(rest.pop(variants))]
    elif isinstance(kind, list) and all(isinstance(each, str) for each in kind):
        alone = {"null": {"type": "null"}}
        out["anyOf"] = [_closed(alone.get(each) or {"type": each} | rest) for each in kind]
        rest = {}
    else:
        out |= _typed(kind, rest)
    if rest:
        words = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in rest.items())
        out["description"] = "\n\n".join(filter(None, (out.get("description"), f"{{{words}}}")))
    return out


def _typed(kind: Any, rest: dict[str, Any]) -> dict[str, Any]:
    """What can be said of one type; it is taken out of `rest`."""
    match kind:
        case "object":
            if "properties" not in rest or rest.pop("additionalProperties", False) is not False:
                raise _CannotBeSaid
            members = {name: _closed(each) for name, each in _members(rest.pop("properties")).items()}
            required = {"required": rest.pop("required")} if "required" in rest else {}
            return {"type": kind, "properties": members, "additionalProperties": False} | required
        case "array":
            items = {"items": _closed(rest.pop("items"))} if "items" in rest else {}
            least = {"minItems": rest.pop("minItems")} if rest.get("minItems") in (0, 1) else {}
            return {"type": kind} | items | least
        case "string":
            return {"type": kind} | ({"format": rest.pop("format")} if rest.get("format") in FORMATS else {})
        case "integer" | "number" | "boolean" | "null":
            return {"type": kind}
    raise _CannotBeSaid


def _members(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _CannotBeSaid
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _CannotBeSaid
    return value
