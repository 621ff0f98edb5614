"""Often-called routes without FastAPI's routing and dependency solver, which cost more than a chat does here.

Functions and dependencies are declared as for FastAPI, which describes them in the OpenAPI document. A
request in the usual form (a JSON body of known length, none of the optional headers and query parameters) is
served directly; everything else, bad input above all, goes FastAPI's way, so that its errors are the same
everywhere.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ClientGoneError

_JSON = b"application/json"
_UNREAD = object()
Call = Callable[..., Awaitable[Any]]
Handlers = Mapping[Any, Callable[..., Any]]


@dataclass(slots=True)
class _Step:
    """One function to call: with the request, with what earlier steps returned, with its defaults."""

    call: Call
    request_name: str | None
    taken: list[tuple[str, Call]]
    defaults: dict[str, Any]

    def run(self, request: Request, returned: dict[Call, Any], values: dict[str, Any]) -> Awaitable[Any]:
        values |= self.defaults
        if self.request_name:
            values[self.request_name] = request
        for name, call in self.taken:
            values[name] = returned[call]
        return self.call(**values)


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

    def fits(self, scope: Scope) -> bool:
        """Tell whether a request leaves every optional parameter out."""
        return not scope["query_string"] and self.optional_headers.isdisjoint(
            name for name, _ in scope["headers"]
        )


class LeanRoute(APIRoute):
    """The class of routes that are called often; `app.dependency_overrides` do not reach them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._plan = _Plan()
        self._plan.add(self.dependant)
        *self._steps, self._endpoint = self._plan.steps.values()
        self._body_name = self.dependant.body_params[0].name if self.body_field else ""
        self.is_lean = self._plan.is_possible and self._has_model_body() and _are_texts(self.dependant)
        """False for a route that takes more than this class knows; FastAPI serves those."""

    async def read(self, request: Request, max_bytes: int) -> Any:
        """Return the request's body, validated; `_UNREAD` for a request that FastAPI has to look at."""
        headers = request.scope["headers"]
        if not self._plan.fits(request.scope):
            return _UNREAD
        if self.body_field is None:
            return None if _has_no_body(headers) else _UNREAD
        if not _is_json_within(headers, max_bytes):
            return _UNREAD
        try:
            found = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return _UNREAD
        except ClientDisconnect as exc:
            raise ClientGoneError from exc
        body, errors = self.body_field.validate(found, {}, loc=("body",))
        return _UNREAD if errors else body

    async def answer(self, request: Request, body: Any) -> Response:
        """Call the dependencies and the endpoint."""
        returned: dict[Call, Any] = {}
        for step in self._steps:
            returned[step.call] = await step.run(request, returned, {})
        values = dict(request.scope["path_params"])
        if self._body_name:
            values[self._body_name] = body
        response: Response = await self._endpoint.run(request, returned, values)
        return response

    def _has_model_body(self) -> bool:
        """Tell whether the body, if any, is one JSON object."""
        params = self.dependant.body_params
        return not params or (len(params) == 1 and hasattr(params[0].field_info.annotation, "model_fields"))


class LeanMiddleware:
    """The innermost middleware: finds the lean route of a request and serves it, past FastAPI's own way.

    Args:
        app: FastAPI's own way.
        prefix: what comes before each route's path.
        routes: all routes below the prefix, in the order in which they are compared.
        handlers: the app's exception handlers.
        max_body_bytes: longer bodies, and those of unknown length, go FastAPI's way, which limits them.

    """

    def __init__(
        self, app: ASGIApp, prefix: str, routes: Sequence[APIRoute], handlers: Handlers, max_body_bytes: int
    ) -> None:
        self._app = app
        self._prefix = prefix
        self._handlers = handlers
        self._max_body_bytes = max_body_bytes
        self._fixed: dict[tuple[str, str], LeanRoute] = {}
        self._others: list[tuple[APIRoute, LeanRoute | None]] = []
        for route in routes:
            lean = route if isinstance(route, LeanRoute) and route.is_lean else None
            if lean and not lean.dependant.path_params:
                for method in lean.methods or ():
                    self._fixed.setdefault((method, prefix + lean.path), lean)
            else:
                self._others.append((route, lean))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        found = self._found(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, path_params = found
        request = Request(scope, receive, send)
        response = await self._response(route, path_params, request)
        if response is None:
            await self._app(scope, _again(request, receive), send)
        else:
            await response(scope, receive, send)

    async def _response(
        self, route: LeanRoute, path_params: dict[str, str], request: Request
    ) -> Response | None:
        request.scope["route"], request.scope["path_params"] = route, path_params
        try:
            body = await route.read(request, self._max_body_bytes)
            return None if body is _UNREAD else await route.answer(request, body)
        except Exception as exc:
            handler = next(filter(None, map(self._handlers.get, type(exc).__mro__)), None)
            if handler is None:
                raise
            handled: Response = await handler(request, exc)
            return handled

    def _found(self, scope: Scope) -> tuple[LeanRoute, dict[str, str]] | None:
        path, method = scope["path"], scope["method"]
        if route := self._fixed.get((method, path)):
            return route, {}
        if not path.startswith(self._prefix):
            return None
        rest = path[len(self._prefix) :]
        # The first that matches serves a request, lean or not.
        for other, lean in self._others:
            if method in (other.methods or ()) and (match := other.path_regex.match(rest)):
                return (lean, match.groupdict()) if lean else None
        return None


def _again(request: Request, receive: Receive) -> Receive:
    """Give the body that was read once more."""
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        return receive
    unread = [body]

    async def replay() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return replay


def _are_texts(function: Dependant) -> bool:
    """Tell whether all path parameters are plain strings, which nothing has to validate."""
    return all(
        param.field_info.annotation is str and not param.field_info.metadata for param in function.path_params
    )


def _has_no_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return all(
        name != b"transfer-encoding" and (name != b"content-length" or value == b"0")
        for name, value in headers
    )


def _is_json_within(headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> bool:
    is_json, is_within, types = False, False, 0
    for name, value in headers:
        if name == b"content-type":
            types += 1
            is_json = types == 1 and value.partition(b";")[0].strip().lower() == _JSON
        elif name == b"content-length":
            is_within = value.isdigit() and int(value) <= max_bytes
    return is_json and is_within
