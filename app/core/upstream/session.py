"""The `aiohttp` session of an upstream, and the errors that its failures become."""

import asyncio
import socket
from collections.abc import Mapping

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection

from app.core.config import Settings
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.reasons import reason_of
from app.utils.hosts import environment_proxy

_RECEIVE_BUFFER_BYTES = 128 * 1024
_IDLE_SECONDS = 15.0
"""How long an idle connection is kept: less than common servers keep it, as they close without notice."""


def open_session(base_url: str, headers: Mapping[str, str], settings: Settings) -> aiohttp.ClientSession:
    """Return a session that sends `headers` with every request; call it in a running event loop.

    The session limits only the time to get a connection; callers set the other deadlines.
    """
    connector = aiohttp.TCPConnector(
        limit=settings.upstream_max_connections, keepalive_timeout=_IDLE_SECONDS, socket_factory=_new_socket
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        skip_auto_headers=("content-type",),
        # All callers share the session, so a cookie would link them to each other.
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(connect=settings.openai_connect_timeout_seconds),
        auto_decompress=False,
        # Resolved once: `trust_env` would read the environment and netrc for every request.
        proxy=environment_proxy(base_url),
        request_class=_Request,
        middlewares=(_sent_once,),
    )


def _new_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that takes in little of an answer that nobody reads; the system would grow it."""
    family, kind, proto, _, _ = address
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return made


def upstream_error_of(exc: aiohttp.ClientError | OSError) -> UpstreamError:
    """Return the `UpstreamError` for a failure of aiohttp."""
    if isinstance(
        exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    ):
        return UpstreamUnreachableError(reason_of(exc))
    return UpstreamTimeoutError() if isinstance(exc, TimeoutError) else UpstreamBrokenError()


class _UncleanConnectionError(Exception):
    """An idle connection received bytes that no request had asked for."""


class _Request(aiohttp.ClientRequest):
    """A request that is sent over a clean connection only, and remembers its transport."""

    transport: asyncio.Transport | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request, or raise `_UncleanConnectionError` before any byte of it is sent.

        aiohttp would take bytes that an idle connection received for the answer to the next request.
        """
        if conn.protocol is None or conn.protocol.should_close:
            raise _UncleanConnectionError
        self.transport = conn.transport
        return await super().send(conn)


async def _sent_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Raise failures as `UpstreamError`: aiohttp would repeat a GET or DELETE after one of its own."""
    while True:
        try:
            return await handler(request)
        except _UncleanConnectionError:
            # aiohttp drops such a connection, so each try meets another one and the last a fresh one.
            continue
        except BaseException as exc:
            if isinstance(request, _Request) and request.transport is not None:
                # `close` alone would first wait until the upstream has taken the rest of an upload.
                request.transport.abort()
            if isinstance(exc, aiohttp.ClientError | OSError):
                raise upstream_error_of(exc) from exc
            raise
