"""The door for what the upstream sends: its objects are checked here, once, before anything reads them.

A check looks at the types and ranges of the fields that are used, and at whether the object can be sent on as
JSON at all; other fields may have any value. Ids are checked because they become parts of paths and headers.
Sources: OpenAI's Responses, Conversations, Files and Vector Stores APIs.
"""

from typing import Annotated, Any

import msgspec
import orjson

from app.translate.events import Json


class BadShapeError(ValueError):
    """An upstream object does not have the types that its API describes."""


_Count = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
"""Some upstreams count in floats."""

_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Unix time in seconds; no later year than 5138."""

_Index = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]

# Printable, and without what ends a path; some gateways have long ids in base64.
_Id = Annotated[str, msgspec.Meta(pattern=r"\A[!$-~]{1,1024}\Z")]
_ItemId = Annotated[str, msgspec.Meta(pattern=r"\A[!$-~]{0,1024}\Z")]

# They become parts of headers; some gateways put whole signatures into them.
_CallId = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,65536}\Z")]

_ConversationId = Annotated[
    str, msgspec.Meta(pattern=r"\A(?!conv_(?![A-Za-z0-9~]))(?!.*\.\.)[A-Za-z0-9_.~-]{1,128}\Z")
]
"""An id from which `IdCodec` can make one of a thread, and read it again."""


class _Usage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None


class _Typed(msgspec.Struct):
    type: str | None = None


class _Text(msgspec.Struct):
    format: _Typed | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Reference(msgspec.Struct):
    id: str | None = None


class _Response(msgspec.Struct):
    id: _Id
    created_at: _Moment | None = None
    completed_at: _Moment | None = None
    status: str | None = None
    model: str | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    conversation: _Reference | str | None = None
    incomplete_details: _Reason | None = None
    metadata: dict[str, str] | None = None
    tools: list[_Typed] | None = None
    tool_choice: dict[str, Any] | str | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: _Count | None = None
    parallel_tool_calls: bool | None = None
    background: bool | None = None
    truncation: str | None = None


class _Conversation(msgspec.Struct):
    id: _ConversationId
    created_at: _Moment | None = None
    metadata: dict[str, str] | None = None


class _Annotation(msgspec.Struct):
    type: str | None = None
    index: _Index | None = None
    start_index: _Index | None = None
    end_index: _Index | None = None
    url: str | None = None
    title: str | None = None
    file_id: str | None = None
    filename: str | None = None
    container_id: str | None = None
    quote: str | None = None


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[_Annotation] | None = None
    file_id: str | None = None
    filename: str | None = None
    image_url: str | None = None
    detail: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    id: _ItemId | None = None
    status: str | None = None


class _Message(_Item):
    role: str | None = None
    phase: str | None = None
    content: list[_Part] | None = None


class _FunctionCall(_Item, kw_only=True):
    call_id: _CallId
    name: str
    arguments: str | None = None


class _CustomCall(_Item, kw_only=True):
    call_id: _CallId
    name: str
    input: str | None = None


class _CallOutput(_Item):
    call_id: _CallId | None = None
    output: list[dict[str, Any]] | str | None = None


class _McpCall(_Item):
    name: str | None = None
    arguments: str | None = None
    server_label: str | None = None
    output: str | None = None


class _CodeOutput(msgspec.Struct):
    type: str | None = None
    logs: str | None = None
    url: str | None = None


class _CodeCall(_Item):
    code: str | None = None
    container_id: str | None = None
    outputs: list[_CodeOutput] | None = None


class _SearchResult(msgspec.Struct):
    file_id: str | None = None
    filename: str | None = None
    score: float | None = None
    text: str | None = None


class _SearchCall(_Item):
    queries: list[str] | None = None
    results: list[_SearchResult] | None = None


class _Image(_Item):
    result: str | None = None
    output_format: str | None = None


_ITEMS: dict[str, type[_Item]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "function_call_output": _CallOutput,
    "custom_tool_call": _CustomCall,
    "custom_tool_call_output": _CallOutput,
    "mcp_approval_request": _McpCall,
    "mcp_call": _McpCall,
    "code_interpreter_call": _CodeCall,
    "file_search_call": _SearchCall,
    "image_generation_call": _Image,
}


class _File(msgspec.Struct):
    id: _Id
    bytes: _Count | None = None
    created_at: _Moment | None = None
    expires_at: _Moment | None = None
    filename: str | None = None
    path: str | None = None
    purpose: str | None = None
    status: str | None = None
    status_details: str | None = None
    container_id: _Id | None = None


class _Store(msgspec.Struct):
    id: _Id
    name: str | None = None
    status: str | None = None
    created_at: _Moment | None = None
    last_active_at: _Moment | None = None
    expires_at: _Moment | None = None
    expires_after: dict[str, Any] | None = None
    usage_bytes: _Count | None = None
    file_counts: dict[str, _Count] | None = None
    metadata: dict[str, Any] | None = None


class _StoreFile(msgspec.Struct):
    id: _Id
    status: str | None = None
    created_at: _Moment | None = None
    vector_store_id: _Id | None = None
    usage_bytes: _Count | None = None
    last_error: dict[str, Any] | None = None
    attributes: dict[str, Any] | None = None
    chunking_strategy: dict[str, Any] | None = None


class _Model(msgspec.Struct):
    shutdown_date: _Moment | str | None = None


class _Page(msgspec.Struct):
    data: list[dict[str, Any]]
    has_more: bool | None = None


def read_response(body: bytes) -> Json:
    """Parse and check a response; raises `BadShapeError`, or another `ValueError` if it is not JSON."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise BadShapeError("a response is an object")
    return checked_response(found)


