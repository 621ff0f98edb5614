"""Programs for version 1 of the Assistants API, and those that begin by sending the assistant as it is."""

import httpx2
import pytest

from app.translate.tools import to_responses_tools
from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.support import ASSISTANT, WEATHER, error_of, finished_run, new_thread, run_to

RETRIEVAL = {"type": "retrieval"}
CODE = {"type": "code_interpreter"}
SEARCH = {"type": "file_search", "max_num_results": 5}
SETTINGS = {
    "assistant_name": "Helper",
    "assistant_instructions": "Be brief.",
    "assistant_temperature": 0.5,
    "assistant_tools": [WEATHER, RETRIEVAL, CODE],
    "assistant_vector_stores": ["vs_1"],
}


class TestUpdate:
    """An update that changes nothing answers the assistant."""

    @pytest.fixture
    async def client(self, start, upstream):
        async with start(url=upstream, **SETTINGS) as service:
            yield service.client

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": "Helper"},
            {"name": None, "description": None, "metadata": None, "response_format": None},
            {"metadata": {}, "file_ids": [], "tool_resources": {}},
            {
                "tool_resources": {
                    "code_interpreter": {"file_ids": []},
                    "file_search": {"vector_store_ids": []},
                }
            },
            {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
            {"tools": [CODE, RETRIEVAL, WEATHER]},
            {"tools": [{"type": "file_search", "file_search": None}, CODE, WEATHER]},
            {"tools": [RETRIEVAL, CODE, {**WEATHER, "function": {**WEATHER["function"], "strict": False}}]},
            {"model": "gpt-6-luna", "temperature": 0.5, "response_format": "auto"},
        ],
    )
    async def test_what_is_so_is_accepted(self, client, body):
        known = (await client.get(f"assistants/{ASSISTANT}")).json()
        response = await client.post(f"assistants/{ASSISTANT}", json=body)
        assert (response.status_code, response.json()) == (200, known)
        assert "x-ignored-params" not in response.headers

    async def test_the_whole_object_can_be_sent_back(self, client):
        known = (await client.get(f"assistants/{ASSISTANT}")).json()
        assert (await client.post(f"assistants/{ASSISTANT}", json=known)).json() == known
        assert (await client.post(f"assistants/{ASSISTANT}")).json() == known

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", "Other"),
            ("description", "new"),
            ("model", "gpt-4"),
            ("instructions", "Be long."),
            ("temperature", 1),
            ("top_p", 0.1),
            ("response_format", {"type": "json_object"}),
            ("reasoning_effort", "high"),
            ("metadata", {"a": "b"}),
            ("tools", []),
            ("tools", [CODE, CODE, WEATHER]),
            ("tools", [RETRIEVAL, CODE, {**WEATHER, "function": {"name": "other"}}]),
            ("tools", [WEATHER, SEARCH, CODE]),
            ("tools", "all"),
            ("tool_resources", {"file_search": {"vector_store_ids": ["vs_2"]}}),
            ("tool_resources", {"file_search": {"vector_stores": [{"file_ids": ["file-1"]}]}}),
            ("file_ids", ["file-1"]),
            ("id", "asst_other"),
        ],
    )
    async def test_a_change_is_refused_and_named(self, client, field, value):
        error = error_of(await client.post(f"assistants/{ASSISTANT}", json={field: value}), 400)
        assert (error["param"], error["code"]) == (field, "assistant_is_fixed")
        assert f"'{field}'" in error["message"]

    async def test_unknown_fields_are_named(self, client):
        response = await client.post(f"assistants/{ASSISTANT}", json={"other": 1})
        assert (response.status_code, response.headers["x-ignored-params"]) == (200, "other")

    async def test_another_assistant_is_unknown(self, client):
        assert error_of(await client.post("assistants/asst_other", json={}), 404)["param"] == "assistant_id"


