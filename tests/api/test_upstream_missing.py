"""An upstream's 404: our object is unknown only if it is named, else it is for the operator to check."""

import json
from typing import Any

import pytest

from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import Connection, Request, always, fake_upstream
from tests.support import ASSISTANT, error_of

CONVERSATION = "conv_0123456789abcdef"
THREAD = "thread_0123456789abcdef"
UNKNOWN: list[tuple[int, Any]] = [
    (404, {"error": {"message": f"Conversation with id '{CONVERSATION}' not found."}}),
    (404, {"detail": f"Conversation '{CONVERSATION}' not found."}),
    (404, {"error": {"message": "Not there.", "code": "conversation_not_found"}}),
    (404, {"detail": f"There is no {CONVERSATION}"}),
    (400, {"error": {"message": "Invalid 'conversation': 'x'. Expected an ID.", "param": "conversation"}}),
    (400, {"detail": f"Conversation {CONVERSATION} does not exist"}),
    (422, {"detail": [{"loc": ["path", "conversation_id"], "msg": "String should match pattern"}]}),
]
ROUTES: list[Any] = [
    b"<html><h1>404 Not Found</h1></html>",
    b"",
    {"detail": "Not Found"},
    {"error": {"code": "404", "message": "Resource not found"}},
    {"error": {"message": f"Unknown request URL: GET /v1/conversations/{CONVERSATION}."}},
    {"error": f"Cannot POST /v1/conversations/{CONVERSATION}"},
    {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}},
]
MODELS: list[tuple[int, Any]] = [
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
    (404, {"error": {"code": "model_not_found", "message": "The model `x` does not exist."}}),
    (403, {"error": {"code": "model_not_found", "message": "No access to model `x`."}}),
    (400, {"error": {"code": "model_not_found", "message": "x", "param": "model"}}),
    (404, {"detail": "Model 'x' not found. Use 'client.models.list()' to list available Models."}),
]
RUN = {"assistant_id": ASSISTANT}
OTHER_REFUSALS: list[Any] = [
    {"error": {"message": "Unknown parameter: 'conversation'.", "param": "conversation"}},
    {"error": {"message": "Conversation is not supported with this model.", "param": "conversation"}},
    {"error": {"message": "Invalid 'temperature'.", "param": "temperature"}},
]


ELSEWHERE: list[tuple[int, str, str]] = [
    (400, "Item 'msg_1' of conversation 'conv_1' was not found", "upstream_refused"),
    (
        400,
        "Duplicate item found with id msg_1. In conversation: item with that id not found",
        "upstream_refused",
    ),
    (400, "File 'file-1' in conversation conv_1 does not exist", "upstream_refused"),
    (400, "Invalid conversation state", "upstream_refused"),
    (404, "Item with id 'rs_1' not found in conversation 'conv_1'.", "upstream_object_not_found"),
    (404, "File 'file-1' of the conversation conv_1 does not exist", "upstream_object_not_found"),
]


@pytest.mark.parametrize(("status", "body"), UNKNOWN, ids=json.dumps)
async def test_an_unknown_thread_is_a_404_whatever_the_refusal_looks_like(start, adapter, status, body):
    async with (
        fake_upstream(always(status, body)) as fake,
        start(url=fake.url, upstream_adapter=adapter) as service,
    ):
        client = service.client
        answers = [
            await client.get(f"threads/{THREAD}"),
            await client.get(f"threads/{THREAD}/messages"),
            await client.post(f"threads/{THREAD}/messages", json={"role": "user", "content": "x"}),
            await client.post(f"threads/{THREAD}/runs", json=RUN),
            await client.post("chat", json={"message": "hi", "thread_id": THREAD}),
            await client.delete(f"threads/{THREAD}"),
        ]
    assert [error_of(answer, 404)["code"] for answer in answers] == ["thread_not_found"] * 6


@pytest.mark.parametrize("body", ROUTES, ids=str)
async def test_a_404_of_the_route_is_no_missing_thread(start, body):
    async with fake_upstream(always(404, body)) as fake, start(url=fake.url) as service:
        client = service.client
        answers = [
            await client.get(f"threads/{THREAD}"),
            await client.get(f"threads/{THREAD}/messages", params={"limit": 1}),
            await client.get(f"threads/{THREAD}/runs/run_1"),
            await client.post(f"threads/{THREAD}/runs", json=RUN),
            await client.post("chat", json={"message": "hi"}),
        ]
        file = await client.get("files/file-1")
    assert error_of(file, 400)["code"] == "upstream_has_no_files"
    for answer in answers:
        error = error_of(answer, 502)
        assert error["code"] == "upstream_route_not_found"
        assert "OPENAI_BASE_URL" in error["message"]


