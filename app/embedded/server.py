"""The ASGI app of the embedded upstream, and a server for it inside a running event loop."""

import asyncio
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.embedded.errors import ApiError, on_api_error, on_client_gone, on_http_error, on_server_error
from app.embedded.kinds import on_unknown_route
from app.embedded.routes import containers, conversations, files, models, responses, vector_stores
from app.embedded.services import open_services
from app.embedded.settings import EmbeddedSettings, Kind
from app.embedded.wire import InvalidBodyError

try:
    from app.embedded.resettable import ResettableProtocol

    _PROTOCOL: type[asyncio.Protocol] | Literal["auto"] = ResettableProtocol
except ImportError:
    # Where httptools does not exist, all works but the reset fault, which then just drops the connection.
    _PROTOCOL = "auto"

_SHUTDOWN_SECONDS = 2
_BACKLOG = 4096
_UNAUTHORIZED = ApiError(
    "Incorrect API key provided.", status=401, code="invalid_api_key", error_type="invalid_request_error"
)


def create_embedded_app(settings: EmbeddedSettings) -> Starlette:
    """The app; its lifespan opens the database and the responder."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    app = Starlette(
        routes=_routes(settings.kind),
        exception_handlers={
            ApiError: on_api_error,
            InvalidBodyError: _on_invalid_body,
            HTTPException: on_http_error if settings.kind == "conversations" else on_unknown_route,
            ClientDisconnect: on_client_gone,
            Exception: on_server_error,
        },
        lifespan=lifespan,
    )
    app.add_middleware(_Gate, api_key=settings.api_key)
    return app


def _routes(kind: Kind) -> list[BaseRoute]:
    if kind == "nothing":
        return [responses.creation, *models.routes]
    modules = (responses, files, containers, vector_stores, models)
    found: list[BaseRoute] = [route for module in modules for route in module.routes]
    if kind == "conversations":
        return [*found, *conversations.routes]
    return [*found, Mount("/openai", routes=found)]


async def _on_invalid_body(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, InvalidBodyError)  # noqa: S101 - Starlette types every handler's argument as Exception
    return ApiError(exc.message, param=exc.param, code=exc.code).response()


class _Gate:
    """Checks the key, a bearer token or Azure's `api-key`, and gives every answer an `x-request-id`."""

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app = app
        self._key = api_key and api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = f"req_{secrets.token_hex(16)}"
            await send(message)

        app = self._app if self._admits(scope) else _UNAUTHORIZED.response()
        await app(scope, receive, send_with_id)

    def _admits(self, scope: Scope) -> bool:
        if not self._key:
            return True
        headers = dict(scope["headers"])
        given = headers.get(b"api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return secrets.compare_digest(given, self._key)


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to whoever owns the event loop."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture nothing."""
        yield


def _server_config(app: Starlette, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_PROTOCOL,
        loop="auto",
        ws="none",
        # The lifespan is entered by hand: uvicorn would end the whole process where a start fails.
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=75,
        backlog=_BACKLOG,
        **options,
    )


@asynccontextmanager
async def serve_embedded(
    settings: EmbeddedSettings, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve inside the running event loop; yields the base URL, `http://127.0.0.1:PORT/v1`.

    Raises OSError when the port is taken.
    """
    app = create_embedded_app(settings)
    with socket.create_server((host, port), backlog=_BACKLOG) as listener:
        # Accepted sockets inherit this; asyncio itself sets it only where the protocol number says TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with app.router.lifespan_context(app):
            server = _QuietServer(_server_config(app))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                # The listener queues connections until the server takes them, a moment from now.
                yield f"http://{host}:{listener.getsockname()[1]}/v1"
            finally:
                await app.state.services.engine.aclose()
                server.should_exit = True
                await serving


def serve_forever(settings: EmbeddedSettings, host: str, port: int) -> None:
    """Serve in a new event loop until a signal comes."""
    app = create_embedded_app(settings)
    config = _server_config(app, host=host, port=port)

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            server = _QuietServer(config)
            # uvicorn's own handling raises the signal again at its end, which would skip the lifespan's.
            for stop in (signal.SIGINT, signal.SIGTERM):
                signal.signal(stop, server.handle_exit)
            await server.serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
