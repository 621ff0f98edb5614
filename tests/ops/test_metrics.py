"""`/metrics`: who may read it, and that it tells what happened."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import error_of, finished_run, frames, new_thread, until

ROOT_URL = "http://localhost"


async def samples(client):
    """Values by (name, labels) of everything that `/metrics` tells."""
    response = await client.get(str(client.base_url.join("/metrics")))
    assert response.status_code == 200, response.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found.get((name, frozenset(labels.items())), 0)


async def chat(client, text, **body):
    response = await client.post("chat", json={"message": text, **body})
    assert response.status_code == 200, response.text
    return response


async def test_programs_on_this_machine_may_read(start):
    async with start() as service:
        response = await service.client.get(str(service.client.base_url.join("/metrics")))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_what_came_through_a_proxy_may_not(start, header):
    async with start() as service:
        url = str(service.client.base_url.join("/metrics"))
        error_of(await service.client.get(url, headers={header: "192.0.2.1"}), 403)


async def test_a_token_opens_it_to_its_bearer_alone(start):
    async with start(metrics_token="x" * 20) as service:
        url = str(service.client.base_url.join("/metrics"))
        error_of(await service.client.get(url), 401)
        error_of(await service.client.get(url, headers={"authorization": "Bearer nonsense"}), 401)
        sent = {"authorization": "Bearer " + "x" * 20, "x-forwarded-for": "192.0.2.1"}
        assert (await service.client.get(url, headers=sent)).status_code == 200


async def test_it_can_be_switched_off(start):
    async with start(metrics_enabled=False) as service:
        error_of(await service.client.get(str(service.client.base_url.join("/metrics"))), 404)


async def test_requests_count_by_route_and_status(start):
    async with start() as service:
        await chat(service.client, "hello")
        await service.client.post("chat", json={"message": ""})
        await service.client.get("threads/thread_unknown")
        await service.client.get("nowhere")
        found = await samples(service.client)
    route = "/api/v1/chat"
    assert value(found, "soloist_requests_total", method="POST", route=route, status="200") == 1
    assert value(found, "soloist_requests_total", method="POST", route=route, status="400") == 1
    assert value(found, "soloist_request_seconds_count", method="POST", route=route) == 2
    assert value(found, "soloist_requests_total", method="GET", route="unmatched", status="404") == 1
    assert (
        value(
            found, "soloist_requests_total", method="GET", route="/api/v1/threads/{thread_id}", status="404"
        )
        == 1
    )
    assert value(found, "soloist_errors_total", code="unknown_url") == 1


async def test_no_id_gets_into_a_label(start):
    async with start() as service:
        thread_id = await new_thread(service.client, "hello")
        await service.client.get(f"threads/{thread_id}/messages")
        await service.client.request("BREW", "chat")
        response = await service.client.get(str(service.client.base_url.join("/metrics")))
    for word in (thread_id, thread_id.removeprefix("thread_"), "BREW", "conv_"):
        assert word not in response.text


async def test_a_stream_tells_its_first_text_and_its_end(start):
    async with start(is_served=True) as service:
        response = await chat(service.client, "hello", stream=True)
        assert frames(response.text)[-1][0] == "done"
        found = await samples(service.client)
    assert value(found, "soloist_first_text_seconds_count") == 1
    assert value(found, "soloist_streams_ended_total", reason="finished") == 1
    assert value(found, "soloist_runs_started_total") == 1
    assert value(found, "soloist_runs_ended_total", status="completed") == 1
    assert value(found, "soloist_open_streams") == 0


async def test_a_client_that_leaves_is_counted_and_its_run_cancelled(start):
    async with start(is_served=True) as service:
        body = {"message": "slow:", "stream": True}
        async with service.client.stream("POST", "chat", json=body) as response:
            chunks = response.aiter_bytes()
            await anext(chunks)
            assert value(await samples(service.client), "soloist_open_streams") == 1
        await until(lambda: _cancelled(service.client))
        found = await samples(service.client)
    assert value(found, "soloist_streams_ended_total", reason="client_gone") == 1


async def _cancelled(client):
    return value(await samples(client), "soloist_cancellations_total") == 1


async def test_tokens_and_their_cost_are_those_of_the_answers(start, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"soloist": {"input_per_million": 2, "output_per_million": 8}}))
    async with start(prices_file=prices) as service:
        usages = [(await chat(service.client, text)).json()["usage"] for text in ("hello", "and again")]
        run = await finished_run(service.client, "hello")
        for _ in range(3):
            await service.client.get(f"threads/{run['thread_id']}/runs/{run['id']}")
        found = await samples(service.client)
    usages.append(run["usage"])
    model = "soloist-scripted"
    read, written = (sum(usage[key] for usage in usages) for key in ("prompt_tokens", "completion_tokens"))
    assert value(found, "soloist_input_tokens_total", model=model) == read
    assert value(found, "soloist_output_tokens_total", model=model) == written
    assert value(found, "soloist_cost_total", model=model) == pytest.approx((2 * read + 8 * written) / 1e6)
    assert value(found, "soloist_runs_ended_total", status="completed") == 3


async def test_upstream_failures_count_by_code(start):
    async with start(knobs={"fault": "500"}) as service:
        error_of(await service.client.post("chat", json={"message": "hello"}), 502)
        found = await samples(service.client)
    operations = {
        dict(labels)["operation"] for name, labels in found if name == "soloist_upstream_errors_total"
    }
    assert operations <= {"POST /conversations", "POST /responses"}
    assert sum(v for (name, _), v in found.items() if name == "soloist_upstream_errors_total") >= 1
    assert value(found, "soloist_errors_total", code="upstream_failed") == 1


async def test_waiting_for_a_busy_conversation_is_measured(start):
    async with start(is_served=True, lock_wait_seconds=0.3) as service:
        thread_id = await new_thread(service.client)
        body = {"message": "slow:", "stream": True, "thread_id": thread_id}
        async with service.client.stream("POST", "chat", json=body) as response:
            chunks = response.aiter_bytes()
            await anext(chunks)
            error_of(await service.client.post("chat", json={**body, "stream": False}), 409)
        found = await samples(service.client)
    assert value(found, "soloist_lock_wait_seconds_count") >= 1
    assert (
        value(found, "soloist_upstream_errors_total", operation="POST /responses", code="conversation_locked")
        >= 2
    )
