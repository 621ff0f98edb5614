"""The `aiohttp` session of an upstream: what it may do, and how its failures become ours."""

import asyncio
from collections.abc import Mapping

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection

from app.core.config import Settings
from app.core.config_checks import environment_proxy
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

_IDLE_SECONDS = 15.0
"""How long a connection waits for its next request: shorter than common servers, which close silently."""


def open_session(base_url: str, headers: Mapping[str, str], settings: Settings) -> aiohttp.ClientSession:
    """Return a session that sends `headers` with every request; to be called in a running event loop.

    It limits connecting alone, the wait for a free connection included: callers set the other deadlines.
    """
    connector = aiohttp.TCPConnector(limit=settings.upstream_max_connections, keepalive_timeout=_IDLE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        skip_auto_headers=("content-type",),
        # A cookie of the upstream would tie all callers together.
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(connect=settings.openai_connect_timeout_seconds),
        auto_decompress=False,
        # Asked here, once: trust_env would look at the environment and at netrc for every request.
        proxy=environment_proxy(base_url),
        request_class=_Request,
        middlewares=(_sent_once,),
    )


def upstream_error_of(exc: aiohttp.ClientError | OSError) -> UpstreamError:
    """Map a failure of aiohttp to one of ours."""
    if isinstance(
        exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    ):
        return UpstreamUnreachableError()
    return UpstreamTimeoutError() if isinstance(exc, TimeoutError) else UpstreamBrokenError()


class _UncleanConnectionError(Exception):
    """Something came over an idle connection that nobody had asked for."""


class _Request(aiohttp.ClientRequest):
    """A request that goes over a clean connection only, and remembers which one."""

    transport: asyncio.Transport | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it, or raise `_UncleanConnectionError` before a byte of it has left.

        aiohttp would take what an idle connection received for the answer to the next request.
        """
        if conn.protocol is None or conn.protocol.should_close:
            raise _UncleanConnectionError
        self.transport = conn.transport
        return await super().send(conn)


async def _sent_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Raise failures as ours, which aiohttp does not answer by sending a GET or DELETE again."""
    while True:
        try:
            return await handler(request)
        except _UncleanConnectionError:
            continue
        except BaseException as exc:
            if isinstance(request, _Request) and request.transport is not None:
                # A mere close would first wait until the upstream has taken the rest of an upload.
                request.transport.abort()
            if isinstance(exc, aiohttp.ClientError | OSError):
                raise upstream_error_of(exc) from exc
            raise
