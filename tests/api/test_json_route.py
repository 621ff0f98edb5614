"""Routes that take a body and the request alone, and what FastAPI still does for all of them."""

from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from app.api.dependencies import current_scope
from app.api.json_route import JsonRoute
from app.core.errors import BadRequestError
from tests.support import ASSISTANT, Json, error_of, new_thread, stats

JSON = {"content-type": "application/json"}
PATHS = [
    "chat",
    "ag-ui",
    "threads/{t}/messages",
    "threads/{t}/runs/run_1/submit_tool_outputs",
]
OPTIONAL = ["threads/runs", "threads/{t}/runs"]
PLAIN = {
    "chat",
    "ag_ui",
    "create_thread_and_run",
    "create_run",
    "get_run",
    "submit_tool_outputs",
    "create_thread",
    "create_message",
}


def json_routes(app) -> Iterator[tuple[RouteContext, JsonRoute]]:
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, JsonRoute):
            yield context, context.original_route


def declared(dependant: Dependant) -> Iterator[Dependant]:
    """What a route depends on, at any depth."""
    for found in dependant.dependencies:
        yield found
        yield from declared(found)


class TestBodies:
    @pytest.mark.parametrize(
        ("content", "headers", "param", "code"),
        [
            (b"{", JSON, "body", "invalid_json"),
            (b'{"a": 1,}', JSON, "body", "invalid_json"),
            (b"\xff", JSON, "body", "invalid_encoding"),
            (b"", JSON, "body", "missing_required_parameter"),
            (b"", {}, "body", "missing_required_parameter"),
            (b"null", JSON, "body", None),
            (b"message=hi", {"content-type": "text/plain"}, "content-type", "invalid_content_type"),
            (b"{", {}, "content-type", "invalid_content_type"),
            (b"[1]", JSON, "body", None),
        ],
    )
    async def test_a_body_that_does_not_fit_is_refused_alike_everywhere(
        self, client, upstream, content, headers, param, code
    ):
        thread_id = await new_thread(client)
        found = []
        for path in PATHS if content in {b"", b"null"} else [*PATHS, *OPTIONAL]:
            response = await client.post(path.format(t=thread_id), content=content, headers=headers)
            found.append(error_of(response, 400))
        assert all(error == found[0] for error in found)
        assert found[0]["param"] == param
        assert code in (None, found[0]["code"])
        assert (await stats(upstream))["responses_created"] == 0

    async def test_an_optional_body_may_be_left_out(self, client):
        bodies: list[Json] = [{}, {"headers": JSON}, {"content": b"null", "headers": JSON}, {"json": {}}]
        for sent in bodies:
            assert (await client.post("threads", **sent)).status_code == 200
        error_of(await client.post("threads", content=b"{", headers=JSON), 400)

    @pytest.mark.parametrize(
        "kind", ["application/json", "Application/JSON ; charset=utf-8", "application/x+json"]
    )
    async def test_what_is_json_is_read_however_it_is_named(self, client, kind):
        sent = {"content": '{"message": "häh"}'.encode(), "headers": {"content-type": kind}}
        assert (await client.post("chat?extra=1", **sent)).json()["message"] == "You said: häh"

    @pytest.mark.parametrize("path", ["chat", "threads", "threads/runs"])
    async def test_a_body_over_the_limit_is_not_read(self, start, upstream, path):
        async with start(url=upstream, max_body_bytes=1_000) as service:
            for content in (b" " * 2_000, _pieces(b" " * 600, 2)):
                response = await service.client.post(path, content=content, headers=JSON)
                assert error_of(response, 413)["param"] == "body"

    async def test_a_client_that_leaves_while_it_sends_starts_nothing(self, start, upstream):
        sent: list[dict[str, object]] = []
        messages = [
            {"type": "http.request", "body": b'{"message"', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        async with start(url=upstream) as service:
            await service.asgi(_scope("/api/v1/chat"), receive, send)
        assert sent[0]["status"] == 499
        assert (await stats(upstream))["responses_created"] == 0


class TestDependencies:
    async def test_often_called_routes_declare_none(self, start, upstream):
        async with start(url=upstream) as service:
            plain = {route.name for _, route in json_routes(service.app) if route.is_plain()}
        assert plain == PLAIN

    async def test_none_come_from_outside_the_routes(self, start, upstream):
        async with start(url=upstream) as service:
            for context, route in json_routes(service.app):
                assert len(context.dependant.dependencies) == len(route.dependant.dependencies), route.name

    async def test_overrides_reach_every_one_that_a_route_declares(self, start, upstream):
        reached: set[object] = set()
        async with start(url=upstream) as service:
            for _, route in json_routes(service.app):
                for found in declared(route.dependant):
                    service.app.dependency_overrides = {found.call: refuse}
                    path = "/".join("x" if part[:1] == "{" else part for part in route.path.split("/"))
                    for method in route.methods or ():
                        response = await service.client.request(method, path[1:], json={"metadata": {}})
                        assert error_of(response, 400)["code"] == "overridden", (path, found.call)
                    reached.add(found.call)
        assert current_scope in reached

    async def test_a_route_that_declares_one_is_served_by_fastapi(self, start, upstream):
        async with start(url=upstream) as service:
            service.app.dependency_overrides = {current_scope: refuse}
            error_of(await service.client.get("threads/thread_1"), 400)
            assert (await service.client.post("chat", json={"message": "hi"})).status_code == 200


class TestKeys:
    @pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é".encode()])
    async def test_a_key_that_is_none_is_refused_by_all_that_take_one(self, client, upstream, key):
        thread_id = await new_thread(client)
        bodies = {
            "chat": {"message": "hi"},
            "threads": {},
            "threads/runs": {"assistant_id": ASSISTANT},
            f"threads/{thread_id}/runs": {"assistant_id": ASSISTANT},
            f"threads/{thread_id}/messages": {"role": "user", "content": "hi"},
        }
        for path, body in bodies.items():
            response = await client.post(path, json=body, headers={"idempotency-key": key})
            error = error_of(response, 400)
            assert error["param"] == "idempotency-key"
            assert "String should" in error["message"]
        assert (await stats(upstream))["responses_created"] == 0


def refuse():
    raise BadRequestError("Overridden.", code="overridden")


async def _pieces(piece: bytes, count: int):
    for _ in range(count):
        yield piece


def _scope(path: str) -> dict[str, object]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }
