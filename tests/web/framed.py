"""The chat in the widget's frame, as a visitor of the host page uses it."""

from playwright.async_api import FrameLocator, Locator, expect

from tests.web.support import Visit


class Framed:
    """The app in the frame of a page's first `widget` element."""

    def __init__(self, visit: Visit, widget: str = "soloist-bubble") -> None:
        self.visit = visit
        self.page = visit.page
        self.frame: FrameLocator = visit.page.frame_locator(f"{widget} iframe")

    async def open(self) -> "Framed":
        """Open the bubble, and wait until a question can be written."""
        await self.page.get_by_role("button", name="Open chat").click()
        await expect(self.input).to_be_focused()
        return self

    async def asked(self, text: str) -> None:
        """Ask what the scripted upstream echoes, and see the whole answer."""
        await self.say(text)
        await expect(self.answer).to_have_text(f"You said: {text}")

    async def say(self, text: str) -> None:
        await self.input.fill(text)
        await self.input.press("Enter")

    @property
    def input(self) -> Locator:
        return self.frame.locator(".composer textarea")

    @property
    def answer(self) -> Locator:
        """The text of the latest answer."""
        return self.frame.locator(".message.assistant .text").last

    @property
    def questions(self) -> Locator:
        return self.frame.locator(".message.user .bubble")

    @property
    def failure(self) -> Locator:
        return self.frame.locator(".failure")

    def button(self, name: str) -> Locator:
        return self.frame.get_by_role("button", name=name)
