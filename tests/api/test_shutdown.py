"""Shutdown: what is under way gets its time and then an answer, and nothing new begins."""

import asyncio

import pytest

from tests.support import ASSISTANT, error_of, new_thread, until

RUN = {"assistant_id": ASSISTANT}


def registry_of(service):
    return service.app.state.registry


@pytest.mark.parametrize("fault", ["stall", "hang"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answer_that_cannot_finish_in_time_is_a_503(start, fault, is_stream):
    knobs = {"fault": fault, "fault_after": 4 if fault == "stall" else 0}
    async with start(is_served=True, knobs=knobs, shutdown_grace_seconds=0.2) as service:
        body = {"message": "hi", "stream": is_stream}
        asked = asyncio.create_task(service.client.post("chat", json=body))
        await until(lambda: registry_of(service).open_streams == 1)
        service.server.should_exit = True
        response = await asked
        if is_stream and fault == "stall":
            assert "event: error\n" in response.text
            assert '"code":"shutting_down"' in response.text
        else:
            assert error_of(response, 503)["code"] == "shutting_down"
            assert response.headers["x-should-retry"] == "false"
        assert registry_of(service).open_streams == 0


async def test_no_run_begins_while_draining(start):
    outputs = {"tool_outputs": [{"tool_call_id": "call_1", "output": "x"}]}
    async with start(is_served=True, knobs={"fault": "stall"}, shutdown_grace_seconds=2) as service:
        thread = f"threads/{await new_thread(service.client, 'hi')}"
        asked = asyncio.create_task(service.client.post("chat", json={"message": "hi"}))
        await until(lambda: registry_of(service).open_streams == 1)
        service.server.should_exit = True
        await until(lambda: registry_of(service).is_draining)
        for path, body in (
            ("threads/runs", RUN),
            (f"{thread}/runs", RUN),
            (f"{thread}/runs/run_1/submit_tool_outputs", outputs),
        ):
            for is_stream in (False, True):
                response = await service.client.post(path, json={**body, "stream": is_stream})
                assert error_of(response, 503)["code"] == "shutting_down", (path, is_stream)
        error_of(await asked, 503)
