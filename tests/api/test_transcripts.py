"""Whole threads out as JSON and Markdown, and in again from old exports."""

import re
from typing import Any

import httpx2
import pytest

from tests.conftest import Start
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, WEATHER, error_of, new_run, new_thread, run_to, stats

Json = dict[str, Any]
SECRET = "s" * 32
TOOLS = [WEATHER, {"type": "file_search"}, {"type": "code_interpreter"}]


def old_message(number: int, *, text: str | None = None) -> Json:
    """A message as the Assistants API listed it; three share a second."""
    value = text or f"Text {number} – ü 【4:0†source】\n```x```\n\ttab"
    return {
        "id": f"msg_{number}",
        "object": "thread.message",
        "created_at": 1_700_000_000 + number // 3,
        "thread_id": "thread_old",
        "role": ("user", "assistant")[number % 2],
        "content": [{"type": "text", "text": {"value": value, "annotations": []}}],
        "assistant_id": "asst_old",
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


def said(messages: list[Json]) -> list[tuple[str, list[str]]]:
    return [(m["role"], [part["text"]["value"] for part in m["content"]]) for m in messages]


async def imported(client: httpx2.AsyncClient, body: Any) -> Json:
    response = await client.post("threads/import", json=body)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def exported(client: httpx2.AsyncClient, thread_id: str) -> Json:
    found: Json = (await client.get(f"threads/{thread_id}/export")).json()
    return found


class TestImport:
    @pytest.mark.parametrize("form", ["page", "array", "page-newest-first", "array-newest-first", "messages"])
    async def test_five_hundred_messages_survive_the_round(self, start: Start, upstream, form):
        messages = [old_message(number) for number in range(500)]
        listed = messages[::-1] if form.endswith("newest-first") else messages
        body: Any = (
            listed if form.startswith("array") else {"object": "list", "data": listed, "has_more": False}
        )
        if form == "messages":
            body = {"messages": listed}
        async with start(url=upstream, secret_keys=[SECRET]) as service:
            client = service.client
            made = await imported(client, body)
            assert (made["object"], made["imported"], made["skipped"]) == ("thread.import", 500, 0)
            first = await exported(client, made["thread"]["id"])
            assert said(first["data"]) == said(messages)
            again = await imported(client, first)
            second = await exported(client, again["thread"]["id"])
            assert said(second["data"]) == said(messages)
            assert again["thread"]["id"] != made["thread"]["id"]
        requests = (await stats(upstream))["requests"]
        assert requests["POST /v1/conversations"] + requests["POST /v1/conversations/{id}/items"] == 50

    async def test_every_kind_of_part_comes_along_as_far_as_it_can(self, start: Start, upstream):
        async with start(url=upstream, secret_keys=[SECRET]) as service:
            client = service.client
            upload = await client.post(
                "files", files={"file": ("x.png", b"\x89PNG")}, data={"purpose": "vision"}
            )
            mine = upload.json()["id"]
            parts = [
                {"type": "text", "text": {"value": "Look", "annotations": []}},
                {"type": "text", "text": "plainly"},
                {"type": "image_file", "image_file": {"file_id": mine, "detail": "auto"}},
                {"type": "image_file", "image_file": {"file_id": "file-old"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
            ]
            body = [
                {"role": "user", "content": parts},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"role": "assistant", "content": [parts[2]]},
                {"role": "user", "content": "Bare"},
                {"role": "user", "content": []},
                {"role": "user", "content": ""},
            ]
            made = await imported(client, body)
            assert (made["imported"], made["skipped"]) == (4, 2)
            shown = (await exported(client, made["thread"]["id"]))["data"]
            assert [part["type"] for part in shown[0]["content"]] == [
                "text",
                "text",
                "image_file",
                "text",
                "image_url",
            ]
            assert shown[0]["content"][2]["image_file"]["file_id"] == mine
            assert shown[0]["content"][3]["text"]["value"] == "[image: file-old]"
            assert shown[1]["content"] == [{"type": "refusal", "refusal": "No."}]
            assert said(shown[3:]) == [("user", ["Bare"])]

    async def test_a_run_goes_on_where_the_transcript_ends(self, client):
        made = await imported(client, [old_message(n, text=f"Message {n}") for n in range(3)])
        run = await run_to(client, await new_run(client, made["thread"]["id"]), "completed")
        listed = (await client.get(f"threads/{run['thread_id']}/messages")).json()["data"]
        assert said(listed[:1]) == [("assistant", ["You said: Message 2"])]

    async def test_metadata_of_an_export_comes_along(self, client):
        body = {"thread": {"metadata": {"topic": "x"}}, "data": [old_message(0)]}
        assert (await imported(client, body))["thread"]["metadata"] == {"topic": "x"}

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({}, "data"),
            ([], "data"),
            ("text", "data"),
            ({"data": "x"}, "data"),
            ({"data": [1]}, "data[0]"),
            ([{"role": "tool", "content": "x"}], "[0].role"),
            ([{"role": "user"}], "[0].content"),
            (
                {"data": [old_message(0), {"role": "user", "content": [{"type": "video"}]}]},
                "data[1].content[0]",
            ),
            ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "[0].content[0]"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}],
                "[0].content[0]",
            ),
            ([{"role": "user", "content": "x", "created_at": "now"}], "[0].created_at"),
            ([{"role": "user", "content": "x" * 300_000}], "[0].content"),
            ({"thread": {"metadata": {"soloist_run": "x"}}, "data": [old_message(0)]}, "thread.metadata"),
        ],
    )
    async def test_what_is_no_transcript_is_400(self, client, body, param):
        assert error_of(await client.post("threads/import", json=body), 400)["param"] == param

    async def test_broken_json_is_400(self, client):
        headers = {"content-type": "application/json"}
        response = await client.post("threads/import", content=b"{", headers=headers)
        assert error_of(response, 400)["code"] == "invalid_json"

    @pytest.mark.parametrize("path", ["threads/import", "threads"])
    async def test_a_thread_that_fails_halfway_is_deleted(self, start: Start, path):
        async def refuse_the_second_call(request: Request, connection: Connection) -> None:
            if request.path.endswith("/items"):
                await connection.answer(500, {"error": {"message": "no"}})
            else:
                await connection.answer(200, {"id": "conv_x", "object": "conversation", "created_at": 1})

        async with fake_upstream(refuse_the_second_call) as fake, start(url=fake.url) as service:
            messages = [{"role": "user", "content": f"message {number}"} for number in range(45)]
            assert error_of(await service.client.post(path, json={"messages": messages}), 502)
            calls = [(request.method, request.path) for request in fake.requests]
            assert calls[-2:] == [
                ("POST", "/v1/conversations/conv_x/items"),
                ("DELETE", "/v1/conversations/conv_x"),
            ]


