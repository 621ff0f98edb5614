"""`replaces` before upstreams that refuse, fail in between, and do not take back what they have given."""

import asyncio
import copy

import pytest

from tests.api.scripted_tools import call
from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import error_of, frames, names, until

REFUSED = {
    "error": {"message": "Unknown parameter.", "type": "invalid_request_error", "param": "items[0].id"}
}
BROKEN = {"error": {"message": "The server had an error.", "type": "server_error"}}


def question(text, number):
    part = {"type": "input_text", "text": text}
    return {
        "id": f"msg_q{number}",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [part],
    }


def thread():
    """Three turns; the second one has a picture, reasoning, a call and its answer, and a search."""
    return [
        question("one", 1),
        message("first", 1),
        {
            **question("two", 2),
            "content": [*question("two", 2)["content"], {"type": "input_image", "file_id": "file-1"}],
        },
        {
            "id": "rs_1",
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "encrypted_content": "sealed",
        },
        call("theirs", 1),
        {
            "id": "fco_1",
            "type": "function_call_output",
            "status": "completed",
            "call_id": "call_1",
            "output": "sunny",
        },
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        message("second", 2, phase="final_answer"),
        question("three", 3),
        message("third", 3),
    ]


class Moody(ScriptedOpenAI):
    """Answers requests of some kinds with errors, and takes back only what it likes."""

    def __init__(self, *outputs, takes=lambda item: True):
        super().__init__(*outputs)
        self.items = thread()
        self.takes = takes
        self.failures = {}
        """By method and kind: how many of the next requests fail with which status."""
        self.seen = []

    async def handle(self, request, connection):
        kind = "items" if "/items" in request.path else request.path.split("/")[2]
        self.seen.append((request.method, kind))
        left = self.failures.get((request.method, kind), [])
        status = left.pop(0) if left else None
        if status == "after":
            # Carried out, but nobody is told.
            self._keep(request.json["items"])
            await connection.answer(500, BROKEN)
        elif status:
            await connection.answer(status, BROKEN)
        elif (request.method, kind) == ("POST", "items") and not all(map(self.takes, request.json["items"])):
            await connection.answer(400, REFUSED)
        else:
            await super().handle(request, connection)


@pytest.fixture
def serve(start):
    """Ask an upstream's thread to be replaced from its second turn on; the answer."""

    async def asked(openai, *, handle=None, **body):
        async with (
            fake_upstream(handle or openai.handle) as upstream,
            start(url=upstream.url, is_served=True) as service,
        ):
            whole = {"thread_id": "thread_1", "replaces": "msg_a2"} | body
            return await service.client.post("chat", json=whole)

    return asked


def texts(items):
    return [
        (item["type"], "".join(part.get("text", "") for part in item.get("content") or [])) for item in items
    ]


FAILED_TURN = {("POST", "responses"): [500]}


class TestAsking:
    async def test_the_question_is_sent_as_it_was_stored(self, serve):
        openai = Moody([message("anew", 9)])
        answer = await serve(openai)
        assert (answer.json()["message"], answer.json()["message_id"]) == ("anew", "msg_a9")
        content = [{"type": "input_text", "text": "two"}, {"type": "input_image", "file_id": "file-1"}]
        assert openai.sent[0]["input"] == [{"type": "message", "role": "user", "content": content}]
        assert [item["id"] for item in openai.items[:2]] == ["msg_q1", "msg_a1"]
        assert texts(openai.items[2:]) == [("message", "two"), ("message", "anew")]

    async def test_everything_is_asked_for_and_an_upstream_that_refuses_that_is_asked_less(self, serve):
        openai = Moody([message("anew", 9)])
        openai.failures = {("GET", "items"): [400]}
        answer = await serve(openai)
        assert answer.status_code == 200
        assert openai.seen.count(("DELETE", "items")) == 9

    async def test_the_turn_is_one_request_as_ever(self, serve):
        openai = Moody([message("anew", 9)])
        await serve(openai, message="new")
        reads, writes = ("GET", "items"), ("POST", "items")
        assert openai.seen == [reads, writes, reads, *[("DELETE", "items")] * 9, ("POST", "responses")]


