"""A route class for hot routes, which skips FastAPI's dependency solver."""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from app.api.dependencies import current_scope
from app.api.json_body import readable
from app.core.errors import BadRequestError, ClientGoneError, TooLargeError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """Calls `async def name(path parameters…, body, request)` directly.

    FastAPI still describes every route, and serves routes that declare anything else, such as dependencies or
    query parameters. It also answers every body that is not valid, so that errors are the same everywhere.
    Before that, `readable` makes plain JSON of bodies that come in other encodings or under other types.
    Dependencies added by `include_router` are not seen here; a test checks that there are none.
    """

    def get_route_handler(self) -> Handler:
        """Return the function that serves a request; FastAPI's documented hook."""
        fastapi_handler: Handler = super().get_route_handler()
        call: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint
        model: Any = next((param.field_info.annotation for param in self.dependant.body_params), None)
        adapter = TypeAdapter[Any](model) if model is not None else None

        async def handle_any(request: Request) -> Response:
            # Requests that are not valid count against the rate limit too.
            try:
                request = await readable(request)
            except (BadRequestError, TooLargeError):
                await current_scope(request)
                raise
            await current_scope(request)
            return await fastapi_handler(request)

        async def handle(request: Request) -> Response:
            if adapter is None:
                return await call(**request.path_params, request=request)
            try:
                content = await request.body()
            except ClientDisconnect as exc:
                raise ClientGoneError from exc
            try:
                body = adapter.validate_json(content if _is_json(request) else b"")
            except ValidationError:
                return await handle_any(request)
            return await call(**request.path_params, request=request, body=body)

        if self.is_plain():
            return handle
        return fastapi_handler if adapter is None else handle_any

    def is_plain(self) -> bool:
        """Return whether the function needs nothing that FastAPI would have to find or convert."""
        found = self.dependant
        names = {param.name for param in found.path_params} | ({"body"} if found.body_params else set())
        return (
            inspect.iscoroutinefunction(self.endpoint)
            and inspect.signature(self.endpoint).parameters.keys() == names | {"request"}
            and all(param.field_info.annotation is str for param in found.path_params)
            and not found.dependencies
        )


def _is_json(request: Request) -> bool:
    """Return whether the body is `application/json`; `readable` looks at the other kinds."""
    kind: str = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"