class TestExport:
    async def test_an_unknown_thread_is_404(self, client):
        for form in ("json", "markdown"):
            error_of(await client.get(f"threads/thread_none/export?format={form}"), 404)
        error_of(await client.get("threads/thread_none/export?format=pdf"), 400)

    async def _thread(self, client: httpx2.AsyncClient) -> str:
        """A thread with an attachment, a citation, a chart and a tool call."""
        upload = await client.post(
            "files", files={"file": ("pump [v2].txt", b"The pump is red.")}, data={"purpose": "user_data"}
        )
        attachment = {"file_id": upload.json()["id"], "tools": [{"type": "file_search"}]}
        first = {"role": "user", "content": "cite: the pump", "attachments": [attachment]}
        thread_id: str = (await client.post("threads", json={"messages": [first]})).json()["id"]
        await run_to(client, await new_run(client, thread_id), "completed")
        chart = {"role": "user", "content": "chart: a 1 b 2"}
        await client.post(f"threads/{thread_id}/messages", json=chart)
        await run_to(client, await new_run(client, thread_id), "completed")
        await client.post(f"threads/{thread_id}/messages", json={"role": "user", "content": "use the tool"})
        run = await run_to(client, await new_run(client, thread_id), "requires_action")
        call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
        output = {"tool_outputs": [{"tool_call_id": call["id"], "output": '{"sky":"```blue```"}'}]}
        path = f"threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
        await run_to(client, (await client.post(path, json=output)).json(), "completed")
        return thread_id

    async def test_markdown_reads_well(self, start: Start):
        settings = {"assistant_tools": TOOLS, "assistant_name": "Pumpkin", "public_url": "https://x.example/"}
        async with start(**settings) as service:
            thread_id = await self._thread(service.client)
            response = await service.client.get(f"threads/{thread_id}/export", params={"format": "markdown"})
            assert response.headers["content-type"] == "text/markdown; charset=utf-8"
            assert response.headers["content-disposition"] == f'attachment; filename="{thread_id}.md"'
            text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "NOW", response.text)
            text = re.sub(r"https://x\.example/api/v1/files/[^/]+/content", "URL", text)
            assert text == EXPECTED.replace("THREAD", thread_id)

    async def test_json_tells_what_tools_did(self, start: Start):
        async with start(assistant_tools=TOOLS) as service:
            thread_id = await self._thread(service.client)
            found = await exported(service.client, thread_id)
            assert set(found) == {"object", "thread", "data", "tool_calls", "feedback"}
            assert [message["role"] for message in found["data"]] == ["user", "assistant"] * 3
            assert found["data"][1]["run_id"]
            assert found["data"][0]["attachments"]
            asked = [message["id"] for message in found["data"]][::2]
            assert [(call["type"], call["after"]) for call in found["tool_calls"]] == [
                ("file_search", asked[0]),
                ("code_interpreter", asked[1]),
                ("function", asked[2]),
            ]
            assert found["tool_calls"][2]["output"] == '{"sky":"```blue```"}'
            assert found["thread"]["id"] == thread_id

    async def test_a_foreign_thread_cannot_be_exported(self, start: Start, upstream):
        async with start(url=upstream, secret_keys=[SECRET]) as mine:
            thread_id = await new_thread(mine.client, "hi")
        async with start(url=upstream, secret_keys=["t" * 32]) as other:
            error_of(await other.client.get(f"threads/{thread_id}/export"), 404)

    async def test_the_assistants_own_list_can_be_imported(self, client):
        thread_id = await new_thread(client, "one", "two")
        page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
        made = await imported(client, page)
        assert said((await exported(client, made["thread"]["id"]))["data"]) == [
            ("user", ["one"]),
            ("user", ["two"]),
        ]
        assert ASSISTANT in (await client.get("assistants")).text


EXPECTED = """# Conversation with Pumpkin

Thread `THREAD` · begun NOW · 6 messages

---

**User** · NOW

cite: the pump

*Attached: [pump (v2).txt](URL), for file search*

*Searched the files for “the pump”*

**Pumpkin** · NOW

According to the file, the pump[^1].

**User** · NOW

chart: a 1 b 2

*Ran code:*

```python
bar_chart({'a': 1.0, 'b': 2.0}, 'chart.png')
```

**Pumpkin** · NOW

Here is the chart: [chart.png](URL)

**User** · NOW

use the tool

*Called `get_weather`:*

```json
{"city":"some city"}
```

*It answered:*

````
{"sky":"```blue```"}
````

**Pumpkin** · NOW

The tool answered: {"sky":"```blue```"}

---

[^1]: pump \\[v2\\].txt
"""
