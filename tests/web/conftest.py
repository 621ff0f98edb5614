"""A real Chromium before the real service; without Chromium or npm these tests are left out, and said so."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.web.support import Visit

WEB = Path(__file__).resolve().parents[2] / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# A browser in a test asks nobody but the service: no component updates, no experiments, no sync.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LEFT_OUT = pytest.StashKey[str]()

Open = Callable[..., Any]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser or npm where there is none."""
    missing = [
        name for name, found in (("chromium", CHROMIUM), ("npm", shutil.which("npm"))) if found is None
    ]
    here = Path(__file__).parent
    left_out = [item for item in items if missing and here in item.path.parents]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        config.stash[_LEFT_OUT] = (
            f"{len(left_out)} browser tests left out: no {' and no '.join(missing)} here"
        )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out and why."""
    if reason := config.stash.get(_LEFT_OUT, None):
        terminalreporter.write_line(reason, yellow=True)


@pytest.fixture(scope="session")
def bundle() -> Path:
    """Return web/dist, built anew where a source is younger."""
    built = WEB / "dist" / "embed.js"
    sources = [*WEB.glob("src/*"), WEB / "build.mjs", WEB / "package-lock.json"]
    if not built.exists() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        if not (WEB / "node_modules" / "axe-core").exists():
            npm("ci", "--no-audit", "--no-fund", cwd=WEB)
        npm("run", "build", cwd=WEB)
    return WEB / "dist"


def npm(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        ["npm", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture
async def browser(bundle: Path) -> AsyncIterator[Browser]:
    """Start Chromium."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield found
        await found.close()


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Open an address in a browser of its own; at the end, nothing may have left the allowed origins."""
    visits: list[tuple[BrowserContext, Visit]] = []

    async def begin(url: str, *, origins: tuple[str, ...] = (), **options: Any) -> Visit:
        context = await browser.new_context(**({"locale": "en-US"} | options))
        opened = Visit(await context.new_page(), url, origins)
        visits.append((context, opened))
        await opened.go()
        return opened

    yield begin
    for context, opened in visits:
        await context.close()
        opened.check()