@pytest.mark.parametrize(("status", "body"), MODELS, ids=str)
async def test_a_missing_model_is_the_operators(start, status, body):
    openai = FakeOpenAI()
    openai.refusals = [(status, body, {})] * 2
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        answers = [
            await service.client.post("threads/thread_1/runs", json=RUN),
            await service.client.post("chat", json={"message": "hi"}),
        ]
    for answer in answers:
        error = error_of(answer, 502)
        assert error["code"] == "upstream_model_not_found"
        assert "ASSISTANT_MODEL" in error["message"]


@pytest.mark.parametrize("body", OTHER_REFUSALS, ids=str)
async def test_other_refusals_say_nothing_of_the_thread(start, body):
    openai = FakeOpenAI()
    openai.refusals = [(400, body, {})]
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        answer = await service.client.post("threads/thread_1/runs", json=RUN)
    assert error_of(answer, 400)["code"] == "upstream_refused"


@pytest.mark.parametrize(("status", "text", "code"), ELSEWHERE)
async def test_what_is_missing_in_a_conversation_is_not_the_thread(start, status, text, code):
    openai = FakeOpenAI()
    openai.refusals = [(status, {"error": {"message": text, "param": "input"}}, {})]
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        added = {"additional_messages": [{"role": "user", "content": "hello"}]}
        answer = await service.client.post("threads/thread_1/runs", json=RUN | added)
    assert error_of(answer, 400 if status == 400 else 502)["code"] == code


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("messages", 404, "thread_not_found"),
        ("messages?after=msg_x", 400, "invalid_cursor"),
        ("messages/msg_x", 404, "message_not_found"),
    ],
)
async def test_a_missing_item_of_a_conversation_is_told_by_what_was_asked_for(start, path, status, code):
    openai = FakeOpenAI()

    async def handle(request: Request, connection: Connection) -> None:
        if "/items" in request.path:
            refusal = {"message": "No item of conversation 'conv_1' was found."}
            await connection.answer(404, {"error": refusal})
        else:
            await openai.handle(request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        found = await service.client.get(f"threads/thread_1/{path}")
    assert error_of(found, status)["code"] == code


async def test_a_missing_vector_store_of_a_turn_is_not_the_thread(start):
    openai = FakeOpenAI()
    openai.refusals = [(404, {"error": {"message": "Vector store with id 'vs_1' not found."}}, {})]
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        answer = await service.client.post("threads/thread_1/runs", json=RUN)
    assert error_of(answer, 502)["code"] == "upstream_object_not_found"


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("files/file-1", "No such File object: file-1", "file_not_found"),
        ("threads/thread_1/runs/run_1", "Response with id 'resp_1' not found.", "run_not_found"),
        ("threads/thread_1/messages/msg_1", "Item with id 'msg_1' not found.", "message_not_found"),
        ("vector_stores/vs_1", "Vector store with id 'vs_1' not found.", "vector_store_not_found"),
    ],
)
async def test_each_kind_of_object_is_known_by_its_name(start, path, message, code):
    openai = FakeOpenAI()

    async def handle(request: Request, connection: Connection) -> None:
        if request.path == "/v1/files":
            await connection.answer(200, {"object": "list", "data": [], "has_more": False})
        elif "/items/" in request.path or not request.path.startswith("/v1/conversations"):
            await connection.answer(404, {"error": {"message": message}})
        else:
            await openai.handle(request, connection)

    async with (
        fake_upstream(handle) as fake,
        start(url=fake.url, assistant_vector_stores=["vs_1"]) as service,
    ):
        assert error_of(await service.client.get(path), 404)["code"] == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "model_not_found", "message": "x"}}, "upstream_model_not_found"),
        ({"detail": "Not Found"}, "upstream_route_not_found"),
    ],
)
async def test_ready_names_the_cause(start, body, code):
    async with fake_upstream(always(404, body)) as fake, start(url=fake.url) as service:
        found = (await service.client.get("/ready")).json()
    assert code in json.dumps(found)
