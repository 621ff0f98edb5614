"""Opening a stream for a request: take a place, start the work, hand it to the encoder's response."""

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
from app.core.runs.follow import RunStream
from app.core.runs.resume import ResumedRun
from app.translate.protocols.encoder import Encoder

T = TypeVar("T")


@dataclass(slots=True)
class RunRequest:
    """A request that starts a run: who asks, whether for the first time, and what carries it out."""

    request: Request
    client: OpenAIClient
    scope: RequestScope
    registry: StreamRegistry
    settings: Settings
    once: Once

    def on_disconnect(self, asked: OnDisconnect | None, default: OnDisconnect) -> OnDisconnect:
        """Return what the client's leaving means for its run: who sends a key means to come back.

        Without background mode, this replica finishes what it cannot detach.
        """
        wanted = asked or ("detach" if self.once.key is not None else default)
        is_possible = wanted != "detach" or wanted in self.client.creator.mode.streams
        return wanted if is_possible else "finish"

    def is_watched(self, on_disconnect: OnDisconnect) -> bool:
        """Tell whether to notice that the client leaves before its answer has begun."""
        return on_disconnect == "cancel" or (on_disconnect == "detach" and self.once.key is None)


async def run_request(request: Request, *, is_repeatable: bool = True) -> RunRequest:
    """Return a request as one that starts a run; an `Idempotency-Key` is heeded where it is repeatable."""
    state = request.scope["state"]
    scope = state.get("request_scope") or await current_scope(request)
    once = Once.of(request, scope) if is_repeatable else Once(request, scope, None)
    return RunRequest(request, state["client"], scope, state["registry"], state["settings"], once)


async def opened(
    request: Request, registry: StreamRegistry, work: Callable[[], Awaitable[T]], *, watches: bool = True
) -> T:
    """Do work that opens a stream with a place taken for it; with `watches`, unless the client leaves first.

    The place is kept for the stream; a failure gives it back.
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
    """Do work that starts a run without following it, with a place taken meanwhile."""
    run.registry.enter(run.request.scope)
    try:
        with run.registry.within_grace():
            return await work()
    finally:
        run.registry.leave(run.request.scope)


async def run_once(
    run: RunRequest,
    start: Callable[[], Awaitable[RunStream]],
    encoder: Encoder,
    *,
    on_disconnect: OnDisconnect,
) -> Response:
    """Answer with the stream of a run that starts now; a repeated request gets the run of its first time."""
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
    run: RunRequest, stream: RunStream, encoder: Encoder, *, on_disconnect: OnDisconnect
) -> EventStreamResponse:
    """Return the response that sends an opened run stream."""

    async def on_gone() -> None:
        run.client.creator.leave_soon(stream, on_disconnect)

    return EventStreamResponse(
        stream,
        encoder,
        run.registry,
        # This request alone reads a foreground run: it goes on to the end, unless leaving stops the run.
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
    """Answer with the events of a run that was started before."""
    source = await opened(request, registry, follow)

    async def on_gone() -> None:
        """Leave the run alone: this client only watched it."""

    return EventStreamResponse(
        source, encoder, registry, watches=True, on_gone=on_gone, on_end=source.aclose, headers=scope.headers
    )
