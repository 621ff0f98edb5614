"""A host page with the launcher, and a stand-in for the service whose page speaks the launcher's protocol."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Frame, Locator, Page, expect

from tests.support import Json, until
from tests.web.conftest import Open
from tests.web.support import Site, Visit, site

# `seen` holds what the launcher has told; `tell` answers. With ?quiet the composer never comes.
APP = """<meta name=viewport content="width=device-width"><input id=composer aria-label=Message>
<button onclick="tell({ type: 'close' })">Close</button><script>
  const seen = [];
  let port = null, connects = 0;
  const tell = (message) => port.postMessage(message);
  addEventListener('message', ({ data, source, ports }) => {
    if (source !== parent || data.soloist !== 'connect') return;
    connects += 1;
    port = ports[0];
    port.onmessage = ({ data }) => {
      seen.push(data);
      if (data.type === 'focus') composer.focus();
    };
    tell({ type: 'ready' });
  });
  parent.postMessage({ soloist: 'hello', version: 1 }, '*');
</script>"""
# Says hello as the app does; `heard` holds whatever it is told.
STRANGER = """<script>
  const heard = [];
  addEventListener('message', ({ data }) => heard.push(data));
  parent.postMessage({ soloist: 'hello', version: 1 }, '*');
  parent.postMessage('done', '*');
</script>"""
# Notes every event of these names that reaches the document.
LISTEN = """names => {
  window.told = [];
  for (const name of names) {
    const note = ({ detail, target }) => told.push([name, detail, target.localName]);
    document.addEventListener(`soloist-${name}`, note);
  }
}"""
SHARED = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
ISOLATED = {"cross-origin-embedder-policy": "require-corp", "cross-origin-opener-policy": "same-origin"}


class Launched:
    """A visitor's view of a page with one widget or more."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.page: Page = visit.page

    @property
    def bubble(self) -> Locator:
        return self.page.locator("soloist-bubble")

    @property
    def opener(self) -> Locator:
        return self.page.get_by_role("button", name="Open chat")

    @property
    def panel(self) -> Locator:
        return self.page.get_by_role("dialog")

    async def app(self, *, number: int = 0, holds: str = "") -> Frame:
        """Return the frame's page once it has been set up; `holds` is a part of its address."""

        def found() -> list[Frame]:
            return [frame for frame in self.page.frames if "/embed" in frame.url and holds in frame.url]

        async def is_there() -> bool:
            return len(found()) > number

        await until(is_there)
        frame = found()[number]
        await wait_for(frame, "setup")
        return frame

    async def open(self) -> Frame:
        await self.opener.click()
        frame = await self.app()
        await expect(frame.get_by_label("Message")).to_be_focused()
        return frame


async def seen(app: Frame, kind: str) -> list[Json]:
    """Return the messages of a type that the launcher has sent."""
    found: list[Json] = await app.evaluate("kind => seen.filter(({ type }) => type === kind)", kind)
    return found


async def settings(app: Frame) -> Json:
    found: Json = (await seen(app, "setup"))[-1]["settings"]
    return found


async def wait_for(app: Frame, kind: str, count: int = 1) -> list[Json]:
    """Return the messages of a type, once there are so many."""
    enough = "([kind, count]) => seen.filter(({ type }) => type === kind).length >= count"
    # A frame that is not shown draws nothing, so that the default, to look at each drawing, would never look.
    await app.wait_for_function(enough, arg=[kind, count], polling=50)
    return await seen(app, kind)


async def tell(app: Frame, message: Json) -> None:
    await app.evaluate("message => tell(message)", message)


def token(**claims: str) -> Json:
    """Return a session as a backend answers it; the launcher reads its claims and checks no signature."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return {"client_secret": f"ss_header.{payload}.signature", "expires_at": 4102444800}


@asynccontextmanager
async def service(bundle: Path) -> AsyncIterator[Site]:
    """Serve embed.js, and the stand-in for the page in its frame."""
    async with site() as found:
        found.scripts["/embed.js"] = (bundle / "embed.js").read_text()
        found.pages["/embed"] = APP
        found.headers = dict(SHARED)
        yield found


def tag(stub: Site, attributes: str = "", path: str = "/embed.js") -> str:
    return f'<script type="module" src="{stub.origin}{path}" {attributes}></script>'


@asynccontextmanager
async def shop(bundle: Path, attributes: str = "", before: str = "") -> AsyncIterator[tuple[Site, Site]]:
    """Serve a host page with a widget; yields the host and the service."""
    async with service(bundle) as stub, site() as host:
        host.pages["/"] = f"{before}<h1>Shop</h1>{tag(stub, attributes)}"
        yield host, stub


async def enter(visit: Open, host: Site, *services: Site, **options: object) -> Launched:
    origins = tuple(stub.origin for stub in services)
    # The panel comes in with a movement, which a measurement could meet.
    return Launched(await visit(host.origin + "/", origins=origins, reduced_motion="reduce", **options))
