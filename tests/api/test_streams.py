"""The Assistants event stream: the whole ordered list of events for every way in which a run can go."""

import asyncio

import pytest

from tests.support import (
    ASSISTANT,
    error_of,
    frames,
    is_idle,
    names,
    new_run,
    new_thread,
    run_to,
    stats,
    text_of,
    until,
)

START = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*STEP, "thread.message.created", "thread.message.in_progress", "thread.message.delta"]
PLAIN = [
    *START,
    *MESSAGE,
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
    "done",
]


async def streamed(client, thread_id, **body):
    response = await client.post(
        f"threads/{thread_id}/runs", json={"assistant_id": ASSISTANT, "stream": True, **body}
    )
    assert response.status_code == 200, response.text
    return response


async def streamed_events(client, prompt, **body):
    return frames((await streamed(client, await new_thread(client, prompt), **body)).text)


def data_of(events, name):
    return [data for found, data in events if found == name]


class TestOrder:
    async def test_a_plain_answer(self, either):
        response = await streamed(either, await new_thread(either, "né 文 there"))
        events = frames(response.text)
        assert names(events) == PLAIN
        assert text_of(events) == "You said: né 文 there"
        message = data_of(events, "thread.message.completed")[0]
        assert message["content"] == [
            {"type": "text", "text": {"value": "You said: né 文 there", "annotations": []}}
        ]
        run = data_of(events, "thread.run.completed")[0]
        assert (run["status"], message["run_id"]) == ("completed", run["id"])
        assert run["usage"]["total_tokens"] > 0
        assert events[-1] == ("done", "[DONE]")

    async def test_the_bytes_are_what_the_sdks_can_read(self, live):
        response = await streamed(live, await new_thread(live, "hi"))
        blocks = response.text.removesuffix("\n\n").split("\n\n")
        for block in blocks:
            first, second = block.split("\n")
            assert first.startswith("event: ")
            assert second.startswith("data: ")

    async def test_the_headers_keep_proxies_from_holding_it_back(self, live):
        response = await streamed(live, await new_thread(live, "hi"))
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"]
        assert "content-length" not in response.headers

    async def test_a_thread_made_on_the_way_comes_first(self, either):
        body = {"assistant_id": ASSISTANT, "thread": {"messages": [{"role": "user", "content": "hi"}]}}
        response = await either.post("threads/runs", json={**body, "stream": True})
        events = frames(response.text)
        assert names(events) == ["thread.created", *PLAIN]
        assert events[1][1]["thread_id"] == events[0][1]["id"]

    async def test_an_incomplete_answer(self, live):
        events = await streamed_events(live, "incomplete: x")
        ending = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete", "done"]
        assert names(events) == [*START, *MESSAGE, *ending]
        run = data_of(events, "thread.run.incomplete")[0]
        assert run["incomplete_details"] == {"reason": "max_completion_tokens"}

    async def test_a_refusal(self, live):
        events = await streamed_events(live, "refuse: x")
        assert names(events) == PLAIN
        parts = [data["delta"]["content"][0] for data in data_of(events, "thread.message.delta")]
        assert {part["type"] for part in parts} == {"refusal"}
        whole = data_of(events, "thread.message.completed")[0]["content"][0]
        assert whole == {"type": "refusal", "refusal": "".join(part["refusal"] for part in parts)}

    @pytest.mark.parametrize(
        ("told", "code"),
        [
            ("rate_limit_exceeded", "rate_limit_exceeded"),
            ("server_error", "server_error"),
            ("vector_store_timeout", "server_error"),
        ],
    )
    async def test_a_run_that_fails_at_once(self, live, told, code):
        events = await streamed_events(live, f"fail:{told}")
        assert names(events) == [*START, "thread.run.failed", "done"]
        error = data_of(events, "thread.run.failed")[0]["last_error"]
        assert error["code"] == code
        assert "scripted" not in error["message"]

    async def test_a_run_that_fails_in_the_middle_closes_what_is_open(self, either):
        events = await streamed_events(either, "fail-late:server_error")
        ending = ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
        assert names(events) == [*START, *MESSAGE, *ending]
        message = data_of(events, "thread.message.incomplete")[0]
        assert message["content"][0]["text"]["value"] == text_of(events)
        assert data_of(events, "thread.run.step.failed")[0]["last_error"]["code"] == "server_error"

    async def test_events_carry_every_key_of_their_objects(self, live):
        run = await new_run(live, await new_thread(live, "hi"))
        run = await run_to(live, run, "completed")
        path = f"threads/{run['thread_id']}"
        step = (await live.get(f"{path}/runs/{run['id']}/steps")).json()["data"][0]
        message = (await live.get(f"{path}/messages")).json()["data"][0]
        events = await streamed_events(live, "hi")
        shapes = {"thread.run": run, "thread.run.step": step, "thread.message": message}
        checked = set()
        for name, data in events:
            if name.endswith("delta") or name == "done":
                continue
            assert data.keys() == shapes[data["object"]].keys(), name
            checked.add(data["object"])
        assert checked == shapes.keys()