def checked_response(found: Json) -> Json:
    """Return a response unchanged after checking it; raises `BadShapeError`, as all checks do."""
    _checked(found, _Response)
    for item in found.get("output") or []:
        _check_item(item)
    return found


def checked_item(found: Json) -> Json:
    """Return an item of a response unchanged after checking it; it may lack an id."""
    check_sendable(found)
    _check_item(found)
    return found


def checked_page(found: Json) -> Json:
    """Return a page of a list unchanged after checking it, but not its objects."""
    _checked(found, _Page)
    if found.get("has_more") and not (found["data"] and found["data"][-1].get("id")):
        raise BadShapeError("a page with more after it ends with an id")
    return found


def checked_items(found: Json) -> Json:
    """Return a page of a conversation's items unchanged after checking it; its messages have ids."""
    for item in checked_page(found)["data"]:
        _check_stored(item)
    return found


def checked_stored_item(found: Json) -> Json:
    """Return an item of a conversation unchanged after checking it; a message has an id."""
    check_sendable(found)
    _check_stored(found)
    return found


def checked_conversation(found: Json) -> Json:
    """Return a conversation unchanged after checking it."""
    return _checked(found, _Conversation)


def checked_annotation(found: Json) -> Json:
    """Return an annotation unchanged after checking it."""
    return _checked(found, _Annotation)


def checked_file(found: Json) -> Json:
    """Return a file, or a file of a container, unchanged after checking it."""
    return _checked(found, _File)


def checked_files(found: Json) -> Json:
    """Return a page of files unchanged after checking it."""
    for each in checked_page(found)["data"]:
        _convert(each, _File)
    return found


def checked_store(found: Json) -> Json:
    """Return a vector store unchanged after checking it."""
    return _checked(found, _Store)


def checked_store_file(found: Json) -> Json:
    """Return a file of a vector store unchanged after checking it."""
    return _checked(found, _StoreFile)


def checked_store_files(found: Json) -> Json:
    """Return a page of a vector store's files unchanged after checking it."""
    for each in checked_page(found)["data"]:
        _convert(each, _StoreFile)
    return found


def checked_model(found: Json) -> Json:
    """Return a model unchanged after checking it."""
    return _checked(found, _Model)


def check_sendable(found: Json) -> None:
    """Raise `BadShapeError` for what cannot be sent on as JSON: nested too deep, or with too long numbers."""
    try:
        # Our own objects put up to eight levels around it.
        orjson.dumps(((((((((found,),),),),),),),))
    except orjson.JSONEncodeError as exc:
        raise BadShapeError from exc


def _checked(found: Json, shape: type[msgspec.Struct]) -> Json:
    check_sendable(found)
    _convert(found, shape)
    return found


def _check_item(found: Json) -> None:
    kind = found.get("type")
    _convert(found, _ITEMS.get(kind, _Item) if isinstance(kind, str) else _Item)


def _check_stored(found: Json) -> None:
    _check_item(found)
    if found.get("type") == "message" and not found.get("id"):
        raise BadShapeError("a stored message has an id")


def _convert(found: Json, shape: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(found, shape)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise BadShapeError from exc
