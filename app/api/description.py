"""What the OpenAPI document says beyond the routes themselves: names, groups, examples of streams."""

from typing import Any

from fastapi.routing import APIRoute

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
    {"name": "transcripts", "description": "Threads out as documents, and old Assistants threads in."},
    {"name": "sessions", "description": "Short-lived tokens that a backend mints for its pages."},
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


def operation_id(route: APIRoute) -> str:
    """Name an operation as its function or its `name=`: what generated clients call it."""
    return route.name


def event_stream(example: str) -> dict[str, Any]:
    """Return the OpenAPI content of a stream of server-sent events."""
    return {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
