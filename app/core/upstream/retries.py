"""Habits of all upstream calls: reading JSON, repeating what may be, waiting for a busy conversation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import orjson

from app.core.upstream.errors import (
    ConversationLockedError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import Query, Upstream

T = TypeVar("T")
U = TypeVar("U")
_BACKOFF_SECONDS = (0.1, 0.4)
_BUSY_SECONDS = 1.0
_FIRST_LOCK_WAIT_SECONDS = 0.05
_LONGEST_LOCK_WAIT_SECONDS = 1.0


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a 2xx body; raises `UpstreamBrokenError` for anything else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamBrokenError from exc
    if not isinstance(found, dict):
        raise UpstreamBrokenError
    return found


async def read(upstream: Upstream, path: str, query: Query | None = None) -> dict[str, Any]:
    """GET a JSON object, again where that may help."""

    async def get() -> dict[str, Any]:
        return parsed(await upstream.request("GET", path, query=query))

    return await retry_twice(get)


async def retry_twice(call: Callable[[], Awaitable[T]]) -> T:
    """Carry out a call that may be made any number of times; it is retried twice where that may help."""
    for pause in _BACKOFF_SECONDS:
        try:
            return await call()
        except (UpstreamUnreachableError, UpstreamServerError, UpstreamBrokenError):
            await asyncio.sleep(pause)
    return await call()


async def retry_when_busy(call: Callable[[], Awaitable[T]]) -> T:
    """Carry out a call, again after a moment where the upstream said that it cannot just now."""
    try:
        return await call()
    except (UpstreamBusyError, UpstreamTimeoutError) as exc:
        if exc.upstream_status is None:
            raise
    await asyncio.sleep(_BUSY_SECONDS)
    return await call()


async def gather_pair(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Make two calls at once; where both fail, it is the first one's error that is raised."""
    found = await asyncio.gather(first, second, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", found)


async def when_unlocked(
    call: Callable[[], Awaitable[T]], wait_seconds: float, waited: Callable[[float], None] | None = None
) -> T:
    """Repeat a call that the upstream refused because the conversation is busy, for at most `wait_seconds`.

    A refusal means that nothing was started, so repeating cannot run a turn twice. Raises
    `ConversationLockedError` when the time is over. `waited` is told how long each pause was.
    """
    deadline = asyncio.get_running_loop().time() + wait_seconds
    pause = _FIRST_LOCK_WAIT_SECONDS
    while True:
        try:
            return await call()
        except ConversationLockedError:
            if asyncio.get_running_loop().time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        if waited is not None:
            waited(pause)
        pause = min(pause * 2, _LONGEST_LOCK_WAIT_SECONDS)
