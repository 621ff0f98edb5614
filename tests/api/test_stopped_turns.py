"""A foreground turn that is stopped or breaks keeps what was said: upstreams store turns that complete."""

import asyncio
import json

import pytest

from tests.dialects import DIALECTS, request_of
from tests.fake_upstream import fake_upstream
from tests.security.redis_server import redis_server
from tests.support import ASSISTANT, Json, embedded_upstream, frames, is_idle, names, new_thread, until

PROMPT = "slow: story"
NOW = 4_000_000_000
"""No id of these tests holds a time."""


@pytest.fixture
async def pair(start, upstream):
    async with start(url=upstream, is_served=True) as service:
        yield service, upstream


async def read_until(response, mark):
    text = ""
    async for piece in response.aiter_text():
        text += piece
        if mark in text:
            break
    return text


async def said(client, thread_id):
    """Role, status and text of a thread's messages, oldest first."""
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [(found["role"], found["status"], found["content"][0]["text"]["value"]) for found in page["data"]]


async def left(client, body):
    """Stream a chat until it has said something, and go; what was read."""
    async with client.stream("POST", "chat", json={"stream": True} | body) as response:
        return await read_until(response, "word1")


class TestLeaving:
    async def test_a_chat_that_is_left_keeps_the_question_and_what_was_said(self, pair):
        service, upstream = pair
        thread_id = await new_thread(service.client)
        await left(service.client, {"message": PROMPT, "thread_id": thread_id})
        await until(lambda: is_idle(upstream))

        async def is_kept():
            return len(await said(service.client, thread_id)) == 2

        await until(is_kept)
        question, answer = await said(service.client, thread_id)
        assert question == ("user", "completed", PROMPT)
        assert answer[:2] == ("assistant", "incomplete")
        assert answer[2].startswith("word0 word1")

    async def test_the_next_turn_waits_for_it(self, pair):
        service, _ = pair
        thread_id = await new_thread(service.client)
        await left(service.client, {"message": PROMPT, "thread_id": thread_id})
        answer = await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
        assert answer.status_code == 200
        texts = [text for _, _, text in await said(service.client, thread_id)]
        assert [texts[0], *texts[2:]] == [PROMPT, "hi", "You said: hi"]
        assert texts[1].startswith("word0")

    async def test_the_same_question_again_is_not_taken_for_the_one_before(self, pair):
        service, _ = pair
        thread_id = await new_thread(service.client)
        for _ in range(2):
            await left(service.client, {"message": PROMPT, "thread_id": thread_id})
        await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
        roles = [role for role, _, _ in await said(service.client, thread_id)]
        assert roles == ["user", "assistant"] * 3

    async def test_a_run_that_was_left_reads_as_cancelled(self, pair):
        service, _ = pair
        text = await left(service.client, {"message": PROMPT})
        begun = frames(text[: text.rindex("\n\n")])[0][1]
        path = f"threads/{begun['thread_id']}/runs/{begun['run_id']}"

        async def is_cancelled():
            return (await service.client.get(path)).json()["status"] == "cancelled"

        await until(is_cancelled)


class TestFinishing:
    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_an_answer_is_read_to_its_end_and_keeps_its_place(self, start, adapter, is_stream):
        knobs = {"token_ms": 30}
        async with (
            embedded_upstream(**knobs) as url,
            start(url=url, is_served=True, upstream_adapter=adapter) as service,
        ):
            client, registry = service.client, service.app.state.registry
            thread_id = await new_thread(client)
            prompt = " ".join(f"word{number}" for number in range(20))
            body = {"message": prompt, "thread_id": thread_id, "on_disconnect": "finish", "stream": is_stream}
            asking = asyncio.create_task(client.post("chat", json=body))
            await until(lambda: is_busy(url))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert registry.open_streams == 1
            await until(lambda: registry.open_streams == 0)
            assert await said(client, thread_id) == [
                ("user", "completed", prompt),
                ("assistant", "completed", f"You said: {prompt}"),
            ]

    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_a_shutdown_ends_it_after_the_grace_and_the_turn_is_kept(self, start, upstream, is_stream):
        async with start(url=upstream, is_served=True, shutdown_grace_seconds=0.3) as service:
            thread_id = await new_thread(service.client)
            body = {"message": PROMPT, "thread_id": thread_id, "on_disconnect": "finish", "stream": is_stream}
            asking = asyncio.create_task(service.client.post("chat", json=body))
            await until(lambda: is_busy(upstream))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with start(url=upstream) as service:
            kept = await said(service.client, thread_id)
        assert [role for role, _, _ in kept] == ["user", "assistant"][: 1 + is_stream]
        assert kept[0][2] == PROMPT


async def is_busy(url):
    return not await is_idle(url)


