"""The service as tests run it: hermetic settings, the real app and lifespan, real sockets for streams."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import structlog
import uvicorn
from fastapi import FastAPI
from pydantic_settings import PydanticBaseSettingsSource
from starlette.types import ASGIApp

from app.core.config import Settings
from app.core.logging import HANDLER_NAME
from app.embedded.resettable import ResettableProtocol
from app.embedded.server import create_embedded_app
from app.embedded.settings import EmbeddedSettings
from app.server.uvicorn_server import Server
from main import create_app

Json = dict[str, Any]
Frames = list[tuple[str, Any]]

WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASSISTANT = "asst_soloist"
PATIENCE_SECONDS = 30
# Reading the certificates of the machine for every client costs more than the rest of a test.
TLS = ssl.create_default_context()


class HermeticSettings(Settings):
    """Settings that neither the environment nor a `.env` file changes."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: Any,
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def make_settings(**changes: Any) -> Settings:
    # Most upstreams of the tests keep conversations, and a question about it would count as a call.
    defaults = {"log_format": "json", "log_level": "error", "conversations": "upstream"}
    return HermeticSettings(**(defaults | changes))


@asynccontextmanager
async def embedded_upstream(**knobs: Any) -> AsyncIterator[str]:
    """Serve the embedded upstream with the scripted responder; yields its base URL."""
    defaults: Json = {"db": ":memory:", "responder": "scripted", "docs": Path(__file__).parent}
    async with embedded_served(EmbeddedSettings(**(defaults | knobs))) as url:
        yield url


@asynccontextmanager
async def embedded_served(settings: EmbeddedSettings) -> AsyncIterator[str]:
    """Do what `serve_embedded` does, without the pauses of its server; yields the base URL."""
    app = create_embedded_app(settings)
    config = uvicorn.Config(
        app,
        http=ResettableProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    async with app.router.lifespan_context(app), _listening(_PromptServer(config)) as origin:
        try:
            yield f"{origin}/v1"
        finally:
            await app.state.services.engine.aclose()


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and a client whose base URL is its API."""

    app: FastAPI
    client: httpx2.AsyncClient
    base_url: str = ""
    server: uvicorn.Server | None = None
    asgi: ASGIApp | None = None
    """The app with its lifespan's state, where it runs without a socket."""


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[Service]:
    """Run the app in this process without a socket: whole answers only, no streams."""
    with own_logging():
        app = create_app(settings)
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                scope["state"] = dict(state or {})
                await app(scope, receive, send)

            transport = httpx2.ASGITransport(app=with_state)
            url = "http://localhost/api/v1/"
            async with httpx2.AsyncClient(
                transport=transport, base_url=url, timeout=PATIENCE_SECONDS
            ) as client:
                yield Service(app, client, url, asgi=with_state)


class _PromptServer(uvicorn.Server):
    """uvicorn without its pauses; it leaves the signals to pytest, and the process alive if the app fails."""

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as exc:
            raise RuntimeError("the app did not start; its log says why") from exc

    async def main_loop(self) -> None:
        """Notice the end of a test sooner than in a tenth of a second."""
        await self.on_tick(0)
        await until(lambda: self.should_exit)

    async def shutdown(self, sockets: Any = None) -> None:
        """Close at once if no request is under way: uvicorn sleeps for a tenth of a second all the same."""
        if self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        await until(lambda: not self.server_state.connections)
        await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _ServiceServer(Server, _PromptServer):
    """The service's own server, which drains its streams first."""

    async def startup(self, sockets: Any = None) -> None:
        """Start without `gc.freeze`, which would keep every service of a test run in memory for good."""
        await _PromptServer.startup(self, sockets)


@asynccontextmanager
async def _listening(server: uvicorn.Server, port: int = 0) -> AsyncIterator[str]:
    """Run a server on a loopback port; yields its origin."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        # asyncio sets it only on sockets whose protocol number says TCP; this one's says 0.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started or serving.done())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def served(settings: Settings, port: int = 0) -> AsyncIterator[Service]:
    """Serve the app over a loopback port, as `main.py` does; port 0 takes a free one."""
    with own_logging():
        app = create_app(settings)
        server = _ServiceServer(app, settings)
        async with _listening(server, port) as origin:
            url = f"{origin}/api/v1/"
            async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=TLS) as client:
                yield Service(app, client, url, server)


@contextmanager
def own_logging() -> Generator[None, None, None]:
    """Take the service's logging away with it: it holds a stream that pytest closes."""
    try:
        yield
    finally:
        structlog.reset_defaults()
        root = logging.getLogger()
        for handler in [found for found in root.handlers if found.name == HANDLER_NAME]:
            root.removeHandler(handler)
            handler.close()


async def until(condition: Callable[[], Any | Awaitable[Any]]) -> None:
    """Wait for a condition, a plain or an async one; the test's own timeout is the limit."""
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.01)


async def stats(upstream_url: str) -> Json:
    """What the embedded upstream counts."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        found: Json = (await client.get(upstream_url.removesuffix("/v1") + "/_stats")).json()
        return found


async def is_idle(upstream_url: str) -> bool:
    """Whether nothing is generated upstream and no upstream stream is open."""
    found = await stats(upstream_url)
    return not found["active_generations"] and not found["streams_open"]


def frames(text: str) -> Frames:
    """Names and data of server-sent events; keep-alives are left out, `[DONE]` stays text."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            data = fields["data"]
            found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def names(events: Frames) -> list[str]:
    """Event names, repeated deltas once."""
    found = [name for name, _ in events]
    return [name for at, name in enumerate(found) if not (name.endswith("delta") and found[at - 1] == name)]


def ids(text: str) -> list[int]:
    """The `id:` fields of a stream in their order."""
    return [int(line[4:]) for line in text.split("\n") if line.startswith("id: ")]


def text_of(events: Frames) -> str:
    """The text that an Assistants stream's message deltas add up to."""
    deltas = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
    return "".join(part["text"]["value"] for part in deltas if "value" in part.get("text", {}))


def error_of(response: httpx2.Response, status: int) -> Json:
    """The inside of the error envelope, whose form is checked on the way."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    error: Json = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["code"]
    return error


async def new_thread(client: httpx2.AsyncClient, *texts: str) -> str:
    """Create a thread with user messages; its id."""
    messages = [{"role": "user", "content": text} for text in texts]
    response = await client.post("threads", json={"messages": messages})
    assert response.status_code == 200, response.text
    thread_id: str = response.json()["id"]
    return thread_id


async def new_run(client: httpx2.AsyncClient, thread_id: str, **body: Any) -> Json:
    """Start a run and return it as it was answered."""
    response = await client.post(f"threads/{thread_id}/runs", json={"assistant_id": ASSISTANT, **body})
    assert response.status_code == 200, response.text
    run: Json = response.json()
    return run


async def run_to(client: httpx2.AsyncClient, run: Json, *statuses: str) -> Json:
    """Poll a run until it has left the live states, and check where it ended."""
    found = run
    while found["status"] in {"queued", "in_progress", "cancelling"} - set(statuses):
        await asyncio.sleep(0.01)
        found = (await client.get(f"threads/{run['thread_id']}/runs/{run['id']}")).json()
    assert found["status"] in statuses, found["status"]
    return found


async def finished_run(client: httpx2.AsyncClient, text: str, *statuses: str, **body: Any) -> Json:
    """Run a new thread with one message to its end, `completed` unless told otherwise."""
    run = await new_run(client, await new_thread(client, text), **body)
    return await run_to(client, run, *(statuses or ("completed",)))
