"""Swagger UI from the service itself: every operation, with a key, and nothing from elsewhere."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.web.conftest import Open
from tests.web.support import Visit, origin_of

KEY = "a-key-of-the-shop"
AUTH: dict[str, Any] = {
    "auth_mode": "api_key",
    "api_keys": {"shop": KEY},
    "secret_keys": ["secret-of-the-tests-with-32-characters"],
}


async def operation(docs: Visit, method: str, path: str) -> Any:
    """Open one operation and make it ready to be tried out."""
    found = docs.page.locator(f".opblock-{method}", has=docs.page.locator(f'[data-path="{path}"]'))
    await found.locator(".opblock-summary").click()
    await found.get_by_role("button", name="Try it out").click()
    return found


async def test_it_shows_every_operation(start: Start, visit: Open):
    async with start(is_served=True) as service:
        docs = await visit(origin_of(service.base_url) + "/docs")
        paths = service.app.openapi()["paths"]
        wanted = sum(len(methods) for methods in paths.values())
        await expect(docs.page.locator(".opblock")).to_have_count(wanted)
        policy = (await docs.page.request.get(docs.url)).headers["content-security-policy"]
        assert "unsafe" not in policy


async def test_a_chat_can_be_tried_out_with_a_key(start: Start, visit: Open):
    async with start(is_served=True, **AUTH) as service:
        docs = await visit(origin_of(service.base_url) + "/docs")
        chat = await operation(docs, "post", "/api/v1/chat")
        await chat.get_by_role("button", name="Execute").click()
        status = chat.locator(".live-responses-table .response-col_status").last
        await expect(status).to_contain_text("401")
        await docs.page.get_by_role("button", name="Authorize").click()
        dialog = docs.page.locator(".modal-ux")
        await dialog.get_by_role("textbox").first.fill(KEY)
        await dialog.get_by_role("button", name="Apply credentials").first.click()
        await dialog.get_by_role("button", name="Close").last.click()
        await chat.get_by_role("button", name="Execute").click()
        await expect(status).to_contain_text("200")
        await expect(chat.locator(".live-responses-table")).to_contain_text("thread_id")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_chat_can_be_tried_out_under_a_prefix(start: Start, visit: Open, slash: str):
    async with start(is_served=True, root_path="/openai-api") as service:
        docs = await visit(f"{origin_of(service.base_url)}/openai-api/docs{slash}")
        chat = await operation(docs, "post", "/api/v1/chat")
        await chat.get_by_role("button", name="Execute").click()
        await expect(chat.locator(".live-responses-table")).to_contain_text("thread_id")
        await expect(chat.locator(".request-url").first).to_contain_text("/openai-api/api/v1/chat")


async def test_it_is_readable_on_a_phone_in_the_dark(start: Start, visit: Open):
    async with start(is_served=True) as service:
        size = {"width": 390, "height": 844}
        url = origin_of(service.base_url) + "/docs"
        docs = await visit(url, color_scheme="dark", viewport=size)
        await expect(docs.page.locator(".opblock").first).to_be_visible()
        background = await docs.page.evaluate("getComputedStyle(document.body).backgroundColor")
        text = await docs.page.locator(".info .title").evaluate("title => getComputedStyle(title).color")
        assert lightness(background) < lightness(text)


def lightness(colour: str) -> float:
    """The mean of a colour's `rgb(…)` parts."""
    parts = colour[colour.index("(") + 1 : -1].split(",")[:3]
    return sum(map(float, parts)) / len(parts)
