"""Every caller at every route of the OpenAPI document; a route that is not in the table fails the test."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from app.core.config import Settings
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.utils.ids import IdCodec
from tests.security.routes import ROUTES, STORE
from tests.security.support import (
    GUARDED,
    KEY_A,
    KEY_B,
    OLD_SECRET,
    PAGE,
    SECRET,
    bearer,
    made_session,
    mint,
)
from tests.support import (
    ASSISTANT,
    Json,
    Service,
    embedded_upstream,
    in_process,
    make_settings,
    stats,
)

in_module = pytest.mark.asyncio(loop_scope="module")
OWNER = bearer(KEY_A, x_user_id="u1")
OWNERS = ["key A", "session of user 1"]
STRANGERS = ["key B", "session of user 2"]
OUTSIDERS = {"none": 401, "bad key": 401, "expired": 401, "wrong origin": 403, "forged": 401}
BOUND = "thread-bound"


@dataclass(frozen=True)
class World:
    """The service, its callers, and what user 1 of backend A owns."""

    service: Service
    upstream: str
    store_id: str
    callers: dict[str, dict[str, str]]
    settings: Settings

    async def objects(self) -> Json:
        """New objects of the owner, so that routes which destroy them do not disturb others."""
        client = self.service.client
        answer = (await client.post("chat", json={"message": "hello"}, headers=OWNER)).json()
        thread_id, run_id = answer["thread_id"], answer["run_id"]
        listed = (await client.get(f"threads/{thread_id}/messages", headers=OWNER)).json()
        steps = (await client.get(f"threads/{thread_id}/runs/{run_id}/steps", headers=OWNER)).json()
        form: Json = {"file": ("a.txt", b"text"), "purpose": (None, "user_data")}
        uploaded = (await client.post("files", files=form, headers=OWNER)).json()
        return {
            "thread_id": thread_id,
            "run_id": run_id,
            "message_id": listed["first_id"],
            "step_id": steps["first_id"],
            "file_id": uploaded["id"],
            "vector_store_id": self.store_id,
            "assistant_id": ASSISTANT,
            "chat_id": "c",
            "user": "u9",
        }

    async def names_for(self, method: str, path: str, shared: Json) -> Json:
        """Objects to try a route on: new ones where it changes what others may find."""
        changes = method == "DELETE" or (method, path) == ("POST", STORE + "/files")
        return await self.objects() if changes and "{" in path else shared

    async def call(
        self,
        method: str,
        path: str,
        names: Json,
        caller: str | dict[str, str],
        *,
        asks: bool = False,
        **fields: str,
    ) -> Any:
        """Call a route with more `fields` in its body, and with an unknown parameter if it `asks`."""
        route = ROUTES[method, path]
        headers = self.callers[caller] if isinstance(caller, str) else caller
        sent: Json = {"headers": headers}
        if route.files:
            sent["files"] = route.files | {name: (None, value) for name, value in fields.items()}
        elif route.body is not None:
            sent["json"] = (route.body(names) if callable(route.body) else route.body) | fields
        url = "http://localhost" + path.format(**names) + ("?asked_for=1" if asks else "")
        return await self.service.client.request(method, url, **sent)

    async def upstream_calls(self) -> int:
        requests = (await stats(self.upstream))["requests"]
        return sum(count for name, count in requests.items() if "_stats" not in name)


@pytest.fixture(scope="module")
def no_history():
    """Histories are written after their answers, where they would be counted as a later request's calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConversationMetadata, "note_run", lambda *_args, **_kwargs: None)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory, no_history):
    async with embedded_upstream() as url:
        store_id = await new_store(url)
        knowing = tmp_path_factory.mktemp("assistant") / "assistant.json"
        resources = {"file_search": {"vector_store_ids": [store_id]}}
        knowing.write_text(json.dumps({"tools": [{"type": "file_search"}], "tool_resources": resources}))
        settings = make_settings(
            openai_base_url=url,
            openai_api_key="key",
            rate_limit_enabled=False,
            assistant_file=knowing,
            **GUARDED,
        )
        async with in_process(settings) as service:
            elsewhere = (await service.client.post("threads", headers=OWNER)).json()["id"]
            callers = {
                "none": {},
                "bad key": bearer("wrong"),
                "key A": OWNER,
                "key B": bearer(KEY_B, x_user_id="u1"),
                "session of user 1": bearer(await mint(service.client, "u1", origins=[PAGE]), origin=PAGE),
                "session of user 2": bearer(await mint(service.client, "u2")),
                "expired": bearer(made_session(seconds=-1)),
                "wrong origin": bearer(made_session(origins=(PAGE,)), origin="https://evil.example"),
                "forged": bearer(made_session(secret=OLD_SECRET)),
                BOUND: bearer(await mint(service.client, "u1", thread_id=elsewhere)),
            }
            yield World(service, url, store_id, callers, settings)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(world):
    """The same world behind a service that refuses what it does not know."""
    settings = world.settings.model_copy(update={"unsupported_params": "strict"})
    async with in_process(settings) as service:
        yield replace(world, service=service)


async def new_store(url: str) -> str:
    async with httpx2.AsyncClient() as client:
        found = await client.post(f"{url}/vector_stores", json={"name": "knowledge"})
        store_id: str = found.json()["id"]
        return store_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(world):
    return await world.objects()


def test_table_holds_every_route_of_the_document(world):
    document = world.service.app.openapi()
    found = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert found - set(ROUTES) == set(), "new routes need a line in ROUTES"
    assert set(ROUTES) - found <= {("GET", "/metrics")}


