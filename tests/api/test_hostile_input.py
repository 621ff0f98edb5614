"""Bodies that are JSON to a lenient parser and to nobody after it; names that no header can carry."""

import json
from typing import Any

import pytest

from tests.support import ASSISTANT, error_of, new_thread


def nested(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat", {"messages": [{"role": "user", "content": "a\ud800b"}]}, "messages"),
        ("chat", {"message": "a\ud800b"}, "message"),
        ("threads", {"metadata": {"key": "\ud800"}}, "metadata"),
        ("threads", {"metadata": {"\ud800": "value"}}, "metadata"),
        ("threads", {"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ("runs", {"instructions": "\ud800"}, "instructions"),
        ("runs", {"max_completion_tokens": 10**30}, "max_completion_tokens"),
        ("runs", {"metadata": {"key": "\ud800"}}, "metadata"),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_by_name(client, path, body, param):
    if path == "runs":
        path, body = f"threads/{await new_thread(client, 'hi')}/runs", {"assistant_id": ASSISTANT, **body}
    assert error_of(await _as_json(client, path, body), 400)["param"] == param


@pytest.mark.parametrize("value", ["\ud800", nested(300)])
async def test_a_tool_s_schema_is_refused_where_it_is_no_json(client, value):
    function = {"name": "f", "parameters": {"default": value}}
    body = {"assistant_id": ASSISTANT, "tools": [{"type": "function", "function": function}]}
    response = await _as_json(client, f"threads/{await new_thread(client, 'hi')}/runs", body)
    assert error_of(response, 400)["param"] == "tools[0].function.parameters"


@pytest.mark.parametrize(
    ("names", "header"),
    [
        (["x\r\nset-cookie: a=b; y"], "?"),
        (["日本"], "?"),
        (["a\0b", "plain"], "?, plain"),
        ([f"k{number:02}" for number in range(30)], ", ".join([f"k{n:02}" for n in range(20)] + ["..."])),
    ],
)
async def test_names_of_ignored_fields_cannot_break_the_answer(live, names, header):
    response = await live.post("threads", json=dict.fromkeys(names, 1))
    assert response.status_code == 200
    assert response.headers["x-ignored-params"] == header
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("event_id", ["9" * 5_000, "x", "-1", "1.5"])
async def test_a_last_event_id_that_is_no_number_of_ours_is_refused(client, event_id):
    path = f"threads/{await new_thread(client, 'hi')}/runs/run_x/events"
    response = await client.get(path, headers={"last-event-id": event_id})
    assert error_of(response, 400)["param"] == "Last-Event-ID"


async def _as_json(client, path, body):
    return await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
