"""Upstream responses: creating, reading, following and cancelling them. Source: OpenAI's Responses API."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import UpstreamBrokenError, UpstreamMalformedError
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import retry_twice
from app.translate.events import Json
from app.translate.objects import LIVE
from app.translate.upstream_types import BadShapeError, read_response

_PATH = "/responses"


class ResponseObserver(Protocol):
    """What is told of responses while they are read and cancelled."""

    def saw(self, response: Json) -> None:
        """Note how a response stands."""

    def run_cancelled(self) -> None:
        """Note that a response was cancelled."""


@dataclass(eq=False)
class Responses:
    """Calls on `/responses`; ids are upstream ids, failures are `UpstreamError`s."""

    upstream: Upstream
    lock: ConversationLock
    observer: ResponseObserver
    deadline_seconds: float

    async def create(self, params: Json) -> Json:
        """Create a response in the foreground and return it when it has ended, within the run's deadline."""
        body = params | {"stream": False, "store": True}
        call = partial(self.upstream.request, "POST", _PATH, body=body, timeout=self.deadline_seconds)
        response = _response(await self.lock.write(params["conversation"], call))
        if response.get("status") in LIVE:
            raise UpstreamBrokenError("The upstream answered before its response had ended.")
        return response

    async def create_in_background(self, params: Json) -> Json:
        """Create a response that goes on by itself and return it as it is now."""
        body = params | {"store": True, "background": True}
        call = partial(self.upstream.request, "POST", _PATH, body=body)
        return _response(await self.lock.write(params["conversation"], call))

    async def open_stream(self, params: Json, *, background: bool) -> UpstreamStream:
        """Create a response and return its stream; one in the background goes on without it."""
        body = params | {"stream": True, "store": True} | ({"background": True} if background else {})
        call = partial(self.upstream.stream, "POST", _PATH, body=body)
        return await self.lock.write(params["conversation"], call)

    async def get(self, response_id: str) -> Json:
        """Read a response."""
        path = f"{_PATH}/{response_id}"
        response = _response(await retry_twice(lambda: self.upstream.request("GET", path)))
        self.observer.saw(response)
        return response

    async def follow(self, response_id: str, *, starting_after: int | None = None) -> UpstreamStream:
        """Open a background response's stream again, from its start or after an event's sequence number."""
        query: dict[str, str | int] = {"stream": "true"}
        if starting_after is not None:
            query["starting_after"] = starting_after
        path = f"{_PATH}/{response_id}"
        return await retry_twice(lambda: self.upstream.stream("GET", path, query=query))

    async def cancel(self, response_id: str) -> Json:
        """Cancel a background response and return what became of it; cancelling twice does no harm."""
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
