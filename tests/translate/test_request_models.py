"""Every request sent upstream has the form that OpenAI's published types give it, and no keys beyond them."""

import json
import re
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai.types import VectorStoreCreateParams, vector_stores
from openai.types.conversations import ConversationCreateParams, ConversationUpdateParams, ItemCreateParams
from openai.types.responses import response_create_params

from app.embedded.server import create_embedded_app
from tests import support
from tests.api.test_files import PURPOSE, form, part
from tests.api.test_tools import outputs_for, submit, waiting_run
from tests.api.test_transcripts import old_message
from tests.compat import typed
from tests.support import WEATHER, Json, finished_run, frames, new_run, new_thread, run_to, until

KINDS = {
    "/responses": response_create_params.ResponseCreateParams,
    "/conversations": ConversationCreateParams,
    "/conversations/ID": ConversationUpdateParams,
    "/conversations/ID/items": ItemCreateParams,
    "/vector_stores": VectorStoreCreateParams,
    "/vector_stores/ID/files": vector_stores.FileCreateParams,
}
TOOLS = [WEATHER, {"type": "file_search"}, {"type": "code_interpreter"}]
PICTURE = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"name": "answer", "schema": {"type": "object", "properties": {}}, "strict": True}
OVERRIDES: Json = {
    "model": "gpt-6-luna",
    "instructions": "Be brief.",
    "additional_instructions": "Be kind.",
    "additional_messages": [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Well."}],
    "tools": [*TOOLS, {"type": "web_search"}, {"type": "image_generation"}],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "reasoning_effort": "low",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_completion_tokens": 100,
    "metadata": {"a": "b"},
    "include": ["step_details.tool_calls[*].file_search.results[*].content"],
}


class Sent:
    """Remembers the JSON bodies that reach an app, with their paths; ids in paths become `ID`."""

    def __init__(self, app: Any, found: list[tuple[str, Any]]) -> None:
        self._app = app
        self._found = found

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def heard() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body") or b""
            if message["type"] == "http.request" and not message.get("more_body") and body[:1] == b"{":
                path = re.sub(r"/(conv|vs)_\w+", "/ID", scope["path"].removeprefix("/v1"))
                self._found.append((path, json.loads(body)))
            return message

        await self._app(scope, heard, send)


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, Any]]:
    """What the embedded upstream is sent."""
    found: list[tuple[str, Any]] = []

    def created(settings):
        app = create_embedded_app(settings)
        app.add_middleware(Sent, found=found)
        return app

    monkeypatch.setattr(support, "create_embedded_app", created)
    return found


@pytest.fixture
def recorded(start, sent):
    """Start the service; at the end, every body must be one of its type, and all of `paths` were used."""

    @asynccontextmanager
    async def begin(*paths: str, **settings: Any):
        defaults = {"assistant_tools": TOOLS, "allow_run_overrides": "all", "is_served": True}
        async with start(**(defaults | settings)) as service:
            yield service.client
        assert {path for path, _ in sent} >= set(paths)
        bodies = [(path, as_typed(body)) for path, body in sent]
        found = [fault for path, body in bodies for fault in typed.faults(KINDS[path], body, path)]
        wrong = sorted({re.sub(r"\[\d+\]", "[]", fault) for fault in found})
        assert not wrong, "\n".join(wrong)

    return begin


def as_typed(body: Json) -> Json:
    """Fill in what the types demand of assistant messages with parts, and only OpenAI makes: ids.

    Upstreams take them without. The plain text that the types allow instead comes back from OGX as no list.
    """
    lists = {key: body[key] for key in ("items", "input") if isinstance(body.get(key), list)}
    return body | {key: [_filled(item) for item in items] for key, items in lists.items()}


def _filled(item: Json) -> Json:
    if item.get("role") != "assistant" or isinstance(item["content"], str):
        return item
    content = [{"annotations": [], **part} for part in item["content"] if part["type"] == "output_text"]
    others = [part for part in item["content"] if part["type"] != "output_text"]
    return {"id": "msg_1", "status": "completed", **item, "content": content + others}


async def ask(client, **body):
    answer = await client.post("chat", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def upload(client, name="notes.txt", content=b"All is well."):
    answer = await client.post("files", **form(PURPOSE, part("file", content, name)))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("stream", [False, True])
async def test_chats(recorded, stream):
    async with recorded("/responses", "/conversations") as client:
        thread_id = await new_thread(client)
        await ask(client, message="Hello", stream=stream)
        await ask(client, message="again", thread_id=thread_id, stream=stream, metadata={"a": "b"})
        history = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "text", "text": "three"}]},
        ]
        await ask(client, messages=history, stream=stream)


