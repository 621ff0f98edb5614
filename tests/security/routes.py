"""What every route of the OpenAPI document answers to owners, to strangers, and to bound sessions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support import ASSISTANT, Json


@dataclass(frozen=True)
class Route:
    """What a route answers: to owners, to those who own other things, and to a session bound elsewhere."""

    owner: int = 200
    session: int | None = None
    stranger: int | None = None
    bound: int | None = None
    body: Json | Callable[[Json], Json] | None = None
    files: Json | None = None
    is_public: bool = False


MESSAGE = {"role": "user", "content": "hello"}
RUN = {"assistant_id": ASSISTANT, "additional_messages": [MESSAGE]}
NEW_RUN = {"assistant_id": ASSISTANT, "thread": {"messages": [MESSAGE]}}
AG_UI = {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": "hello"}]}
OWNED = Route(stranger=404, bound=404)
CREATES: Json = {"bound": 403}


def owned(owner: int = 200, **changes: Any) -> Route:
    return Route(owner, **({"stranger": 404, "bound": 404} | changes))


THREAD = "/api/v1/threads/{thread_id}"
RUN_PATH = THREAD + "/runs/{run_id}"
STORE = "/api/v1/vector_stores/{vector_store_id}"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/"): Route(is_public=True),
    ("GET", "/metrics"): Route(is_public=True),
    ("GET", "/api/v1/health"): Route(is_public=True),
    ("GET", "/api/v1/ready"): Route(is_public=True),
    ("POST", "/api/v1/chat"): Route(body={"message": "hello"}, **CREATES),
    ("GET", "/api/v1/chat/{chat_id}/stream"): Route(204),
    ("POST", "/api/v1/ag-ui"): Route(body=AG_UI, **CREATES),
    ("POST", "/api/v1/sessions"): Route(session=403, body={"user": "u1"}),
    # Without a store; tests/store has those with one.
    ("GET", "/api/v1/threads"): Route(501),
    ("DELETE", "/api/v1/users/{user}"): Route(501, session=403, bound=403),
    ("POST", "/api/v1/feedback"): Route(501, body={"thread_id": "t", "run_id": "r", "value": "up"}),
    ("GET", "/api/v1/usage"): Route(501, session=403, bound=403),
    ("POST", "/api/v1/threads"): Route(body={}, **CREATES),
    ("POST", "/api/v1/threads/runs"): Route(body=NEW_RUN, **CREATES),
    ("POST", "/api/v1/threads/import"): Route(body={"data": [MESSAGE]}, **CREATES),
    ("GET", THREAD): OWNED,
    ("POST", THREAD): owned(body={"metadata": {"k": "v"}}),
    ("DELETE", THREAD): OWNED,
    ("GET", THREAD + "/export"): OWNED,
    ("POST", THREAD + "/messages"): owned(body=MESSAGE),
    ("GET", THREAD + "/messages"): OWNED,
    ("GET", THREAD + "/messages/{message_id}"): OWNED,
    ("POST", THREAD + "/messages/{message_id}"): owned(400, body={"metadata": {}}),
    ("DELETE", THREAD + "/messages/{message_id}"): OWNED,
    ("POST", THREAD + "/runs"): owned(body=RUN),
    ("GET", THREAD + "/runs"): OWNED,
    ("GET", RUN_PATH): OWNED,
    ("POST", RUN_PATH): owned(400, body={"metadata": {}}),
    ("POST", RUN_PATH + "/cancel"): owned(400),
    ("POST", RUN_PATH + "/submit_tool_outputs"): owned(
        400, body={"tool_outputs": [{"tool_call_id": "c", "output": ""}]}
    ),
    ("GET", RUN_PATH + "/steps"): OWNED,
    ("GET", RUN_PATH + "/steps/{step_id}"): OWNED,
    ("GET", RUN_PATH + "/events"): OWNED,
    ("GET", "/api/v1/assistants"): Route(),
    ("POST", "/api/v1/assistants"): Route(400),
    ("GET", "/api/v1/assistants/{assistant_id}"): Route(),
    ("POST", "/api/v1/assistants/{assistant_id}"): Route(),
    ("DELETE", "/api/v1/assistants/{assistant_id}"): Route(400),
    ("POST", "/api/v1/files"): Route(files={"file": ("a.txt", b"text"), "purpose": (None, "user_data")}),
    ("GET", "/api/v1/files"): Route(session=403, bound=403),
    ("GET", "/api/v1/files/{file_id}"): Route(stranger=404),
    ("DELETE", "/api/v1/files/{file_id}"): Route(stranger=404),
    ("GET", "/api/v1/files/{file_id}/content"): Route(stranger=404),
    # The knowledge is the operator's: every key reads and writes it, sessions do neither.
    ("GET", STORE): Route(session=403),
    ("GET", STORE + "/files"): Route(session=403),
    ("POST", STORE + "/files"): Route(
        session=403, stranger=404, body=lambda names: {"file_id": names["file_id"]}
    ),
    ("GET", STORE + "/files/{file_id}"): Route(404, session=403),
    ("DELETE", STORE + "/files/{file_id}"): Route(404, session=403),
}
