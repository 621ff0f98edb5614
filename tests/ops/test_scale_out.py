"""Three replicas behind nginx: any of them serves any call, and none of them is missed."""

import re

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.cluster import Cluster, status_of
from bench.rolling import roll
from tests.support import ASSISTANT, WEATHER, frames, text_of

pytestmark = [
    pytest.mark.needs_nginx,
    pytest.mark.needs_redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
SESSIONS = 7


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    settings = {
        "RATE_LIMIT_SESSIONS": f"{SESSIONS}/hour",
        "ASSISTANT_TOOLS": httpx2.Request("POST", "http://x", json=[WEATHER]).content.decode(),
    }
    with Cluster(tmp_path_factory.mktemp("cluster"), **settings).running() as found:
        yield found


@pytest.fixture
def client(cluster):
    """A client of nginx."""
    with open_client(cluster, cluster.url) as found:
        yield found


@pytest.fixture
def each(cluster):
    """A client of each replica by itself."""
    clients = [open_client(cluster, cluster.replica_url(port)) for port in cluster.ports]
    yield clients
    for found in clients:
        found.close()


def open_client(cluster, url):
    headers = {"authorization": f"Bearer {cluster.KEY}"}
    return httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


def ok(response):
    assert response.status_code == 200, response.text
    return response.json()


def requests_served(port):
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "soloist_requests_total" and "threads" in sample.labels["route"]
    )


def test_a_conversation_hops_replicas_at_every_call(each):
    """Every call goes to the next replica, as no proxy could do worse."""
    turn = 0

    def next_one():
        nonlocal turn
        turn += 1
        return each[turn % len(each)]

    thread = ok(next_one().post("threads", json={"metadata": {"a": "1"}}))
    path = f"threads/{thread['id']}"
    message = ok(next_one().post(f"{path}/messages", json={"role": "user", "content": "use the tool"}))
    run = ok(next_one().post(f"{path}/runs", json={"assistant_id": ASSISTANT}))
    while run["status"] in {"queued", "in_progress"}:
        run = ok(next_one().get(f"{path}/runs/{run['id']}"))
    assert run["status"] == "requires_action"
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
    run = ok(next_one().post(f"{path}/runs/{run['id']}/submit_tool_outputs", json={"tool_outputs": outputs}))
    while run["status"] in {"queued", "in_progress"}:
        run = ok(next_one().get(f"{path}/runs/{run['id']}"))
    assert run["status"] == "completed"
    assert len(ok(next_one().get(f"{path}/runs/{run['id']}/steps"))["data"]) == 2
    listed = ok(next_one().get(f"{path}/messages", params={"order": "asc"}))["data"]
    assert listed[0]["id"] == message["id"]
    assert "sunny" in listed[1]["content"][0]["text"]["value"]
    assert [found["id"] for found in ok(next_one().get(f"{path}/runs"))["data"]] == [run["id"]]
    assert ok(next_one().post(path, json={"metadata": {"a": "2"}}))["metadata"] == {"a": "2"}
    assert ok(next_one().get(path))["metadata"] == {"a": "2"}
    assert ok(next_one().delete(path))["deleted"] is True
    assert next_one().get(path).status_code == 404


def test_nginx_spreads_the_calls_of_one_conversation(cluster, client):
    before = [requests_served(port) for port in cluster.ports]
    thread = ok(client.post("threads", json={}))
    for number in range(9):
        body = {"role": "user", "content": f"message {number}"}
        ok(client.post(f"threads/{thread['id']}/messages", json=body))
    listed = ok(client.get(f"threads/{thread['id']}/messages", params={"order": "asc"}))["data"]
    texts = [message["content"][0]["text"]["value"] for message in listed]
    assert texts == [f"message {number}" for number in range(9)]
    assert all(requests_served(port) > count for port, count in zip(cluster.ports, before, strict=True))


def holder(cluster):
    """The replica that serves the one open stream."""
    (found,) = [
        port
        for port in cluster.ports
        if httpx2.get(cluster.replica_url(port) + "ready", trust_env=False).json()["open_streams"]
    ]
    return found


def read_until_killed(cluster, response):
    """Read a chat stream and kill its replica on the way; what was read, and who was killed."""
    text, begun, last_id, count, killed = "", None, None, 0, None
    try:
        for block in blocks(response):
            ((name, data),) = frames(block + "\n\n")
            begun = begun or data
            text += data["text"] if name == "delta" else ""
            last_id = int(re.findall(r"^id: (\d+)$", block, re.MULTILINE)[0])
            count += 1
            if count == 60:
                killed = holder(cluster)
                cluster.kill(killed)
    except httpx2.RemoteProtocolError:
        return text, begun, last_id, killed
    raise AssertionError("the stream of a dead replica ended in order")


def test_a_replica_dies_in_mid_stream_and_another_goes_on_without_losing_a_token(cluster, client):
    body = {"message": "slow:200", "stream": True, "on_disconnect": "detach"}
    with client.stream("POST", "chat", json=body) as response:
        text, begun, last_id, killed = read_until_killed(cluster, response)
    path = f"threads/{begun['thread_id']}/runs/{begun['run_id']}/events"
    rest = frames(client.get(path, headers={"last-event-id": str(last_id)}).text)
    assert rest[-1] == ("done", "[DONE]")
    assert text + text_of(rest) == "".join(f"word{number} " for number in range(200))
    cluster.start(killed)


def blocks(response):
    """The whole blocks of an event stream as they come."""
    left = ""
    for chunk in response.iter_text():
        *whole, left = (left + chunk).split("\n\n")
        yield from (block for block in whole if not block.startswith(": "))


def test_calls_go_on_while_a_replica_is_dead(cluster, client):
    dead = cluster.ports[1]
    cluster.kill(dead)
    assert [client.post("chat", json={"message": "hello"}).status_code for _ in range(12)] == [200] * 12
    cluster.start(dead)


def test_replicas_share_a_limit_exactly(each):
    statuses = [
        each[number % len(each)].post("sessions", json={"user": "u"}).status_code for number in range(12)
    ]
    assert statuses == [200] * SESSIONS + [429] * (12 - SESSIONS)


def test_metrics_are_not_served_through_the_proxy(cluster):
    assert status_of(f"http://127.0.0.1:{cluster.port}/metrics") == 404


async def test_a_rolling_restart_under_load_loses_no_request(cluster):
    tally = await roll(cluster, requests=300)
    assert tally.restarts >= len(cluster.ports)
    assert tally.sent >= 300
    assert tally.lost == {}
