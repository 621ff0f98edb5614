"""Every object and event on the Assistants wire is what openai-python's typed models say, field by field."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.compat import capture, typed
from tests.support import TLS, WEATHER

TOOLS = [WEATHER, {"type": "file_search"}, {"type": "code_interpreter"}]
PAGE_KEYS = {"object", "data", "first_id", "last_id", "has_more"}


async def store_of(upstream: str) -> str:
    """A vector store with one file, made upstream as an operator does."""
    async with httpx2.AsyncClient(base_url=upstream, verify=TLS) as client:
        form: dict[str, Any] = {"data": {"purpose": "assistants"}, "files": {"file": ("a.txt", b"Well.")}}
        file_id = (await client.post("/files", **form)).json()["id"]
        body = {"name": "ship", "file_ids": [file_id]}
        return str((await client.post("/vector_stores", json=body)).json()["id"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"created_at": None}, "Thread.created_at: None is no int"),
        ({"object": "thread.message"}, "Thread.object: 'thread.message' is none of ('thread',)"),
        ({"metadata": ["a"]}, "Thread.metadata: ['a'] is no object"),
        ({"tool_resources": {"file_search": {"vector_store_ids": "vs_1"}}}, "is no list"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_fault(change, fault):
    thread = {"id": "t", "created_at": 1, "metadata": {}, "object": "thread", "tool_resources": None}
    assert typed.object_faults("Thread", thread) == []
    assert fault in typed.object_faults("Thread", thread | change)[0]


def test_a_field_that_is_not_there_is_a_fault():
    assert typed.object_faults("Thread", {"created_at": 1, "object": "thread", "metadata": {}}) == [
        "Thread.id: missing",
        "Thread.tool_resources: absent",
    ]


@pytest.fixture
async def collected(start, upstream):
    """A function of `capture` in a thread, as the service needs this one."""
    changes = {"assistant_tools": TOOLS, "assistant_vector_stores": [await store_of(upstream)]}
    async with start(url=upstream, is_served=True, **changes) as service:
        api = capture.Api(service.base_url)
        yield lambda collect: asyncio.to_thread(lambda: list(collect(api)))


async def test_every_object_has_every_field_of_its_model(collected):
    found = await collected(capture.objects)
    kinds = {kind for kind, _ in found} - {"page"}
    assert kinds == {
        "Assistant",
        "FileDeleted",
        "FileObject",
        "Message",
        "MessageDeleted",
        "Run",
        "RunStep",
        "Thread",
        "ThreadDeleted",
        "VectorStore",
        "VectorStoreFile",
    }
    faults = (typed.object_faults(kind, value) for kind, value in found if kind != "page")
    wrong = sorted({fault for each in faults for fault in each})
    assert not wrong, "\n".join(wrong)
    assert all(set(page) == PAGE_KEYS for kind, page in found if kind == "page")


async def test_every_event_and_first_delta_is_what_its_model_says(collected):
    found = await collected(capture.streams)
    names = {name for _, events in found for name, _ in events}
    assert names >= {"thread.created", "thread.run.step.delta", "thread.message.incomplete", "done"}
    wrong = sorted({fault for _, events in found for fault in typed.stream_faults(events)})
    assert not wrong, "\n".join(wrong)