class TestPuttingBack:
    @pytest.mark.parametrize("is_stream", [False, True])
    @pytest.mark.parametrize(
        "failures",
        [
            pytest.param(FAILED_TURN, id="the turn"),
            pytest.param({("DELETE", "items"): [200, 403, 200]}, id="one deletion"),
            pytest.param({("DELETE", "items"): [403] * 9}, id="all deletions"),
            pytest.param({**FAILED_TURN, ("POST", "items"): [None, 500, 500]}, id="putting back"),
            pytest.param({**FAILED_TURN, ("POST", "items"): [None, "after"]}, id="unnoticed success"),
            pytest.param({("POST", "items"): ["after"]}, id="the first write"),
        ],
    )
    async def test_whatever_fails_all_is_back(self, serve, failures, is_stream):
        openai = Moody([message("anew", 9)])
        openai.failures = {
            kind: [each if each != 200 else None for each in left] for kind, left in failures.items()
        }
        answer = await serve(openai, message="new", stream=is_stream)
        assert answer.status_code >= 400
        assert openai.items == thread()

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
    async def test_whatever_refuses_the_turn_all_is_back(self, serve, status):
        openai = Moody([message("anew", 9)])
        openai.failures = {("POST", "responses"): [status] * 3}
        answer = await serve(openai, message="new")
        assert answer.status_code >= 400
        assert openai.items == thread()

    async def test_an_upstream_that_gives_ids_itself(self, serve):
        openai = Moody(takes=lambda item: "id" not in item and item["type"] != "reasoning")
        openai.failures = copy.deepcopy(FAILED_TURN)
        await serve(openai)
        assert texts(openai.items) == [each for each in texts(thread()) if each[0] != "reasoning"]
        assert openai.items[:2] == thread()[:2]
        assert openai.items[2]["content"] == thread()[2]["content"]
        assert all(item["id"].startswith("item_") for item in openai.items[2:])

    async def test_an_upstream_that_takes_messages_and_functions_alone(self, serve):
        kinds = {"message", "function_call", "function_call_output"}
        openai = Moody(takes=lambda item: not item.keys() & {"id", "status"} and item["type"] in kinds)
        openai.failures = copy.deepcopy(FAILED_TURN)
        await serve(openai)
        left = [
            (kind, text if text != "two" else "two[file, not kept]")
            for kind, text in texts(thread())
            if kind in kinds
        ]
        assert texts(openai.items) == left

    async def test_what_others_wrote_meanwhile_stays(self, serve):
        openai = Moody()
        openai.failures = copy.deepcopy(FAILED_TURN)
        theirs = [question("theirs", 7), message("to them", 7)]

        async def handle(request, connection):
            if request.path.endswith("/responses"):
                openai.items += theirs
            await openai.handle(request, connection)

        answer = await serve(openai, handle=handle)
        assert answer.status_code == 502
        assert openai.items == [*thread()[:2], *theirs, *thread()[2:]]

    async def test_a_thread_that_has_gone_on_is_left_alone(self, serve):
        openai = Moody()
        theirs = [question("theirs", 7), message("to them", 7)]

        async def handle(request, connection):
            if request.method == "POST" and request.path.endswith("/items"):
                openai.items += theirs
            await openai.handle(request, connection)

        answer = await serve(openai, handle=handle)
        assert error_of(answer, 409)["code"] == "thread_busy"
        assert openai.items == [*thread(), *theirs]

    async def test_a_locked_thread_is_not_touched(self, start):
        openai = Moody()
        lock = {
            "error": {"message": "Locked.", "code": "conversation_locked", "type": "invalid_request_error"}
        }

        async def handle(request, connection):
            if request.method == "POST":
                await connection.answer(400, lock)
            else:
                await openai.handle(request, connection)

        settings = {"is_served": True, "lock_wait_seconds": 0.1}
        async with fake_upstream(handle) as upstream, start(url=upstream.url, **settings) as service:
            body = {"thread_id": "thread_1", "replaces": "msg_a2"}
            assert error_of(await service.client.post("chat", json=body), 409)["code"] == "thread_busy"
        assert openai.items == thread()
        assert ("DELETE", "items") not in openai.seen


