"""The examples and README's lines for web pages, built with their own tools and run in a browser."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from app.core.config import Settings
from app.server.commands.openapi import document
from bench.processes import free_port
from main import create_app
from tests.conftest import Start
from tests.support import Service, until
from tests.web.conftest import PACKAGES, WEB, Open, installed
from tests.web.framed import Framed
from tests.web.support import origin_of, site

ROOT = WEB.parent
REACT = ROOT / "examples" / "react"
BACKEND = ROOT / "examples" / "backend"
README_ADDRESS = "http://127.0.0.1:8010"
BUILD_SECONDS = 300

Running = AbstractAsyncContextManager[str]

pytestmark = pytest.mark.timeout(BUILD_SECONDS)


@asynccontextmanager
async def running(*command: str, cwd: Path, port: int, **environment: str) -> AsyncIterator[str]:
    """Run a server of an example until it answers; yields its origin."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def answers() -> bool:
        assert process.returncode is None, f"{command[0]} ended with status {process.returncode}"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await until(answers)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def vite(folder: Path, *arguments: str) -> None:
    tool = str(REACT / "node_modules" / ".bin" / "vite")
    process = await asyncio.create_subprocess_exec(
        tool, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-2000:]


def preview(folder: Path, *arguments: str, port: int = 0, **environment: str) -> Running:
    """Serve what vite built."""
    port = port or free_port()
    tool = str(REACT / "node_modules" / ".bin" / "vite")
    address = ("--host", "127.0.0.1", "--port", str(port), "--strictPort")
    return running(tool, "preview", *address, *arguments, cwd=folder, port=port, **environment)


async def test_the_react_example_chats_in_both_ways(start: Start, visit: Open, tmp_path: Path):
    installed(REACT, "vite")
    await vite(REACT, "build", "--outDir", str(tmp_path), "--emptyOutDir", "--logLevel", "error")
    async with start(is_served=True) as service:
        arguments = ("--outDir", str(tmp_path))
        async with preview(REACT, *arguments, SOLOIST_URL=origin_of(service.base_url)) as origin:
            opened = await visit(origin)
            for way in ("fetch", "useChat"):
                part = opened.page.get_by_role("region", name=way)
                await part.get_by_label("Message").fill("slow: go")
                await part.get_by_role("button", name="Send").click()
                await expect(part.locator(".assistant")).to_contain_text("word5")
                await part.get_by_role("button", name="Stop").click()
                await expect(part.get_by_role("button", name="Send")).to_be_visible()
                await part.get_by_label("Message").fill("hello")
                await part.get_by_role("button", name="Send").click()
                await expect(part.locator(".assistant").last).to_have_text("You said: hello")
            plain = opened.page.get_by_role("region", name="fetch")
            await plain.get_by_role("button", name="Count the thread's messages").click()
            await expect(plain.locator("output")).to_contain_text("messages")


