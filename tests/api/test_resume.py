"""A run's events again: from the start, from any event on, on another process, after a process died."""

import pytest

from tests.api.test_streams import PLAIN, data_of, streamed_events
from tests.support import (
    ASSISTANT,
    embedded_upstream,
    error_of,
    finished_run,
    frames,
    ids,
    names,
    new_run,
    new_thread,
    run_to,
    text_of,
)


def events_path(run):
    return f"threads/{run['thread_id']}/runs/{run['id']}/events"


async def followed(client, run, after=None, **kwargs):
    params = {} if after is None else {"starting_after": after}
    response = await client.get(events_path(run), params=params, **kwargs)
    assert response.status_code == 200, response.text
    return response


async def streamed_run(client, prompt):
    return (await streamed_events(client, prompt))[-2][1]


class TestFromTheStart:
    async def test_the_same_events_with_ids(self, either):
        thread_id = await new_thread(either, "one two three")
        body = {"assistant_id": ASSISTANT, "stream": True}
        first = frames((await either.post(f"threads/{thread_id}/runs", json=body)).text)
        response = await followed(either, first[-2][1])
        assert frames(response.text) == first
        numbers = ids(response.text)
        assert numbers == sorted(set(numbers))
        assert response.headers["content-type"].startswith("text/event-stream")

    async def test_a_run_that_was_started_without_a_stream(self, live):
        run = await finished_run(live, "one two three")
        events = frames((await followed(live, run)).text)
        assert names(events) == PLAIN
        assert text_of(events) == "You said: one two three"

    async def test_a_live_run_is_followed_to_its_end(self, live):
        run = await new_run(live, await new_thread(live, "sleep:300 x"))
        events = frames((await followed(live, run)).text)
        assert names(events) == PLAIN
        assert data_of(events, "thread.run.completed")[0]["id"] == run["id"]

    @pytest.mark.parametrize(
        ("prompt", "ending"),
        [
            ("fail:server_error", "failed"),
            ("use the tool", "requires_action"),
            ("incomplete: x", "incomplete"),
        ],
    )
    async def test_every_ending_is_told_again(self, live, prompt, ending):
        run = await finished_run(live, prompt, ending)
        events = frames((await followed(live, run)).text)
        assert names(events)[-2:] == [f"thread.run.{ending}", "done"]

    async def test_a_cancelled_run_ends_cancelled_again(self, live):
        run = await new_run(live, await new_thread(live, "slow: story"))
        await live.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel")
        await run_to(live, run, "cancelled")
        events = frames((await followed(live, run)).text)
        assert names(events)[-2:] == ["thread.run.cancelled", "done"]

    async def test_the_round_after_tool_outputs_is_followed(self, live):
        run = await finished_run(live, "use the tool", "requires_action")
        call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
        outputs = [{"tool_call_id": call["id"], "output": "sunny"}]
        path = events_path(run).replace("events", "submit_tool_outputs")
        after = (await live.post(path, json={"tool_outputs": outputs})).json()
        await run_to(live, after, "completed")
        events = frames((await followed(live, run)).text)
        assert names(events)[:2] == ["thread.run.queued", "thread.run.in_progress"]
        assert text_of(events) == "The tool answered: sunny"
        assert data_of(events, "thread.run.completed")[0]["id"] == run["id"]


class TestFromAnEventOn:
    @pytest.mark.parametrize("prompt", ["one two three", "use the tools", "fail-late:server_error"])
    async def test_every_cut_gives_exactly_the_rest(self, live, prompt):
        run = await streamed_run(live, prompt)
        whole = (await followed(live, run)).text
        blocks = [block for block in whole.split("\n\n") if block]
        for at, block in enumerate(blocks):
            if not block.startswith("id: "):
                continue
            number = ids(block)[0]
            rest = (await followed(live, run, number)).text
            assert [found for found in rest.split("\n\n") if found] == blocks[at + 1 :]

    async def test_last_event_id_is_what_browsers_send(self, either):
        run = await streamed_run(either, "one two three")
        number = ids((await followed(either, run)).text)[3]
        by_query = (await followed(either, run, number)).text
        by_header = (await followed(either, run, headers={"last-event-id": str(number)})).text
        assert by_header == by_query

    async def test_beyond_the_last_event_only_the_end_is_told(self, live):
        run = await streamed_run(live, "hi")
        last = ids((await followed(live, run)).text)[-1]
        response = await followed(live, run, last)
        assert names(frames(response.text)) in ([], ["done"])

    @pytest.mark.parametrize("value", ["x", "-1", "1.5"])
    async def test_an_id_that_is_none_is_refused(self, client, value):
        run = await finished_run(client, "hi")
        by_header = await client.get(events_path(run), headers={"last-event-id": value})
        assert error_of(by_header, 400)["param"].lower() == "last-event-id"
        by_query = await client.get(events_path(run), params={"starting_after": value})
        assert error_of(by_query, 400)["param"] == "starting_after"

    async def test_an_unknown_run(self, client):
        thread_id = await new_thread(client, "hi")
        response = await client.get(f"threads/{thread_id}/runs/run_0/events")
        assert error_of(response, 404)["param"] == "run_id"


class TestOnAnotherProcess:
    async def test_the_second_half_comes_from_another_replica(self, start, upstream, adapter):
        options = {"url": upstream, "is_served": True, "upstream_adapter": adapter}
        async with start(**options) as one, start(**options) as two:
            run = await streamed_run(one.client, "one two three")
            whole = (await followed(one.client, run)).text
            blocks = [block for block in whole.split("\n\n") if block]
            number = ids(blocks[7])[0]
            rest = (await followed(two.client, run, number)).text
            assert [block for block in rest.split("\n\n") if block] == blocks[8:]

    async def test_the_second_half_comes_after_the_first_process_died(self, start, adapter):
        """The server goes in the middle of an answer; the next one tells the rest, nothing twice."""
        words = " ".join(f"w{n}" for n in range(40))
        async with embedded_upstream(token_ms=25) as url:
            options = {"url": url, "is_served": True, "upstream_adapter": adapter}
            async with start(**options, shutdown_grace_seconds=0.01) as one:
                run = await new_run(one.client, await new_thread(one.client, words))
                first = await read_until(one.client, run, b"w3")
            async with start(**options) as two:
                second = (await followed(two.client, run, ids(first)[-1])).text
        whole = frames(first) + frames(second)
        assert names(whole) == PLAIN
        assert text_of(whole) == f"You said: {words}"
        assert sorted({*ids(first), *ids(second)}) == sorted(ids(first) + ids(second))


async def read_until(client, run, mark):
    """Whole events up to one that holds `mark`; then the connection is dropped."""
    received = b""
    async with client.stream("GET", events_path(run)) as response:
        async for chunk in response.aiter_bytes():
            received += chunk
            if mark in received:
                break
    return received[: received.rindex(b"\n\n") + 2].decode()
