"""Background responses: poll, resume, cancel, disconnect, and one writer a conversation."""

import asyncio

import pytest

from tests.embedded.support import MODEL, collect, refused, stats, texts, until


@pytest.fixture
async def conversation(client):
    return (await client.conversations.create()).id


def _post(client, **body):
    return client.responses.create(model=MODEL, **body)


class TestBackground:
    async def test_it_is_polled_to_its_end(self, client, conversation):
        response = await _post(client, conversation=conversation, input="hi", background=True)
        assert response.status == "queued"

        async def ended():
            return (await client.responses.retrieve(response.id)).status == "completed"

        await until(ended)
        assert await texts(client, conversation) == ["hi", "You said: hi"]

    async def test_a_stream_resumes_anywhere_during_and_after(self, serve):
        async with serve(token_ms=5) as client:
            stream = await _post(client, input="a b c d e f g", stream=True, background=True)
            seen = [await anext(stream) for _ in range(7)]
            await stream.close()
            response_id = seen[0].response.id
            last = seen[-1].sequence_number
            live = await collect(
                await client.responses.retrieve(response_id, stream=True, starting_after=last)
            )
            whole = await collect(await client.responses.retrieve(response_id, stream=True))
            assert [event.to_json() for event in seen + live] == [event.to_json() for event in whole]
            assert whole[-1].type == "response.completed"
            for cut in range(len(whole)):
                rest = await collect(
                    await client.responses.retrieve(response_id, stream=True, starting_after=cut)
                )
                assert [event.sequence_number for event in rest] == list(range(cut + 1, len(whole)))

    @pytest.mark.parametrize("how", [{"background": True}, {"stream": True}])
    async def test_only_streamed_background_responses_resume(self, client, how):
        made = await _post(client, input="hi", **how)
        response_id = (await collect(made))[-1].response.id if "stream" in how else made.id
        with refused() as error:
            await client.responses.retrieve(response_id, stream=True)
        assert error["param"] == "stream"

    async def test_cancel_is_idempotent_and_frees_the_conversation(self, client, conversation):
        response = await _post(client, conversation=conversation, input="slow: go", background=True)
        for _ in range(2):
            assert (await client.responses.cancel(response.id)).status == "cancelled"
        assert await texts(client, conversation) == ["slow: go"]
        assert (await _post(client, conversation=conversation, input="next")).status == "completed"

    async def test_a_cancelled_stream_just_ends(self, client, conversation):
        stream = await _post(
            client, conversation=conversation, input="slow: go", background=True, stream=True
        )
        first = await anext(stream)
        await client.responses.cancel(first.response.id)
        rest = await collect(stream)
        assert not {"response.completed", "response.failed", "response.incomplete"} & {e.type for e in rest}

    async def test_cancel_refuses_what_has_ended_and_what_was_foreground(self, client):
        response = await _post(client, input="hi", background=True, stream=True)
        done = (await collect(response))[-1].response.id
        foreground = (await _post(client, input="hi")).id
        for response_id in (done, foreground):
            with refused():
                await client.responses.cancel(response_id)
        with refused(404):
            await client.responses.cancel("resp_unknown")

    async def test_it_must_be_stored(self, client):
        with refused() as error:
            await _post(client, input="hi", background=True, store=False)
        assert error["param"] == "store"


class TestDisconnect:
    async def test_a_background_generation_lives_on(self, client, conversation):
        stream = await _post(
            client, conversation=conversation, input="sleep:200 x", background=True, stream=True
        )
        response_id = (await anext(stream)).response.id
        await stream.close()

        async def ended():
            return (await client.responses.retrieve(response_id)).status == "completed"

        await until(ended)

    async def test_a_foreground_stream_is_cancelled(self, client, conversation):
        stream = await _post(client, conversation=conversation, input="slow: go", stream=True)
        response_id = (await anext(stream)).response.id
        await stream.close()

        async def idle():
            counted = await stats(client)
            return counted["active_generations"] == 0 and counted["streams_open"] == 0

        await until(idle)
        assert (await client.responses.retrieve(response_id)).status == "cancelled"

    async def test_a_foreground_call_is_cancelled(self, client, conversation):
        call = asyncio.create_task(_post(client, conversation=conversation, input="slow: go"))

        async def started():
            return (await stats(client))["active_generations"] == 1

        async def idle():
            return (await stats(client))["active_generations"] == 0

        await until(started)
        call.cancel()
        await until(idle)


class TestOneWriter:
    async def test_a_second_writer_is_locked_out(self, client, conversation):
        response = await _post(client, conversation=conversation, input="slow: go", background=True)
        item = {"type": "message", "role": "user", "content": "x"}
        for call in (
            _post(client, conversation=conversation, input="x"),
            client.conversations.items.create(conversation, items=[item]),
        ):
            with refused() as error:
                await call
            assert error["code"] == "conversation_locked"
        await client.responses.cancel(response.id)

    @pytest.mark.parametrize("text", ["hi", "fail:", "incomplete:", "refuse:"])
    async def test_the_lock_is_released_at_every_end(self, client, conversation, text):
        await _post(client, conversation=conversation, input=text)
        assert (await _post(client, conversation=conversation, input="next")).status == "completed"

    async def test_a_refused_request_leaves_no_lock(self, client, conversation):
        with refused():
            await _post(client, conversation=conversation, input=[{"role": "nobody", "content": "x"}])
        assert (await _post(client, conversation=conversation, input="next")).status == "completed"

    async def test_deleting_a_conversation_stops_its_response(self, client, conversation):
        await _post(client, conversation=conversation, input="slow: go", background=True)
        await client.conversations.delete(conversation)
        assert (await stats(client))["active_generations"] == 0
