"""Runs that add nothing to their thread: what the upstream is sent, and what an empty thread answers."""

import orjson
import pytest

from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import Connection, Request, fake_upstream, pass_on
from tests.support import ASSISTANT, error_of, new_run, new_thread, run_to

FASTAPI = {"detail": [{"type": "missing", "loc": ["body", "input"], "msg": "Field required"}]}
OGX = {"error": {"detail": {"errors": [{"type": "missing", "loc": ["body", "input"], "msg": "x"}]}}}
OPENAI = {"error": {"message": "Invalid 'input': empty array.", "param": "input", "code": "empty_array"}}
NULL_PARAM = [
    {"error": {"message": "Missing required parameter: 'input'.", "param": None}},
    {"error": {"message": "One of 'input' or 'prompt' must be provided.", "param": None}},
    {"error": {"message": "input must not be empty", "param": None}},
]
NOT_THE_INPUT = [
    {"error": {"message": "Missing required parameter: 'input[0].content'.", "param": None}},
    {"error": {"message": "The number of input tokens is too large.", "param": None}},
]
OTHER = {"error": {"message": "No.", "param": "temperature", "code": "unsupported_parameter"}}
RUN = {"assistant_id": ASSISTANT}
CHAT = {"message": "hello"}


def inputs(upstream):
    found = [
        orjson.loads(r.body) for r in upstream.requests if (r.method, r.path) == ("POST", "/v1/responses")
    ]
    return [body.get("input", "absent") for body in found]


@pytest.fixture
def refusing(upstream):
    """An upstream that refuses some bodies of new responses, and passes the rest on to the scripted one."""

    def begin(status, refusal, refuses):
        async def handle(request: Request, connection: Connection) -> None:
            if request.path == "/v1/responses" and request.method == "POST" and refuses(request.json):
                await connection.answer(status, refusal)
            else:
                await pass_on(upstream, request, connection)

        return fake_upstream(handle)

    return begin


@pytest.mark.parametrize("body", [{}, {"stream": True}])
async def test_the_input_is_empty_where_a_run_adds_nothing(start, refusing, body):
    async with refusing(400, OPENAI, lambda _: False) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client, "hello")
        response = await service.client.post(f"threads/{thread_id}/runs", json=RUN | body)
        assert response.status_code == 200
        new = {"thread": {"messages": [{"role": "user", "content": "hello"}]}}
        assert (await service.client.post("threads/runs", json=RUN | new | body)).status_code == 200
        assert inputs(fake) == [[], []]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [(422, FASTAPI), (400, OGX), (400, OPENAI), *((400, each) for each in NULL_PARAM)],
)
async def test_a_refused_empty_input_is_left_out_from_then_on(start, refusing, status, refusal):
    def refuses(body):
        return body.get("input") == []

    async with refusing(status, refusal, refuses) as fake, start(url=fake.url) as service:
        for _ in range(2):
            thread_id = await new_thread(service.client, "hello")
            await run_to(service.client, await new_run(service.client, thread_id), "completed")
        assert inputs(fake) == [[], "absent", "absent"]


async def test_a_refusal_of_something_else_is_not_repeated(start, refusing):
    async with refusing(400, OTHER, lambda _: True) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client, "hello")
        response = await service.client.post(f"threads/{thread_id}/runs", json=RUN)
        assert error_of(response, 400)["param"] == "temperature"
        assert inputs(fake) == [[]]


@pytest.mark.parametrize("refusal", NOT_THE_INPUT, ids=str)
async def test_a_refusal_that_only_mentions_an_input_is_not_repeated(start, refusing, refusal):
    async with refusing(400, refusal, lambda _: True) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client, "hello")
        error_of(await service.client.post(f"threads/{thread_id}/runs", json=RUN), 400)
        assert inputs(fake) == [[]]


async def test_a_thread_with_messages_is_never_called_empty(start, refusing):
    async with refusing(422, FASTAPI, lambda _: True) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client, "hello")
        response = await service.client.post(f"threads/{thread_id}/runs", json=RUN)
        assert error_of(response, 400)["code"] == "upstream_refused"
        assert inputs(fake) == [[], "absent"]


@pytest.mark.parametrize("body", [{}, {"stream": True}])
async def test_a_run_on_an_empty_thread_is_refused_with_a_word_about_the_thread(client, body):
    thread_id = await new_thread(client)
    error = error_of(await client.post(f"threads/{thread_id}/runs", json=RUN | body), 400)
    assert error["code"] == "thread_is_empty"
    assert error["message"] == "The thread has no messages. Add one first, or send additional_messages."
    additional = {"additional_messages": [{"role": "user", "content": "hello"}]}
    assert (await client.post(f"threads/{thread_id}/runs", json=RUN | body | additional)).status_code == 200


@pytest.mark.parametrize("body", [{}, {"stream": True}, {"thread": {"metadata": {"a": "b"}}}])
async def test_no_thread_is_made_for_a_run_that_has_nothing_to_answer(start, body):
    openai = FakeOpenAI()
    async with fake_upstream(openai.handle) as found, start(url=found.url) as service:
        found.requests.clear()
        error = error_of(await service.client.post("threads/runs", json=RUN | body), 400)
        assert found.requests == []
    assert (error["code"], error["param"]) == ("thread_is_empty", "thread.messages")


async def test_a_chat_sends_its_message_once(start):
    fake = FakeOpenAI()
    async with fake_upstream(fake.handle) as found, start(url=found.url) as service:
        fake.refusals.append((400, OPENAI, {}))
        error_of(await service.client.post("chat", json=CHAT), 400)
        assert len(fake.sent) == 1
