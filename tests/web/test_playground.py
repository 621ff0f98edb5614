"""The playground, used as a person uses it."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.support import is_idle, until
from tests.web.conftest import PACKAGES, Open
from tests.web.support import NOTES, origin_of, playground, stored_thread

WHOLE_SLOW_ANSWER = "word399"
PACED, PACED_END = "slow:150 go", "word149"


async def test_an_answer_streams_while_it_is_written(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        await expect(chat.button("Stop answering")).to_be_visible()
        assert PACED_END not in await chat.answer.inner_text()
        await expect(chat.answer).to_contain_text(PACED_END)
        await expect(chat.button("Send")).to_be_visible()
        await expect(chat.log.get_by_text("tokens (")).to_be_visible()


async def test_stop_ends_the_run_upstream_too(start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream) as service:
        chat = await visit(playground(service))
        await chat.say("slow: go")
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.page.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))
        assert WHOLE_SLOW_ANSWER not in await chat.answer.inner_text()
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")


async def test_a_reload_keeps_the_thread(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["hello"])
        await expect(chat.answer).to_have_text("You said: hello")
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")
        first, second = (found.post_data_json for found in chat.posts("/chat"))
        assert first["thread_id"] is None
        assert second["thread_id"].startswith("thread_")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_it_works_under_a_prefix(start: Start, visit: Open, slash: str):
    async with start(is_served=True, root_path="/openai-api") as service:
        chat = await visit(f"{origin_of(service.base_url)}/openai-api/playground{slash}")
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        [sent] = chat.posts("/chat")
        assert urlsplit(sent.url).path == "/openai-api/api/v1/chat"


async def test_a_new_conversation_forgets_the_thread(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        await chat.button("New conversation").click()
        await expect(chat.questions).to_have_count(0)
        await chat.say("fresh")
        await expect(chat.answer).to_have_text("You said: fresh")
        assert [found.post_data_json["thread_id"] for found in chat.posts("/chat")] == [None, None]


async def test_a_new_conversation_ends_the_answer_under_way(start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream) as service:
        chat = await visit(playground(service))
        await chat.say("slow: go")
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("New conversation").click()
        await until(lambda: is_idle(upstream))
        await chat.say("fresh")
        await expect(chat.answer).to_have_text("You said: fresh")
        await expect(chat.questions).to_have_text(["fresh"])
        await expect(chat.page.get_by_text("Stopped.")).to_have_count(0)
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["fresh"])


async def test_files_go_up_with_a_question_and_stay_with_it(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.attach(NOTES)
        await chat.say("what colour?")
        await expect(chat.answer).to_contain_text("You said: what colour?")
        await chat.page.reload()
        await expect(chat.log.get_by_text("notes.txt")).to_be_visible()


async def test_a_file_can_be_taken_back_by_keyboard(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.attach(NOTES)
        await expect(chat.page.get_by_text("notes.txt")).to_be_visible()
        await chat.button("Remove notes.txt").focus()
        await chat.page.keyboard.press("Enter")
        await expect(chat.page.get_by_text("notes.txt")).to_have_count(0)


async def test_a_refused_file_is_explained(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.attach({"name": "run.exe", "mimeType": "application/x-msdownload", "buffer": b"MZ"})
        await expect(chat.page.get_by_text("“run.exe” has a type that is not taken here.")).to_be_visible()
        await chat.asked("look")


@pytest.mark.parametrize("prompt", ["fail:server_error", "fail-late:server_error"])
async def test_a_failure_is_a_sentence(prompt: str, start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say(prompt)
        await expect(chat.failure).to_contain_text("The model failed during the run.")
        await chat.input.fill("")
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")


async def test_a_deleted_thread_is_explained(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        thread_id = await stored_thread(chat)
        assert (await service.client.delete(f"threads/{thread_id}")).status_code == 200
        await chat.say("still there?")
        await expect(chat.failure).to_contain_text("This conversation no longer exists.")
        await expect(chat.input).to_have_value("still there?")
        await chat.input.fill("")
        await chat.say("fresh")
        await expect(chat.answer).to_have_text("You said: fresh")


async def test_it_can_be_used_without_a_mouse(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say("slow: go")
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").focus()
        await chat.page.keyboard.press("Space")
        await expect(chat.page.get_by_text("Stopped.")).to_be_visible()
        await chat.button("New conversation").focus()
        await chat.page.keyboard.press("Enter")
        await expect(chat.questions).to_have_count(0)
        await expect(chat.input).to_be_focused()


async def test_it_speaks_the_browsers_language(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service), locale="ko-KR")
        await expect(chat.page.get_by_role("textbox", name="메시지를 입력하세요")).to_be_visible()
        await expect(chat.button("새 대화")).to_be_visible()
        assert await chat.page.locator("html").get_attribute("lang") == "ko"


async def test_it_says_who_answers(start: Start, visit: Open):
    async with start(
        is_served=True, assistant_name="Signage <Analyst>", assistant_model="gpt-test"
    ) as service:
        chat = await visit(playground(service))
        await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Signage <Analyst>")
        await expect(chat.page.locator(".model")).to_have_text("gpt-test · custom")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_it_is_accessible_and_fits(scheme: str, width: int, start: Start, visit: Open):
    async with start(is_served=True) as service:
        size = {"width": width, "height": 844}
        chat = await visit(playground(service), color_scheme=scheme, viewport=size)
        await chat.say("**bold** `code` and [b](https://x.test)")
        await expect(chat.answer.locator("strong")).to_have_text("bold")
        await expect(chat.log.get_by_text("tokens (")).to_be_visible()
        assert await chat.page.locator("html").get_attribute("data-scheme") == scheme
        assert await chat.page.evaluate("document.documentElement.scrollWidth") == width
        await chat.page.evaluate((PACKAGES / "node_modules/axe-core/axe.min.js").read_text())
        found = await chat.page.evaluate("axe.run(document)")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []


async def test_the_theme_that_was_chosen_stays(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service), color_scheme="light")
        await chat.button("Switch to dark").click()
        await chat.page.reload()
        assert await chat.page.locator("html").get_attribute("data-scheme") == "dark"
        await expect(chat.button("Switch to light")).to_be_visible()
