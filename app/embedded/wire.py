"""Request bodies of the wire as msgspec structs, and the JSON answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import orjson
from msgspec import Meta
from starlette.responses import Response

Json = dict[str, Any]
B = TypeVar("B", bound="Body")

MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)]
Attributes = Annotated[dict[MetadataKey, MetadataValue | bool | float], Meta(max_length=16)]

_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
# What orjson cannot write again: integers beyond 64 bits, and nesting beyond its own limit.
_LONG_NUMBER = re.compile(rb"\d{19}")
_SAFE_DEPTH = 200
# A request's values come back inside items, inside a response, inside an event.
_WRAPPING_LEVELS = 10
_MISSING = re.compile(r"missing required field `([^`]*)`")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of every request body: unknown fields are refused, as OpenAI does."""


class ConversationCreate(Body):
    """`POST /v1/conversations`."""

    items: Annotated[list[Json], Meta(max_length=20)] | None = None
    metadata: Metadata | None = None


class ConversationUpdate(Body):
    """`POST /v1/conversations/{id}`: the metadata given replaces what was there."""

    metadata: Metadata | None


class ItemsCreate(Body):
    """`POST /v1/conversations/{id}/items`."""

    items: Annotated[list[Json], Meta(min_length=1, max_length=20)]
    include: list[str] | None = None


class ConversationRef(Body):
    """The object form of a response's `conversation`."""

    id: str


class ResponseCreate(Body):
    """`POST /v1/responses`: every parameter of openai 3.52; those without effect here are told back."""

    model: str | None = None
    input: str | list[Json] | None = None
    instructions: str | None = None
    conversation: str | ConversationRef | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=16)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    text: Json | None = None
    reasoning: Json | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    service_tier: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None
    stream_options: Json | None = None
    user: str | None = None
    prompt: Json | None = None
    access_programs: Json | None = None
    context_management: list[Json] | None = None
    image: Json | None = None
    moderation: Json | None = None

    @property
    def conversation_id(self) -> str | None:
        """The id behind either form of `conversation`."""
        given = self.conversation
        return given.id if isinstance(given, ConversationRef) else given


class ExpiresAfter(Body):
    """When a vector store expires."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class VectorStoreCreate(Body):
    """`POST /v1/vector_stores`."""

    name: str | None = None
    description: str | None = None
    file_ids: Annotated[list[str], Meta(max_length=500)] | None = None
    metadata: Metadata | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: Json | None = None


class VectorStoreUpdate(Body):
    """`POST /v1/vector_stores/{id}`."""

    name: str | None = None
    metadata: Metadata | None = None
    expires_after: ExpiresAfter | None = None


class VectorStoreFileCreate(Body):
    """`POST /v1/vector_stores/{id}/files`."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Json | None = None


class VectorStoreFileUpdate(Body):
    """`POST /v1/vector_stores/{id}/files/{file}`."""

    attributes: Attributes | None


class VectorStoreSearch(Body):
    """`POST /v1/vector_stores/{id}/search`."""

    query: str | list[str]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    filters: Json | None = None
    ranking_options: Json | None = None
    rewrite_query: bool | None = None


class InvalidBodyError(ValueError):
    """A body that is no JSON or breaks its struct; carries what OpenAI's envelope needs."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def decode(raw: bytes, kind: type[B]) -> B:
    """Parse a request body into its struct.

    Raises InvalidBodyError, with the path of the field at fault.
    """
    try:
        body = msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as exc:
        raise _explain(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        message = "We could not parse the JSON body of your request. The body must be one JSON object."
        raise InvalidBodyError(message, None, None) from exc
    _require_storable(raw)
    return body


def _require_storable(raw: bytes) -> None:
    if raw.count(b"{") + raw.count(b"[") < _SAFE_DEPTH and not _LONG_NUMBER.search(raw):
        return
    try:
        value = msgspec.json.decode(raw)
        for _ in range(_WRAPPING_LEVELS):
            value = [value]
        orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as exc:
        message = "The body is nested too deeply or holds integers of more than 64 bits."
        raise InvalidBodyError(message, None, "invalid_value") from exc


def _explain(text: str) -> InvalidBodyError:
    found = _PATH.search(text)
    path = found.group(1) if found else ""
    reason = text[: found.start()] if found else text
    if unknown := _UNKNOWN.search(text):
        name = ".".join(filter(None, (path, unknown.group(1))))
        return InvalidBodyError(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if missing := _MISSING.search(text):
        name = ".".join(filter(None, (path, missing.group(1))))
        return InvalidBodyError(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    if not path:
        return InvalidBodyError(f"Invalid body: {reason}.", None, "invalid_type")
    code = "invalid_type" if "got" in reason else "invalid_value"
    return InvalidBodyError(f"Invalid value for '{path}': {reason}.", path, code)


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, headers, "application/json")


def list_page(rows: Sequence[Mapping[str, Any]], *, has_more: bool) -> Json:
    """OpenAI's cursor page."""
    return {
        "object": "list",
        "data": list(rows),
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
        "has_more": has_more,
    }
