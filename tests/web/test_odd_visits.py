"""Two tabs, conversations left while an answer is written, forbidden storage, turns that end in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import Start
from tests.support import Service, is_idle, until
from tests.web.conftest import Open
from tests.web.framed import Framed
from tests.web.support import NOTES, Visit, origin_of, playground, site, stored_thread

PACED, PACED_END = "slow:60 go", "word59"
LONG = "slow: go"
NO_STORAGE = """for (const name of ['localStorage', 'sessionStorage'])
  Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError') } });"""
FULL_STORAGE = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') };"


@asynccontextmanager
async def other_tab(chat: Visit) -> AsyncIterator[Visit]:
    """Open the same page once more, in the same browser."""
    page: Page = await chat.page.context.new_page()
    tab = Visit(page, chat.url, ())
    await tab.go()
    yield tab
    tab.check()


async def texts_of(service: Service, thread_id: str) -> list[str]:
    found = (await service.client.get(f"threads/{thread_id}/messages?order=asc")).json()["data"]
    return [message["content"][0]["text"]["value"] for message in found]


@pytest.mark.parametrize("button", ["Answer again", "Edit the question"])
async def test_a_stale_tab_deletes_nothing_that_it_does_not_show(button: str, start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("one")
        async with other_tab(chat) as tab:
            await expect(tab.questions).to_have_text(["one"])
            await tab.asked("two")
        await chat.button(button).click()
        if button == "Edit the question":
            await chat.page.locator(".editing textarea").fill("one, please")
            await chat.button("Send").first.click()
        await expect(chat.log.page.get_by_text("The conversation has gone on elsewhere.")).to_be_visible()
        await expect(chat.questions).to_have_text(["one", "two"])
        kept = await texts_of(service, await stored_thread(chat))
        assert kept == ["one", "You said: one", "two", "You said: two"]
        if button == "Edit the question":
            await expect(chat.input).to_have_value("one, please")


async def test_tabs_keep_their_own_conversations(start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream) as service:
        chat = await visit(playground(service))
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        async with other_tab(chat) as tab:
            await tab.button("New conversation").click()
            await tab.asked("elsewhere")
            await expect(tab.questions).to_have_text(["elsewhere"])
        await expect(chat.answer).to_contain_text(PACED_END)
        await chat.page.reload()
        await expect(chat.questions).to_have_text([PACED])
        await chat.button("Show conversations").click()
        await expect(chat.page.locator(".entry .open")).to_have_text(["elsewhere", PACED])


async def test_an_answer_is_found_by_who_comes_back_to_its_conversation(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("first")
        await chat.button("New conversation").click()
        await chat.say("slow:150 go")
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Show conversations").click()
        await chat.page.locator(".entry .open", has_text="first").click()
        await expect(chat.answer).to_have_text("You said: first")
        await chat.page.locator(".entry .open", has_text="slow").click()
        await expect(chat.button("Stop answering")).to_be_visible()
        await expect(chat.answer).to_contain_text("word149")
        await expect(chat.questions).to_have_text(["slow:150 go"])


@pytest.mark.parametrize("script", [NO_STORAGE, FULL_STORAGE])
async def test_without_storage_the_page_does_what_it_can(script: str, start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.page.add_init_script(script)
        await chat.page.reload()
        await chat.asked("one")
        await chat.button("New conversation").click()
        await chat.asked("two")
        await chat.button("Show conversations").click()
        await chat.page.locator(".entry .open", has_text="one").click()
        await expect(chat.questions).to_have_text(["one"])
        await chat.asked("three")
        await expect(chat.questions).to_have_text(["one", "three"])


async def test_a_file_that_is_gone_does_not_cost_the_thread(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("one")
        async with chat.page.expect_response("**/files") as uploaded:
            await chat.attach(NOTES)
        file_id = (await (await uploaded.value).json())["id"]
        await service.client.delete(f"files/{file_id}")
        await chat.say("what colour?")
        await expect(chat.failure).to_be_visible()
        assert "no longer exists" not in await chat.failure.inner_text()
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["one", "what colour?"])


async def test_a_failed_edit_shows_what_the_service_has_kept(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("one")
        await chat.button("Edit the question").click()
        await chat.page.locator(".editing textarea").fill("fail:server_error")
        await chat.button("Send").first.click()
        await expect(chat.page.locator(".notices")).to_contain_text("The model failed during the run.")
        await expect(chat.questions).to_have_text(["one"])
        await expect(chat.input).to_have_value("fail:server_error")
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["one"])
        await expect(chat.answer).to_have_text("You said: one")
        await expect(chat.input).to_have_value("fail:server_error")


async def test_files_of_a_failed_question_are_asked_again_after_a_reload(start: Start, visit: Open):
    async def cut_off(route: Route) -> None:
        await route.abort("connectionrefused")

    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.attach(NOTES)
        await chat.page.route("**/threads/runs", cut_off)
        await chat.say("what colour?")
        await expect(chat.failure).to_be_visible()
        await chat.page.unroute("**/threads/runs")
        await chat.page.reload()
        await expect(chat.log.get_by_text("notes.txt")).to_be_visible()
        await chat.button("Try again").click()
        await expect(chat.answer).to_contain_text("You said: what colour?")
        thread = await stored_thread(chat)
        [asked, *_] = (await service.client.get(f"threads/{thread}/messages?order=asc")).json()["data"]
        assert len(asked["attachments"]) == 1


async def test_an_answer_that_was_stopped_before_its_first_word_says_so_after_a_reload(
    start: Start, visit: Open, upstream: str
):
    async with start(is_served=True, url=upstream) as service:
        chat = await visit(playground(service))
        await chat.asked("hello")
        await chat.say("sleep:5000 wait")
        await expect(chat.button("Stop answering")).to_be_visible()
        await chat.button("Stop answering").click()
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))
        before = await chat.shown()
        await chat.page.reload()
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        assert await chat.shown() == before


async def test_a_host_page_may_ask_at_any_time(start: Start, visit: Open):
    ask = "text => document.querySelector('soloist-bubble').ask(text)"
    async with site() as found, start(is_served=True, cors_origins=[found.origin]) as service:
        script = f"{origin_of(service.base_url)}/embed.js"
        found.pages["/"] = f'<h1>Shop</h1><script type="module" src="{script}"></script>'
        opened = await visit(found.origin + "/", origins=(origin_of(service.base_url),))
        await opened.page.evaluate(ask, "one")
        await opened.page.evaluate(ask, "two")
        chat = Framed(opened)
        await expect(chat.questions).to_have_text(["one", "two"])
        await expect(chat.answer).to_have_text("You said: two")
        await opened.page.reload()
        # Before the messages of the last visit are there.
        await opened.page.evaluate(ask, "three")
        await expect(chat.questions).to_have_text(["one", "two", "three"])
        await expect(chat.answer).to_have_text("You said: three")


async def test_a_question_that_is_sent_before_the_messages_are_there_waits(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("one")
        await chat.network()
        await chat.page.reload()
        await chat.input.fill("two")
        await expect(chat.questions).to_have_text(["one"])
        await chat.page.keyboard.press("Enter")
        await expect(chat.answer).to_have_text("You said: two")
        await expect(chat.questions).to_have_text(["one", "two"])


async def test_the_frames_page_alone_says_what_it_is_for(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(origin_of(service.base_url) + "/embed")
        await expect(chat.page.locator("body")).to_have_text(
            "This chat is made to stand inside another page."
        )
