"""The ways in which the embedded upstream misbehaves on request."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from app.embedded.errors import ApiError, server_error
from app.embedded.settings import EmbeddedSettings, FaultName

_GARBAGE = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"unfin\n\n'


class ConnectionResetFaultError(Exception):
    """The stream is to be cut with a TCP reset."""


class Faults:
    """Draws which requests suffer, reproducibly."""

    def __init__(self, settings: EmbeddedSettings) -> None:
        self._name = settings.fault
        self._rate = settings.fault_rate
        self._after = settings.fault_after
        self._random = random.Random(settings.seed)  # noqa: S311 - a reproducible draw, no secret

    def draw(self) -> FaultName | None:
        """The fault that the present request suffers, if any.

        Raises ApiError for the two that are plain answers.
        """
        if self._name is None or self._random.random() >= self._rate:
            return None
        if self._name == "500":
            raise server_error()
        if self._name == "429":
            raise ApiError(
                "Rate limit reached. Please try again in 1s.",
                status=429,
                code="rate_limit_exceeded",
                error_type="requests",
            )
        return self._name

    def spoil(
        self, batches: AsyncIterator[Sequence[bytes]], fault: FaultName | None, *, after: int | None = None
    ) -> AsyncIterator[Sequence[bytes]]:
        """The stream with its fault built in, `after` frames from its start (default: the setting)."""
        if fault is None:
            return batches
        return _spoiled(batches, fault, self._after if after is None else after)


async def _spoiled(
    batches: AsyncIterator[Sequence[bytes]], fault: FaultName, left: int
) -> AsyncGenerator[Sequence[bytes], None]:
    if fault == "hang":
        await _forever()
    struck = False
    async for batch in batches:
        if struck or len(batch) < left:
            left -= len(batch)
            yield batch
            continue
        yield batch[:left]
        await _strike(fault)
        if fault == "truncate":
            return
        yield [_GARBAGE, *batch[left:]]
        struck = True


async def _strike(fault: FaultName) -> None:
    if fault == "stall":
        await _forever()
    if fault == "reset":
        # Bytes already handed to the transport must leave before the reset does.
        await asyncio.sleep(0.05)
        raise ConnectionResetFaultError


async def _forever() -> None:
    await asyncio.Event().wait()
