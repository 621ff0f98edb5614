"""What has to be done so that a store holds what a folder holds, and doing it.

The store's own attributes are the only memory, so that a run that was killed is taken up where it stopped: a
file counts as there once its path and hash are, and an old version goes only after the new one can be
searched.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.core.errors import ServiceError
from app.core.upstream.errors import UpstreamAuthError
from app.knowledge.folder import LocalFile, sha256_of
from app.knowledge.remote import RemoteStore, StoredFile

AT_ONCE = 4
_HOPELESS = frozenset({"unsupported_file", "invalid_file"})
"""Why the upstream refuses a file for what it is; the same content will not do better."""

Kind = Literal["add", "change", "remove", "wait", "reject"]
Report = Callable[["Step", str | None], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do for one path; `old` are versions that go after it."""

    kind: Kind
    path: str
    file: LocalFile | None = None
    sha256: str = ""
    old: tuple[StoredFile, ...] = ()
    present: StoredFile | None = None


@dataclass(slots=True)
class Outcome:
    """How many files met which fate."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line for people."""
        counts = f"{self.added} added, {self.changed} changed, {self.removed} removed"
        return f"{counts}, {self.unchanged} unchanged, {len(self.failed)} failed"


async def plan(files: Sequence[LocalFile], stored: Sequence[StoredFile]) -> tuple[list[Step], int]:
    """Return the steps to take, removals last, and how many files are in step already."""
    versions: dict[str, list[StoredFile]] = defaultdict(list)
    for each in stored:
        versions[each.path].append(each)
    steps: list[Step] = []
    unchanged = 0
    for file in files:
        step = _step(file, await sha256_of(file), versions.pop(file.path, []))
        if step is None:
            unchanged += 1
        else:
            steps.append(step)
    gone = [Step("remove", path, old=tuple(found)) for path, found in sorted(versions.items())]
    return [*steps, *gone], unchanged


def _step(file: LocalFile, sha256: str, versions: list[StoredFile]) -> Step | None:
    same = [each for each in versions if each.sha256 == sha256]
    ready = next((each for each in same if each.status == "completed"), None)
    present = ready or next((each for each in same if each.status == "in_progress"), None)
    if present:
        old = tuple(each for each in versions if each is not present)
        return None if ready and not old else Step("wait", file.path, file, sha256, old, present)
    if refused := next((each for each in same if each.error_code in _HOPELESS), None):
        return Step("reject", file.path, file, sha256, present=refused)
    return Step("change" if versions else "add", file.path, file, sha256, tuple(versions))


async def carry_out(steps: Sequence[Step], unchanged: int, store: RemoteStore, report: Report) -> Outcome:
    """Take the steps, a few at a time; a file that fails does not stop the others.

    `report` is told of every step that is done, with the reason where it failed. Raises `UpstreamAuthError`.
    """
    outcome = Outcome(unchanged=unchanged)
    gate = asyncio.Semaphore(AT_ONCE)

    async def take(step: Step) -> None:
        async with gate:
            try:
                failure = await _take(step, store)
            except UpstreamAuthError:
                raise
            except (ServiceError, OSError) as exc:
                failure = exc.message if isinstance(exc, ServiceError) else "The file cannot be read."
        _count(outcome, step, failure)
        report(step, failure)

    hopeless: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(take(step))
    except* UpstreamAuthError as group:
        hopeless = list(group.exceptions)
    if hopeless:
        raise hopeless[0]
    return outcome


async def _take(step: Step, store: RemoteStore) -> str | None:
    """Take one step; returns why the upstream cannot search the file, if it cannot."""
    now = step.present
    if step.kind in {"add", "change"} and step.file is not None:
        now = await store.add(step.file, step.sha256)
    elif step.kind == "wait" and now is not None:
        now = await store.ready(now.file_id)
    if now is not None and now.status != "completed":
        return f"The upstream cannot search it ({now.error_code or now.status})."
    for old in step.old:
        await store.remove(old)
    return None


def _count(outcome: Outcome, step: Step, failure: str | None) -> None:
    if failure is not None:
        outcome.failed.append(step.path)
    elif step.kind == "add":
        outcome.added += 1
    elif step.kind == "change":
        outcome.changed += 1
    elif step.kind == "remove":
        outcome.removed += 1
    else:
        outcome.unchanged += 1
