"""The OpenAPI document beyond the routes: tags, names, examples of streams, credentials, common errors."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api.idempotency import KEY_HEADER
from app.api.middleware.access import API_PREFIX, PUBLIC_PATHS
from app.api.responses import errors
from app.translate.events import Json

TAGS = [
    {"name": "chat", "description": "One call for a turn: a message in, an answer out, whole or streamed."},
    {"name": "threads", "description": "Conversations, as the Assistants API had them."},
    {"name": "messages", "description": "What was said in a thread."},
    {
        "name": "runs",
        "description": "Answers of the assistant: started, followed, stopped, given tool outputs.",
    },
    {"name": "assistants", "description": "The one assistant, set by its operator."},
    {"name": "files", "description": "Uploads, and files that the assistant made."},
    {"name": "vector stores", "description": "The assistant's own knowledge, for an admin panel."},
    {"name": "feedback", "description": "What users say of answers, where a store keeps it."},
    {"name": "usage", "description": "What turns used, cost and ran into, for the operator."},
    {"name": "transcripts", "description": "Threads out as documents, and old Assistants threads in."},
    {"name": "sessions", "description": "Short-lived tokens that a backend mints for its pages."},
    {"name": "users", "description": "Erasure of one user, where a store keeps the list of threads."},
    {"name": "health", "description": "Whether the process lives and can do its work."},
]
CHAT_STREAM = (
    'id: 0\nevent: thread\ndata: {"thread_id":"thread_1","run_id":"run_1"}\n\n'
    'id: 5\nevent: delta\ndata: {"text":"Hello"}\n\n'
    'id: 9\nevent: done\ndata: {"message":"Hello","thread_id":"thread_1","role":"assistant",'
    '"status":"completed"}\n\n'
)
RUN_STREAM = (
    'event: thread.run.created\ndata: {"id":"run_1","object":"thread.run","status":"queued"}\n\n'
    'event: thread.message.delta\ndata: {"id":"msg_1","object":"thread.message.delta","delta":{"content":'
    '[{"index":0,"type":"text","text":{"value":"Hello"}}]}}\n\n'
    'event: thread.run.completed\ndata: {"id":"run_1","object":"thread.run","status":"completed"}\n\n'
    "event: done\ndata: [DONE]\n\n"
)
AG_UI_STREAM = (
    'data: {"type":"RUN_STARTED","threadId":"t1","runId":"r1"}\n\n'
    'data: {"type":"TEXT_MESSAGE_START","messageId":"msg_1","role":"assistant"}\n\n'
    'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_1","delta":"Hello"}\n\n'
    'data: {"type":"TEXT_MESSAGE_END","messageId":"msg_1"}\n\n'
    'data: {"type":"RUN_FINISHED","threadId":"t1","runId":"r1"}\n\n'
)
_METHODS = {"get", "post", "delete", "put", "patch"}
_SECURITY: list[dict[str, list[str]]] = [{"Bearer": []}, {"ApiKey": []}]
_SCHEMES: Json = {
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, a session's client_secret, or a token of the identity provider.",
    },
    "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key."},
}
_USER: Json = {
    "name": "x-user-id",
    "in": "header",
    "required": False,
    "description": "For API keys: act for this user of yours. Other callers' is ignored.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
}
_LIMIT_HEADERS: Json = {
    name: {"description": text, "schema": {"type": "integer"}}
    for name, text in (
        ("ratelimit-limit", "Requests in a window."),
        ("ratelimit-remaining", "Requests left in this window."),
        ("ratelimit-reset", "Seconds until the window ends."),
    )
}


def operation_id(route: APIRoute) -> str:
    """Return an operation's name in generated clients: its function's name, or its `name=`."""
    return route.name


def event_stream(example: str) -> dict[str, Any]:
    """Return the OpenAPI content of a stream of server-sent events."""
    return {"text/event-stream": {"schema": {"type": "string"}, "example": example}}


def describe_access(app: FastAPI) -> None:
    """Add credentials, common headers, and the errors that every guarded route can return."""
    plain = app.openapi

    def described() -> Json:
        if app.openapi_schema is None:
            document: Json = plain()
            document["components"].setdefault("securitySchemes", {}).update(_SCHEMES)
            for operation in _guarded(document):
                _describe(operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _guarded(document: Json) -> Iterator[Json]:
    for path, operations in document["paths"].items():
        if path.startswith(API_PREFIX + "/") and path not in PUBLIC_PATHS:
            yield from (found for name, found in operations.items() if name in _METHODS)


def _describe(operation: Json) -> None:
    operation["security"] = _SECURITY
    responses = operation["responses"]
    # Bodies that are not valid get 400 here instead of FastAPI's 422, which is left to idempotency keys.
    responses.pop("422", None)
    statuses = [400, 401, 403, 413, 429, 503]
    parameters: list[Any] = operation.setdefault("parameters", [])
    parameters.append(_USER)
    if any(found["name"] == KEY_HEADER for found in parameters):
        statuses.append(422)
    for status, described in errors(*statuses).items():
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        found = {"description": described["description"], "content": content}
        responses.setdefault(str(status), found)
    for status, found in responses.items():
        if "text/event-stream" in (content := found.get("content", {})):
            # FastAPI would describe the whole stream as one string; docs/streaming.md describes its events.
            content["text/event-stream"] = {}
        if status.startswith("2") or status == "429":
            found.setdefault("headers", {}).update(_LIMIT_HEADERS)
