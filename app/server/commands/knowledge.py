"""`python main.py knowledge sync DIR`: make the assistant's vector store match a folder."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.assistant import load_assistant
from app.core.config import Settings
from app.core.errors import ServiceError
from app.core.upstream.factory import open_upstream, opened_target
from app.core.upstream.port import Upstream
from app.knowledge.folder import LocalFile, scan
from app.knowledge.progress import Progress, described
from app.knowledge.remote import RemoteStore, find_store, make_store
from app.knowledge.sync import carry_out, plan
from app.server.startup import settings_errors_told

DONE, SOME_FAILED, MISUSED, UPSTREAM_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
_EPILOG = (
    "New and changed files go up, vanished ones go away, files that somebody else put into the store stay."
    " What the store holds is read from the store itself, so a run that was interrupted is taken up by the"
    " next one. Exit status: 0 all files are in step, 1 some failed, 2 wrong use or settings, 3 the upstream"
    " cannot be used."
)


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    parser = add_parser("knowledge", help="keep the assistant's vector store in step with a folder")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sync = commands.add_parser(
        "sync", help="bring a folder into the assistant's vector store", epilog=_EPILOG
    )
    sync.add_argument("folder", type=Path, metavar="DIR", help="the folder; hidden files do not count")
    sync.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    sync.add_argument("--store", metavar="ID", help="another vector store than the assistant's first")
    parser.set_defaults(run=run)


def run(given: Namespace, _create_app: Callable[..., Any]) -> int:
    """Run the command and return its exit status."""
    with settings_errors_told():
        settings = Settings()
    return sync_folder(given, settings)


def sync_folder(given: Namespace, settings: Settings) -> int:
    """Make the store match the folder, report errors, and return the exit status."""
    try:
        return asyncio.run(synchronise(given, settings))
    except OSError as exc:
        return _complain(f"{exc.filename or given.folder}: {exc.strerror}", MISUSED)
    except ValueError as exc:
        return _complain(str(exc), MISUSED)
    except ServiceError as exc:
        return _complain(exc.message, UPSTREAM_FAILED)
    except KeyboardInterrupt:
        return _complain("Interrupted. Run it again to go on.", INTERRUPTED)


async def synchronise(given: Namespace, settings: Settings) -> int:
    """Make the store match the folder. Raises `OSError`, `ValueError` or `ServiceError`."""
    files, left_out = await asyncio.to_thread(scan, given.folder)
    for path in left_out:
        _say(f"Left out: {path} (empty, a link that leads outside, or too long a path)")
    async with opened_target(settings) as target:
        upstream = open_upstream(target, settings)
        try:
            return await _brought_in_step(upstream, settings, files, given)
        finally:
            await upstream.aclose()


async def _brought_in_step(
    upstream: Upstream, settings: Settings, files: list[LocalFile], given: Namespace
) -> int:
    store_id = await _store_id(upstream, settings, given.store, makes=not given.dry_run)
    store = RemoteStore(upstream, store_id) if store_id else None
    steps, unchanged = await plan(files, await store.files() if store else [])
    if given.dry_run or store is None:
        for step in steps:
            _say(described(step))
        _say(f"Would take {len(steps)} steps; {unchanged} files are in step.")
        return DONE
    progress = Progress(len(steps), sys.stdout)
    try:
        outcome = await carry_out(steps, unchanged, store, progress.report)
    finally:
        progress.close()
    _say(f"{store.store_id}: {outcome.summary()}")
    return SOME_FAILED if outcome.failed else DONE


async def _store_id(upstream: Upstream, settings: Settings, asked: str | None, *, makes: bool) -> str | None:
    """Return the store's id: as asked for, configured, made by an earlier run, or new if `makes`."""
    assistant = load_assistant(settings)
    configured = (assistant.tool_resources.get("file_search") or {}).get("vector_store_ids") or []
    if asked or configured:
        return asked or str(configured[0])
    found = await find_store(upstream, assistant.id)
    if found is None and makes:
        found = await make_store(upstream, assistant.id, assistant.name)
    if found is not None:
        _say(f'To let the assistant search it, set ASSISTANT_VECTOR_STORES=["{found}"]')
    return found


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _complain(text: str, status: int) -> int:
    sys.stderr.write(text + "\n")
    return status
