"""What the page shows of the tools that the service runs, and how a person approves a call."""

import asyncio
import builtins

import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.web.conftest import Open
from tests.web.support import GUARDED_TOOL, playground

TOOLS = """
import builtins
from app.tools import tool

@tool
async def look_up(city: str) -> dict:
    "Look a city up."
    await builtins._page_gate.wait()
    return {"sky": "<b id=raw>clear</b>"}
"""


@pytest.mark.parametrize(
    ("locale", "looking_up"), [("en-US", "Looking up look_up…"), ("ko-KR", "look_up 조회 중…")]
)
async def test_a_tool_is_seen_at_work_and_folded_away_afterwards(
    start: Start, visit: Open, tmp_path, monkeypatch, locale: str, looking_up: str
):
    gate = asyncio.Event()
    monkeypatch.setattr(builtins, "_page_gate", gate, raising=False)
    path = tmp_path / "page_tools.py"
    path.write_text(TOOLS)
    settings = {"assistant_tools": [], "tools_module": str(path), "tools_visible": "full"}
    async with start(is_served=True, **settings) as service:
        chat = await visit(playground(service), locale=locale)
        await chat.say("use a tool")
        await expect(chat.page.get_by_text(looking_up)).to_be_visible()
        gate.set()
        await expect(chat.answer).to_contain_text("The tool answered: ")
        await expect(chat.page.get_by_text(looking_up)).to_have_count(0)
        fold = chat.log.locator("details")
        await expect(fold.locator("pre").last).to_be_hidden()
        await fold.locator("summary").click()
        await expect(fold.locator("pre").first).to_contain_text("some city")
        await expect(fold.locator("pre").last).to_contain_text("<b id=raw>clear</b>")
        await expect(chat.log.locator("#raw")).to_have_count(0)


@pytest.mark.parametrize(
    ("button", "told", "answer"),
    [
        ("Approve", "You approved refund", "The tool answered: paid back"),
        ("Deny", "You denied refund", "The tool answered: The user did not allow this call."),
    ],
)
async def test_a_person_sees_the_arguments_and_decides(
    start: Start, visit: Open, tmp_path, button: str, told: str, answer: str
):
    path = tmp_path / "page_guarded_tools.py"
    path.write_text(GUARDED_TOOL)
    async with start(is_served=True, assistant_tools=[], tools_module=str(path)) as service:
        chat = await visit(playground(service))
        await chat.say("use a tool")
        group = chat.page.get_by_role("group", name="May the assistant call refund?")
        await expect(group.locator("pre")).to_contain_text("some order")
        await chat.button(button).click()
        await expect(chat.answer).to_have_text(answer)
        await expect(chat.button("Approve")).to_have_count(0)
        await expect(chat.log.get_by_text(told)).to_be_visible()
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
