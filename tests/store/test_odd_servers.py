"""Servers that answer otherwise than OpenAI would: those of LM Studio and OpenRouter."""

import pytest

from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.support import error_of


@pytest.fixture
def settings(tmp_path):
    return {"conversations": "own", "store_url": f"sqlite:///{tmp_path / 'soloist.db'}"}


async def _lm_studio(request, connection, fake):
    if (request.method, request.path) == ("POST", "/v1/responses"):
        await fake.handle(request, connection)
    else:
        await connection.answer(200, {"error": f"Unexpected endpoint or method. ({request.method})"})


async def test_a_200_for_everything_is_no_stored_response(start, settings):
    fake = FakeOpenAI()
    async with (
        fake_upstream(lambda request, connection: _lm_studio(request, connection, fake)) as upstream,
        start(url=upstream.url, **settings) as service,
    ):
        for _ in range(2):
            assert (await service.client.post("chat", json={"message": "hi"})).status_code == 200
        made = [request.json for request in upstream.requests if request.method == "POST"]
    assert [request["store"] for request in made] == [True, False]


async def test_a_200_for_everything_leaves_it_undecided(start, settings):
    fake = FakeOpenAI()
    async with (
        fake_upstream(lambda request, connection: _lm_studio(request, connection, fake)) as upstream,
        start(url=upstream.url, **settings | {"conversations": "auto"}) as service,
    ):
        assert error_of(await service.client.post("chat", json={"message": "hi"}), 502)
        health = (await service.client.get("health")).json()
    assert health["upstream"]["conversations"] == "undecided"


async def test_a_server_that_refuses_to_store_is_asked_again_without(start, settings):
    fake = FakeOpenAI()

    async def handle(request, connection):
        if request.method == "GET":
            await connection.answer(404, {"error": {"message": "Not Found"}})
        elif request.json.get("store"):
            await connection.answer(400, {"error": {"code": "invalid_prompt", "message": "store"}})
        else:
            await fake.handle(request, connection)

    async with fake_upstream(handle) as upstream, start(url=upstream.url, **settings) as service:
        for _ in range(2):
            assert (await service.client.post("chat", json={"message": "hi"})).status_code == 200
        made = [request.json for request in upstream.requests if request.method == "POST"]
    assert [request["store"] for request in made] == [True, False, False]
