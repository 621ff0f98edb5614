"""Notes what each response of the model used, and writes it to the store in batches beside the requests."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from app.core.caller import current_owner
from app.core.observability.run_metrics import RunMeasurement, Used
from app.core.store.database import StoreAwayError
from app.translate.events import Json
from app.translate.failures import failure_of_run
from app.translate.objects import conversation_of, run_status
from app.translate.run_metadata import RunRounds

_log = structlog.get_logger(__name__)
DAY_SECONDS = 86_400
_PAUSE_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_FORGET_SECONDS = 2.0
_BATCH = 500
_MOST_PENDING = 10_000
"""Rows that wait for a store that is away; the oldest ones after that are lost."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of the table `usage`, whose columns have the same names."""

    response_id: str
    run_id: str
    conversation_id: str | None
    user_hash: str | None
    model: str
    began_at: float
    day: int
    first_text_ms: int | None
    total_ms: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: float | None
    status: str
    code: str | None
    trace: str | None


class UsageLog:
    """Collects rows and writes them every second.

    Args:
        write: writes rows; what is there already stays as it is.
        is_used: tells whether the service has a store.
        hash_of: returns the keyed hash of an owner.
        lost: is told how many rows were lost.

    """

    def __init__(
        self,
        write: Callable[[list[UsageRow]], Awaitable[None]],
        is_used: Callable[[], bool],
        hash_of: Callable[[str], str],
        lost: Callable[[int], None],
    ) -> None:
        self._write = write
        self._is_used = is_used
        self._hash_of = hash_of
        self._lost = lost
        self._rows: list[UsageRow] = []
        self._writing = asyncio.Lock()

    def ended(self, response: Json, used: Used, measured: RunMeasurement | None) -> None:
        """Note a response that has ended; `measured` is None for one that was only read."""
        status = run_status(response)
        code = None
        if status == "incomplete":
            code = str((response.get("incomplete_details") or {}).get("reason") or status)
        elif status in {"failed", "expired"}:
            code = failure_of_run(response, status).code
        self._add(response, used, measured, status, code)

    def cut_off(self, response: Json | None, measured: RunMeasurement, status: str, code: str | None) -> None:
        """Note a response that the upstream did not end, or did not begin if it is None."""
        self._add(response or {}, Used(str(measured.params.get("model"))), measured, status, code)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write all rows that are there; those of a store that is away are kept for later."""
        async with self._writing:
            while batch := self._rows[:_BATCH]:
                try:
                    await self._write(batch)
                except StoreAwayError:
                    # The database has logged it.
                    break
                except Exception as exc:  # noqa: BLE001 - a bad row must not keep all later ones waiting
                    _log.error("usage_not_written", error=type(exc).__name__)
                    self._lost(len(batch))
                del self._rows[: len(batch)]
            if (extra := len(self._rows) - _MOST_PENDING) > 0:
                del self._rows[:extra]
                self._lost(extra)

    async def forget_thread(self, conversation_id: str) -> None:
        """Take a thread that is being deleted out of the rows that are not written yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FORGET_SECONDS), self._writing:
                self._rows = [
                    replace(row, conversation_id=None) if row.conversation_id == conversation_id else row
                    for row in self._rows
                ]

    async def aclose(self) -> None:
        """Write what is left, without waiting long; call it when nothing more is noted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.flush()
        if self._rows:
            self._lost(len(self._rows))

    def _add(
        self, response: Json, used: Used, measured: RunMeasurement | None, status: str, code: str | None
    ) -> None:
        if not self._is_used():
            return
        response_id = str(response.get("id") or f"none_{secrets.token_hex(12)}")
        owner = current_owner.get()
        created_at = float(response.get("created_at") or time.time())
        began_at = measured.began_at if measured else created_at
        ended_at = float(response.get("completed_at") or time.time())
        row = UsageRow(
            response_id=response_id,
            # A round that did not begin is known by what it was to be created with.
            run_id=RunRounds.read(response or (measured.params if measured else {})).first or response_id,
            conversation_id=conversation_of(measured.params if measured else response),
            user_hash=self._hash_of(owner) if owner else None,
            model=used.model,
            began_at=began_at,
            day=int(began_at // DAY_SECONDS),
            first_text_ms=measured.first_text_ms if measured else None,
            total_ms=measured.elapsed_ms() if measured else max(0, int((ended_at - created_at) * 1000)),
            input_tokens=used.input_tokens,
            cached_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            cost=used.cost,
            status=status,
            code=code,
            trace=measured.trace if measured else None,
        )
        self._rows.append(row)