class Interrupted:
    """An upstream with these items whose stream breaks off after two words; so many `locks` come first."""

    def __init__(self, items=(), locks=0, on_lock=None, refuses_status=False):
        self.items = list(items)
        self.locks = locks
        self.on_lock = on_lock
        self.refuses_status = refuses_status
        self.appended = []

    async def __call__(self, request, connection):
        if request.path == "/v1/responses":
            await connection.start_stream()
            for event in EVENTS:
                await connection.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            await connection.end_stream()
        elif not request.path.endswith("/items"):
            await connection.answer(200, {"id": "conv_1", "created_at": NOW, "metadata": {}})
        elif request.method == "GET":
            await connection.answer(200, {"data": self.items, "has_more": False})
        elif self.locks:
            self.locks -= 1
            if self.on_lock:
                self.items.insert(0, self.on_lock)
            await connection.answer(400, {"error": {"message": "busy", "code": "conversation_locked"}})
        elif self.refuses_status and any("status" in item for item in request.json["items"]):
            await connection.answer(400, {"error": {"message": "unknown", "param": "items[1].status"}})
        else:
            self.appended += request.json["items"]
            await connection.answer(200, {"data": request.json["items"], "has_more": False})


RESPONSE = {"id": "resp_1", "object": "response", "created_at": NOW, "status": "in_progress", "output": []}
PLACE = {"output_index": 1, "content_index": 0, "item_id": "msg_answer"}
EVENTS: list[Json] = [
    {"type": "response.created", "response": RESPONSE},
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {"id": "rs_1", "type": "reasoning", "summary": []},
    },
    {"type": "response.output_text.delta", "delta": "You ", **PLACE},
    {"type": "response.output_text.delta", "delta": "said:", **PLACE},
]


def message(role, text, message_id):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "id": message_id, "content": [{"type": kind, "text": text}]}


EARLIER = [message("assistant", "Hello.", "msg_2"), message("user", "hi", "msg_1")]
QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
PARTIAL = {
    "type": "message",
    "role": "assistant",
    "status": "incomplete",
    "content": [{"type": "output_text", "text": "You said:", "annotations": []}],
}


@pytest.fixture
def broken(start, adapter):
    """Chat with an upstream whose stream breaks off; the answer, once the turn was looked after."""

    async def chat(upstream, dialect="chat"):
        async with (
            fake_upstream(upstream) as fake,
            start(url=fake.url, is_served=True, upstream_adapter=adapter) as service,
        ):
            path, body = request_of(dialect, "hi")
            body = body | ({"on_disconnect": "cancel"} if dialect == "assistants" else {})
            return (await service.client.post(path, json=body)).text

    return chat


class TestBreaking:
    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_the_question_and_what_was_said_are_appended(self, broken, dialect):
        upstream = Interrupted()
        await broken(upstream, dialect)
        assert upstream.appended == [*([] if dialect == "assistants" else [QUESTION]), PARTIAL]

    async def test_what_was_said_before_is_not_taken_for_the_question(self, broken):
        upstream = Interrupted(EARLIER)
        await broken(upstream)
        assert upstream.appended == [QUESTION, PARTIAL]

    @pytest.mark.parametrize(
        ("stored", "missing"),
        [
            ([message("user", "hi", "msg_3")], [PARTIAL]),
            ([message("assistant", "You said: hi", "msg_answer"), message("user", "hi", "msg_3")], []),
        ],
    )
    async def test_what_the_upstream_has_stored_is_not_appended_again(self, broken, stored, missing):
        upstream = Interrupted([*stored, *EARLIER])
        await broken(upstream)
        assert upstream.appended == missing

    async def test_a_locked_conversation_is_waited_for(self, broken):
        upstream = Interrupted(EARLIER, locks=3)
        await broken(upstream)
        assert upstream.appended == [QUESTION, PARTIAL]

    async def test_a_conversation_that_went_on_is_left_as_it_is(self, broken):
        upstream = Interrupted(EARLIER, locks=1, on_lock=message("user", "something else", "msg_4"))
        await broken(upstream)
        assert upstream.appended == []

    async def test_a_status_that_the_upstream_does_not_take_is_left_out(self, broken):
        upstream = Interrupted(refuses_status=True)
        await broken(upstream)
        assert [item.get("status") for item in upstream.appended] == [None, None]
        assert len(upstream.appended) == 2


async def first_event(response, name):
    text = await read_until(response, f"event: {name}\n")
    while not text.endswith("\n\n"):
        text += await anext(response.aiter_text())
    return next(data for found, data in frames(text) if found == name)