async def test_histories_of_frontends(recorded):
    called = {"toolCallId": "call_1", "state": "output-available", "input": {"city": "Oslo"}}
    tool = {"type": "tool-get_weather", **called, "output": "sunny"}
    picture = {"type": "file", "mediaType": "image/png", "url": PICTURE, "filename": "a.png"}
    document = {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,JVBERg=="}
    messages = [
        {"role": "user", "parts": [{"type": "text", "text": "Look"}, picture, document]},
        {
            "role": "assistant",
            "parts": [{"type": "tool-get_weather", **tool}, {"type": "text", "text": "Ok"}],
        },
        {"role": "user", "parts": [{"type": "text", "text": "And?"}]},
    ]
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    ag_ui = [
        {"id": "1", "role": "user", "content": "use a tool"},
        {"id": "2", "role": "assistant", "toolCalls": [call]},
        {"id": "3", "role": "tool", "toolCallId": "call_1", "content": "sunny"},
    ]
    async with recorded("/responses", "/conversations") as client:
        await ask(client, messages=messages)
        answer = await client.post("ag-ui", json={"threadId": "t", "runId": "r", "messages": ag_ui})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_outputs(recorded, stream):
    async with recorded("/responses") as client:
        run = await waiting_run(client, "use tools", metadata={"a": "b"})
        answer = await submit(client, run, outputs_for(run), stream=stream)
        assert answer.status_code == 200, answer.text
        if not stream:
            await run_to(client, answer.json(), "completed")
        first = (await ask(client, message="use a tool")).json()
        outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in first["tool_calls"]]
        await ask(client, thread_id=first["thread_id"], run_id=first["run_id"], tool_outputs=outputs)


async def test_files_code_and_citations(recorded):
    async with recorded("/responses", "/vector_stores") as client:
        file_id = await upload(client)
        for tool in ("file_search", "code_interpreter"):
            attachment = {"file_id": file_id, "tools": [{"type": tool}]}
            thread_id = await new_thread(client)
            body = {"role": "user", "content": "cite: all is well", "attachments": [attachment]}
            answer = await client.post(f"threads/{thread_id}/messages", json=body)
            assert answer.status_code == 200, answer.text
            await run_to(client, await new_run(client, thread_id), "completed")
        image = await upload(client, "a.png", b"\x89PNG\r\n\x1a\n")
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_file", "image_file": {"file_id": image, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ]
        thread = {"messages": [{"role": "user", "content": parts}]}
        answer = await client.post("threads/runs", json={"assistant_id": support.ASSISTANT, "thread": thread})
        await run_to(client, answer.json(), "completed")
        await ask(client, message="Read it", file_ids=[file_id])
        await finished_run(client, "draw a chart of apples 3")


async def test_imports_and_metadata(recorded):
    async with recorded("/conversations", "/conversations/ID", "/conversations/ID/items") as client:
        messages = [old_message(number) for number in range(30)]
        thread_id = (await client.post("threads/import", json={"messages": messages})).json()["thread"]["id"]
        await client.post(f"threads/{thread_id}", json={"metadata": {"a": "b"}})
        await client.post(f"threads/{thread_id}/messages", json={"role": "assistant", "content": "Hello"})
        await run_to(client, await new_run(client, thread_id), "completed")


@pytest.mark.parametrize("changes", [{}, {"upstream_background": "always"}, {"upstream_background": "never"}])
async def test_runs_with_all_overrides(recorded, changes):
    async with recorded("/responses", **changes) as client:
        run = await new_run(client, await new_thread(client, "hi"), **OVERRIDES)
        run = await run_to(client, run, "requires_action")
        answer = await submit(client, run, outputs_for(run), stream=True)
        assert frames(answer.text)[-2][0] == "thread.run.completed"
        for response_format in ("auto", {"type": "json_object"}, {"type": "text"}):
            await finished_run(client, "hi", response_format=response_format, tool_choice="none")


async def test_a_chat_that_detaches_and_a_turn_that_stops(recorded, sent):
    async with recorded("/responses", "/conversations/ID/items") as client:
        await ask(client, message="Hello", on_disconnect="detach")
        thread_id = await new_thread(client)
        body = {"message": "slow:400", "thread_id": thread_id, "stream": True}
        async with client.stream("POST", "chat", json=body) as answer:
            async for line in answer.aiter_lines():
                if line == "event: delta":
                    break
        await until(lambda: any(path == "/conversations/ID/items" for path, _ in sent))
