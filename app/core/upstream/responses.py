"""Creates, reads, follows and cancels upstream responses. Source: OpenAI's Responses API."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import UpstreamBrokenError, UpstreamMalformedError
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import retry_twice
from app.translate.events import Json
from app.translate.objects import LIVE
from app.translate.upstream_types import BadShapeError, read_response

T = TypeVar("T")
_PATH = "/responses"


class ResponseObserver(Protocol):
    """Is called when responses are read and cancelled."""

    def saw(self, response: Json) -> None:
        """Handle the current state of a response."""

    def run_cancelled(self) -> None:
        """Handle the cancellation of a response."""


@dataclass(eq=False)
class Responses:
    """Calls to `/responses`, with upstream ids. Failures raise `UpstreamError`."""

    upstream: Upstream
    lock: ConversationLock
    observer: ResponseObserver
    deadline_seconds: float

    async def create(self, params: Json) -> Json:
        """Create a foreground response and return it once it has ended, within `deadline_seconds`."""
        body = params | {"stream": False, "store": True}
        call = partial(self.upstream.request, "POST", _PATH, body=body, timeout=self.deadline_seconds)
        response = _response(await self._written(params, call))
        # Nothing would follow a foreground response that has not ended.
        if response.get("status") in LIVE:
            raise UpstreamBrokenError("The upstream answered before its response had ended.")
        return response

    async def create_in_background(self, params: Json) -> Json:
        """Create a background response and return its current state."""
        body = params | {"store": True, "background": True}
        call = partial(self.upstream.request, "POST", _PATH, body=body)
        return _response(await self._written(params, call))

    async def open_stream(self, params: Json, *, background: bool) -> UpstreamStream:
        """Create a response and return its stream; a background response outlives the stream."""
        body = params | {"stream": True, "store": True} | ({"background": True} if background else {})
        call = partial(self.upstream.stream, "POST", _PATH, body=body, life=self.deadline_seconds)
        return await self._written(params, call)

    async def _written(self, params: Json, call: Callable[[], Awaitable[T]]) -> T:
        # Outputs that a locked conversation refuses may be a second replica's: a repeat would answer twice.
        kinds = {item.get("type") for item in params.get("input") or []}
        return await self.lock.write(params["conversation"], call, is_repeatable=kinds <= {"message"})

    async def get(self, response_id: str) -> Json:
        """Read a response."""
        path = f"{_PATH}/{response_id}"
        response = _response(await retry_twice(lambda: self.upstream.request("GET", path)))
        self.observer.saw(response)
        return response

    async def follow(
        self, response_id: str, *, life: float, starting_after: int | None = None
    ) -> UpstreamStream:
        """Reopen the stream of a background response from its start or after a sequence number."""
        query: dict[str, str | int] = {"stream": "true"}
        if starting_after is not None:
            query["starting_after"] = starting_after
        path = f"{_PATH}/{response_id}"
        return await retry_twice(lambda: self.upstream.stream("GET", path, query=query, life=life))

    async def cancel(self, response_id: str) -> Json:
        """Cancel a background response and return it; cancelling twice is harmless."""
        path = f"{_PATH}/{response_id}/cancel"
        response = _response(await retry_twice(lambda: self.upstream.request("POST", path)))
        self.observer.run_cancelled()
        self.observer.saw(response)
        return response


def _response(body: bytes) -> Json:
    try:
        return read_response(body)
    except BadShapeError as exc:
        raise UpstreamMalformedError from exc
    except ValueError as exc:
        raise UpstreamBrokenError from exc
