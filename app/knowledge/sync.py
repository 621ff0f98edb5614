"""Plans and takes the steps after which a store holds what a folder holds.

The store's attributes are the only memory, so that the next run continues a run that was killed: a file is
there once its path and hash are, and its old version is removed only after the new one can be searched.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.core.errors import ServiceError
from app.core.upstream.errors import UpstreamAuthError
from app.knowledge.folder import LocalFile, sha256_of
from app.knowledge.remote import RemoteStore, StoredFile

AT_ONCE = 4
# With these codes the upstream refuses the content itself, so a second try is useless.
_HOPELESS = frozenset({"unsupported_file", "invalid_file"})
Kind = Literal["add", "change", "remove", "wait", "reject"]
Report = Callable[["Step", str | None], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One step for one path; the versions in `old` are removed after it."""

    kind: Kind
    path: str
    file: LocalFile | None = None
    sha256: str = ""
    old: tuple[StoredFile, ...] = ()
    present: StoredFile | None = None


@dataclass(slots=True)
class Outcome:
    """The numbers of steps taken by kind, and of unchanged files, and the paths that failed."""

    unchanged: int = 0
    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line for a person."""
        done = self.done
        counts = f"{done['add']} added, {done['change']} changed, {done['remove']} removed"
        unchanged = self.unchanged + done["wait"]
        return f"{counts}, {unchanged} unchanged, {len(self.failed)} failed"


async def plan(files: Sequence[LocalFile], stored: Sequence[StoredFile]) -> tuple[list[Step], int]:
    """Return the steps to take, removals last, and the number of unchanged files."""
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
    """Take the steps, four at a time; a file that fails does not stop the others.

    Calls `report` after each step, with the reason if it failed. Raises `UpstreamAuthError`.
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
        if failure is None:
            outcome.done[step.kind] += 1
        else:
            outcome.failed.append(step.path)
        report(step, failure)

    hopeless: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(take(step))
    except* UpstreamAuthError as group:
        hopeless = list(group.exceptions)
    # One error is enough, as each step fails for the same reason.
    if hopeless:
        raise hopeless[0]
    return outcome


async def _take(step: Step, store: RemoteStore) -> str | None:
    """Take one step; return the reason if the upstream cannot search the file, else None."""
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