GUARDED_ROUTES = [key for key, route in ROUTES.items() if not route.is_public]


@pytest.mark.parametrize("caller", OUTSIDERS)
@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_outsiders_reach_nothing(world, shared, method, path, caller):
    before = await world.upstream_calls()
    response = await world.call(method, path, shared, caller)
    assert response.status_code == OUTSIDERS[caller], response.text
    assert set(response.json()) == {"error"}
    assert await world.upstream_calls() == before


@pytest.mark.parametrize(("method", "path"), [key for key, route in ROUTES.items() if route.is_public])
@in_module
async def test_public_routes_ask_for_nothing(world, method, path):
    assert (await world.call(method, path, {}, "none")).status_code == 200


@pytest.mark.parametrize("caller", OWNERS)
@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_owners_reach_their_own(world, shared, method, path, caller):
    names = await world.names_for(method, path, shared)
    response = await world.call(method, path, names, caller)
    route = ROUTES[method, path]
    is_session = caller.startswith("session") and route.session is not None
    assert response.status_code == (route.session if is_session else route.owner), response.text


@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_unknown_fields_and_parameters_are_named(world, shared, method, path):
    names = await world.names_for(method, path, shared)
    response = await world.call(method, path, names, "key A", asks=True, unheard_of="1")
    route = ROUTES[method, path]
    if path == "/api/v1/sessions":
        # A restriction that is not known would restrict nothing.
        assert response.status_code == 400
    elif response.status_code < 400:
        expected = ["asked_for"] if route.body is None and not route.files else ["asked_for", "unheard_of"]
        assert response.headers["x-ignored-params"].split(", ") == expected
    else:
        assert response.status_code == route.owner


@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_unknown_fields_and_parameters_are_refused_where_that_is_wanted(strict, shared, method, path):
    names = await strict.names_for(method, path, shared)
    queried = await strict.call(method, path, names, "key A", asks=True)
    assert (queried.status_code, queried.json()["error"]["param"]) == (400, "asked_for")
    route = ROUTES[method, path]
    if (route.body is not None or route.files) and route.owner == 200:
        sent = await strict.call(method, path, names, "key A", unheard_of="1")
        assert (sent.status_code, sent.json()["error"]["param"]) == (400, "unheard_of")


@pytest.mark.parametrize("caller", STRANGERS)
@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_strangers_do_not(world, shared, method, path, caller):
    route = ROUTES[method, path]
    expected = route.owner if route.stranger is None else route.stranger
    if caller.startswith("session") and route.session is not None:
        expected = route.session
    before = await world.upstream_calls()
    response = await world.call(method, path, shared, caller)
    assert response.status_code == expected, response.text
    if expected in {403, 404}:
        assert await world.upstream_calls() == before


@pytest.mark.parametrize(("method", "path"), GUARDED_ROUTES)
@in_module
async def test_a_session_for_one_thread_reaches_no_other(world, shared, method, path):
    names = await world.names_for(method, path, shared)
    route = ROUTES[method, path]
    expected = next(each for each in (route.bound, route.session, route.owner) if each is not None)
    before = await world.upstream_calls()
    response = await world.call(method, path, names, BOUND)
    assert response.status_code == expected, response.text
    if expected in {403, 404}:
        assert await world.upstream_calls() == before


NAMED = sorted({name for _, path in ROUTES for name in re.findall(r"\{(\w+)\}", path)})
SIGNED = [name for name in NAMED if name not in {"assistant_id", "chat_id", "vector_store_id"}]
FOREIGN = [
    (method, path, name)
    for (method, path), route in ROUTES.items()
    for name in SIGNED
    if f"{{{name}}}" in path and route.stranger == 404
]


@pytest.mark.parametrize(("method", "path", "name"), FOREIGN)
@in_module
async def test_foreign_forged_and_unknown_ids_are_one(world, shared, method, path, name):
    """The same status, body and headers, and none but the well-signed unknown one costs an upstream call."""
    own = await world.objects()
    seen = []
    for kind, value in ids_of_nobody(name, shared).items():
        before = await world.upstream_calls()
        response = await world.call(method, path, own | {name: value}, bearer(KEY_A, x_user_id="u3"))
        calls = await world.upstream_calls() - before
        assert calls == 0 or kind == "unknown"
        seen.append(comparable(response))
    assert seen[0][0] == 404
    for found in seen[1:]:
        assert found == seen[0]


def ids_of_nobody(name: str, shared: Json) -> dict[str, str]:
    """Ids that user 3 cannot open: another's, one that was tampered with, and one that names nothing."""
    codec = IdCodec([SECRET.encode()], "key:a/user:u3")
    foreign = shared[name]
    made = {
        "thread_id": lambda: codec.thread("conv_" + "0" * 48),
        "run_id": lambda: codec.run("resp_" + "0" * 48),
        "step_id": lambda: codec.step("resp_" + "0" * 48, 0),
        "message_id": lambda: codec.message("msg_" + "0" * 48),
        "file_id": lambda: codec.file("file-" + "0" * 22),
    }
    return {
        "foreign": foreign,
        "forged": foreign[:-1] + ("a" if foreign[-1] != "a" else "b"),
        "unknown": made[name](),
    }


def comparable(response: Any) -> tuple[int, bytes, dict[str, str]]:
    headers = {key: value for key, value in response.headers.items() if key != "x-request-id"}
    return response.status_code, response.content, headers
