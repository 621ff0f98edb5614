"""The operator's own guards: functions that see each message before it goes upstream."""

import asyncio
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog

from app.core.config import Settings
from app.core.errors import ContentBlockedError, GuardFailedError
from app.core.observability.metrics import Metrics
from app.core.tools.functions import guards_in
from app.core.tools.threads import ToolThreads
from app.tools import Caller, GuardOptions, Refusal
from app.translate.events import Json

_MOST_FRAMES = 5
_TEXT_PARTS = frozenset({"input_text", "output_text"})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Guard:
    """A function marked `@guard`; a plain one runs in a thread, once one of the `places` is free."""

    function: Callable[..., Any]
    options: GuardOptions
    threads: ToolThreads
    places: asyncio.Semaphore

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", "guard"))

    async def answer(self, text: str, caller: Caller) -> Any:
        """Return what the function returns."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(text, caller)
        async with self.places:
            return await self.threads.run(partial(self.function, text, caller))


class Guards:
    """All guards, in the order of the file."""

    def __init__(self, guards: list[Guard], metrics: Metrics) -> None:
        self._guards = guards
        self._metrics = metrics

    @classmethod
    def load(cls, settings: Settings, metrics: Metrics) -> Self | None:
        """Return the guards of TOOLS_MODULE, which has been imported; None if it has none."""
        found = guards_in(settings.tools_module) if settings.tools_module else []
        # Not those of the tools: a tool that hangs must not hold up every turn.
        threads, places = ToolThreads(settings.tool_threads), asyncio.Semaphore(settings.tool_threads)
        guards = [Guard(function, options, threads, places) for function, options in found]
        return cls(guards, metrics) if guards else None

    async def checked(self, item: Json, caller: Caller) -> Json:
        """Return a message as the guards let it through; its text may have changed.

        The texts of a message are shown as one, with line breaks between them. Raises `ContentBlockedError`
        for a refusal, and `GuardFailedError` if a guard fails.
        """
        parts = item.get("content") or []
        texts = [part for part in parts if part.get("type") in _TEXT_PARTS]
        before = "\n".join(part.get("text") or "" for part in texts)
        if not texts or (after := await self._checked(before, caller)) == before:
            return item
        at = parts.index(texts[0])
        kept = [part for part in parts[at + 1 :] if part.get("type") not in _TEXT_PARTS]
        return item | {"content": [*parts[:at], texts[0] | {"text": after}, *kept]}

    async def _checked(self, text: str, caller: Caller) -> str:
        before = text
        for guard in self._guards:
            answer = await self._answer(guard, text, caller)
            if isinstance(answer, Refusal):
                self._metrics.content_checked("guard", "blocked")
                raise ContentBlockedError(answer.sentence)
            text = text if answer is None else answer
        if text != before:
            self._metrics.content_checked("guard", "changed")
        return text

    async def _answer(self, guard: Guard, text: str, caller: Caller) -> str | Refusal | None:
        """Call a guard in a task of its own, which may ignore its cancellation; nobody waits for that."""
        task = asyncio.create_task(_caught(guard, text, caller))
        try:
            done, _ = await asyncio.wait({task}, timeout=guard.options.timeout_seconds)
        finally:
            task.cancel()
        if not done or task.cancelled():
            raise self._failure(guard, TimeoutError())
        answer, exc = task.result()
        if exc is None and not isinstance(answer, str | Refusal | None):
            exc = TypeError()
        if exc is not None:
            raise self._failure(guard, exc)
        return answer  # type: ignore[no-any-return]

    def _failure(self, guard: Guard, exc: BaseException) -> GuardFailedError:
        self._metrics.content_checked("guard", "failed")
        # Without the message, which may quote the text.
        frames = traceback.extract_tb(exc.__traceback__)[-_MOST_FRAMES:]
        places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        _log.error("guard_failed", guard=guard.name, error=type(exc).__name__, places=places)
        return GuardFailedError()


async def _caught(guard: Guard, text: str, caller: Caller) -> tuple[Any, BaseException | None]:
    """Return what a guard returned, or raised: a task would hand `SystemExit` on to the event loop."""
    try:
        return await guard.answer(text, caller), None
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # noqa: BLE001 - a guard must not end the service
        return None, exc