class TestCancelling:
    async def test_a_streamed_chat_is_stopped_by_its_run_id(self, pair, adapter):
        service, upstream = pair
        body = {"message": PROMPT, "stream": True}
        async with service.client.stream("POST", "chat", json=body) as response:
            pieces = response.aiter_text()
            text = ""
            while "word1" not in text:
                text += await anext(pieces)
            begun = frames(text[: text.rindex("\n\n")])[0][1]
            path = f"threads/{begun['thread_id']}/runs/{begun['run_id']}"
            run = (await service.client.post(f"{path}/cancel")).json()
            text += "".join([piece async for piece in pieces])
        assert (run["id"], run["status"]) == (begun["run_id"], "cancelled")
        assert names(frames(text)) == ["thread", "delta", "done"]
        assert frames(text)[-1][1]["status"] == "cancelled"
        assert [role for role, _, _ in await said(service.client, begun["thread_id"])] == [
            "user",
            "assistant",
        ]
        assert await is_idle(upstream)
        assert (await service.client.get(path)).json()["status"] == "cancelled"
        again = await service.client.post(f"{path}/cancel")
        assert (again.status_code, again.json()["error"]["code"]) == (400, "run_not_cancellable")

    async def test_an_assistants_stream_ends_with_its_cancelled_run(self, pair):
        service, _ = pair
        thread_id = await new_thread(service.client, PROMPT)
        body = {"assistant_id": ASSISTANT, "stream": True, "on_disconnect": "cancel"}
        async with service.client.stream("POST", f"threads/{thread_id}/runs", json=body) as response:
            pieces = response.aiter_text()
            text = ""
            while "word1" not in text:
                text += await anext(pieces)
            run_id = frames(text[: text.rindex("\n\n")])[0][1]["id"]
            await service.client.post(f"threads/{thread_id}/runs/{run_id}/cancel")
            text += "".join([piece async for piece in pieces])
        assert names(frames(text))[-4:] == [
            "thread.message.incomplete",
            "thread.run.step.cancelled",
            "thread.run.cancelled",
            "done",
        ]

    async def test_another_threads_run_is_unknown(self, pair):
        service, upstream = pair
        other = await new_thread(service.client)
        async with service.client.stream(
            "POST", "chat", json={"message": PROMPT, "stream": True}
        ) as response:
            begun = await first_event(response, "thread")
            refused = await service.client.post(f"threads/{other}/runs/{begun['run_id']}/cancel")
            assert refused.status_code == 404
            assert not await is_idle(upstream)

    @pytest.mark.needs_redis
    async def test_another_replica_stops_it_over_redis(self, start, upstream, tmp_path):
        async with redis_server(tmp_path) as redis:
            settings = {"url": upstream, "is_served": True, "rate_limit_storage": redis.url}
            async with start(**settings) as one, start(**settings) as other:
                body = {"message": PROMPT, "stream": True}
                async with one.client.stream("POST", "chat", json=body) as response:
                    pieces = response.aiter_text()
                    text = ""
                    while "word1" not in text:
                        text += await anext(pieces)
                    begun = frames(text[: text.rindex("\n\n")])[0][1]
                    path = f"threads/{begun['thread_id']}/runs/{begun['run_id']}"
                    run = (await other.client.post(f"{path}/cancel")).json()
                    text += "".join([piece async for piece in pieces])
                assert (run["id"], run["status"]) == (begun["run_id"], "cancelled")
                assert frames(text)[-1][1]["status"] == "cancelled"
                kept = await said(other.client, begun["thread_id"])
                assert [role for role, _, _ in kept] == ["user", "assistant"]

    @pytest.mark.needs_redis
    async def test_another_replica_stops_it_by_deleting_the_thread(self, start, upstream, tmp_path):
        async with redis_server(tmp_path) as redis:
            settings = {"url": upstream, "is_served": True, "rate_limit_storage": redis.url}
            async with start(**settings) as one, start(**settings) as other:
                body = {"message": PROMPT, "stream": True}
                async with one.client.stream("POST", "chat", json=body) as response:
                    pieces = response.aiter_text()
                    text = ""
                    while "word1" not in text:
                        text += await anext(pieces)
                    thread_id = frames(text[: text.rindex("\n\n")])[0][1]["thread_id"]
                    deleted = await other.client.delete(f"threads/{thread_id}")
                    text += "".join([piece async for piece in pieces])
                assert deleted.status_code == 200
                assert frames(text)[-1][1]["status"] == "cancelled"
                assert (await other.client.get(f"threads/{thread_id}")).status_code == 404

    async def test_without_redis_another_replica_says_why_it_cannot(self, start, upstream):
        async with start(url=upstream, is_served=True) as one, start(url=upstream) as other:
            body = {"message": PROMPT, "stream": True}
            async with one.client.stream("POST", "chat", json=body) as response:
                begun = await first_event(response, "thread")
                path = f"threads/{begun['thread_id']}/runs/{begun['run_id']}"
                refused = await other.client.post(f"{path}/cancel")
        assert refused.status_code == 400
        assert "another replica" in refused.json()["error"]["message"]
