"""The connections to the upstream: opened in time, kept while they are fresh, never more than allowed."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import aiohappyeyeballs

from app.core.upstream.errors import UpstreamUnreachableError
from app.core.upstream.http1 import Connection

_IDLE_SECONDS = 15.0
"""How long a connection waits for its next request: shorter than common servers, which close silently."""

_ADDRESS_SECONDS = 10.0
_HAPPY_EYEBALLS_DELAY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect to."""

    host: str
    port: int
    is_secure: bool

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Read it from a URL; raises `ValueError` for one that is none."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http URL")
        is_secure = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if is_secure else 80), is_secure)


class ConnectionPool:
    """Connections to one origin, at most `limit` at a time; waiting for one counts as connecting."""

    def __init__(self, origin: Origin, *, limit: int, connect_seconds: float) -> None:
        self._origin = origin
        self._connect_seconds = connect_seconds
        self._places = asyncio.Semaphore(limit)
        self._idle: deque[Connection] = deque()
        self._tls = ssl.create_default_context() if origin.is_secure else None
        self._addresses: Sequence[aiohappyeyeballs.AddrInfoType] = ()
        self._addresses_until = 0.0

    async def acquire(self) -> Connection:
        """Return a connection that is free; raises `UpstreamUnreachableError`, and then nothing was sent."""
        await (self._place_in_time() if self._places.locked() else self._places.acquire())
        try:
            return self._reused() or await self._connected()
        except BaseException:
            self._places.release()
            raise

    def release(self, connection: Connection) -> None:
        """Take a connection back: kept if its response is whole, closed otherwise."""
        self._places.release()
        now = asyncio.get_running_loop().time()
        if connection.can_serve_again():
            connection.idle_since = now
            self._idle.append(connection)
        else:
            connection.close()
        while self._idle and not _is_fresh(self._idle[0], now):
            self._idle.popleft().close()

    async def aclose(self) -> None:
        """Close what is idle; what is in use is closed by its users."""
        while self._idle:
            self._idle.pop().close()

    def _reused(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            if _is_fresh(connection := self._idle.pop(), now):
                return connection
            connection.close()
        return None

    async def _place_in_time(self) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._places.acquire()
        except TimeoutError as exc:
            raise UpstreamUnreachableError from exc

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                taken = await aiohappyeyeballs.start_connection(
                    await self._resolved(), happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_SECONDS
                )
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                name = self._origin.host if self._tls else None
                _, connection = await loop.create_connection(
                    partial(Connection, taken), sock=taken, ssl=self._tls, server_hostname=name
                )
        except (OSError, TimeoutError) as exc:
            raise UpstreamUnreachableError from exc
        return connection

    async def _resolved(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        """Return the host's addresses, asked for again after some seconds, so that it may move."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._addresses_until:
            origin = self._origin
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            self._addresses, self._addresses_until = found, loop.time() + _ADDRESS_SECONDS
        return self._addresses


def _is_fresh(connection: Connection, now: float) -> bool:
    return connection.is_open and now - connection.idle_since < _IDLE_SECONDS
