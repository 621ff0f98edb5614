"""Collects every kind of object and event that the service sends, over HTTP, with the standard library alone.

The service has to stand before the scripted responder, with the tools function, file_search and
code_interpreter, so that the answers to the prompts are known.
"""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Events = list[tuple[str, Any]]
_LIVE = {"queued", "in_progress", "cancelling"}
# One transparent pixel.
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Api:
    """A few calls of the service's API."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._send(method, path, data, "application/json"))

    def events(self, path: str, body: Json) -> Events:
        text = self._send("POST", path, json.dumps({**body, "stream": True}).encode(), "application/json")
        return [_event(block) for block in text.split("\n\n") if "data: " in block]

    def upload(self, name: str, content: bytes) -> Json:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        head += f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        found: Json = json.loads(self._send("POST", "files", body, f"multipart/form-data; boundary={mark}"))
        return found

    def _send(self, method: str, path: str, data: bytes | None, content_type: str) -> str:
        headers = {**self.headers, "content-type": content_type}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
            return str(answer.read().decode())


def _event(block: str) -> tuple[str, Any]:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
    data = fields["data"]
    return fields.get("event", ""), data if data == "[DONE]" else json.loads(data)


def objects(api: Api) -> Iterator[tuple[str, Any]]:
    """Yield the name of a model of the SDK, and an object of that kind as it was answered."""
    page = api.call("GET", "assistants")
    yield from _page("Assistant", page)
    yield "Assistant", api.call("GET", f"assistants/{page['data'][0]['id']}")
    file = api.upload("notes.txt", b"All is well on the ship.")
    yield "FileObject", file
    yield "FileObject", api.call("GET", f"files/{file['id']}")
    for prompt, ending in _ENDINGS.items():
        yield from _run_objects(api, prompt, ending)
    yield from _tool_objects(api)
    yield from _thread_objects(api, file["id"])
    yield from _store_objects(api, page["data"][0])
    yield "FileDeleted", api.call("DELETE", f"files/{file['id']}")


def streams(api: Api) -> Iterator[tuple[str, Events]]:
    """Yield a name and the events of a stream, of every kind that there is."""
    file = api.upload("notes.txt", b"All is well on the ship.")
    for prompt in (*_ENDINGS, "draw a chart of apples 3 pears 5"):
        yield prompt, _stream(api, prompt)
    attachment = {"file_id": file["id"], "tools": [{"type": "file_search"}]}
    yield "cite", _stream(api, "cite: all is well", attachments=[attachment])
    asked = _stream(api, "use tools")
    yield "calls", asked
    run = asked[-2][1]
    path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    yield "outputs", api.events(path, {"tool_outputs": _outputs(run)})


_ENDINGS = {
    "Hello": "completed",
    "incomplete:": "incomplete",
    "refuse:": "completed",
    "fail:rate_limit_exceeded": "failed",
    "fail-late:server_error": "failed",
}


def _stream(api: Api, prompt: str, **message: Any) -> Events:
    thread = {"messages": [{"role": "user", "content": prompt, **message}]}
    return api.events("threads/runs", {"assistant_id": _assistant(api), "thread": thread})


def _assistant(api: Api) -> str:
    return str(api.call("GET", "assistants")["data"][0]["id"])


def _page(kind: str, page: Json) -> Iterator[tuple[str, Any]]:
    yield "page", page
    for each in page["data"]:
        yield kind, each


def _run_objects(api: Api, prompt: str, ending: str, **message: Any) -> Iterator[tuple[str, Any]]:
    thread = api.call("POST", "threads", {"messages": [{"role": "user", "content": prompt, **message}]})
    run = api.call("POST", f"threads/{thread['id']}/runs", {"assistant_id": _assistant(api)})
    yield "Run", run
    run = ended(api, run)
    if run["status"] != ending:
        raise AssertionError(f"{prompt!r} ended {run['status']} and not {ending}")
    yield "Run", run
    yield from all_of(api, run)


def all_of(api: Api, run: Json) -> Iterator[tuple[str, Any]]:
    """Yield the run of a thread with its steps and messages, listed and read."""
    thread = f"threads/{run['thread_id']}"
    yield from _page("Run", api.call("GET", f"{thread}/runs"))
    steps = api.call("GET", f"{thread}/runs/{run['id']}/steps")
    yield from _page("RunStep", steps)
    for step in steps["data"]:
        yield "RunStep", api.call("GET", f"{thread}/runs/{run['id']}/steps/{step['id']}")
    messages = api.call("GET", f"{thread}/messages")
    yield from _page("Message", messages)
    for message in messages["data"]:
        yield "Message", api.call("GET", f"{thread}/messages/{message['id']}")


def ended(api: Api, run: Json) -> Json:
    """Poll a run until it has left the live states."""
    path = f"threads/{run['thread_id']}/runs/{run['id']}"
    while run["status"] in _LIVE:
        run = api.call("GET", path)
    return run


def _tool_objects(api: Api) -> Iterator[tuple[str, Any]]:
    thread = {"messages": [{"role": "user", "content": "use tools"}]}
    run = api.call("POST", "threads/runs", {"assistant_id": _assistant(api), "thread": thread})
    run = ended(api, run)
    yield "Run", run
    yield from all_of(api, run)
    path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    yield "Run", ended(api, api.call("POST", path, {"tool_outputs": _outputs(run)}))
    yield from all_of(api, run)
    thread = {"messages": [{"role": "user", "content": "slow:400"}]}
    run = api.call("POST", "threads/runs", {"assistant_id": _assistant(api), "thread": thread})
    run = api.call("POST", f"threads/{run['thread_id']}/runs/{run['id']}/cancel")
    yield "Run", run
    yield "Run", ended(api, run)
    yield from all_of(api, run)


def _outputs(run: Json) -> list[Json]:
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]


def _thread_objects(api: Api, file_id: str) -> Iterator[tuple[str, Any]]:
    yield from _run_objects(api, "draw a chart of apples 3 pears 5", "completed")
    attachment = {"file_id": file_id, "tools": [{"type": "file_search"}]}
    yield from _run_objects(api, "cite: all is well", "completed", attachments=[attachment])
    thread = api.call("POST", "threads", {})
    yield "Thread", thread
    yield "Thread", api.call("GET", f"threads/{thread['id']}")
    yield "Thread", api.call("POST", f"threads/{thread['id']}", {"metadata": {"a": "b"}})
    text = {"type": "text", "text": "What is this?"}
    parts = [text, {"type": "image_url", "image_url": {"url": _PICTURE}}]
    message = api.call("POST", f"threads/{thread['id']}/messages", {"role": "user", "content": parts})
    yield "Message", message
    yield "MessageDeleted", api.call("DELETE", f"threads/{thread['id']}/messages/{message['id']}")
    yield "ThreadDeleted", api.call("DELETE", f"threads/{thread['id']}")


def _store_objects(api: Api, assistant: Json) -> Iterator[tuple[str, Any]]:
    resources = assistant.get("tool_resources") or {}
    for store_id in (resources.get("file_search") or {}).get("vector_store_ids") or []:
        yield "VectorStore", api.call("GET", f"vector_stores/{store_id}")
        yield from _page("VectorStoreFile", api.call("GET", f"vector_stores/{store_id}/files"))
