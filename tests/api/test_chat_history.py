"""Bodies with `messages` that cannot be understood: a 400 that names the place, in every protocol."""

import httpx2
import pytest


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "robot", "parts": []}], "messages[0].role"),
        ([{"role": "assistant", "parts": [{"type": "text", "text": "Hi"}]}], "messages"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/plain"])
async def test_bad_history_is_refused(client: httpx2.AsyncClient, messages, param, accept):
    answer = await client.post("chat", json={"messages": messages}, headers={"accept": accept})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
