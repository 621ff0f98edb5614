"""Routes without FastAPI's dependency solver, which costs more than all that a chat does here.

Functions and dependencies are declared as for FastAPI, which describes them in the OpenAPI document. A
request in the usual form (a JSON body, none of the optional headers and query parameters) is served
directly; everything else, bad input above all, goes FastAPI's way, so that its errors are the same
everywhere.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.core.errors import ClientGoneError
from app.core.observability.telemetry import is_wanted

_JSON = b"application/json"
_UNREAD = object()
Call = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class _Step:
    """One function to call: with the request, with what earlier steps returned, with its defaults."""

    call: Call
    request_name: str | None
    taken: list[tuple[str, Call]]
    defaults: dict[str, Any]

    async def run(self, request: Request, returned: dict[Call, Any], values: dict[str, Any]) -> Any:
        values |= self.defaults
        if self.request_name:
            values[self.request_name] = request
        for name, call in self.taken:
            values[name] = returned[call]
        return await self.call(**values)


@dataclass(slots=True)
class _Plan:
    """A route's dependencies in the order of their calls, and what sends a request FastAPI's way."""

    steps: dict[Call, _Step] = field(default_factory=dict)
    optional_headers: set[bytes] = field(default_factory=set)
    is_possible: bool = True

    def add(self, function: Dependant) -> None:
        """Plan a function after all that it depends on."""
        call = function.call
        if call is None or call in self.steps:
            return
        for other in function.dependencies:
            self.add(other)
        optional = [*function.query_params, *function.header_params]
        self.optional_headers |= {param.alias.lower().encode() for param in function.header_params}
        injected = (
            function.response_param_name,
            function.background_tasks_param_name,
            function.http_connection_param_name,
            function.security_scopes_param_name,
        )
        self.is_possible &= (
            inspect.iscoroutinefunction(call)
            and not any(injected)
            and not function.cookie_params
            and not any(param.field_info.is_required() for param in optional)
        )
        taken = [(other.name, other.call) for other in function.dependencies if other.name and other.call]
        defaults = {param.name: param.get_default() for param in optional}
        self.steps[call] = _Step(call, function.request_param_name, taken, defaults)

    def fits(self, request: Request) -> bool:
        """Tell whether a request leaves every optional parameter out."""
        return not request.scope["query_string"] and self.optional_headers.isdisjoint(
            name for name, _ in request.scope["headers"]
        )


class LeanRoute(APIRoute):
    """The class of routes that are called often; `app.dependency_overrides` do not reach them."""

    def get_route_handler(self) -> Any:
        """Return what serves a request; FastAPI's own for routes that take more than this class knows."""
        ordinary = super().get_route_handler()
        plan = _Plan()
        plan.add(self.dependant)
        path_names = [param.name for param in self.dependant.path_params]
        has_body = self.body_field is not None
        # Spans of the steps in FastAPI's way are its own.
        if is_wanted() or not (plan.is_possible and self._has_model_body() and _are_texts(self.dependant)):
            return ordinary
        *steps, endpoint = plan.steps.values()

        async def serve(request: Request) -> Response:
            body = await self._read_body(request) if has_body and plan.fits(request) else None
            if body is _UNREAD or not plan.fits(request):
                return await ordinary(request)
            returned: dict[Call, Any] = {}
            for step in steps:
                returned[step.call] = await step.run(request, returned, {})
            values = {name: request.path_params[name] for name in path_names}
            if has_body:
                values[self.dependant.body_params[0].name] = body
            response: Response = await endpoint.run(request, returned, values)
            return response

        return serve

    def _has_model_body(self) -> bool:
        """Tell whether the body, if any, is one JSON object."""
        params = self.dependant.body_params
        return not params or (len(params) == 1 and hasattr(params[0].field_info.annotation, "model_fields"))

    async def _read_body(self, request: Request) -> Any:
        if not _is_json(request.scope["headers"]):
            return _UNREAD
        try:
            found = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return _UNREAD
        except ClientDisconnect as exc:
            raise ClientGoneError from exc
        body, errors = self.body_field.validate(found, {}, loc=("body",)) if self.body_field else (None, [])
        return _UNREAD if errors else body


def _are_texts(function: Dependant) -> bool:
    """Tell whether all path parameters are plain strings, which nothing has to validate."""
    return all(
        param.field_info.annotation is str and not param.field_info.metadata for param in function.path_params
    )


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower() == _JSON
    return False
