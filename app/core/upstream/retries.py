"""Reads JSON from the upstream and retries calls that are safe to repeat."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import orjson

from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamMalformedError,
    UpstreamServerError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import Query, Upstream
from app.translate.events import Json
from app.translate.upstream_types import BadShapeError, check_sendable

T = TypeVar("T")
U = TypeVar("U")
_BACKOFF_SECONDS = (0.1, 0.4)


def parsed(body: bytes, check: Callable[[Json], object] = check_sendable) -> Json:
    """Parse a JSON object and check it with one of the checks of `upstream_types`.

    Raises `UpstreamMalformedError` for another object than the check expects, and `UpstreamBrokenError` for
    what is no JSON object.
    """
    return _checked(_object(body), check)


async def read(
    upstream: Upstream,
    path: str,
    query: Query | None = None,
    *,
    check: Callable[[Json], object] = check_sendable,
) -> Json:
    """GET a JSON object, with retries, and check it as `parsed` does."""

    async def get() -> Json:
        return _object(await upstream.request("GET", path, query=query))

    return _checked(await retry_twice(get), check)


async def retry_twice(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that is safe to repeat, and retry it up to twice if it fails for a passing reason."""
    for pause in _BACKOFF_SECONDS:
        try:
            return await call()
        except (UpstreamUnreachableError, UpstreamServerError, UpstreamBrokenError):
            await asyncio.sleep(pause)
    return await call()


def _object(body: bytes) -> Json:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamBrokenError from exc
    if not isinstance(found, dict):
        raise UpstreamBrokenError
    return found


def _checked(found: Json, check: Callable[[Json], object]) -> Json:
    try:
        check(found)
    except BadShapeError as exc:
        raise UpstreamMalformedError from exc
    return found


async def gather_pair(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Make two calls at the same time; if both fail, raise the error of the first."""
    # Both are awaited, so that neither goes on unattended after the other has failed.
    found = await asyncio.gather(first, second, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", found)
