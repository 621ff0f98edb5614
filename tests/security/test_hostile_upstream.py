"""An upstream is not trusted: whatever value of its JSON is wild, no route answers 500 or breaks off."""

import copy
import itertools
import json
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_openai import CONVERSATION, answered
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, Json, Service

CITATION = {"type": "url_citation", "url": "http://x", "title": "t", "start_index": 0, "end_index": 5}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
CODE = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "code": "1",
    "container_id": "cntr_1",
    "outputs": [{"type": "logs", "logs": "1"}],
}
SEARCH = {
    "type": "file_search_call",
    "id": "fs_1",
    "queries": ["q"],
    "results": [{"file_id": "file-1", "filename": "a.txt", "score": 0.5, "text": "t"}],
}
MESSAGE = answered({})["output"][0]
MESSAGE["content"][0]["annotations"] = [CITATION, {"type": "file_citation", "file_id": "file-1", "index": 1}]
WHOLE: Json = {
    **answered({}),
    "output": [CODE, SEARCH, MESSAGE, CALL],
    "completed_at": 1_790_000_001,
    "error": None,
    "incomplete_details": None,
    "instructions": "i",
    "tools": [{"type": "code_interpreter"}],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "temperature": 1.0,
    "max_output_tokens": 10,
    "truncation": "auto",
    "background": True,
    "metadata": {"a": "b", "soloist_round": "resp_0,resp_0,1790000000,1,1,"},
}
FILE = {"id": "file-1", "bytes": 3, "created_at": 1, "filename": "a.txt", "purpose": "user_data"}
STORE = {"id": "vs_1", "name": "n", "created_at": 1, "usage_bytes": 1, "file_counts": {"total": 1}}
STORE_FILE = {"id": "file-1", "status": "completed", "created_at": 1, "vector_store_id": "vs_1"}
MEMORY = {"soloist_runs": "1", "soloist_run": "1>2!expired", "soloist_resources": "vs_2|1", "k": "v"}
OBJECTS: Json = {
    "conversation": {**CONVERSATION, "metadata": MEMORY},
    "items": {"data": [MESSAGE, CALL], "has_more": False},
    "item": MESSAGE,
    "response": WHOLE,
    "created": {"type": "response.created", "sequence_number": 0, "response": {**WHOLE, "output": []}},
    "done": {"type": "response.output_item.done", "sequence_number": 1, "output_index": 2, "item": MESSAGE},
    "completed": {"type": "response.completed", "sequence_number": 2, "response": WHOLE},
    "files": {"data": [FILE], "has_more": False},
    "file": FILE,
    "store": STORE,
    "store files": {"data": [STORE_FILE], "has_more": False},
    "store file": STORE_FILE,
    "model": {"id": "gpt-6-luna", "shutdown_date": "2027-01-01"},
}
Request_ = tuple[str, str, Json | None]
SETTINGS: Json = {"is_served": True, "assistant_vector_stores": ["vs_1"], "rate_limit_enabled": False}
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
CASES = int(os.environ.get("HOSTILE_CASES", "60"))
_END = re.compile(r"event: (done|error)|data: \[DONE\]")
RUN: Json = {"assistant_id": ASSISTANT}
STREAM: Json = {"stream": True}
CHAT: Json = {"message": "hi"}
REQUESTS: list[Request_] = [
    ("GET", "threads/thread_1", None),
    ("POST", "threads", {}),
    ("POST", "threads/thread_1", {"metadata": {"a": "b"}}),
    ("GET", "threads/thread_1/messages", None),
    ("GET", "threads/thread_1/messages/msg_1", None),
    ("POST", "threads/thread_1/messages", {"role": "user", "content": "x"}),
    ("GET", "threads/thread_1/export", None),
    ("GET", "threads/thread_1/export?format=markdown", None),
    ("GET", "threads/thread_1/runs", None),
    ("GET", "threads/thread_1/runs/run_1", None),
    ("GET", "threads/thread_1/runs/run_1/steps", None),
    ("GET", "threads/thread_1/runs/run_1/events", None),
    ("POST", "threads/thread_1/runs", RUN),
    ("POST", "threads/thread_1/runs", RUN | STREAM),
    ("POST", "threads/runs", RUN | {"thread": {"messages": [{"role": "user", "content": "x"}]}}),
    ("POST", "chat", CHAT),
    ("POST", "chat", CHAT | {"on_disconnect": "detach"}),
    ("POST", "chat", CHAT | STREAM),
    ("POST", "chat", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}),
    ("GET", "files", None),
    ("GET", "files/file-1", None),
    ("GET", "files/file-1/content", None),
    ("GET", "vector_stores/vs_1", None),
    ("GET", "vector_stores/vs_1/files", None),
    ("GET", "vector_stores/vs_1/files/file-1", None),
    ("GET", "/ready", None),
]

