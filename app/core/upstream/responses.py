"""Upstream responses: creating, reading, following and cancelling them. Source: OpenAI's Responses API."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from app.core.upstream.errors import UpstreamBrokenError, UpstreamMalformedError
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import parsed, read, retry_twice, when_unlocked
from app.core.upstream.turn_gate import TurnGate
from app.translate.events import Json
from app.translate.objects import LIVE
from app.translate.upstream_types import BadShapeError, checked_response

_PATH = "/responses"
T = TypeVar("T")


class ResponseObserver(Protocol):
    """What is told of responses while they are created, read and cancelled."""

    def lock_waited(self, seconds: float) -> None:
        """Note a pause for a busy conversation."""

    def saw(self, response: Json) -> None:
        """Note how a response stands."""

    def run_cancelled(self) -> None:
        """Note that a response was cancelled."""


class Responses:
    """Calls on `/responses`; ids are upstream ids, failures are `UpstreamError`s."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        lock_wait_seconds: float,
        deadline_seconds: float,
        observer: ResponseObserver,
        gate: TurnGate,
    ) -> None:
        self._upstream = upstream
        self._lock_wait_seconds = lock_wait_seconds
        self._observer = observer
        self._gate = gate
        self._deadline_seconds = deadline_seconds

    async def create(self, params: Json) -> Json:
        """Create a response in the foreground and return it when it has ended, within the run's deadline."""
        response = await self._create(
            params | {"stream": False, "store": True}, timeout=self._deadline_seconds
        )
        if response.get("status") in LIVE:
            raise UpstreamBrokenError("The upstream answered before its response had ended.")
        return response

    async def create_in_background(self, params: Json) -> Json:
        """Create a response that goes on by itself and return it as it is now."""
        return await self._create(params | {"store": True, "background": True}, timeout=None)

    async def open_stream(self, params: Json, *, background: bool) -> UpstreamStream:
        """Create a response and return its stream; one in the background goes on without it."""
        body = params | {"stream": True, "store": True} | ({"background": True} if background else {})
        return await self._when_unlocked(body, lambda: self._upstream.stream("POST", _PATH, body=body))

    async def get(self, response_id: str) -> Json:
        """Read a response."""
        response = _response(await read(self._upstream, f"{_PATH}/{response_id}"))
        self._observer.saw(response)
        return response

    async def follow(self, response_id: str, *, starting_after: int | None = None) -> UpstreamStream:
        """Open a background response's stream again, from its start or after an event's sequence number."""
        query: dict[str, str | int] = {"stream": "true"}
        if starting_after is not None:
            query["starting_after"] = starting_after
        path = f"{_PATH}/{response_id}"
        return await retry_twice(lambda: self._upstream.stream("GET", path, query=query))

    async def cancel(self, response_id: str) -> Json:
        """Cancel a background response and return what became of it; cancelling twice does no harm."""

        async def post() -> Json:
            return _response(parsed(await self._upstream.request("POST", f"{_PATH}/{response_id}/cancel")))

        response = await retry_twice(post)
        self._observer.run_cancelled()
        self._observer.saw(response)
        return response

    async def _create(self, body: Json, *, timeout: float | None) -> Json:
        async def post() -> bytes:
            return await self._upstream.request("POST", _PATH, body=body, timeout=timeout)

        return _response(parsed(await self._when_unlocked(body, post)))

    async def _when_unlocked(self, body: Json, call: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            await self._gate.wait(body["conversation"])
            return await call()

        return await when_unlocked(in_turn, self._lock_wait_seconds, self._observer.lock_waited)


def _response(found: Json) -> Json:
    try:
        return checked_response(found)
    except BadShapeError as exc:
        raise UpstreamMalformedError from exc
