"""What an answer looks like on the page: Markdown, links, sources, files, tokens."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.support import make_settings, served
from tests.web.conftest import Open
from tests.web.support import NOTES, playground, stored_thread

CODE = {"type": "code_interpreter"}
GUIDE = "README.md"
MOST_MS = 2_500
# How long the page was busy without a pause, in milliseconds.
LONGEST_TASK = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
}).observe({ type: 'longtask', buffered: true });
"""


async def test_a_drawn_chart_is_shown_and_comes_down(start: Start, visit: Open):
    async with start(is_served=True, assistant_tools=[CODE]) as service:
        chat = await visit(playground(service))
        await chat.say("draw a chart: apples 3 pears 5")
        await expect(chat.log.locator("img")).to_be_visible()
        async with chat.page.expect_download() as download:
            await chat.button("Download chart.png").click()
        saved = await download.value
        assert saved.suggested_filename == "chart.png"
        content = await asyncio.to_thread(Path(await saved.path()).read_bytes)
        assert content.startswith(b"\x89PNG")
        await chat.page.reload()
        await expect(chat.button("Download chart.png")).to_have_count(1)
        await expect(chat.log.locator("img")).to_have_count(1)


async def test_markdown_is_rendered_and_nothing_in_it_runs_or_loads(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say(
            "**bold** [a](javascript:alert(1)) [b](https://x.test) ![c](https://x.test/c.png) <b id=raw>"
        )
        await expect(chat.answer.locator("strong")).to_have_text("bold")
        links = chat.answer.locator("a")
        found = await links.evaluate_all("all => all.map(link => [link.href, link.target, link.rel])")
        guards = ["_blank", "noopener noreferrer"]
        assert found == [["https://x.test/", *guards], ["https://x.test/c.png", *guards]]
        await expect(chat.answer.locator("img, #raw")).to_have_count(0)


async def test_links_to_nowhere_are_their_words(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say("[**a** b](docs/x.md) [c](#top) [d](/docs) [e](//x.test/y) [f](https://x.test) g[^1]")
        await expect(chat.answer).to_have_text("You said: a b c d e f g[^1]")
        assert await chat.answer.locator("a").evaluate_all("all => all.map(link => link.href)") == [
            "https://x.test/"
        ]


@pytest.mark.parametrize("marks", ["![", "**a ", "[a](<", "【a"])
async def test_answers_of_nothing_but_marks_are_shown_soon(marks: str, start: Start, visit: Open):
    text = marks * (60_000 // len(marks))
    async with start(is_served=True, max_message_chars=100_000) as service:
        chat = await visit(playground(service))
        await chat.say("hi")
        await expect(chat.answer).to_have_text("You said: hi")
        path = f"threads/{await stored_thread(chat)}/messages"
        added = await service.client.post(path, json={"role": "assistant", "content": text})
        assert added.status_code == 200, added.text
        await chat.page.add_init_script(LONGEST_TASK)
        await chat.page.reload()
        await expect(chat.input).to_be_visible()
        await expect(chat.answer).to_contain_text(text[:40])
        assert await chat.page.evaluate("window.longest") < MOST_MS


@pytest.mark.parametrize("mode", ["raw", "markdown", "footnotes"])
async def test_sources_are_shown_once(mode: str, start: Start, visit: Open, tmp_path: Path):
    (tmp_path / GUIDE).write_text("# Tea\n\n## Brew green tea\n\nGreen tea wants water of 80 degrees.\n")
    knobs = {"responder": "guide", "docs": tmp_path}
    async with start(is_served=True, knobs=knobs, citations=mode) as service:
        chat = await visit(playground(service))
        await chat.say("How do I brew green tea?")
        sources = chat.log.locator(".sources li")
        await expect(sources).to_have_text([f"1. {GUIDE}"])
        await expect(chat.answer).to_contain_text("80 degrees")
        marks = chat.answer.get_by_role("button", name=f"Source 1: {GUIDE}")
        await expect(marks).to_have_text(["1"])
        below = (await chat.answer.inner_text()).rpartition("80 degrees")[2]
        assert GUIDE not in below
        assert "[" not in below
        await chat.page.reload()
        await expect(sources).to_have_text([f"1. {GUIDE}"])
        await expect(marks).to_have_text(["1"])


async def test_tokens_are_told_after_a_reload_too(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        for text in ("hello", "again"):
            await chat.say(text)
            await expect(chat.answer).to_have_text(f"You said: {text}")
        spent = chat.log.locator(".tokens")
        await expect(spent).to_have_count(2)
        total = chat.total
        before = [await spent.all_inner_texts(), await total.inner_text()]
        await chat.page.reload()
        await expect(spent).to_have_count(2)
        assert [await spent.all_inner_texts(), await total.inner_text()] == before
        await chat.button("New conversation").click()
        await expect(total).to_be_hidden()


async def test_only_links_to_own_files_become_words_and_code_stays(start: Start, visit: Open):
    code = "- [1] notes.txt\n- [e](sandbox:/mnt/data/e.csv)\n[^1]"
    links = "[docs](https://x.test/files/a/content) [own](/api/v1/files/file-b/content) [box](sandbox:/c.csv)"
    async with start(is_served=True, citations="markdown") as service:
        chat = await visit(playground(service))
        await chat.attach(NOTES)
        await chat.say("hello")
        await expect(chat.answer).to_contain_text("You said: hello")
        await expect(chat.button("Send")).to_be_visible()
        full = f"[full]({service.base_url}files/file-d/content)"
        await chat.input.fill(f"cite: so:\n```\n{code}\n```\n{links} {full} `[f](sandbox:/f)` x")
        await chat.page.keyboard.press("Enter")
        await expect(chat.log.locator(".sources li")).to_have_text(["1. notes.txt"])
        await expect(chat.answer.locator("pre")).to_have_text(code)
        await expect(chat.answer.locator("p").last).to_have_text("docs own box full [f](sandbox:/f) x.1")
        await expect(chat.answer.locator("strong")).to_have_text(["own", "box", "full"])
        await expect(chat.answer.locator("a")).to_have_attribute("href", "https://x.test/files/a/content")
        assert (await chat.answer.inner_text()).count("notes.txt") == 1


@pytest.mark.parametrize(("locale", "new"), [("en-US", "New conversation"), ("ko-KR", "새 대화")])
async def test_each_suggestion_finds_an_answer(locale: str, new: str, visit: Open):
    guide = {"openai_api_key": None, "openai_base_url": None, "embedded_responder": "guide"}
    async with served(make_settings(**guide, embedded_db=":memory:")) as service:
        chat = await visit(playground(service), locale=locale)
        suggestions = chat.page.locator(".starters button")
        await expect(suggestions).to_have_count(3)
        for number in range(3):
            await suggestions.nth(number).click()
            await expect(chat.answer.locator("blockquote")).not_to_be_empty()
            await chat.page.get_by_role("button", name=new).click()
            await expect(suggestions).to_have_count(3)
