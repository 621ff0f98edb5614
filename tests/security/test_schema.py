"""Generated requests over the whole OpenAPI document: nothing breaks, no answer is other than it says."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.security.routes import ROUTES
from tests.security.support import GUARDED, KEY_A, bearer
from tests.support import ASSISTANT, Json, embedded_upstream, make_settings, served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service over a socket, in a loop of its own: Schemathesis calls it without one."""
    found: list[str] = []
    is_up, is_over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(embedded_upstream())
            changes = {"openai_base_url": upstream, "openai_api_key": "key", "rate_limit_enabled": False}
            store = {"store_url": f"sqlite:///{tmp_path_factory.mktemp('store') / 'soloist.db'}"}
            service = await stack.enter_async_context(served(make_settings(**changes, **store, **GUARDED)))
            found.append(service.base_url.removesuffix("/api/v1/"))
            is_up.set()
            await is_over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    is_up.wait(30)
    yield found[0]
    loop.call_soon_threadsafe(is_over.set)
    thread.join(30)
    loop.close()


@pytest.fixture(scope="module")
def document(address: str) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize(("method", "path"), [key for key in ROUTES if key[1] != "/metrics"])
def test_answers_are_as_documented(document, address, method, path):
    operation, names = document[path][method], objects_of(address)

    @given(case=operation.as_strategy(), is_known=booleans())
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: schemathesis.Case[Any], *, is_known: bool) -> None:
        if is_known:
            case.path_parameters.update({name: names[name] for name in case.path_parameters if name in names})
        headers = {"authorization": f"Bearer {KEY_A}"}
        response = case.call(base_url=address, headers=headers, timeout=20)
        case.validate_response(response, checks=CHECKS)

    holds()


def objects_of(address: str) -> Json:
    """Objects that exist, new ones for each route: half of the requests are about them."""
    with httpx2.Client(base_url=f"{address}/api/v1/", headers=bearer(KEY_A), timeout=20) as client:
        answer = client.post("chat", json={"message": "hello"}).json()
        names: Json = {
            "thread_id": answer["thread_id"],
            "run_id": answer["run_id"],
            "assistant_id": ASSISTANT,
        }
        listed = client.get(f"threads/{names['thread_id']}/messages").json()
        steps = client.get(f"threads/{names['thread_id']}/runs/{names['run_id']}/steps").json()
        form: Json = {"file": ("a.txt", b"text"), "purpose": (None, "user_data")}
        uploaded = client.post("files", files=form).json()
    return names | {
        "message_id": listed["first_id"],
        "step_id": steps["first_id"],
        "file_id": uploaded["id"],
        "assistant_id": ASSISTANT,
        "chat_id": "c",
    }
