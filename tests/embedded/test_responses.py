"""Responses through the SDK: whole ordered event lists, outcomes and tools."""

import json

import pytest
from openai.types.responses import Response

from app.embedded.responders.scripted import ScriptedResponder
from tests.embedded.support import MODEL, WEATHER, collect, names, refused, texts

MESSAGE = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]
CALL = [
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
]


@pytest.fixture
async def conversation(client):
    return (await client.conversations.create()).id


def _post(client, **body):
    return client.responses.create(model=MODEL, **body)


class TestStream:
    async def test_a_foreground_stream_has_openais_order(self, client, conversation):
        events = await collect(await _post(client, conversation=conversation, input="hi", stream=True))
        assert names(events) == ["created", "in_progress", *MESSAGE, "completed"]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = [event.delta for event in events if event.type.endswith("text.delta")]
        assert deltas == ["You", " said", ":", " hi"]
        assert events[-1].response.output_text == "You said: hi"
        assert [event.response.status for event in (events[0], events[-1])] == ["in_progress", "completed"]

    async def test_a_background_stream_is_queued_first(self, client, conversation):
        events = await collect(
            await _post(client, conversation=conversation, input="hi", stream=True, background=True)
        )
        assert names(events) == ["created", "queued", "in_progress", *MESSAGE, "completed"]
        statuses = [event.response.status for event in events if hasattr(event, "response")]
        assert statuses == ["queued", "queued", "in_progress", "completed"]

    async def test_deltas_name_their_item(self, client):
        events = await collect(await _post(client, input="hi", stream=True))
        added = next(event for event in events if event.type == "response.output_item.added")
        delta = next(event for event in events if event.type == "response.output_text.delta")
        assert delta.model_dump() == {
            "type": "response.output_text.delta",
            "item_id": added.item.id,
            "output_index": 0,
            "content_index": 0,
            "delta": "You",
            "logprobs": [],
            "sequence_number": delta.sequence_number,
        }

    async def test_any_slicing_of_the_bytes_gives_the_same_events(self, serve):
        for size in (1, 7):
            async with serve(chunk_bytes=size) as client:
                events = await collect(await _post(client, input="안녕 세상", stream=True))
                assert events[-1].response.output_text == "You said: 안녕 세상"

    async def test_a_refusal_is_a_part_of_its_own(self, client):
        events = await collect(await _post(client, input="refuse: please", stream=True))
        assert names(events)[2:-1] == [
            "output_item.added",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
        ]
        assert events[-1].response.output[0].content[0].type == "refusal"