class TestOwnTools:
    """The service carries out the calls, in several responses."""

    async def test_the_whole_run_replaces(self, before, counted):
        openai = Moody([call("ours", 7)], [message("done", 9)])
        async with fake_upstream(openai.handle) as upstream, before(upstream) as service:
            body = {"thread_id": "thread_1", "replaces": "msg_a2", "message": "new", "stream": True}
            events = frames((await service.client.post("chat", json=body)).text)
        assert names(events)[-1] == "done"
        assert events[-1][1]["message_id"] == "msg_a9"
        kinds = ["message", "message", "message", "function_call", "function_call_output", "message"]
        assert [item["type"] for item in openai.items] == kinds
        assert counted() == 1

    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_a_later_round_that_fails_leaves_nothing_behind(self, before, counted, is_stream):
        openai = Moody([call("ours", 7)])
        openai.failures = {("POST", "responses"): [None, 500, 500, 500]}
        async with fake_upstream(openai.handle) as upstream, before(upstream) as service:
            body = {"thread_id": "thread_1", "replaces": "msg_a2", "message": "new", "stream": is_stream}
            answer = await service.client.post("chat", json=body)
            assert names(frames(answer.text))[-1] == "error" if is_stream else answer.status_code == 502
        assert openai.items == thread()
        assert counted() == 1

    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_leaving_while_a_tool_works_leaves_nothing_behind(self, before, counted, is_stream):
        openai = Moody([call("slow", 7)])
        async with fake_upstream(openai.handle) as upstream, before(upstream) as service:
            body = {"thread_id": "thread_1", "replaces": "msg_a2", "message": "new", "stream": is_stream}
            asking = asyncio.create_task(service.client.post("chat", json=body))
            await until(lambda: counted() == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: openai.items == thread())
            openai.outputs = iter([[message("next", 9)]])
            again = {"thread_id": "thread_1", "message": "again", "replaces": "msg_a3"}
            assert (await service.client.post("chat", json=again)).json()["message"] == "next"
        assert openai.items[:-2] == thread()[:-2]

    async def test_stopping_while_a_tool_works_leaves_nothing_behind(self, before, counted):
        openai = Moody([call("slow", 7)])
        async with fake_upstream(openai.handle) as upstream, before(upstream) as service:
            body = {"thread_id": "thread_1", "replaces": "msg_a2", "message": "new", "stream": True}
            asking = asyncio.create_task(service.client.post("chat", json=body))
            await until(lambda: counted() == 1)
            run_id = next(iter(openai.responses)).replace("resp_", "run_")
            await service.client.post(f"threads/thread_1/runs/{run_id}/cancel")
            done = frames((await asking).text)[-1]
        assert (done[0], done[1]["status"], done[1]["message"]) == ("done", "cancelled", "")
        assert openai.items == thread()

    async def test_an_open_call_before_the_turn_is_closed_as_ever(self, serve):
        openai = Moody([message("anew", 9)])
        openai.items.insert(2, call("theirs", 5))
        answer = await serve(openai, message="new")
        assert answer.json()["message"] == "anew"
        assert answer.headers["x-unanswered-tool-calls"] == "call_5"
        assert texts(openai.items)[2:] == [
            ("function_call", ""),
            ("function_call_output", ""),
            ("message", "new"),
            ("message", "anew"),
        ]
