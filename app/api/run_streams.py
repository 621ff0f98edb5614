"""Opening a stream for a request: take a place, start the work, hand it to the encoder's response."""

from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response

from app.api.streaming import ClientWatch, EventStreamResponse, StreamRegistry
from app.core.callers import Scope
from app.core.openai_client import OpenAIClient
from app.core.run_events import ResumedRun
from app.core.run_stream import RunStream
from app.translate.assistants_sse import AssistantsEncoder
from app.translate.encoding import Encoder

T = TypeVar("T")


async def opened(request: Request, registry: StreamRegistry, opening: Awaitable[T]) -> T:
    """Await a stream's opening with a place taken for it, unless the client leaves first."""
    try:
        registry.enter()
    except BaseException:
        if hasattr(opening, "close"):
            opening.close()
        raise
    try:
        async with ClientWatch(request.receive):
            return await opening
    except BaseException:
        registry.leave()
        raise


def run_response(
    stream: RunStream,
    encoder: Encoder,
    client: OpenAIClient,
    registry: StreamRegistry,
    scope: Scope,
    *,
    cancels: bool,
) -> EventStreamResponse:
    """Return the response that sends an opened run stream."""

    async def on_gone() -> None:
        leaving = client.starter.cancel_and_close if cancels else client.starter.leave_and_close
        client.background.spawn(leaving(stream))

    async def on_end() -> None:
        if stream.is_ended:
            await stream.aclose()

    return EventStreamResponse(
        stream, encoder, registry, on_gone=on_gone, on_end=on_end, headers=scope.headers
    )


async def assistants_stream(
    request: Request,
    client: OpenAIClient,
    scope: Scope,
    registry: StreamRegistry,
    opening: Awaitable[RunStream],
    *,
    cancels: bool,
) -> Response:
    """Answer with the Assistants event stream of a run that starts now."""
    stream = await opened(request, registry, opening)
    return run_response(stream, AssistantsEncoder(), client, registry, scope, cancels=cancels)


async def followed_stream(
    request: Request, scope: Scope, registry: StreamRegistry, opening: Awaitable[ResumedRun]
) -> Response:
    """Answer with the numbered events of a run that was started before."""
    source = await opened(request, registry, opening)

    async def on_gone() -> None:
        """Leave the run alone: this client only watched it."""

    encoder = AssistantsEncoder(with_ids=True)
    return EventStreamResponse(
        source, encoder, registry, on_gone=on_gone, on_end=source.aclose, headers=scope.headers
    )