class TestCancel:
    async def test_a_stream_that_is_read_ends_with_cancelled(self, either, upstream):
        thread_id = await new_thread(either, "slow: story")
        seen = []
        body = {"assistant_id": ASSISTANT, "stream": True}
        async with either.stream("POST", f"threads/{thread_id}/runs", json=body) as response:
            async for line in response.aiter_lines():
                seen.append(line)
                if line == "event: thread.message.delta" and seen.count(line) == 1:
                    run_id = frames("\n".join(seen[:2]))[0][1]["id"]
                    cancelled = await either.post(f"threads/{thread_id}/runs/{run_id}/cancel")
                    assert cancelled.json()["status"] in {"cancelling", "cancelled"}
        events = frames("\n".join(seen))
        ending = ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled", "done"]
        assert names(events) == [*START, *MESSAGE, *ending]
        assert data_of(events, "thread.run.cancelled")[0]["cancelled_at"]
        assert await is_idle(upstream)
        again = await streamed(either, thread_id, additional_messages=[{"role": "user", "content": "hi"}])
        assert text_of(frames(again.text)) == "You said: hi"

    async def test_a_cancelled_run_stays_cancelled(self, live):
        thread_id = await new_thread(live, "slow: story")
        run = await new_run(live, thread_id)
        await live.post(f"threads/{thread_id}/runs/{run['id']}/cancel")
        found = await run_to(live, run, "cancelled")
        assert found["cancelled_at"]
        assert found["completed_at"] is None


class TestBeforeTheFirstByte:
    """A stream that does not come about is an HTTP error like any other."""

    async def test_an_unknown_thread(self, live):
        response = await live.post(
            "threads/thread_0000/runs", json={"assistant_id": ASSISTANT, "stream": True}
        )
        assert error_of(response, 404)["param"] == "thread_id"

    async def test_an_unknown_assistant(self, live):
        thread_id = await new_thread(live, "hi")
        response = await live.post(
            f"threads/{thread_id}/runs", json={"assistant_id": "asst_other", "stream": True}
        )
        assert error_of(response, 404)["param"] == "assistant_id"

    async def test_an_upstream_that_fails(self, start, adapter):
        async with start(is_served=True, upstream_adapter=adapter, knobs={"fault": "500"}) as service:
            thread_id = await new_thread(service.client, "hi")
            response = await service.client.post(
                f"threads/{thread_id}/runs", json={"assistant_id": ASSISTANT, "stream": True}
            )
        assert error_of(response, 502)["code"] == "upstream_failed"

    async def test_a_busy_thread_says_so_after_a_bounded_wait(self, start, upstream, adapter):
        async with start(
            url=upstream, is_served=True, upstream_adapter=adapter, lock_wait_seconds=0.2
        ) as service:
            client = service.client
            thread_id = await new_thread(client, "slow: story")
            run = await new_run(client, thread_id)
            body = {"assistant_id": ASSISTANT, "stream": True}
            response = await client.post(f"threads/{thread_id}/runs", json=body)
            assert error_of(response, 400)["code"] == "conversation_locked"
            chat = await client.post("chat", json={"message": "x", "thread_id": thread_id, "stream": True})
            assert error_of(chat, 409)["code"] == "thread_busy"
            assert chat.headers["retry-after"]
            await client.post(f"threads/{thread_id}/runs/{run['id']}/cancel")
            found = await stats(upstream)
        assert found["responses_created"] == 1

    async def test_a_busy_thread_is_waited_for(self, either):
        thread_id = await new_thread(either, "sleep:300 first")
        first = await new_run(either, thread_id)
        second = await streamed(
            either, thread_id, additional_messages=[{"role": "user", "content": "second"}]
        )
        assert text_of(frames(second.text)) == "You said: second"
        await run_to(either, first, "completed")


class TestPlaces:
    async def test_more_streams_than_places_are_refused_at_once(self, start, upstream):
        async with start(url=upstream, is_served=True, max_streams=1) as service:
            client = service.client
            thread_id = await new_thread(client, "slow: story")
            async with client.stream(
                "POST", f"threads/{thread_id}/runs", json={"assistant_id": ASSISTANT, "stream": True}
            ) as response:
                lines = response.aiter_lines()
                await anext(lines)
                for body in ({"message": "hi"}, {"message": "hi", "stream": True}):
                    refused = await client.post("chat", json=body)
                    assert error_of(refused, 503)["code"] == "overloaded"
                    assert refused.headers["retry-after"] == "1"
            await until(lambda: service.app.state.registry.open_streams == 0)
            assert (await client.post("chat", json={"message": "hi"})).status_code == 200

    async def test_many_streams_advance_side_by_side(self, start, upstream):
        async with start(url=upstream, is_served=True) as service:
            threads = [await new_thread(service.client, f"sleep:50 {n}") for n in range(20)]
            responses = await asyncio.gather(*(streamed(service.client, thread) for thread in threads))
            texts = [text_of(frames(response.text)) for response in responses]
            assert texts == [f"You said: 50 {n}" for n in range(20)]
            assert service.app.state.registry.open_streams == 0
