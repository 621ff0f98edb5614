"""The chat in the widget's frame, as a visitor of the host page uses it."""

from playwright.async_api import expect

from tests.web.support import Chat, Visit


class Framed(Chat):
    """The app in the frame of a page's first `widget` element."""

    def __init__(self, visit: Visit, widget: str = "soloist-bubble") -> None:
        self.page = visit.page
        self.frame = visit.page.frame_locator(f"{widget} iframe")
        super().__init__(self.frame)

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
