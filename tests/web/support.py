"""The chat as a person uses it, and pages of other sites that embed it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

import httpx2
from aiohttp import web
from playwright.async_api import CDPSession, FilePayload, FrameLocator, Locator, Page, Request, expect

from tests.support import Json, Service, until

expect.set_options(timeout=20_000)

NOTES: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"The sea is green."}
_PATIENCE_SECONDS = 10
# A phone in a train: 1.6 Mbit/s, 150 ms. Throughput is in bytes a second.
_SLOW = {"latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
GUARDED_TOOL = """
from app.tools import tool

@tool(approval="always")
async def refund(order: str) -> str:
    "Pay money back."
    return "paid back"
"""
_HANDED_OVER = """(target, { kind, files }) => {
  const data = new DataTransfer();
  for (const { name, mimeType, text } of files) data.items.add(new File([text], name, { type: mimeType }));
  const options = { bubbles: true, cancelable: true };
  if (kind === 'paste') target.dispatchEvent(new ClipboardEvent(kind, { ...options, clipboardData: data }));
  else for (const name of ['dragenter', 'dragover', 'drop'])
    target.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: data }));
}"""
_SHOWN = """all => all.map(message => {
  const parts = '.bubble, .text, .note, .failure > p, .chips .file-name, .sources li, .approval > p';
  const texts = [...message.querySelectorAll(parts)].map(part => part.innerText.trim()).filter(Boolean);
  return [message.matches('.user') ? 'user' : 'assistant', ...texts].join(' | ');
})"""


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def playground(service: Service) -> str:
    return origin_of(service.base_url) + "/playground"


class Chat:
    """The parts of the chat in a place: a page, or a frame of one."""

    def __init__(self, place: Page | FrameLocator) -> None:
        self.place = place

    @property
    def input(self) -> Locator:
        return self.place.locator(".composer textarea")

    @property
    def answers(self) -> Locator:
        """The texts of all answers."""
        return self.place.locator(".message.assistant .text")

    @property
    def answer(self) -> Locator:
        """The text of the latest answer."""
        return self.answers.last

    @property
    def questions(self) -> Locator:
        return self.place.locator(".message.user .bubble")

    @property
    def under_way(self) -> Locator:
        """The answer that is being written."""
        return self.log.locator('[aria-busy="true"]')

    @property
    def failure(self) -> Locator:
        """Why the latest question has no answer."""
        return self.place.locator(".failure")

    @property
    def log(self) -> Locator:
        return self.place.get_by_role("log")

    @property
    def total(self) -> Locator:
        """What the conversation has used."""
        return self.place.locator("output.tokens")

    def button(self, name: str, *, exact: bool = False) -> Locator:
        return self.place.get_by_role("button", name=name, exact=exact)


class Visit(Chat):
    """One open page: what is on it, what it asked for, what it complained of."""

    def __init__(self, page: Page, url: str, origins: tuple[str, ...]) -> None:
        super().__init__(page)
        self.page = page
        self.url = url
        self._allowed = {origin_of(url), *origins}
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self._devtools: CDPSession | None = None
        page.on("request", self._sent)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._note(message.text))

    async def go(self) -> None:
        await self.page.goto(self.url)

    async def say(self, text: str) -> None:
        await self.input.click()
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def attach(self, file: FilePayload) -> None:
        """Choose a file for the next question."""
        async with self.page.expect_file_chooser() as chooser:
            await self.button("Attach files").click()
        await (await chooser.value).set_files([file])

    async def asked(self, text: str) -> None:
        """Ask what the scripted upstream echoes, and see the whole answer."""
        await self.say(text)
        await expect(self.answer).to_have_text(f"You said: {text}")
        await expect(self.button("Send", exact=True)).to_be_visible()

    async def hand_over(self, kind: Literal["drop", "paste"], *files: FilePayload) -> None:
        """Drop files on the box, or paste them into it."""
        sent = [{**file, "text": file["buffer"].decode(), "buffer": None} for file in files]
        await self.input.evaluate(_HANDED_OVER, {"kind": kind, "files": sent})

    async def network(self, *, is_offline: bool = False) -> None:
        """Make the network slow, or take it away."""
        if self._devtools is None:
            self._devtools = await self.page.context.new_cdp_session(self.page)
            await self._devtools.send("Network.enable")
        await self._devtools.send("Network.emulateNetworkConditions", {"offline": is_offline, **_SLOW})

    async def shown(self) -> list[str]:
        """What each message shows: who said it, the text, files, notes and failures, but no figures."""
        found: list[str] = await self.page.locator(".message").evaluate_all(_SHOWN)
        return found

    async def shows(self, *messages: str) -> None:
        """Wait until these messages are shown, and nothing is being written."""
        await expect(self.under_way).to_have_count(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await until(lambda: self._is_shown(messages))
        found = await self.shown()
        assert found == list(messages), found

    async def _is_shown(self, messages: tuple[str, ...]) -> bool:
        return await self.shown() == list(messages)

    def posts(self, ending: str) -> list[Request]:
        return [found for found in self.requests if found.method == "POST" and found.url.endswith(ending)]

    def check(self) -> None:
        """Nothing may have been asked of another origin, nor stopped by the page's own policy."""
        foreign = [
            found.url
            for found in self.requests
            if not found.url.startswith(("data:", "blob:")) and origin_of(found.url) not in self._allowed
        ]
        assert not foreign
        assert not self.complaints

    def _sent(self, request: Request) -> None:
        self.requests.append(request)

    def _note(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.complaints.append(text)


async def stored_thread(chat: Visit) -> str:
    keys = "Object.keys(localStorage).find(key => key.endsWith(':thread'))"
    return str(await chat.page.evaluate(f"localStorage.getItem({keys})"))


class Site:
    """A site of somebody else: its pages, and the backend that mints sessions for them."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.scripts: dict[str, str] = {}
        self.pictures: dict[str, bytes] = {}
        self.tokens: list[Json] = []
        """What the token address answers, one after the other; the last one again and again."""
        self.token_calls = 0
        self.token_status = 200
        self.headers: dict[str, str] = {}
        """What every page and script is sent with."""
        self.origin = ""

    async def page(self, request: web.Request) -> web.Response:
        if request.path in self.scripts:
            script = self.scripts[request.path]
            return web.Response(text=script, content_type="text/javascript", headers=self.headers)
        if request.path in self.pictures:
            return web.Response(
                body=self.pictures[request.path], content_type="image/gif", headers=self.headers
            )
        html = self.pages.get(request.path)
        if html is None:
            return web.Response(status=404)
        text = f"<!doctype html><html lang=en><title>Shop</title>{html}"
        return web.Response(text=text, content_type="text/html", headers=self.headers)

    async def token(self, request: web.Request) -> web.Response:
        answer = self.tokens[min(self.token_calls, len(self.tokens) - 1)]
        self.token_calls += 1
        return web.json_response(answer, status=self.token_status)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Serve a site on an origin of its own."""
    found = Site()
    app = web.Application()
    app.router.add_post("/token", found.token)
    app.router.add_get("/{path:.*}", found.page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        found.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


async def mint(service: Service, key: str, **body: object) -> Json:
    """Mint a session as a backend does."""
    headers = {"authorization": f"Bearer {key}"}
    response = await service.client.post("sessions", json={"user": "visitor"} | body, headers=headers)
    assert response.status_code == httpx2.codes.OK, response.text
    session: Json = response.json()
    return session
