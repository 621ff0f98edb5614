"""The arguments of a function: their JSON schema for the model, and how they are validated."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema

from app.core.tools.port import BadArgumentsError
from app.tools import Caller
from app.translate.events import Json

_MOST_TOLD = 5
_MOST_CHARS = 200
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
# What strict mode knows: https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
# fmt: off
_STRICT_KEYS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref",
    "$defs", "description", "title", "pattern", "format", "multipleOf", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
})
_STRICT_FORMATS = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid",
})
# fmt: on
_KINDS = frozenset({"type", "enum", "const", "anyOf", "$ref"})


class _Schema(GenerateJsonSchema):
    """Schemas without the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave titles out."""
        return False

    def dataclass_schema(self, schema: DataclassSchema) -> Json:
        """Refuse a `Caller` inside another type: the model would fill it."""
        if schema["cls"] is Caller:
            raise PydanticInvalidForJsonSchema("a Caller has to be a parameter of its own")
        return super().dataclass_schema(schema)


class Arguments:
    """The parameters of a function; raises `ValueError` or `TypeError` for those that have no schema."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._names: list[str] = []
        self._caller_names: list[str] = []
        fields: dict[str, Any] = {}
        for name, parameter in _signature(function).parameters.items():
            if _is_caller(parameter.annotation):
                self._caller_names.append(name)
            else:
                # The alias lets a parameter have any name, also one that pydantic's models use.
                fields[f"p{len(self._names)}"] = _field(parameter)
                self._names.append(name)
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        try:
            self._model: type[BaseModel] = create_model("Arguments", __config__=config, **fields)
            schema = self._model.model_json_schema(schema_generator=_Schema)
        except (PydanticUserError, PydanticInvalidForJsonSchema, pydantic_core.SchemaError) as exc:
            raise ValueError(str(exc).splitlines()[0]) from exc
        schema.pop("title", None)
        self.schema: Json = {"properties": {}, **schema}
        self.is_strict = make_strict(self.schema)

    def validated(self, arguments: Json, caller: Caller) -> dict[str, Any]:
        """Return the keywords to call the function with; raises `BadArgumentsError`."""
        try:
            found = self._model.model_validate(arguments)
        except ValidationError as exc:
            raise BadArgumentsError(_told(exc)) from None
        values = {name: getattr(found, f"p{number}") for number, name in enumerate(self._names)}
        return values | dict.fromkeys(self._caller_names, caller)


def parsed(text: str) -> Json:
    """Return the object that a model wrote; nothing at all is an empty one. Raises `BadArgumentsError`."""
    try:
        found = pydantic_core.from_json(text.strip().encode() or b"{}", allow_inf_nan=False)
    except ValueError:
        raise BadArgumentsError("The arguments are not valid JSON.") from None
    if not isinstance(found, dict):
        raise BadArgumentsError("The arguments are not a JSON object.")
    return found


def is_name(name: object) -> bool:
    """Return whether a model can call a tool by this name."""
    return isinstance(name, str) and bool(_NAME.match(name))


def make_strict(schema: Json) -> bool:
    """Return whether a schema fits strict mode, and then say so in it.

    Objects are closed, and what may be left out because its default is null becomes required.
    """
    if not all(_fits(node) for node in _nodes(schema)):
        return False
    for node in _nodes(schema):
        node.pop("default", None)
        if node.get("type") == "object":
            node |= {"additionalProperties": False, "required": list(node.get("properties", {}))}
    return True


def _fits(node: Json) -> bool:
    if "$ref" in node and len(node.keys() - {"$defs"}) > 1:
        return False
    if node.get("type") == "object":
        required = node.get("required", [])
        properties = node.get("properties", {}).items()
        if node.get("additionalProperties", False) is not False:
            return False
        if any(name not in required and "default" not in value for name, value in properties):
            return False
    known = node.keys() <= _STRICT_KEYS | {"default"} and bool(node.keys() & _KINDS)
    # A default of null goes without saying; another one cannot be told in strict mode.
    return known and node.get("default") is None and node.get("format", "date") in _STRICT_FORMATS


def _nodes(schema: Any) -> list[Json]:
    """Return a schema and all schemas inside it; what is no schema counts as an empty one."""
    if not isinstance(schema, dict):
        return [{}]
    inside = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inside += [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(node for each in inside for node in _nodes(each))]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        found = inspect.signature(function, eval_str=True)
    except Exception as exc:  # annotations are any code
        raise ValueError(f"its annotations cannot be read ({type(exc).__name__}: {exc})") from exc
    for name, parameter in found.parameters.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise ValueError(f"the parameter {name!r} cannot be given by its name")
        if parameter.annotation is parameter.empty:
            raise ValueError(f"the parameter {name!r} has no type")
    return found


def _is_caller(annotation: Any) -> bool:
    """Return whether a type is `Caller`, or one such as `Caller | None`: the model must never fill it."""
    return annotation is Caller or any(_is_caller(inner) for inner in get_args(annotation))


def _field(parameter: inspect.Parameter) -> tuple[Any, FieldInfo]:
    annotation, default = parameter.annotation, parameter.default
    if isinstance(default, FieldInfo):
        return Annotated[annotation, default], Field(alias=parameter.name)
    if default is parameter.empty:
        return annotation, Field(alias=parameter.name)
    return annotation, Field(default, alias=parameter.name)


def _told(exc: ValidationError) -> str:
    errors = exc.errors(include_url=False, include_context=False, include_input=False)[:_MOST_TOLD]
    told = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}"[:_MOST_CHARS] for error in errors]
    return f"The arguments do not fit: {'; '.join(told)}."
