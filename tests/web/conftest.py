"""A real Chromium before the real service."""

import fcntl
import inspect
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.conftest import Start
from tests.pytest_plugin import CHROMIUM
from tests.support import Service, embedded_upstream
from tests.web.support import Visit, playground

WEB = Path(__file__).resolve().parents[2] / "web"
PACKAGES = Path(__file__).parent / "packages"
"""What the tests drive and check the pages with, from npm."""

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

Open = Callable[..., Any]
Talk = Callable[..., AbstractAsyncContextManager[tuple[Service, Visit]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the async tests of this folder: slow ones that need a browser and run in its event loop."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.needs_browser)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def bundle() -> Path:
    """Return web/dist, built anew where a source is younger."""
    installed(PACKAGES, "axe-core")
    installed(WEB, "rolldown")
    with _alone_in(WEB):
        built = WEB / "dist" / "app.html"
        found = [*WEB.glob("src/**/*"), WEB / "build.mjs", WEB / "package-lock.json"]
        sources = [path for path in found if path.is_file()]
        if not built.exists() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
            _npm("run", "build", cwd=WEB)
    return WEB / "dist"


def installed(folder: Path, probe: str) -> Path:
    """Return a folder with its packages, of which `probe` is one."""
    with _alone_in(folder):
        if not (folder / "node_modules" / probe).exists():
            _npm("ci", "--no-audit", "--no-fund", cwd=folder)
    return folder


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep the other test processes from installing or building there at the same time."""
    with (folder / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _npm(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        ["npm", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(bundle: Path) -> AsyncIterator[Browser]:
    """Start Chromium, once for all tests."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield found
        await found.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Open an address as a new visitor; at the end, nothing may have left the allowed origins."""
    visits: list[tuple[BrowserContext, Visit]] = []

    async def begin(
        url: str, *, origins: tuple[str, ...] = (), is_slow: bool = False, **options: Any
    ) -> Visit:
        context = await browser.new_context(**({"locale": "en-US"} | options))
        opened = Visit(await context.new_page(), url, origins)
        visits.append((context, opened))
        if is_slow:
            await opened.network()
        await opened.go()
        return opened

    yield begin
    for context, opened in visits:
        await context.close()
        opened.check()


@pytest.fixture
def talk(start: Start, visit: Open, tmp_path: Path) -> Talk:
    """Start a service and open its page over a slow network, which `browser` describes."""

    @asynccontextmanager
    async def begin(
        *, has_store: bool = False, browser: dict[str, Any] | None = None, **settings: Any
    ) -> AsyncIterator[tuple[Service, Visit]]:
        if has_store:
            settings["store_url"] = f"sqlite:///{tmp_path / 'store.db'}"
        async with start(is_served=True, **settings) as service:
            yield service, await visit(playground(service), is_slow=True, **(browser or {}))

    return begin


@pytest_asyncio.fixture(loop_scope="session")
async def upstream() -> AsyncIterator[str]:
    """The same as everywhere, in the event loop of these tests."""
    async with embedded_upstream() as url:
        yield url