# JSON texts, since a few of them are no values of Python.
WILD = [
    *("null", "true", "0", "-1", "10.0", "1e300", "-1e300", str(2**63), str(2**80), "[]", "{}", "[[]]", '""'),
    *('"x"', '"\\u0000"', '"a\\r\\nset-cookie: x=1"', '"\\ud800"', '"../a b?#"', '"' + "é" * 5_000 + '"'),
    *("[" * 300 + "]" * 300, '{"a":' * 900 + "1" + "}" * 900, '[{"type": []}]', '{"id": {}}', '{"code": []}'),
]


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON object."""
    if path:
        yield path
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


PLACES = [(name, path) for name in OBJECTS for path in places(OBJECTS[name])]
"""Every value in every object that the upstream sends."""


class Wild:
    """Answers with `OBJECTS`, of which one value may be wild."""

    def __init__(self) -> None:
        self.name, self.value = "", "null"
        self.path: tuple[Any, ...] = ()
        self.sent: set[str] = set()

    def json(self, name: str) -> bytes:
        self.sent.add(name)
        found = copy.deepcopy(OBJECTS[name])
        if name != self.name:
            return json.dumps(found).encode()
        inner = found
        for key in self.path[:-1]:
            inner = inner[key]
        inner[self.path[-1]] = "@@"
        return json.dumps(found).replace('"@@"', self.value).encode()

    async def __call__(self, request: Request, connection: Connection) -> None:
        path = request.path.removeprefix("/v1/").split("/")
        if path == ["responses"] and request.json.get("stream"):
            await connection.start_stream()
            for name in ("created", "done", "completed"):
                kind = OBJECTS[name]["type"].encode()
                await connection.chunk(b"event: %b\ndata: %b\n\n" % (kind, self.json(name)))
            await connection.end_stream()
        elif "stream" in request.query:
            await connection.answer(400, {"error": {"message": "x"}})
        elif path[-1] == "content":
            await connection.answer(200, b"abc")
        else:
            await connection.answer(200, self.json(_name_of(request.method, path)))


def _name_of(method: str, path: list[str]) -> str:
    match path:
        case ["conversations", _, "items"]:
            return "items"
        case ["conversations", _, "items", _]:
            return "item"
        case ["conversations", *_]:
            return "conversation"
        case ["responses", *_]:
            return "response"
        case ["files"] if method == "GET":
            return "files"
        case ["files", *_]:
            return "file"
        case ["vector_stores", _, "files"] if method == "GET":
            return "store files"
        case ["vector_stores", _, "files", *_]:
            return "store file"
        case ["vector_stores", *_]:
            return "store"
    return "model"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("app.core.upstream.retries._BACKOFF_SECONDS", (0, 0))


async def problems(service: Service, requests: list[Request_]) -> list[str]:
    """What is wrong with the answers to these requests."""
    found = []
    for method, path, body in requests:
        answer = await service.client.request(method, path, json=body)
        is_cut = answer.headers["content-type"].startswith("text/event-stream") and not _END.search(
            answer.text
        )
        if answer.status_code == 500 or "set-cookie" in answer.headers or is_cut:
            found.append(f"{method} {path} {body}: {answer.status_code} {answer.text[-300:]}")
    return found


async def test_no_wild_value_is_a_500_or_cuts_a_stream(start):
    wild = Wild()
    async with fake_upstream(wild) as fake, start(url=fake.url, **SETTINGS) as service:
        users: dict[str, list[Request_]] = defaultdict(list)
        for request in REQUESTS:
            wild.sent.clear()
            answer = await service.client.request(request[0], request[1], json=request[2])
            assert answer.status_code == 200, f"{request}: {answer.text}"
            for name in wild.sent:
                users[name].append(request)
        assert users.keys() == OBJECTS.keys()
        cases = random.Random(SEED).sample(list(itertools.product(PLACES, WILD)), CASES)
        for (wild.name, wild.path), wild.value in cases:
            what = f"{wild.name} {wild.path} is {wild.value[:40]}"
            assert await problems(service, users[wild.name]) == [], what
