"""One question in every dialect of event streams, and what its answer says in each."""

from tests.support import ASSISTANT, Json, text_of

DIALECTS: dict[str, tuple[str, Json]] = {
    "assistants": ("threads/runs", {"assistant_id": ASSISTANT, "stream": True}),
    "chat": ("chat", {"stream": True}),
    "ai-sdk": ("chat", {}),
    "ag-ui": ("ag-ui", {"threadId": "t", "runId": "r"}),
}


def request_of(dialect: str, prompt: str) -> tuple[str, Json]:
    """Path and body that ask one question in a dialect."""
    path, body = DIALECTS[dialect]
    if dialect == "assistants":
        return path, {**body, "thread": {"messages": [{"role": "user", "content": prompt}]}}
    if dialect == "chat":
        return path, {**body, "message": prompt}
    message: Json = {"id": "u1", "role": "user", "content": prompt}
    if dialect == "ai-sdk":
        message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
    return path, {**body, "messages": [message]}


def text_in(dialect, events):
    """All text that a dialect's deltas add up to."""
    if dialect == "assistants":
        return text_of(events)
    if dialect == "chat":
        return "".join(data["text"] for name, data in events if name == "delta")
    datas = [data for _, data in events if data != "[DONE]"]
    kinds = {"text-delta", "TEXT_MESSAGE_CONTENT"}
    return "".join(data["delta"] for data in datas if data["type"] in kinds)


def ends(dialect, events):
    """The terminal marks in a dialect's events, in their order."""
    if dialect == "assistants":
        known = {"thread.run.completed", "thread.run.failed", "thread.run.expired", "error", "done"}
        return [name for name, _ in events if name in known]
    if dialect == "chat":
        return [name for name, _ in events if name in {"done", "error"}]
    known = {"finish", "error", "RUN_FINISHED", "RUN_ERROR"}
    return ["[DONE]" if data == "[DONE]" else data["type"] for _, data in events if marks(data, known)]


def marks(data, known):
    return data == "[DONE]" or data["type"] in known


WELL = {
    "assistants": ["thread.run.completed", "done"],
    "chat": ["done"],
    "ai-sdk": ["finish", "[DONE]"],
    "ag-ui": ["RUN_FINISHED"],
}
BADLY = {
    "assistants": ["thread.run.failed", "done"],
    "chat": ["error"],
    "ai-sdk": ["error", "finish", "[DONE]"],
    "ag-ui": ["RUN_ERROR"],
}
