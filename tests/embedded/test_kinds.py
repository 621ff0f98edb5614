"""Upstreams that keep no conversations (as Azure), or nothing at all (as vLLM and llama.cpp)."""

import argparse
import re

import httpx2
import pytest

from app.embedded.cli import add_options, settings_of
from tests.embedded.support import MODEL, WEATHER, collect, names, refused, stats, until

NOTHING = {"kind": "nothing"}
IGNORING = {"kind": "nothing", "unsupported": "ignore"}
SEALED = ["reasoning.encrypted_content"]


def _post(client, **body):
    return client.responses.create(model=MODEL, **body)


def _replayed(response, *more):
    """The output of a response as an input without ids."""
    items = [item.model_dump(exclude={"id", "status"}, exclude_none=True) for item in response.output]
    return [*items, *({"role": "user", "content": text} for text in more)]


@pytest.fixture
async def azure(serve):
    async with serve(kind="responses", api_key="sesame") as client:
        yield client


class TestStoredResponsesOnly:
    async def test_conversations_are_unknown(self, azure):
        async with httpx2.AsyncClient(base_url=azure.base_url, headers={"api-key": "sesame"}) as plain:
            for method, path in (
                ("POST", "conversations"),
                ("GET", "conversations/conv_1"),
                ("GET", "conversations/conv_1/items"),
            ):
                answer = await plain.request(method, path)
                assert answer.status_code == 404
                assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}
        with refused() as error:
            await _post(azure, input="hi", conversation="conv_1")
        assert (error["param"], error["code"]) == ("conversation", "unknown_parameter")

    @pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
    @pytest.mark.parametrize(("header", "value"), [("api-key", "sesame"), ("authorization", "Bearer sesame")])
    async def test_either_header_and_either_path_will_do(self, azure, prefix, header, value):
        url = str(azure.base_url).replace("/v1/", f"{prefix}/responses")
        async with httpx2.AsyncClient() as plain:
            body = {"model": MODEL, "input": "hi"}
            assert (await plain.post(url, json=body, headers={header: value})).status_code == 200
            assert (await plain.post(url, json=body, headers={header: value + "x"})).status_code == 401

    async def test_responses_are_stored_resumed_cancelled_and_deleted(self, azure):
        stream = await _post(azure, input="a b c", background=True, stream=True)
        events = await collect(stream)
        response_id = events[0].response.id
        rest = await collect(await azure.responses.retrieve(response_id, stream=True, starting_after=2))
        assert [event.to_json() for event in rest] == [event.to_json() for event in events[3:]]
        slow = await _post(azure, input="slow: go", background=True)
        assert (await azure.responses.cancel(slow.id)).status == "cancelled"
        await azure.responses.delete(response_id)
        with refused(404):
            await azure.responses.retrieve(response_id)


class TestNothingStored:
    @pytest.mark.parametrize("knobs", [NOTHING, IGNORING])
    async def test_only_responses_and_models_are_known(self, serve, knobs):
        async with serve(**knobs) as client:
            response = await _post(client, input="hi", store=True)
            for call in (
                client.responses.retrieve(response.id),
                client.responses.cancel(response.id),
                client.responses.delete(response.id),
                client.conversations.create(),
                client.files.list(),
            ):
                with refused(404):
                    await call
            with refused() as error:
                await _post(client, input="hi", previous_response_id=response.id)
            assert error["param"] == "previous_response_id"
            assert (await client.models.list()).data

    @pytest.mark.parametrize("field", ["conversation", "background", "context_management"])
    async def test_what_it_lacks_is_refused_or_ignored(self, serve, field):
        extra = {"conversation": "conv_1", "background": True, "context_management": [{"type": "compaction"}]}
        async with serve(**NOTHING) as client:
            with refused() as error:
                await _post(client, input="hi", **{field: extra[field]})
            assert (error["param"], error["code"]) == (field, "unknown_parameter")
        async with serve(**IGNORING) as client:
            response = await _post(client, input="hi", **{field: extra[field]})
            assert (response.status, response.output_text) == ("completed", "You said: hi")

    async def test_ids_are_random(self, serve):
        async with serve(**NOTHING) as client:
            spoken = await _post(client, input="hi")
            called = await _post(client, input="use the tool", tools=[WEATHER])
        ids = [spoken.id, spoken.output[0].id, called.output[0].id]
        assert [re.sub(r"_[0-9a-f]{32}$", "", found) for found in ids] == ["resp", "msg", "fc"]
        assert len({found.partition("_")[2] for found in ids}) == 3

    async def test_one_that_ignores_tells_little(self, serve):
        async with serve(**IGNORING) as client:
            told = {"metadata": {"k": "v"}, "instructions": "Be brief.", "tools": [WEATHER]}
            events = await collect(await _post(client, input="hi", stream=True, **told))
            cut = await _post(client, input="incomplete:")
            failed = await _post(client, input="fail:")
        body = {"id", "object", "created_at", "status", "model", "output"}
        assert events[0].response.model_fields_set == body
        assert events[-1].response.model_fields_set == {*body, "usage"}
        assert names(events)[-1] == "completed"
        assert cut.incomplete_details.reason == "max_output_tokens"
        assert failed.error.code == "server_error"

    async def test_a_client_that_leaves_ends_the_answer(self, serve):
        async with serve(**NOTHING) as client:
            stream = await _post(client, input="slow: go", stream=True)
            await anext(stream)
            await stream.close()

            async def idle():
                return (await stats(client))["active_generations"] == 0

            await until(idle)


