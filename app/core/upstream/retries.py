"""Reading JSON from the upstream, again where that may help."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import orjson

from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamServerError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import Query, Upstream

T = TypeVar("T")
U = TypeVar("U")
_BACKOFF_SECONDS = (0.1, 0.4)


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


async def gather_pair(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Make two calls at once; where both fail, it is the first one's error that is raised."""
    found = await asyncio.gather(first, second, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", found)