async def test_the_react_example_is_well_typed(bundle: Path):
    tool = installed(REACT, "vite") / "node_modules" / ".bin" / "tsc"
    for folder, compiler in ((REACT, tool), (WEB, WEB / "node_modules" / ".bin" / "tsc")):
        process = await asyncio.create_subprocess_exec(
            str(compiler), "--noEmit", cwd=folder, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()


async def test_the_generated_client_is_fresh(tmp_path: Path):
    tool = installed(REACT, "vite") / "node_modules" / ".bin" / "openapi-typescript"
    described, generated = tmp_path / "openapi.json", tmp_path / "api.d.ts"
    described.write_bytes(document(create_app(Settings.model_construct())))
    process = await asyncio.create_subprocess_exec(
        str(tool), str(described), "--output", str(generated), stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
    fresh = generated.read_text() == (REACT / "src" / "api.d.ts").read_text()
    assert fresh, "the API changed: run npm run generate in examples/react"


@pytest.mark.parametrize(("heading", "way"), [("Embed it in React with fetch", "type"), ("useChat", "click")])
async def test_readmes_react_lines_work_in_a_fresh_app(
    heading: str, way: str, start: Start, visit: Open, tmp_path: Path
):
    installed(REACT, "vite")
    port = free_port()
    async with start(is_served=True, cors_origins=[f"http://127.0.0.1:{port}"]) as service:
        fresh_app(tmp_path, readme_block(heading).replace(README_ADDRESS, origin_of(service.base_url)))
        await vite(tmp_path, "build", "--logLevel", "error")
        async with preview(tmp_path, port=port) as origin:
            opened = await visit(origin, origins=(origin_of(service.base_url),))
            if way == "type":
                await opened.page.locator("input").fill("Hello")
                await opened.page.keyboard.press("Enter")
            else:
                await opened.page.get_by_role("button", name="Say hello").click()
            await expect(opened.page.get_by_text("You said: Hello")).to_be_visible()


def readme_block(heading: str) -> str:
    """The first code block below the first heading that has the words."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## [^\n]*{re.escape(heading)}.*?^```jsx\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no jsx below {heading!r}"
    return found[1]


def fresh_app(folder: Path, component: str) -> None:
    """Write what `npm create vite` makes for React, with README's lines as its component."""
    name = "App" if "default function App" in component else "Chat"
    imported = "App" if name == "App" else "{ Chat }"
    (folder / "App.jsx").write_text(component)
    (folder / "main.jsx").write_text(
        "import { createRoot } from 'react-dom/client';\n"
        f"import {imported} from './App.jsx';\n"
        f"createRoot(document.getElementById('root')).render(<{name} />);\n"
    )
    (folder / "index.html").write_text(
        '<!doctype html><div id="root"></div><script type="module" src="/main.jsx"></script>'
    )
    (folder / "vite.config.js").write_text(
        "import react from '@vitejs/plugin-react';\nexport default { plugins: [react()] };\n"
    )
    (folder / "node_modules").symlink_to(REACT / "node_modules")


@pytest.mark.parametrize("language", ["python", "node"])
async def test_the_example_backends_mint_sessions_for_the_widget(language: str, start: Start, visit: Open):
    port, key = free_port(), "a-key-of-the-shop"
    origin = f"http://127.0.0.1:{port}"
    if language == "node":
        installed(BACKEND, "express")
    commands = {
        "python": (sys.executable, "-m", "uvicorn", "backend:app", "--port", str(port)),
        "node": ("node", "backend.mjs"),
    }
    async with start(
        is_served=True,
        auth_mode="api_key",
        api_keys={"shop": key},
        secret_keys=["secret-of-the-tests-with-32-characters"],
        cors_origins=[origin],
    ) as service:
        environment = {
            "SOLOIST_URL": origin_of(service.base_url),
            "SOLOIST_API_KEY": key,
            "PAGE_ORIGIN": origin,
            "PORT": str(port),
        }
        async with running(*commands[language], cwd=BACKEND, port=port, **environment):
            opened = await visit(origin, origins=(origin_of(service.base_url),))
            await (await Framed(opened).open()).asked("hello")


async def test_the_plain_page_has_a_chat(start: Start, visit: Open):
    page = (ROOT / "examples" / "widget" / "page.html").read_text()
    async with site() as found, start(is_served=True, cors_origins=[found.origin]) as service:
        found.pages["/page.html"] = page.replace(README_ADDRESS, origin_of(service.base_url))
        opened = await visit(found.origin + "/page.html", origins=(origin_of(service.base_url),))
        await (await Framed(opened).open()).asked("hello")


@pytest.mark.parametrize("streams", [True, False])
async def test_deep_chats_own_assistant_connection_works(streams: bool, start: Start, visit: Open):
    bundle = PACKAGES / "node_modules" / "deep-chat" / "dist" / "deepChat.bundle.js"
    async with site() as found, start(is_served=True, cors_origins=[found.origin]) as service:
        found.scripts["/deepChat.js"] = bundle.read_text()
        found.pages["/"] = direct_page(service, streams=streams)
        chat = await visit(found.origin + "/", origins=(origin_of(service.base_url),))
        answer = chat.page.locator(".ai-message-text").last
        for text in ("hello", "again", "goodbye"):
            await chat.page.locator("#text-input").click()
            await chat.page.keyboard.type(text)
            await chat.page.keyboard.press("Enter")
            await expect(answer).to_have_text(f"You said: {text}")
            await expect(chat.page.locator("#stop-icon")).to_have_count(0)


def direct_page(service: Service, *, streams: bool) -> str:
    return f"""<script type="module" src="/deepChat.js"></script>
<deep-chat style="font-family: system-ui"></deep-chat>
<script type="module">
  const chat = document.querySelector("deep-chat");
  const assistant = {{ assistant_id: "asst_soloist", custom_base_url: "{service.base_url.rstrip("/")}" }};
  chat.directConnection = {{ openAI: {{ key: "none", assistant }} }};
  chat.connect = {{ stream: {str(streams).lower()} }};
</script>"""
