"""A process killed between or during two calls loses nothing that was answered."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI

from bench.processes import free_port
from tests.embedded.support import collect, texts, until


@asynccontextmanager
async def _process(database: str, end=signal.SIGKILL):
    """The embedded upstream in a process of its own; killed with -9 unless told otherwise."""
    port = free_port()
    command = [sys.executable, "-m", "app.embedded", "--port", str(port), "--db", database]
    process = subprocess.Popen(  # noqa: ASYNC220 - it must be killed, not awaited
        [*command, "--responder", "scripted"], stderr=subprocess.DEVNULL
    )
    try:
        async with AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0, timeout=20
        ) as client:

            async def up():
                try:
                    return bool((await client.models.list()).data)
                except Exception:  # noqa: BLE001 - not up yet, whatever the reason
                    return False

            await until(up)
            yield client
    finally:
        os.kill(process.pid, end)
        process.wait()
    assert process.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 0)


async def test_kill_9_keeps_what_was_answered_and_frees_what_ran(tmp_path):
    database = str(tmp_path / "kept.db")
    async with _process(database) as client:
        conversation = (await client.conversations.create(metadata={"k": "v"})).id
        done = await collect(
            await client.responses.create(
                model="m", conversation=conversation, input="one", stream=True, background=True
            )
        )
        running = await client.responses.create(
            model="m", conversation=conversation, input="slow: two", background=True
        )
    async with _process(database) as client:
        assert (await client.conversations.retrieve(conversation)).metadata == {"k": "v"}
        replay = await client.responses.retrieve(done[-1].response.id, stream=True, starting_after=2)
        assert [event.to_json() for event in await collect(replay)] == [event.to_json() for event in done[3:]]
        failed = await client.responses.retrieve(running.id)
        assert (failed.status, failed.error.code) == ("failed", "server_error")
        assert failed.error.message == "The embedded upstream was restarted"
        assert await texts(client, conversation) == ["one", "You said: one", "slow: two"]
        after = await client.responses.create(model="m", conversation=conversation, input="three")
        assert after.status == "completed"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(tmp_path, end):
    database = str(tmp_path / "kept.db")
    async with _process(database, end) as client:
        running = await client.responses.create(model="m", input="slow: x", background=True)
    with sqlite3.connect(database) as kept:
        (row,) = kept.execute("SELECT status FROM responses WHERE id = ?", (running.id,)).fetchall()
    kept.close()
    assert row == ("failed",)


async def test_memory_keeps_nothing(serve):
    async with serve(db=":memory:") as client:
        made = await client.files.create(file=("a.txt", b"text"), purpose="user_data")
        assert (await client.files.content(made.id)).read() == b"text"
    async with serve(db=":memory:") as client:
        assert (await client.files.list()).data == []


async def test_an_orderly_stop_fails_what_runs(serve):
    async with serve() as client:
        running = await client.responses.create(model="m", input="slow: x", background=True)
    async with serve() as client:
        assert (await client.responses.retrieve(running.id)).status == "failed"


async def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "app.embedded", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this test
            [*command, "--db", str(tmp_path / "x.db")],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert ended.returncode != 0
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
