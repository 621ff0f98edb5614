"""The service as a process of its own that kills itself where a question says so: `die at POINT: …`.

The points are put round the methods of the conversation layer and at the events of SQLAlchemy's engines, so
production code knows nothing of them.
"""

import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import Engine, event

import main
from app.core.config import Settings
from app.core.own_conversations import conversation_table, leases, recording, turn_table, turns
from app.core.runs import tool_leases
from bench.cluster import accepts, wait_for
from bench.processes import free_port
from tests.store import tool_faults

CREATED, BEGUN, MID_STREAM = "created", "begun", "mid-stream"
WHILE_STREAMING = (CREATED, BEGUN, MID_STREAM)
BEFORE_COMMIT = (
    "answer-received",
    "transaction-begun",
    "lease-checked",
    "input-written",
    "output-written",
    "response-written",
    "before-commit",
)
AFTER_COMMIT = ("after-commit", "before-last-event")
LEASE_SECONDS = 1.0
_SETTINGS = {
    "CONVERSATIONS": "own",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "warning",
    "OPENAI_API_KEY": "key",
    "ASSISTANT_MODEL": "soloist-scripted",
    "RATE_LIMIT_CHAT": "1000000/minute",
    "RATE_LIMIT_WRITES": "1000000/minute",
    "RATE_LIMIT_READS": "1000000/minute",
}
# The fork server loads the service once, so that a start costs a tenth of one.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
_POINT = re.compile(r"die at ([a-z-]+):")


class KillableService:
    """One replica on a loopback port, started anew by each `start`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1/"
        self.log = folder / f"service-{self.port}.log"
        self._settings = settings
        self._process: ForkServerProcess | None = None

    def start(self, **changes: str) -> None:
        """Start, and wait until it listens."""
        settings = _SETTINGS | self._settings | changes | {"PORT": str(self.port)}
        self._process = process = _FORKS.Process(target=_serve, args=(settings, self.log))
        process.start()

        def is_listening() -> bool:
            assert process.exitcode is None, self.log.read_text()[-2000:]
            return accepts(self.port)

        wait_for(is_listening, "the service")

    def wait(self) -> int | None:
        """Wait for its end, and return its exit status, which is -9 after SIGKILL."""
        assert self._process
        self._process.join(60)
        return self._process.exitcode

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        """End it in order."""
        assert self._process
        self._process.terminate()
        self.wait()


@contextmanager
def running(service: KillableService) -> Iterator[KillableService]:
    """Start a service, and leave nothing of it."""
    service.start()
    try:
        yield service
    finally:
        service.kill()


def _serve(settings: dict[str, str], log: Path) -> None:
    with log.open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(settings)
    # A developer's .env must not decide.
    Settings.model_config["env_file"] = None
    lease = float(settings.get("LEASE_SECONDS", LEASE_SECONDS))
    for module in (turn_table, leases, tool_leases):
        _replace(module, "LEASE_SECONDS", lease)
    for module in (leases, tool_leases):
        _replace(module, "_RENEW_SECONDS", lease / 5)
    _Fault().arm()
    sys.exit(main.main([]))


def _replace(owner: object, name: str, new: object) -> None:
    patch.object(owner, name, new).start()


class _Fault:
    """Where this process dies; one turn at a time names the point."""

    def __init__(self) -> None:
        self._point = ""
        self._is_ending = False

    def arm(self) -> None:
        """Put the points in their places."""
        self._arm_turns()
        self._arm_streams()
        self._arm_writes()
        self._arm_engines()
        tool_faults.arm(self)

    def begin(self, body: dict[str, object]) -> None:
        """Read the point from a turn's input; the next rounds of its run keep it."""
        asked = str(body.get("input"))
        if "_output" not in asked:
            named = _POINT.search(asked)
            self._point, self._is_ending = named[1] if named else "", False

    def die_at(self, point: str) -> None:
        """Kill this process if the turn names this point."""
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)

    def _arm_turns(self) -> None:
        begin, ended = turns.Turns.begin, turns.Turns.ended

        async def begun(self_, body):
            self.begin(body)
            return await begin(self_, body)

        async def ended_dying(self_, *arguments):
            self.die_at("answer-received")
            shown = await ended(self_, *arguments)
            self.die_at("before-last-event")
            return shown

        _replace(turns.Turns, "begin", begun)
        _replace(turns.Turns, "ended", ended_dying)

    def _arm_streams(self) -> None:
        started, passed = turn_table.TurnTable.started, recording.RecordedStream._passed

        async def started_dying(*arguments, **options):
            self.die_at(CREATED)
            await started(*arguments, **options)
            self.die_at(BEGUN)

        async def passed_dying(self_, frame):
            if b"output_text.delta" in frame[1]:
                self.die_at(MID_STREAM)
            return await passed(self_, frame)

        _replace(turn_table.TurnTable, "started", started_dying)
        _replace(recording.RecordedStream, "_passed", passed_dying)

    def _arm_writes(self) -> None:
        end, insert_items = turn_table.TurnTable.end, conversation_table.insert_items

        async def end_dying(*arguments):
            self._is_ending = True
            await end(*arguments)
            self._is_ending = False
            self.die_at("after-commit")

        async def insert_dying(connection, conversation_id, rows, **options):
            asked = [row for row in rows if row["output_index"] < 0]
            if self._is_ending and self._point == "input-written":
                await insert_items(connection, conversation_id, asked, **options)
                self.die_at("input-written")
            await insert_items(connection, conversation_id, rows, **options)
            if self._is_ending:
                self.die_at("output-written")

        _replace(turn_table.TurnTable, "end", end_dying)
        _replace(turn_table, "insert_items", insert_dying)

    def _arm_engines(self) -> None:
        def die_if_ending(point):
            if self._is_ending:
                self.die_at(point)

        def executed(_connection, _cursor, statement, *_rest):
            if statement.startswith("UPDATE leases"):
                die_if_ending("lease-checked")
            if statement.startswith("INSERT INTO responses"):
                die_if_ending("response-written")

        event.listen(Engine, "begin", lambda _: die_if_ending("transaction-begun"))
        event.listen(Engine, "commit", lambda _: die_if_ending("before-commit"))
        event.listen(Engine, "after_cursor_execute", executed)
