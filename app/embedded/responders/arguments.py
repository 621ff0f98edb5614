"""Example arguments that satisfy a function tool's JSON schema."""

from typing import Any

from app.embedded.wire import Json

_MAX_DEPTH = 6
_MAX_ITEMS = 20


def example_arguments(parameters: Json | None) -> Json:
    """An object with every required property, or with all if none is required."""
    value = _example(parameters or {}, "value", 0)
    return value if isinstance(value, dict) else {}


def _example(schema: Any, name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _example(schema[key][0], name, depth + 1)
    return _of_type(schema, name, depth)


def _of_type(schema: Json, name: str, depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema or depth == 0:
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        names = required if isinstance(required, list) and required else list(known)
        return {str(each): _example(known.get(each, {}), each, depth + 1) for each in names}
    if kind == "array":
        return [_example(schema.get("items", {}), name, depth + 1)] * _least(schema, "minItems", _MAX_ITEMS)
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    plain: dict[str, Any] = {"boolean": True, "null": None}
    return plain.get(str(kind), f"some {name}")


def _least(schema: Json, key: str, most: int) -> int:
    given = schema.get(key)
    return min(max(1, given), most) if isinstance(given, int) else 1