class TestOutcome:
    async def test_the_thread_alone_can_be_answered(self, client, conversation):
        item = {"type": "message", "role": "user", "content": "already there"}
        await client.conversations.items.create(conversation, items=[item])
        assert (await _post(client, conversation=conversation)).output_text == "You said: already there"
        assert await texts(client, conversation) == ["already there", "You said: already there"]

    async def test_every_key_of_the_sdk_model_that_openai_sends_is_there(self, client, conversation):
        response = await _post(
            client, conversation=conversation, input="hi", instructions="Be kind.", metadata={"a": "b"}
        )
        sent = response.model_dump(exclude_unset=True)
        optional = {
            "access_programs",
            "image",
            "input_transformations",
            "moderation",
            "prompt_cache_diagnostics",
            "prompt_cache_options",
            "tool_usage",
        }
        assert set(Response.model_fields) - optional <= set(sent)
        assert sent["conversation"] == {"id": conversation}
        assert (sent["instructions"], sent["metadata"]) == ("Be kind.", {"a": "b"})
        assert sent["model"] == "soloist-scripted"
        assert sent["usage"]["total_tokens"] == sent["usage"]["input_tokens"] + sent["usage"]["output_tokens"]

    async def test_items_of_a_response_share_its_stem(self, client):
        response = await _post(client, input="hi")
        assert response.output[0].id[4:20] == response.id[5:21]

    async def test_the_turn_is_appended_in_order(self, client, conversation):
        await _post(client, conversation=conversation, input="one")
        await _post(client, conversation={"id": conversation}, input="two")
        assert await texts(client, conversation) == ["one", "You said: one", "two", "You said: two"]

    async def test_failure_keeps_the_users_message_only(self, client, conversation):
        events = await collect(
            await _post(client, conversation=conversation, input="fail-late:rate_limit_exceeded", stream=True)
        )
        assert names(events)[-2:] == ["output_text.delta", "failed"]
        assert events[-1].response.error.code == "rate_limit_exceeded"
        assert events[-1].response.output == []
        assert await texts(client, conversation) == ["fail-late:rate_limit_exceeded"]
        assert (await _post(client, conversation=conversation, input="fail:")).error.code == "server_error"

    async def test_a_responder_that_breaks_fails_the_response_without_its_reason(
        self, client, conversation, monkeypatch, caplog
    ):
        def broken(self, turn):
            raise RuntimeError("secret reason")

        monkeypatch.setattr(ScriptedResponder, "answer", broken)
        events = await collect(await _post(client, conversation=conversation, input="hi", stream=True))
        assert names(events) == ["created", "in_progress", "failed"]
        assert "secret" not in events[-1].to_json()
        assert "responder failed" in caplog.text
        monkeypatch.undo()
        assert (await _post(client, conversation=conversation, input="next")).status == "completed"

    async def test_a_token_limit_ends_incomplete(self, client, conversation):
        events = await collect(
            await _post(client, conversation=conversation, input="long:50", max_output_tokens=16, stream=True)
        )
        assert names(events) == ["created", "in_progress", *MESSAGE, "incomplete"]
        last = events[-1].response
        assert (last.status, last.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert (last.usage.output_tokens, last.output[0].status) == (16, "incomplete")
        assert len(await texts(client, conversation)) == 2

    async def test_input_items_are_read_back(self, client):
        response = await _post(client, input=[{"role": "user", "content": f"m{i}"} for i in range(3)])
        page = await client.responses.input_items.list(response.id, order="asc", limit=2)
        assert [item.content[0].text for item in page.data] == ["m0", "m1"]
        assert page.has_more is True
        every = [item.id async for item in client.responses.input_items.list(response.id, limit=1)]
        assert every[::-1][:2] == [item.id for item in page.data]
        with refused() as error:
            await client.responses.input_items.list(response.id, after="msg_none")
        assert error["param"] == "after"

    async def test_a_response_that_is_not_stored_cannot_be_read(self, client):
        response = await _post(client, input="hi", store=False)
        with refused(404):
            await client.responses.retrieve(response.id)

    async def test_a_previous_response_carries_its_thread(self, client):
        first = await _post(client, input="one")
        second = await _post(client, input="two", previous_response_id=first.id)
        third = await _post(client, input="three", previous_response_id=second.id)
        assert third.usage.input_tokens > second.usage.input_tokens > first.usage.input_tokens

    async def test_a_deleted_response_is_gone(self, client):
        response = await _post(client, input="hi")
        await client.responses.delete(response.id)
        with refused(404):
            await client.responses.retrieve(response.id)


class TestTools:
    async def test_a_call_streams_valid_arguments(self, client, conversation):
        events = await collect(
            await _post(
                client, conversation=conversation, input="Use the tool.", tools=[WEATHER], stream=True
            )
        )
        assert names(events) == ["created", "in_progress", *CALL, "completed"]
        call = events[-1].response.output[0]
        assert json.loads(call.arguments) == {"city": "some city", "days": 2}
        deltas = "".join(event.delta for event in events if event.type.endswith("arguments.delta"))
        assert deltas == call.arguments

    async def test_a_forced_choice_calls_whatever_the_prompt(self, client):
        forced = {"type": "function", "name": "get_weather"}
        response = await _post(client, input="hello", tools=[WEATHER], tool_choice=forced)
        assert response.output[0].name == "get_weather"
        silent = await _post(client, input="Use the tool", tools=[WEATHER], tool_choice="none")
        assert silent.output_text == "You said: Use the tool"

    async def test_outputs_are_quoted_and_close_the_round(self, client, conversation):
        asked = await _post(client, conversation=conversation, input="parallel tools", tools=[WEATHER])
        calls = asked.output
        assert len({call.call_id for call in calls}) == 2
        outputs = [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"{at} C"}
            for at, call in enumerate(calls)
        ]
        answer = await _post(client, conversation=conversation, input=outputs, tools=[WEATHER])
        assert answer.output_text == "The tool answered: 0 C; 1 C"

    async def test_rounds_follow_each_other(self, client, conversation):
        turn = await _post(client, conversation=conversation, input="rounds:2", tools=[WEATHER])
        for _ in range(2):
            call = turn.output[0]
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "ok"}
            turn = await _post(client, conversation=conversation, input=[output], tools=[WEATHER])
        assert turn.output_text == "The tool answered: ok"

    async def test_an_unanswered_call_bricks_the_conversation_until_answered(self, client, conversation):
        asked = await _post(client, conversation=conversation, input="use the tool", tools=[WEATHER])
        call_id = asked.output[0].call_id
        with refused() as error:
            await _post(client, conversation=conversation, input="go on")
        assert error["message"] == f"No tool output found for function call {call_id}."
        assert error["param"] == "input"
        output = {"type": "function_call_output", "call_id": call_id, "output": "not answered"}
        await client.conversations.items.create(conversation, items=[output])
        assert (await _post(client, conversation=conversation, input="go on")).status == "completed"

    async def test_an_output_without_its_call_is_refused(self, client, conversation):
        output = {"type": "function_call_output", "call_id": "call_x", "output": "y"}
        with refused() as error:
            await _post(client, conversation=conversation, input=[output])
        assert "No tool call found for function call output with call_id call_x" in error["message"]
