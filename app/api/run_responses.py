"""Start a run for a request: take a place, open its stream, and answer with it."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response

from app.api.dependencies import current_scope
from app.api.disconnect import ClientWatch
from app.api.event_stream import EventStreamResponse
from app.api.idempotency import REPLAYED, Once, replayed
from app.api.open_streams import StreamRegistry, holder_of
from app.core.caller import RequestScope
from app.core.config import OnDisconnect, Settings
from app.core.limits.idempotency_stores import Answer
from app.core.openai_client import OpenAIClient
from app.core.runs.follow import FollowedRun
from app.core.runs.resume import ResumedRun
from app.translate.protocols.encoder import Encoder

T = TypeVar("T")


@dataclass(slots=True)
class RunRequest:
    """A request that starts a run, with the objects that serve it."""

    request: Request
    client: OpenAIClient
    scope: RequestScope
    registry: StreamRegistry
    settings: Settings
    once: Once

    def on_disconnect(self, asked: OnDisconnect | None, default: OnDisconnect) -> OnDisconnect:
        """Return what happens to the run when the client disconnects."""
        # A client that sends a key means to come back for the answer.
        wanted = asked or ("detach" if self.once.key is not None else default)
        # A run cannot be detached without background mode, so this replica reads it to its end.
        is_possible = wanted != "detach" or wanted in self.client.creator.mode.streams
        return wanted if is_possible else "finish"

    def is_watched(self, on_disconnect: OnDisconnect) -> bool:
        """Return whether a disconnect before the answer has begun stops the run."""
        return on_disconnect == "cancel" or (on_disconnect == "detach" and self.once.key is None)


async def run_request(request: Request, *, is_repeatable: bool = True) -> RunRequest:
    """Return what starts a run for this request; an `Idempotency-Key` counts only if `is_repeatable`."""
    state = request.scope["state"]
    scope = state.get("request_scope") or await current_scope(request)
    once = Once.of(request, scope) if is_repeatable else Once(request, scope, None)
    return RunRequest(request, state["client"], scope, state["registry"], state["settings"], once)


async def opened(
    request: Request, registry: StreamRegistry, work: Callable[[], Awaitable[T]], *, watches: bool = True
) -> T:
    """Take a place and await work that opens a stream, which keeps the place; a failure gives it back.

    With `watches`, a disconnect stops the work with `ClientGoneError`.
    """
    registry.enter(request.scope, holder_of(request.scope))
    leave = partial(registry.leave, request.scope)
    try:
        with registry.within_grace():
            async with ClientWatch(request.receive, leave) if watches else nullcontext():
                return await work()
    except BaseException:
        leave()
        raise


async def placed(run: RunRequest, work: Callable[[], Awaitable[T]]) -> T:
    """Await work that starts a run without following it; it holds a place meanwhile."""
    run.registry.enter(run.request.scope)
    try:
        with run.registry.within_grace():
            return await work()
    finally:
        run.registry.leave(run.request.scope)


async def run_once(
    run: RunRequest,
    start: Callable[[], Awaitable[FollowedRun]],
    encoder: Encoder,
    *,
    on_disconnect: OnDisconnect,
) -> Response:
    """Answer with the stream of a new run; a repeated request gets the run of the first one."""
    once, scope = run.once, run.scope
    earlier = await once.earlier() if once.key is not None else None
    if earlier is None:
        watches = run.is_watched(on_disconnect)
        stream = await once.started(opened(run.request, run.registry, start, watches=watches))
        return run_response(run, stream, encoder, on_disconnect=on_disconnect)
    if isinstance(earlier, Answer):
        return replayed(earlier)
    scope.headers.update(REPLAYED)
    events = partial(run.client.resume.open, scope, earlier.thread_id, earlier.run_id, None)
    return await followed_stream(run.request, scope, run.registry, events, encoder)


def run_response(
    run: RunRequest, stream: FollowedRun, encoder: Encoder, *, on_disconnect: OnDisconnect
) -> EventStreamResponse:
    """Return the response that sends a run's stream."""

    async def on_gone() -> None:
        run.client.creator.leave_soon(stream, on_disconnect)

    return EventStreamResponse(
        stream,
        encoder,
        run.registry,
        # Only this request reads a foreground run, so it reads to the end unless a disconnect stops the run.
        watches=stream.in_background or on_disconnect == "cancel",
        on_gone=on_gone,
        on_end=stream.aclose,
        headers=run.scope.headers,
    )


async def followed_stream(
    request: Request,
    scope: RequestScope,
    registry: StreamRegistry,
    follow: Callable[[], Awaitable[ResumedRun]],
    encoder: Encoder,
) -> Response:
    """Answer with the events of a run that was started earlier."""
    source = await opened(request, registry, follow)

    async def on_gone() -> None:
        """Do nothing: this client only followed the run."""

    return EventStreamResponse(
        source, encoder, registry, watches=True, on_gone=on_gone, on_end=source.aclose, headers=scope.headers
    )
