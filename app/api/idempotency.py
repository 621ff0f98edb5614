"""`Idempotency-Key` in requests; `app/core/limits/idempotency.py` says what it promises."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Self

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field, TypeAdapter, ValidationError

from app.api.responses import JsonResponse, answer
from app.core.caller import RequestScope
from app.core.errors import ServiceError
from app.core.limits.idempotency import Claim, Idempotency
from app.core.limits.idempotency_stores import Answer, StartedRun
from app.core.runs.follow import FollowedRun
from app.translate.events import Json

KEY_HEADER = "idempotency-key"
REPLAYED = {"idempotent-replayed": "true"}
_HINT = "A repeat under the same key is answered once; see docs/security.md."
_KEY = TypeAdapter[str | None](
    Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[ -~]+$")] | None
)
# What a route that takes the key adds to its operation in the OpenAPI document.
TAKES_KEY: Json = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": False,
            "schema": _KEY.json_schema() | {"description": _HINT, "title": "Idempotency-Key"},
            "description": _HINT,
        }
    ]
}


class Once:
    """One request that is carried out once for each key; without a key, each time."""

    def __init__(self, request: Request, scope: RequestScope, key: str | None) -> None:
        self._request = request
        self._scope = scope
        self._claim: Claim | None = None
        self.key = key

    @classmethod
    def of(cls, request: Request, scope: RequestScope) -> Self:
        """Return the request with its key; raises `RequestValidationError` for a malformed key."""
        key = request.headers.get(KEY_HEADER)
        try:
            return cls(request, scope, _KEY.validate_python(key) if key is not None else None)
        except ValidationError as exc:
            found = [error | {"loc": ("header", KEY_HEADER)} for error in exc.errors()]
            raise RequestValidationError(found) from exc

    async def earlier(self) -> Answer | StartedRun | None:
        """Return the outcome of the first request with this key, or None if this is the first."""
        if self.key is None:
            return None
        idempotency: Idempotency = self._request.state.idempotency
        route = f"{self._request.method} {self._request.url.path}?{self._request.url.query}"
        body = await self._request.body()
        found = await idempotency.begin(self._scope.caller, route, self.key, body)
        if isinstance(found, Claim):
            self._claim = found
            return None
        return found

    async def answer(self, call: Callable[[], Awaitable[Json]]) -> Response:
        """Answer with what `call` returns, or with the answer of the first request with this key."""
        if self.key is None:
            return answer(self._scope, await call())
        earlier = await self.earlier()
        if isinstance(earlier, Answer):
            return replayed(earlier)
        found = await self._carried_out(call())
        if self._claim:
            await self._claim.keep(Answer(200, dict(self._scope.headers), found))
        return answer(self._scope, found)

    async def started(self, opening: Awaitable[FollowedRun]) -> FollowedRun:
        """Open a stream and store which run it started."""
        stream: FollowedRun = await self._carried_out(opening)
        if self._claim:
            ids = stream.public_ids
            await (self._claim.keep(StartedRun(*ids)) if ids else self._claim.forget())
        return stream

    async def _carried_out(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except ServiceError as exc:
            if self._claim:
                await self._claim.fail(exc)
            raise
        except BaseException:
            # Cancelled or crashed: a later request must not wait for an answer that never comes.
            if self._claim:
                await self._claim.forget()
            raise


def replayed(earlier: Answer) -> Response:
    """Return a stored answer."""
    return JsonResponse(earlier.body, status_code=earlier.status, headers=earlier.headers | REPLAYED)
