"""The command that keeps a vector store in step with a folder, against the embedded upstream."""

import argparse
import asyncio
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from app.core.config import PROJECT_ROOT
from app.knowledge.folder import scan
from app.knowledge.progress import Progress
from app.knowledge.sync import Step
from app.server.commands import knowledge
from app.server.commands.knowledge import (
    DONE,
    MISUSED,
    SOME_FAILED,
    UPSTREAM_FAILED,
    sync_folder,
    synchronise,
)
from main import main
from tests.support import embedded_upstream, make_settings, stats, until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "knowledge"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "a.md").write_text("The pump is red.")
    (root / "deep" / "er" / "b.txt").write_text("The gate is green.")
    (root / ".git" / "config").write_text("hidden")
    (root / ".env").write_text("hidden")
    (root / "empty.txt").touch()
    (tmp_path / "outside.txt").write_text("not ours")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    return root


def parsed(*arguments: str) -> argparse.Namespace:
    """What `python main.py knowledge` makes of its arguments."""
    parser = argparse.ArgumentParser()
    knowledge.add_to(parser.add_subparsers().add_parser)
    return parser.parse_args(["knowledge", *arguments])


class Bench:
    """The command, its settings, and a look at what it did upstream."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.settings = make_settings(openai_base_url=url, openai_api_key="key")
        self.openai = AsyncOpenAI(base_url=url, api_key="key", max_retries=0)

    async def sync(self, *options: str) -> int:
        return await synchronise(parsed("sync", str(self.folder), *options), self.settings)

    async def stored(self) -> dict[str, str]:
        """Path to file id, of every file in the one store."""
        [store] = (await self.openai.vector_stores.list()).data
        found = (await self.openai.vector_stores.files.list(store.id, limit=100)).data
        assert all(file.status == "completed" for file in found)
        return {str((file.attributes or {}).get("path")): file.id for file in found}

    async def file_ids(self) -> set[str]:
        return {file.id for file in (await self.openai.files.list()).data}


@pytest.fixture
async def bench(upstream: str, folder: Path):
    found = Bench(upstream, folder)
    yield found
    await found.openai.close()


async def test_a_folder_goes_up_once(bench, capsys):
    assert await bench.sync() == DONE
    stored = await bench.stored()
    assert set(stored) == {"a.md", "deep/er/b.txt"}
    assert await bench.file_ids() == set(stored.values())
    output = capsys.readouterr().out
    assert "Left out: empty.txt" in output
    assert "Left out: link.txt" in output
    assert output.endswith("2 added, 0 changed, 0 removed, 0 unchanged, 0 failed\n")

    before = (await stats(bench.url))["requests"]
    assert await bench.sync() == DONE
    after = (await stats(bench.url))["requests"]
    assert after.get("POST /v1/files") == before.get("POST /v1/files")
    assert await bench.stored() == stored
    assert "0 added, 0 changed, 0 removed, 2 unchanged, 0 failed" in capsys.readouterr().out


async def test_changes_follow(bench, capsys):
    await bench.sync()
    before = await bench.stored()
    (bench.folder / "a.md").write_text("The pump is blue.")
    (bench.folder / "new.md").write_text("There is a valve.")
    (bench.folder / "deep" / "er" / "b.txt").unlink()
    assert await bench.sync() == DONE
    stored = await bench.stored()
    assert set(stored) == {"a.md", "new.md"}
    assert stored["a.md"] != before["a.md"]
    assert await bench.file_ids() == set(stored.values())
    output = capsys.readouterr().out
    assert "~ a.md\n" in output
    assert "+ new.md\n" in output
    assert "- deep/er/b.txt\n" in output
    assert output.endswith("1 added, 1 changed, 1 removed, 0 unchanged, 0 failed\n")


async def test_a_dry_run_only_tells(bench, capsys):
    assert await bench.sync("--dry-run") == DONE
    assert (await bench.openai.vector_stores.list()).data == []
    await bench.sync()
    stored = await bench.stored()
    (bench.folder / "a.md").write_text("The pump is blue.")
    capsys.readouterr()
    assert await bench.sync("--dry-run") == DONE
    assert "~ a.md\nWould take 1 steps; 1 files are in step.\n" in capsys.readouterr().out
    assert await bench.stored() == stored


async def test_what_others_put_into_the_store_stays(bench):
    await bench.sync()
    [store] = (await bench.openai.vector_stores.list()).data
    theirs = await bench.openai.files.create(file=("t.txt", io.BytesIO(b"theirs")), purpose="assistants")
    await bench.openai.vector_stores.files.create(store.id, file_id=theirs.id)
    assert await bench.sync() == DONE
    assert theirs.id in (await bench.stored()).values()


async def test_a_double_left_by_a_kill_is_cleared_away(bench):
    await bench.sync()
    [store] = (await bench.openai.vector_stores.list()).data
    old = await bench.openai.files.create(file=("a.md", io.BytesIO(b"old")), purpose="assistants")
    attributes: dict[str, Any] = {"path": "a.md", "sha256": "0" * 64}
    await bench.openai.vector_stores.files.create(store.id, file_id=old.id, attributes=attributes)
    assert await bench.sync() == DONE
    assert old.id not in await bench.file_ids()
    assert set(await bench.stored()) == {"a.md", "deep/er/b.txt"}


async def test_a_file_that_cannot_be_searched_fails_alone_and_once(bench, capsys):
    (bench.folder / "x.pdf").write_bytes(b"\0\1\2")
    assert await bench.sync() == SOME_FAILED
    assert "! x.pdf: The upstream cannot search it (unsupported_file).\n" in capsys.readouterr().out
    uploads = (await stats(bench.url))["requests"]["POST /v1/files"]
    assert await bench.sync() == SOME_FAILED
    assert (await stats(bench.url))["requests"]["POST /v1/files"] == uploads
    (bench.folder / "x.pdf").write_text("Now it is text.")
    assert await bench.sync() == DONE
    assert set(await bench.stored()) == {"a.md", "deep/er/b.txt", "x.pdf"}
    assert len(await bench.file_ids()) == 3


async def test_a_configured_store_is_used(bench, capsys):
    store = await bench.openai.vector_stores.create(name="mine")
    bench.settings = make_settings(
        openai_base_url=bench.url, openai_api_key="key", assistant_vector_stores=[store.id]
    )
    assert await bench.sync() == DONE
    assert set(await bench.stored()) == {"a.md", "deep/er/b.txt"}
    assert "ASSISTANT_VECTOR_STORES" not in capsys.readouterr().out


async def test_a_killed_run_is_taken_up(tmp_path, folder):
    for number in range(60):
        (folder / f"n{number:02}.md").write_text(f"Note number {number}.")
    async with embedded_upstream() as url:
        bench = Bench(url, folder)
        environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "key"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "main.py", "knowledge", "sync", str(folder)),
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )

        async def has_begun() -> bool:
            assert process.returncode is None
            counted: int = (await stats(url))["requests"].get("POST /v1/vector_stores/{id}/files", 0)
            return counted >= 5

        await until(has_begun)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        there = len((await bench.openai.files.list()).data)
        assert there >= 5
        assert await bench.sync() == DONE
        stored = await bench.stored()
        assert len(stored) == 62
        # At most the uploads that were under way at the kill are made twice.
        assert len(await bench.file_ids()) - len(stored) <= 4
        await bench.openai.close()


class TestFailures:
    def test_an_upstream_that_is_not_there_is_3(self, folder, capsys):
        settings = make_settings(openai_base_url="http://127.0.0.1:9/v1", openai_api_key="key")
        assert sync_folder(parsed("sync", str(folder)), settings) == UPSTREAM_FAILED
        assert capsys.readouterr().err == "The assistant's upstream cannot be reached. Retry shortly.\n"

    def test_a_folder_that_is_not_there_is_2(self, tmp_path, capsys):
        settings = make_settings(openai_base_url="http://127.0.0.1:9/v1", openai_api_key="key")
        assert sync_folder(parsed("sync", str(tmp_path / "none")), settings) == MISUSED
        assert "No such file or directory" in capsys.readouterr().err

    def test_no_command_is_2(self, capsys):
        with pytest.raises(SystemExit) as left:
            main(["knowledge"])
        assert left.value.code == MISUSED

    async def test_a_refused_key_is_told(self, folder):
        async with embedded_upstream(api_key="right") as url:
            settings = make_settings(openai_base_url=url, openai_api_key="wrong")
            given = parsed("sync", str(folder))
            assert await asyncio.to_thread(sync_folder, given, settings) == UPSTREAM_FAILED


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_goes_away():
    out = _Terminal()
    progress = Progress(2, out)
    progress.report(Step("add", "a.md"), None)
    progress.report(Step("add", "b\x1b.md"), "No.")
    progress.close()
    assert out.getvalue() == (
        "\r\x1b[K[############............] 1/2 a.md"
        "\r\x1b[K! b�.md: No.\n"
        "\r\x1b[K[########################] 2/2 b�.md"
        "\r\x1b[K"
    )


def test_paths_are_the_same_everywhere(folder):
    files, left_out = scan(folder)
    assert [file.path for file in files] == ["a.md", "deep/er/b.txt"]
    assert left_out == ["empty.txt", "link.txt"]
