"""Opening a stream for a request: take a place, start the work, hand it to the encoder's response."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response

from app.api.disconnect import while_there
from app.api.event_stream import EventStreamResponse
from app.api.idempotency import REPLAYED, replayed
from app.api.open_streams import StreamRegistry, holder_of
from app.api.turns import Turn
from app.core.caller import RequestScope
from app.core.config import OnDisconnect
from app.core.limits.idempotency_stores import Answer
from app.core.runs.follow import RunStream
from app.core.runs.resume import ResumedRun
from app.translate.protocols.assistants_sse import AssistantsEncoder
from app.translate.protocols.encoder import Encoder

T = TypeVar("T")


async def opened(
    request: Request, registry: StreamRegistry, opening: Awaitable[T], *, watches: bool = True
) -> T:
    """Await a stream's opening with a place taken for it; with `watches`, unless the client leaves first.

    The place is kept for the stream; a failure gives it back.
    """
    try:
        registry.enter(request.scope, holder_of(request.scope))
    except BaseException:
        _unstarted(opening)
        raise
    leave = partial(registry.leave, request.scope)
    try:
        watched = while_there(request.receive, opening, leave) if watches else opening
        return await registry.within_grace(watched)
    except BaseException:
        leave()
        raise


async def placed(turn: Turn, work: Callable[[], Awaitable[T]]) -> T:
    """Do work that starts a run without following it, with a place taken meanwhile."""
    turn.registry.enter(turn.request.scope)
    try:
        return await turn.registry.within_grace(work())
    finally:
        turn.registry.leave(turn.request.scope)


def _unstarted(opening: Awaitable[object]) -> None:
    """Give up what was never awaited."""
    if hasattr(opening, "close"):
        opening.close()


async def run_once(
    turn: Turn, opening: Awaitable[RunStream], encoder: Encoder, *, on_disconnect: OnDisconnect
) -> Response:
    """Answer with the stream of a run that starts now; a repeated request gets the run of its first time."""
    once, scope = turn.once, turn.scope
    try:
        earlier = await once.earlier()
    except BaseException:
        _unstarted(opening)
        raise
    if earlier is None:
        watches = watched(turn, on_disconnect)
        stream = await once.started(opened(turn.request, turn.registry, opening, watches=watches))
        return run_response(turn, stream, encoder, on_disconnect=on_disconnect)
    _unstarted(opening)
    if isinstance(earlier, Answer):
        return replayed(earlier)
    following = turn.client.resume.open(scope, earlier.thread_id, earlier.run_id, None)
    scope.headers.update(REPLAYED)
    return await _followed(turn.request, scope, turn.registry, following, encoder)


def run_response(
    turn: Turn, stream: RunStream, encoder: Encoder, *, on_disconnect: OnDisconnect
) -> EventStreamResponse:
    """Return the response that sends an opened run stream."""
    client = turn.client

    async def on_gone() -> None:
        client.creator.leave_soon(stream, on_disconnect)

    return EventStreamResponse(
        stream,
        encoder,
        turn.registry,
        # The only reader of a foreground run is this request: it goes on, unless leaving stops it.
        watches=stream.in_background or on_disconnect == "cancel",
        on_gone=on_gone,
        on_end=stream.aclose,
        headers=turn.scope.headers,
    )


def watched(turn: Turn, on_disconnect: OnDisconnect) -> bool:
    """Tell whether to notice that the client leaves before its answer has begun."""
    return on_disconnect == "cancel" or (on_disconnect == "detach" and turn.once.key is None)


async def assistants_stream(
    turn: Turn, opening: Awaitable[RunStream], *, on_disconnect: OnDisconnect
) -> Response:
    """Answer with the Assistants event stream of a run that starts now."""
    return await run_once(turn, opening, AssistantsEncoder(), on_disconnect=on_disconnect)


async def followed_stream(
    request: Request, scope: RequestScope, registry: StreamRegistry, opening: Awaitable[ResumedRun]
) -> Response:
    """Answer with the numbered events of a run that was started before."""
    return await _followed(request, scope, registry, opening, AssistantsEncoder(with_ids=True))


async def _followed(
    request: Request,
    scope: RequestScope,
    registry: StreamRegistry,
    opening: Awaitable[ResumedRun],
    encoder: Encoder,
) -> Response:
    source = await opened(request, registry, opening)

    async def on_gone() -> None:
        """Leave the run alone: this client only watched it."""

    return EventStreamResponse(
        source, encoder, registry, watches=True, on_gone=on_gone, on_end=source.aclose, headers=scope.headers
    )
