"""The types and ranges of those fields of the upstream's objects that are used; others may have any value.

Sources: OpenAI's Responses, Conversations, Files and Vector Stores APIs.
"""

from typing import Annotated, Any

import msgspec

_Count = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
"""Some upstreams count in floats."""

_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Unix time in seconds; no later year than 5138."""

_Index = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]

# Printable ASCII without space, `"` and `#`. Some gateways have long ids in base64, which has `/`.
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


class Response(msgspec.Struct):
    """A response; `output` is checked item by item."""

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


class Conversation(msgspec.Struct):
    """A conversation."""

    id: _ConversationId
    created_at: _Moment | None = None
    metadata: dict[str, str] | None = None


class Annotation(msgspec.Struct):
    """An annotation of a text, of any kind."""

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
    annotations: list[Annotation] | None = None
    file_id: str | None = None
    filename: str | None = None
    image_url: str | None = None
    detail: str | None = None


class Item(msgspec.Struct):
    """What items of all kinds have."""

    type: str | None = None
    id: _ItemId | None = None
    status: str | None = None


class _Message(Item):
    role: str | None = None
    phase: str | None = None
    content: list[_Part] | None = None


class _FunctionCall(Item, kw_only=True):
    call_id: _CallId
    name: str
    arguments: str | None = None


class _CustomCall(Item, kw_only=True):
    call_id: _CallId
    name: str
    input: str | None = None


class _CallOutput(Item):
    call_id: _CallId | None = None
    output: list[dict[str, Any]] | str | None = None


class _McpCall(Item):
    name: str | None = None
    arguments: str | None = None
    server_label: str | None = None
    output: str | None = None


class _CodeOutput(msgspec.Struct):
    type: str | None = None
    logs: str | None = None
    url: str | None = None


class _CodeCall(Item):
    code: str | None = None
    container_id: str | None = None
    outputs: list[_CodeOutput] | None = None


class _SearchResult(msgspec.Struct):
    file_id: str | None = None
    filename: str | None = None
    score: float | None = None
    text: str | None = None


class _SearchCall(Item):
    queries: list[str] | None = None
    results: list[_SearchResult] | None = None


class _Image(Item):
    result: str | None = None
    output_format: str | None = None


ITEMS: dict[object, type[Item]] = {
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
"""The shapes of items by type; other types are an `Item`."""


class File(msgspec.Struct):
    """A file, or a file of a container."""

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


class Store(msgspec.Struct):
    """A vector store."""

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


class StoreFile(msgspec.Struct):
    """A file of a vector store."""

    id: _Id
    status: str | None = None
    created_at: _Moment | None = None
    vector_store_id: _Id | None = None
    usage_bytes: _Count | None = None
    last_error: dict[str, Any] | None = None
    attributes: dict[str, Any] | None = None
    chunking_strategy: dict[str, Any] | None = None


class Model(msgspec.Struct):
    """A model."""

    shutdown_date: _Moment | str | None = None


class Page(msgspec.Struct):
    """A page of a list; its objects are checked one by one."""

    data: list[dict[str, Any]]
    has_more: bool | None = None