class TestTools:
    async def test_retrieval_is_file_search(self, start):
        fake = FakeOpenAI()
        async with (
            fake_upstream(fake.handle) as found,
            start(url=found.url, assistant_tools=[RETRIEVAL], assistant_vector_stores=["vs_1"]) as service,
        ):
            assistant = (await service.client.get(f"assistants/{ASSISTANT}")).json()
            assert assistant["tools"] == [{"type": "file_search"}]
            await service.client.post("chat", json={"message": "hello"})
            body = {"tools": [RETRIEVAL], "additional_messages": [{"role": "user", "content": "hello"}]}
            assert (await service.client.post("threads/thread_1/runs", json=body)).status_code == 200
        assert [sent["tools"] for sent in fake.sent] == [
            [{"type": "file_search", "vector_store_ids": ["vs_1"]}]
        ] * 2

    async def test_hosted_tools_of_a_run_keep_their_options(self, start):
        tools = [
            {"type": "mcp", "server_label": "x", "server_url": "https://x.example", "headers": {"a": "b"}},
            {"type": "mcp", "server_label": "y", "authorization": "token", "allowed_tools": ["t"]},
            {"type": "web_search", "user_location": {"type": "approximate", "country": "DE"}},
        ]
        fake = FakeOpenAI()
        async with fake_upstream(fake.handle) as found, start(url=found.url) as service:
            body = {"tools": tools, "additional_messages": [{"role": "user", "content": "hello"}]}
            assert (await service.client.post("threads/thread_1/runs", json=body)).status_code == 200
        assert fake.sent[0]["tools"] == tools

    @pytest.mark.parametrize("nested", [False, True])
    def test_options_of_file_search_flat_and_nested(self, nested):
        options = {
            "filters": {"type": "eq", "key": "a", "value": "b"},
            "max_num_results": 3,
            "ranking_options": {"score_threshold": 0.5},
        }
        tool = {"type": "file_search"} | ({"file_search": options} if nested else options)
        resources = {"file_search": {"vector_store_ids": ["vs_1"]}}
        assert to_responses_tools([tool], resources) == [
            {"type": "file_search", "vector_store_ids": ["vs_1"], **options}
        ]


class TestFiles:
    @pytest.mark.parametrize(
        ("tools", "given"),
        [
            ([CODE, {"type": "file_search"}], ["file_search"]),
            ([RETRIEVAL], ["file_search"]),
            ([CODE], ["code_interpreter"]),
            ([WEATHER], []),
        ],
    )
    async def test_file_ids_are_attachments(self, start, upstream, tools, given):
        async with start(url=upstream, assistant_tools=tools) as service:
            file_id = await uploaded(service.client)
            attachments = [{"file_id": file_id, "tools": [{"type": kind} for kind in given]}]
            thread_id = await new_thread(service.client)
            message = {"role": "user", "content": "hello", "file_ids": [file_id]}
            made = (await service.client.post(f"threads/{thread_id}/messages", json=message)).json()
            assert made["attachments"] == attachments
            thread = (await service.client.post("threads", json={"messages": [message]})).json()
            page = (await service.client.get(f"threads/{thread['id']}/messages")).json()
            assert page["data"][0]["attachments"] == attachments
            assert list(thread["tool_resources"]) == given

    async def test_a_file_that_nobody_has_is_named(self, client):
        thread_id = await new_thread(client)
        body = {"role": "user", "content": "hello", "file_ids": ["file-unknown"]}
        response = await client.post(f"threads/{thread_id}/messages", json=body)
        assert error_of(response, 404)["param"] == "file_ids[0]"


async def uploaded(client: httpx2.AsyncClient) -> str:
    files, data = {"file": ("notes.txt", b"notes")}, {"purpose": "assistants"}
    return str((await client.post("files", files=files, data=data)).json()["id"])


class TestOneAssistant:
    """There is one assistant, so nobody has to name it."""

    @pytest.mark.parametrize("kwargs", [{}, {"json": {}}, {"json": {"assistant_id": None}}, {"json": None}])
    async def test_a_run_needs_no_body(self, client, kwargs):
        thread_id = await new_thread(client, "hello")
        response = await client.post(f"threads/{thread_id}/runs", **kwargs)
        assert response.status_code == 200
        run = await run_to(client, response.json(), "completed")
        assert run["assistant_id"] == ASSISTANT

    async def test_an_empty_json_body_is_none(self, client):
        thread_id = await new_thread(client, "hello")
        headers = {"content-type": "application/json"}
        response = await client.post(f"threads/{thread_id}/runs", content=b"", headers=headers)
        assert response.status_code == 200

    async def test_a_thread_and_its_run_need_no_assistant(self, client):
        thread = {"messages": [{"role": "user", "content": "hello"}]}
        run = (await client.post("threads/runs", json={"thread": thread})).json()
        assert (await run_to(client, run, "completed"))["assistant_id"] == ASSISTANT
        # Nothing to answer, but not for want of a body.
        assert error_of(await client.post("threads/runs"), 400)["code"] == "thread_is_empty"

    async def test_another_assistant_is_still_unknown(self, client):
        run = await finished_run(client, "hello")
        body = {"assistant_id": "asst_other"}
        response = await client.post(f"threads/{run['thread_id']}/runs", json=body)
        assert error_of(response, 404)["param"] == "assistant_id"
