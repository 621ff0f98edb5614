"""Bad input is a 400 that names its field, never a 500."""

import pytest

from tests.embedded.support import refused


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": 3, "input": "x"}, "model"),
        ({"input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": "x", "colour": "red"}, "colour"),
        ({"model": "m", "input": 5}, "input"),
        ({"model": "m", "input": [3]}, "input[0]"),
        ({"model": "m", "input": [{}]}, "input[0].type"),
        ({"model": "m", "input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"model": "m", "input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"model": "m", "input": [{"role": "user", "content": [3]}]}, "input[0].content[0].type"),
        (
            {"model": "m", "input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input[0].content[0].type",
        ),
        ({"model": "m", "input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"model": "m", "input": "x", "temperature": 3}, "temperature"),
        ({"model": "m", "input": "x", "max_output_tokens": 1}, "max_output_tokens"),
        ({"model": "m", "input": "x", "stream": "yes"}, "stream"),
        ({"model": "m", "input": "x", "tools": [{}]}, "tools[0].type"),
        ({"model": "m", "input": "x", "tools": [{"type": "function", "name": 3}]}, "tools[0].name"),
        (
            {"model": "m", "input": "x", "tools": [{"type": "function", "name": "f", "parameters": 3}]},
            "tools[0].parameters",
        ),
        (
            {"model": "m", "input": "x", "tools": [{"type": "file_search", "vector_store_ids": [3]}]},
            "tools[0].vector_store_ids",
        ),
        ({"model": "m", "input": "x", "tools": [{"type": "code_interpreter"}]}, "tools[0].container"),
        ({"model": "m", "input": "x", "truncation": "some"}, "truncation"),
        ({"model": "m", "input": "x", "conversation": {"id": 3}}, "conversation.id"),
        (
            {"model": "m", "input": "x", "conversation": "conv_x", "previous_response_id": "resp_x"},
            "previous_response_id",
        ),
        ({"model": "m", "input": "x", "metadata": {str(at): "v" for at in range(17)}}, "metadata"),
        (
            {"model": "m", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input",
        ),
    ],
)
async def test_a_bad_response_request_names_its_field(client, body, param):
    with refused() as error:
        await client.post("/responses", body=body, cast_to=object)
    assert error["param"] == param
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "text", ['{"a":' * 500 + "1" + "}" * 500, '{"a":123456789012345678901234567890}', '{"a":"\\ud800"}']
)
async def test_what_json_libraries_disagree_on_is_refused(client, text):
    with refused():
        await client.post(
            "/responses",
            content=b'{"model":"m","input":"x","text":' + text.encode() + b"}",
            cast_to=object,
            options={"headers": {"content-type": "application/json"}},
        )


async def test_items_of_unknown_kinds_do_not_disturb(client):
    item = {"type": "compaction", "content": "opaque"}
    asked = {"role": "user", "content": "hi"}
    response = await client.responses.create(model="m", input=[item, asked])
    assert response.output_text == "You said: hi"


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"\xff\xfe", b"null"])
async def test_what_is_no_json_object_is_refused(client, raw):
    with refused():
        await client.post(
            "/conversations",
            content=raw,
            cast_to=object,
            options={"headers": {"content-type": "application/json"}},
        )


async def test_an_unknown_route_has_the_envelope(client):
    with refused(404) as error:
        await client.get("/nope", cast_to=object)
    assert error["message"] == "Invalid URL (GET /v1/nope)"
    with refused(405):
        await client.delete("/models", cast_to=object)


async def test_the_key_is_checked_when_one_is_set(serve):
    async with serve(api_key="sesame") as client:
        assert (await client.models.list()).data
        with refused(401) as error:
            await client.with_options(api_key="wrong").models.list()
        assert error["code"] == "invalid_api_key"


async def test_models_tell_who_answers(serve):
    async with serve(shutdown_date="2027-01-14") as client:
        (model,) = (await client.models.list()).data
        assert model.id == "soloist-scripted"
        assert (await client.models.retrieve(model.id)).shutdown_date == "2027-01-14"
        with refused(404):
            await client.models.retrieve("gpt-6-luna")