class TestInputAlone:
    """The history is what the client sends."""

    @pytest.mark.parametrize("knobs", [{"kind": "responses"}, NOTHING, IGNORING])
    async def test_a_tool_round_is_replayed(self, serve, knobs):
        async with serve(**knobs) as client:
            asked = {"role": "user", "content": "use the tool"}
            called = await _post(client, input=[asked], tools=[WEATHER])
            call = called.output[0]
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
            history = [asked, *_replayed(called)]
            answer = await _post(client, input=[*history, output], tools=[WEATHER])
            assert answer.output_text == "The tool answered: sunny"
            with refused() as error:
                await _post(client, input=[*history, {"role": "user", "content": "x"}])
            assert "No tool output found" in error["message"]
            with refused() as error:
                await _post(client, input=[asked, output])
            assert "No tool call found" in error["message"]

    async def test_reasoning_is_readable_where_it_was_made(self, serve):
        async with serve(**NOTHING) as client:
            thought = await _post(client, input="think: hi", include=SEALED)
            assert [item.type for item in thought.output] == ["reasoning", "message"]
            answer = await _post(client, input=_replayed(thought, "more"))
            assert answer.output_text == "You said: more"
            with refused() as error:
                await client.responses.create(model="another", input=_replayed(thought, "more"))
            assert error["code"] == "invalid_encrypted_content"
            with refused() as error:
                await _post(client, input=[_replayed(thought)[0], {"role": "user", "content": "x"}])
            assert "without its required following item" in error["message"]
            unasked = await _post(client, input="think: hi")
            assert unasked.output[0].encrypted_content is None
        async with serve(**NOTHING, seed=1) as elsewhere:
            with refused() as error:
                await _post(elsewhere, input=_replayed(thought, "more"))
            assert error["code"] == "invalid_encrypted_content"

    async def test_reasoning_needs_a_call_or_an_answer_behind_it(self, serve):
        async with serve(**NOTHING) as client:
            asked = {"role": "user", "content": "think: use the tool"}
            called = await _post(client, input=[asked], tools=[WEATHER], include=SEALED)
            thought, call = _replayed(called)
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
            answer = await _post(client, input=[asked, thought, call, output])
            assert answer.output_text == "The tool answered: sunny"
            with refused() as error:
                await _post(client, input=[asked, call, thought, output])
            assert "without its required following item" in error["message"]

    @pytest.mark.parametrize("knobs", [{"kind": "responses"}, NOTHING, IGNORING])
    async def test_the_window_is_bounded(self, serve, knobs):
        async with serve(context_items=2, **knobs) as client:
            items = [{"role": "user", "content": f"m{at}"} for at in range(3)]
            assert (await _post(client, input=items[:2])).status == "completed"
            with refused() as error:
                await _post(client, input=items)
            assert (error["param"], error["code"]) == ("input", "context_length_exceeded")


async def test_the_scripted_model_has_the_name_it_is_given(serve):
    async with serve(**NOTHING, model="llama3.2") as client:
        assert (await client.models.retrieve("llama3.2")).id == "llama3.2"
        assert (await _post(client, input="hi")).model == "llama3.2"


def test_the_command_line_knows_the_kinds():
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = ["--kind", "nothing", "--unsupported", "ignore", "--context-items", "9", "--model", "llama3.2"]
    settings = settings_of(parser.parse_args(given))
    assert (settings.kind, settings.unsupported) == ("nothing", "ignore")
    assert (settings.context_items, settings.model) == (9, "llama3.2")
