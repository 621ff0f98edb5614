"""What the service tells of itself: its card, its health, its one assistant."""

import json

import pytest

from main import create_app
from tests.fake_upstream import always, fake_upstream
from tests.support import WEATHER, error_of, in_process, make_settings

ASSISTANT_KEYS = {
    "id",
    "object",
    "created_at",
    "name",
    "description",
    "model",
    "instructions",
    "tools",
    "metadata",
    "top_p",
    "temperature",
    "response_format",
    "tool_resources",
    "reasoning_effort",
}


class TestHealth:
    async def test_the_card(self, client):
        card = (await client.get("http://localhost/")).json()
        assert card["name"] == "Soloist"
        assert card["assistant"]["id"] == "asst_soloist"
        assert card["upstream"]["kind"] == "custom"
        for link in filter(None, card["links"].values()):
            assert (await client.get(f"http://localhost{link}")).status_code in {200, 405}

    async def test_liveness_needs_no_upstream(self, start, unused_tcp_port):
        async with start(url=f"http://127.0.0.1:{unused_tcp_port}/v1") as service:
            response = await service.client.get("health")
            assert response.status_code == 200
            assert response.json()["status"] == "ok"
            assert (await service.client.get("ready")).status_code == 503

    async def test_readiness_knows_the_model_and_its_end(self, start):
        model = {"id": "gpt-6-luna", "object": "model", "shutdown_date": "2027-06-01"}
        async with fake_upstream(always(200, model)) as fake, start(url=fake.url) as service:
            response = await service.client.get("ready")
            assert response.status_code == 200
            body = response.json()
            assert (body["status"], body["draining"], body["open_streams"]) == ("ready", False, 0)
            assert body["upstream"]["shutdown_date"] == "2027-06-01"
            assert body["upstream"]["model_known"] is True
            await service.client.get("ready")
            asked = [request.path for request in fake.requests if request.path == "/v1/models/gpt-6-luna"]
            assert len(asked) == 1

    async def test_an_upstream_that_does_not_know_the_model_is_still_reachable(self, start):
        async with fake_upstream(always(404, {"error": {}})) as fake, start(url=fake.url) as service:
            response = await service.client.get("ready")
            assert response.status_code == 200
            assert response.json()["upstream"]["model_known"] is False

    @pytest.mark.parametrize(("status", "code"), [(500, "upstream_failed"), (401, "upstream_auth_failed")])
    async def test_an_upstream_that_does_not_work_is_not_ready(self, start, status, code):
        async with (
            fake_upstream(always(status, {"error": {"message": "canary"}})) as fake,
            start(url=fake.url) as service,
        ):
            response = await service.client.get("ready")
            assert response.status_code == 503
            assert response.json()["status"] == "not_ready"
            assert response.json()["upstream"]["error"] == code
            assert "canary" not in response.text

    async def test_without_a_key_the_embedded_upstream_answers_and_says_so(self, tmp_path):
        settings = make_settings(embedded_db=str(tmp_path / "e.db"), embedded_responder="scripted")
        async with in_process(settings) as service:
            found = (await service.client.get("ready")).json()["upstream"]
            assert (found["kind"], found["model"], found["responder"]) == (
                "embedded",
                "soloist-scripted",
                "scripted",
            )
            assert found["model_known"] is True
            answer = (await service.client.post("chat", json={"message": "hi"})).json()
            assert answer["message"] == "You said: hi"


class TestAssistant:
    async def test_there_is_one(self, client):
        page = (await client.get("assistants")).json()
        assert len(page["data"]) == 1
        assistant = page["data"][0]
        assert assistant.keys() == ASSISTANT_KEYS
        assert assistant["tools"] == [WEATHER]
        assert page["first_id"] == page["last_id"] == assistant["id"] == "asst_soloist"
        assert page["has_more"] is False
        assert (await client.get("assistants/asst_soloist")).json() == assistant
        assert (await client.get("assistants", params={"after": assistant["id"]})).json()["data"] == []

    async def test_another_is_unknown(self, client):
        assert error_of(await client.get("assistants/asst_other"), 404)["param"] == "assistant_id"

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "assistants"), ("POST", "assistants/asst_soloist"), ("DELETE", "assistants/asst_soloist")],
    )
    async def test_it_is_fixed(self, client, method, path):
        body = {"model": "x"} if method == "POST" else None
        error = error_of(await client.request(method, path, json=body), 400)
        assert error["code"] == "assistant_is_fixed"

    async def test_an_exported_object_is_the_assistant(self, start, upstream, tmp_path):
        exported = {
            "id": "asst_abc",
            "object": "assistant",
            "created_at": 1_700_000_000,
            "name": "Analyst",
            "description": "Counts.",
            "model": "gpt-6-sol",
            "instructions": "Count.",
            "tools": [WEATHER, {"type": "code_interpreter"}],
            "tool_resources": {"code_interpreter": {"file_ids": []}},
            "temperature": 0.5,
            "top_p": 0.9,
            "response_format": {"type": "json_object"},
            "reasoning_effort": None,
            "metadata": {"team": "a"},
        }
        path = tmp_path / "assistant.json"
        path.write_text(json.dumps(exported))
        async with start(url=upstream, assistant_file=path, assistant_tools=None) as service:
            found = (await service.client.get("assistants")).json()["data"][0]
        for name in ("name", "description", "instructions", "temperature", "top_p", "metadata", "created_at"):
            assert found[name] == exported[name]
        assert [tool["type"] for tool in found["tools"]] == ["function", "code_interpreter"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [("{", "no JSON"), ('{"tools": 1}', "tools"), ("[]", "")],
    )
    def test_a_file_that_is_none_stops_the_start_in_one_line(self, tmp_path, content, reason):
        path = tmp_path / "assistant.json"
        path.write_text(content)
        with pytest.raises(ValueError, match="ASSISTANT_FILE") as caught:
            create_app(make_settings(assistant_file=path))
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


class TestOpenApi:
    async def test_every_route_has_a_summary_and_its_errors(self, client):
        document = (await client.get("http://localhost/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"], (method, path)
                if path.startswith("/api/v1/") and path not in {"/api/v1/health", "/api/v1/ready"}:
                    assert "400" in operation["responses"], (method, path)
                    assert "HTTPValidationError" not in json.dumps(operation), (method, path)


@pytest.mark.parametrize("path", ["http://localhost/", "health", "ready"])
async def test_head_answers_like_get_without_a_body(client, path):
    head, got = await client.head(path), await client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, got.headers["content-type"])


async def test_an_empty_purpose_is_none(client):
    listed = await client.get("files", params={"purpose": ""})
    assert listed.json() == (await client.get("files")).json()
