"""The classes of all routes of the API: both tell of unknown query parameters, one of them is quick."""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from app.api.dependencies import current_scope
from app.core.errors import ClientGoneError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


# Azure's clients send it with every request.
_HARMLESS = {"api-version"}


class ApiRoute(APIRoute):
    """Names unknown parameters of a request's query in `x-ignored-params`, or refuses them."""

    def get_route_handler(self) -> Handler:
        """Return the function that serves a request; FastAPI's documented hook."""
        handler: Handler = super().get_route_handler()
        tell_unknown = self.unknown_teller()

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                await tell_unknown(request)
            return await handler(request)

        return handle

    def unknown_teller(self) -> Callable[[Request], Coroutine[Any, Any, None]]:
        """Return the function that names the unknown parameters in a request's query."""
        taken = get_flat_params(self.dependant)
        known = _HARMLESS | {param.alias for param in taken if isinstance(param.field_info, Query)}
        for listed in (self.openapi_extra or {}).get("parameters", []):
            known |= {listed["name"], listed["name"].removesuffix("[]")}

        async def tell(request: Request) -> None:
            if unknown := set(request.query_params) - known:
                scope = await current_scope(request)
                request.state.client.unsupported.ignore(sorted(unknown), scope)

        return tell


class JsonRoute(ApiRoute):
    """Calls `async def name(path parameters…, body, request)` directly.

    FastAPI still describes every route, and serves routes that declare anything else, such as dependencies or
    query parameters. It also answers every body that is not valid, so that errors are the same everywhere.
    Dependencies added by `include_router` are not seen here; a test checks that there are none.
    """

    def get_route_handler(self) -> Handler:
        """Return the function that serves a request; FastAPI's documented hook."""
        if not self.is_plain():
            return super().get_route_handler()
        fastapi_handler: Handler = APIRoute.get_route_handler(self)
        tell_unknown = self.unknown_teller()
        call: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint
        model: Any = next((param.field_info.annotation for param in self.dependant.body_params), None)
        adapter = TypeAdapter[Any](model) if model is not None else None

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                await tell_unknown(request)
            if adapter is None:
                return await call(**request.path_params, request=request)
            try:
                content = await request.body()
            except ClientDisconnect as exc:
                raise ClientGoneError from exc
            try:
                body = adapter.validate_json(content if _is_json(request) else b"")
            except ValidationError:
                # Requests that are not valid count against the rate limit too.
                await current_scope(request)
                return await fastapi_handler(request)
            return await call(**request.path_params, request=request, body=body)

        return handle

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
    """Return whether the body is `application/json`; FastAPI handles the other kinds."""
    kind: str = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"
