"""Creates, reads, follows and cancels upstream responses. Source: OpenAI's Responses API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import structlog

from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import UpstreamBrokenError, UpstreamMalformedError, UpstreamRefusedError
from app.core.upstream.optional_fields import OptionalFields
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import retry_twice
from app.translate.events import Json
from app.translate.objects import LIVE
from app.translate.upstream_types import BadShapeError, read_response

T = TypeVar("T")
_log = structlog.get_logger(__name__)
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
    optional: OptionalFields = field(default_factory=lambda: OptionalFields({}))
    _omits_empty_input: bool = field(default=False, init=False)

    async def create(self, params: Json) -> Json:
        """Create a foreground response and return it once it has ended, within `deadline_seconds`."""
        body = params | {"stream": False, "store": True}
        call = partial(self.upstream.request, "POST", _PATH, timeout=self.deadline_seconds)
        response = _response(await self._write(body, call))
        # Nothing would follow a foreground response that has not ended.
        if response.get("status") in LIVE:
            raise UpstreamBrokenError("The upstream answered before its response had ended.")
        return response

    async def create_in_background(self, params: Json) -> Json:
        """Create a background response and return its current state."""
        body = params | {"store": True, "background": True}
        return _response(await self._write(body, partial(self.upstream.request, "POST", _PATH)))

    async def open_stream(self, params: Json, *, background: bool) -> UpstreamStream:
        """Create a response and return its stream; a background response outlives the stream."""
        body = params | {"stream": True, "store": True} | ({"background": True} if background else {})
        call = partial(self.upstream.stream, "POST", _PATH, life=self.deadline_seconds)
        return await self._write(body, call)

    async def get(self, response_id: str, include: Sequence[str] = ()) -> Json:
        """Read a response; `include` names what the upstream would leave out."""
        path, query = f"{_PATH}/{response_id}", {"include": include} if include else None
        response = _response(await retry_twice(lambda: self.upstream.request("GET", path, query=query)))
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

    async def _write(self, body: Json, call: Callable[..., Awaitable[T]]) -> T:
        """Send the body of a new response; where what it can do without is refused, once more without it."""
        if self.optional.refused:
            body = self.optional.without_refused(body)
        if not body.get("input") and self._omits_empty_input:
            body = _without_input(body)
        # Outputs that a locked conversation refuses may be a second replica's: a repeat would answer twice.
        is_repeatable = {item.get("type") for item in body.get("input") or []} <= {"message"}
        once = partial(call, body=body)
        try:
            return await self.lock.write(body["conversation"], once, is_repeatable=is_repeatable)
        except UpstreamRefusedError as exc:
            # Nothing was started, so the request may be sent again.
            if self.optional.named_by(exc, body) is not None:
                return await self._write_less(body, exc, call)
            if body.get("input") != [] or exc.param != "input" or not exc.is_plain:
                raise
        bare = partial(call, body=_without_input(body))
        answer = await self.lock.write(body["conversation"], bare)
        self._omits_empty_input = True
        _log.warning("empty_input_refused")
        return answer

    async def _write_less(
        self, body: Json, refusal: UpstreamRefusedError, call: Callable[..., Awaitable[T]]
    ) -> T:
        """Send a refused body without the optional field that is named, and so on for every one."""
        left_out: list[str] = []
        is_repeatable = {item.get("type") for item in body.get("input") or []} <= {"message"}
        while (name := self.optional.named_by(refusal, body)) is not None:
            left_out.append(name)
            body = self.optional.without(body, name)
            once = partial(call, body=body)
            try:
                answer = await self.lock.write(body["conversation"], once, is_repeatable=is_repeatable)
            except UpstreamRefusedError as exc:
                refusal = exc
                continue
            self.optional.learn(body, left_out)
            return answer
        raise refusal


def _without_input(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "input"}


def _response(body: bytes) -> Json:
    try:
        return read_response(body)
    except BadShapeError as exc:
        raise UpstreamMalformedError from exc
    except ValueError as exc:
        raise UpstreamBrokenError from exc
