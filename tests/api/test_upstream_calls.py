"""What one turn asks of the upstream, by what happens when its client leaves."""

import pytest

from tests.fake_upstream import fake_upstream, pass_on
from tests.support import ASSISTANT, new_thread

MODES = ["auto", "always", "never", "poll", "stream", "off"]
CHAT = "POST /v1/responses"
NEW_THREAD = "POST /v1/conversations"
FILE_SEARCH = {"type": "file_search", "file_search": {}}


@pytest.fixture
def calls(start, upstream):
    """The requests that one POST to the service causes upstream, each with its body, until it is at rest."""

    async def called(path, body, *, on_thread=False, headers=None, **settings):
        async def handle(request, connection):
            await pass_on(upstream, request, connection)

        async with fake_upstream(handle) as fake, start(url=fake.url, is_served=True, **settings) as service:
            if on_thread:
                thread_id = await new_thread(service.client)
                path, body = (
                    path.format(thread_id),
                    {**body, "thread_id": thread_id} if "message" in body else body,
                )
                fake.requests.clear()
            response = await service.client.post(path, json=body, headers=headers)
            assert response.status_code == 200, response.text
        return [(f"{request.method} {request.path}", request) for request in fake.requests]

    return called


def names(made):
    return [name for name, _ in made]


def created(made):
    """The body of the one response that was created."""
    (request,) = [request for name, request in made if name == CHAT]
    return request.json


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("choice", [None, "cancel", "finish"])
async def test_a_chat_is_one_call_and_two_on_a_new_thread(calls, is_stream, choice):
    body = {"message": "hi", "stream": is_stream, "on_disconnect": choice}
    made = await calls("chat", body, on_thread=True)
    assert names(made) == [CHAT]
    sent = created(made)
    assert (sent["stream"], sent["store"], "background" in sent) == (is_stream, True, False)
    assert names(await calls("chat", body)) == [NEW_THREAD, CHAT]


async def test_an_ag_ui_turn_is_one_call_too(calls):
    messages = [{"id": "u1", "role": "user", "content": "hi"}]
    made = await calls("ag-ui", {"threadId": "t", "runId": "r", "messages": messages})
    assert names(made) == [NEW_THREAD, CHAT]
    assert "background" not in created(made)


async def test_file_tools_need_the_threads_own_files(calls):
    made = await calls("chat", {"message": "hi"}, on_thread=True, assistant_tools=[FILE_SEARCH])
    assert [name.split("/")[0] for name in names(made)] == ["GET ", "POST "]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("how", ["asked", "keyed", "set"])
async def test_a_chat_that_outlives_its_client_is_a_background_stream_and_listed(calls, is_stream, how):
    body = {"message": "hi", "stream": is_stream} | ({"on_disconnect": "detach"} if how == "asked" else {})
    headers = {"idempotency-key": "k"} if how == "keyed" else {}
    settings = {"on_disconnect_chat": "detach"} if how == "set" else {}
    made = await calls("chat", body, on_thread=True, headers=headers, **settings)
    sent = created(made)
    assert (sent["stream"], sent["store"], sent["background"]) == (True, True, True)
    read, written = [request for name, request in made if name != CHAT]
    assert (read.method, written.method, read.path) == ("GET", "POST", written.path)
    assert "soloist_runs" in written.json["metadata"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("choice", ["cancel", "finish", "detach"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_setting_decides_over_the_rule(calls, mode, choice, is_stream):
    body = {"message": "hi", "stream": is_stream, "on_disconnect": choice}
    sent = created(await calls("chat", body, upstream_background=mode))
    always, never = mode in {"always", "stream"}, mode in {"never", "off"}
    in_background = always or (choice == "detach" and mode == "auto")
    assert sent.get("background", False) == in_background
    assert sent["stream"] == (is_stream or in_background)
    assert not (never and in_background)


@pytest.mark.parametrize(
    ("mode", "background", "stream"),
    [
        ("auto", True, True),
        ("always", True, True),
        ("stream", True, True),
        ("poll", True, False),
        ("never", False, False),
        ("off", False, False),
    ],
)
async def test_a_run_that_is_polled(calls, mode, background, stream):
    body = {"assistant_id": ASSISTANT, "additional_messages": [{"role": "user", "content": "hi"}]}
    sent = created(await calls("threads/{}/runs", body, on_thread=True, upstream_background=mode))
    assert (sent.get("background", False), sent.get("stream", False)) == (background, stream)


async def test_a_foreground_answer_that_has_not_ended_is_a_502(start):
    response = {"id": "resp_1", "object": "response", "created_at": 1_790_000_000, "output": []}

    async def handle(request, connection):
        found = response | {"status": "in_progress"} if request.path == "/v1/responses" else {"id": "conv_1"}
        await connection.answer(200, found)

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        answer = await service.client.post("chat", json={"message": "hi"})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_broken"
