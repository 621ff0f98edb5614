"""Debian's PostgreSQL, started once a test process; every test gets a database of its own."""

import asyncio
import os
import pwd
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg

from bench.processes import free_port
from tests.pytest_plugin import POSTGRES_PROGRAMS

_SUPERUSER = "soloist"
# A commit survives `kill`, as the system has its bytes by then: only the disk is not waited for.
_OPTIONS = "-F -c full_page_writes=off -c shared_buffers=16MB -c listen_addresses=127.0.0.1"


class PostgresServer:
    """One server on a loopback port and a Unix socket, which a test may stop, kill, start and pause."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        """Also where its Unix socket lies."""
        self._data = folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is, as `STORE_URL` takes it."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the files of the server, whose superuser needs no password."""
        arguments = ["--username", _SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        self._run("initdb", "--pgdata", str(self._data), "--no-sync", *arguments)

    @property
    def is_running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    async def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = f"{_OPTIONS} -p {self.port} -k {self.folder}"
        await self._pg_ctl("start", "--wait", "--log", str(self.folder / "log"), "--options", options)

    async def stop(self) -> None:
        """Stop in order, but end open connections at once."""
        await self._pg_ctl("stop", "--wait", "--mode", "fast")

    async def kill(self) -> None:
        """Stop as a crash does: no checkpoint, no goodbye; the next start recovers."""
        await self._pg_ctl("stop", "--wait", "--mode", "immediate")

    def pause(self) -> None:
        """Let it hang: connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._signal(signal.SIGCONT)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def _signal(self, number: signal.Signals) -> None:
        main = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            os.kill(process, number)

    async def _pg_ctl(self, *arguments: str) -> None:
        await asyncio.to_thread(self._run, "pg_ctl", "--pgdata", str(self._data), "--silent", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_other_user(), f"{POSTGRES_PROGRAMS}/{program}", *arguments]
        # The server inherits its output, so a pipe would stay open until the server ends.
        with (self.folder / "output").open("ab") as output:
            subprocess.run(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True
            )


def _other_user() -> list[str]:
    """What starts a command as another user, where this one is root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    user = _user_for_root()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _user_for_root() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A new server that runs."""
    # Not pytest's folder for temporary files, which only its owner may enter.
    with TemporaryDirectory(prefix="soloist-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            user = _user_for_root()
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = PostgresServer(folder)
        server.create()
        asyncio.run(server.start())
        try:
            yield server
        finally:
            if server.is_running:
                asyncio.run(server.kill())


@asynccontextmanager
async def fresh_database(server: PostgresServer) -> AsyncIterator[str]:
    """An empty database, dropped at the end; its URL. A server that a test has stopped is started again."""
    name = f"test_{uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name}")
    try:
        yield server.url(name)
    finally:
        if not server.is_running:
            await server.start()
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: PostgresServer, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as connection:
        await connection.execute(statement)
