"""Reads JSON from the upstream and retries calls that are safe to repeat."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import orjson

from app.core.upstream.errors import UpstreamBrokenError, UpstreamServerError, UpstreamUnreachableError
from app.core.upstream.port import Query, Upstream

T = TypeVar("T")
U = TypeVar("U")
_BACKOFF_SECONDS = (0.1, 0.4)


def parsed(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises `UpstreamBrokenError` for anything else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamBrokenError from exc
    if not isinstance(found, dict):
        raise UpstreamBrokenError
    return found


async def read(upstream: Upstream, path: str, query: Query | None = None) -> dict[str, Any]:
    """GET a JSON object, with retries."""

    async def get() -> dict[str, Any]:
        return parsed(await upstream.request("GET", path, query=query))

    return await retry_twice(get)


async def retry_twice(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that is safe to repeat, and retry it up to twice if it fails for a passing reason."""
    for pause in _BACKOFF_SECONDS:
        try:
            return await call()
        except (UpstreamUnreachableError, UpstreamServerError, UpstreamBrokenError):
            await asyncio.sleep(pause)
    return await call()


async def gather_pair(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Make two calls at the same time; if both fail, raise the error of the first."""
    # Both are awaited, so that neither goes on unattended after the other has failed.
    found = await asyncio.gather(first, second, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", found)
