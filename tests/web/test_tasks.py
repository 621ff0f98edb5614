"""Twenty-five things that people do in the chat, in a real Chromium on a slow network."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import FilePayload, Route, expect

from app.embedded.responders.chart import draw_bars
from tests.support import TLS, Service, is_idle, until
from tests.web.conftest import Talk
from tests.web.support import GUARDED_TOOL, NOTES, Visit, stored_thread

PACED, PACED_ANSWER = "slow:60 go", " ".join(f"word{n}" for n in range(60))
LONG, LONG_END = "slow: go", "word399"
PICTURE: FilePayload = {"name": "bars.png", "mimeType": "image/png", "buffer": draw_bars([1.0, 2.0])}
MANUAL = "The red button stops the pump."
STORES = pytest.mark.parametrize("has_store", [False, True])
COPIES = {"permissions": ["clipboard-read", "clipboard-write"]}
TOOLS = """
from app.tools import tool

@tool
async def look_up(city: str) -> dict:
    "Look a city up."
    return {"sky": "clear"}
"""


def text_file(name: str, text: str = "text") -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": text.encode()}


async def clipboard(chat: Visit) -> str:
    return str(await chat.page.evaluate("navigator.clipboard.readText()"))


async def saved(chat: Visit, button: str) -> tuple[str, bytes]:
    """Press a button that downloads: the name and the content of the file."""
    async with chat.page.expect_download() as download:
        await chat.button(button).click()
    found = await download.value
    return found.suggested_filename, await asyncio.to_thread(Path(await found.path()).read_bytes)


async def thread_of(client: httpx2.AsyncClient, chat: Visit) -> list[tuple[str, str]]:
    """Roles and texts of the messages as the service keeps them."""
    found = (await client.get(f"threads/{await stored_thread(chat)}/messages?order=asc")).json()["data"]
    return [(message["role"], message["content"][0]["text"]["value"]) for message in found]


async def shows_and_keeps(service: Service, chat: Visit, *questions: str) -> None:
    """See that page and service both have these questions, each with its echo."""
    turns = [turn for text in questions for turn in (("user", text), ("assistant", f"You said: {text}"))]
    await chat.shows(*(f"{role} | {text}" for role, text in turns))
    assert await thread_of(service.client, chat) == turns


async def cut_off(route: Route) -> None:
    await route.abort("connectionrefused")


async def knowledge(url: str) -> str:
    """Put a file into a vector store upstream; the id of the store."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        file, purpose = {"file": ("manual.txt", MANUAL.encode())}, {"purpose": "assistants"}
        file_id = (await client.post(f"{url}/files", files=file, data=purpose)).json()["id"]
        made = await client.post(f"{url}/vector_stores", json={"name": "Manuals", "file_ids": [file_id]})
        store_id: str = made.json()["id"]
        return store_id


async def test_01_ask_and_watch_the_answer_being_written(talk: Talk):
    async with talk() as (_, chat):
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        await expect(chat.under_way).to_be_visible()
        await expect(chat.button("Stop answering")).to_be_visible()
        await expect(chat.input).to_have_value("")
        assert "word59" not in await chat.answer.inner_text()
        await chat.shows(f"user | {PACED}", f"assistant | {PACED_ANSWER}")
        await expect(chat.button("Send")).to_be_visible()
        await expect(chat.log.locator(".tokens")).to_contain_text("tokens (")
        await expect(chat.input).to_be_focused()


async def test_02_stop_an_answer_and_ask_on(talk: Talk, upstream: str):
    async with talk(url=upstream) as (_, chat):
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))
        assert LONG_END not in await chat.answer.inner_text()
        await expect(chat.input).to_be_focused()
        await chat.asked("hello")
        assert len(await chat.shown()) == 4


async def test_03_a_question_that_failed_comes_back_and_is_tried_again(talk: Talk):
    async with talk() as (service, chat):
        await chat.asked("hello")
        await chat.page.route("**/chat", cut_off, times=1)
        await chat.say("tea?")
        await expect(chat.failure).to_contain_text("The service cannot be reached at the moment.")
        await expect(chat.input).to_have_value("tea?")
        await chat.button("Try again").click()
        hello = ["user | hello", "assistant | You said: hello"]
        await chat.shows(*hello, "user | tea?", "assistant | You said: tea?")
        await expect(chat.input).to_have_value("")
        await chat.say("fail:server_error")
        await expect(chat.failure).to_contain_text("The model failed during the run.")
        await chat.input.fill("better")
        await chat.page.keyboard.press("Enter")
        await expect(chat.answer).to_have_text("You said: better")
        assert [text for _, text in await thread_of(service.client, chat)][-2:] == [
            "better",
            "You said: better",
        ]


async def test_04_have_a_question_answered_again(talk: Talk):
    async with talk() as (service, chat):
        await chat.asked("one")
        await chat.asked("two")
        before = chat.page.locator(".message.assistant").last
        await expect(chat.button("Answer again")).to_have_count(1)
        async with chat.page.expect_response("**/chat"):
            await before.get_by_role("button", name="Answer again").click()
        await shows_and_keeps(service, chat, "one", "two")
        sent = chat.posts("/chat")[-1].post_data_json or {}
        assert "message" not in sent
        assert sent["replaces"].startswith("msg_")


async def test_05_edit_the_last_question(talk: Talk):
    async with talk() as (service, chat):
        await chat.asked("one")
        await chat.asked("tow")
        await expect(chat.button("Edit the question")).to_have_count(1)
        await chat.button("Edit the question").click()
        box = chat.page.get_by_role("textbox", name="Edit the question")
        await expect(box).to_be_focused()
        await chat.button("Cancel").click()
        await expect(chat.questions).to_have_text(["one", "tow"])
        await chat.button("Edit the question").click()
        await box.fill("two")
        await chat.page.keyboard.press("Enter")
        await shows_and_keeps(service, chat, "one", "two")


async def test_06_copy_an_answer_and_its_code(talk: Talk):
    question = "Tea:\n\n```python\nboil(water)\n```"
    async with talk(browser=COPIES) as (_, chat):
        await chat.input.fill(question)
        await chat.page.keyboard.press("Enter")
        await expect(chat.answer.locator("pre")).to_contain_text("boil(water)")
        await chat.button("Copy code").click()
        await until(lambda: clipboard(chat))
        assert (await clipboard(chat)).strip() == "boil(water)"
        await chat.button("Copy", exact=True).click()
        await expect(chat.page.locator(".copy[data-copied]")).to_be_visible()
        assert await clipboard(chat) == f"You said: {question}"


@STORES
async def test_07_say_how_good_an_answer_is(talk: Talk, has_store: bool):
    async with talk(has_store=has_store) as (service, chat):
        await chat.asked("hello")
        if not has_store:
            await expect(chat.button("Copy", exact=True)).to_be_visible()
            await expect(chat.button("Good answer")).to_have_count(0)
            return
        await chat.button("Good answer").click()
        await expect(chat.log.get_by_text("Thank you for telling us.")).to_be_visible()
        await chat.button("Bad answer").click()
        await chat.page.get_by_role("textbox", name="What was wrong?").fill("Too short")
        await chat.page.keyboard.press("Enter")
        await expect(chat.log.get_by_text("Thank you for telling us.")).to_be_visible()
        await expect(chat.button("Bad answer")).to_have_attribute("aria-pressed", "true")
        await expect(chat.button("Good answer")).to_have_attribute("aria-pressed", "false")
        export = (await service.client.get(f"threads/{await stored_thread(chat)}/export")).json()
        assert [(one["value"], one["comment"]) for one in export["feedback"]] == [("down", "Too short")]


async def test_08_attach_files_by_picking_dropping_and_pasting(talk: Talk):
    async with talk() as (_, chat):
        big = text_file("big.txt", "sea " * 40_000)
        await chat.attach(big)
        progress = chat.page.get_by_role("progressbar", name="big.txt")
        await expect(progress).to_be_visible()
        await chat.hand_over("drop", text_file("dropped.txt"))
        await chat.hand_over("paste", text_file("pasted.txt"))
        attached = chat.page.locator(".composer .file-name")
        await expect(attached).to_have_text(["big.txt", "dropped.txt", "pasted.txt"])
        await expect(progress).to_have_count(0)
        await chat.button("Remove dropped.txt").click()
        await expect(attached).to_have_text(["big.txt", "pasted.txt"])
        await chat.say("read")
        messages = ["user | read | big.txt | pasted.txt", "assistant | You said: read"]
        await chat.shows(*messages)
        await expect(attached).to_have_count(0)
        await chat.attach(big)
        await chat.say("at once")
        await expect(chat.page.locator(".message.user").get_by_role("progressbar")).to_be_visible()
        messages += ["user | at once | big.txt", "assistant | You said: at once"]
        await chat.shows(*messages)
        await chat.page.reload()
        await chat.shows(*messages)


async def test_09_a_bad_file_is_refused_at_once_and_blocks_nothing(talk: Talk):
    async with talk(max_upload_bytes=20_000, max_files=2) as (_, chat):
        files: list[tuple[FilePayload, str]] = [
            (text_file("run.exe"), "“run.exe” has a type that is not taken here."),
            (text_file("long.txt", "x" * 30_000), "“long.txt” is larger than 20 kB."),
            (text_file("empty.txt", ""), "“empty.txt” is empty."),
        ]
        for file, sentence in files:
            await chat.attach(file)
            await expect(chat.page.get_by_text(sentence)).to_be_visible()
        await chat.page.route("**/files", cut_off, times=1)
        await chat.attach(text_file("lost.txt"))
        await expect(chat.page.get_by_text("“lost.txt” could not be uploaded.")).to_be_visible()
        await chat.attach(NOTES)
        await chat.hand_over("drop", text_file("two.txt"), text_file("three.txt"))
        await expect(chat.page.get_by_text("At most 2 files go with one message.")).to_be_visible()
        await chat.say("look")
        await chat.shows("user | look | notes.txt | two.txt", "assistant | You said: look")
        assert len(chat.posts("/files")) == 3
        await chat.asked("go on")


async def test_10_ask_about_a_picture(talk: Talk):
    async with talk() as (service, chat):
        await chat.attach(PICTURE)
        await expect(chat.page.locator(".composer progress")).to_have_count(0)
        await chat.say("what is it?")
        await expect(chat.answer).to_have_text("You said: what is it?")
        picture = chat.page.locator(".message.user img")
        await expect(picture).to_be_visible()
        await chat.page.reload()
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [480, 300]
        path = f"threads/{await stored_thread(chat)}/messages?order=asc"
        question = (await service.client.get(path)).json()["data"][0]
        assert sorted(part["type"] for part in question["content"]) == ["image_file", "text"]


async def test_11_see_a_chart_and_download_it(talk: Talk):
    async with talk(assistant_tools=[{"type": "code_interpreter"}]) as (_, chat):
        await chat.say("draw a chart: apples 3 pears 5")
        await expect(chat.log.locator("img")).to_be_visible()
        name, content = await saved(chat, "Download chart.png")
        assert (name, content[:4]) == ("chart.png", b"\x89PNG")
        shown = await chat.shown()
        await chat.page.reload()
        await chat.shows(*shown)
        await expect(chat.log.locator("img")).to_have_count(1)


async def test_12_open_the_passage_behind_an_answer(talk: Talk, upstream: str):
    settings = {
        "assistant_tools": [{"type": "file_search"}],
        "assistant_vector_stores": [await knowledge(upstream)],
        "expose_knowledge": True,
    }
    async with talk(url=upstream, **settings) as (_, chat):
        await chat.say("cite: red button")
        dialog = chat.page.get_by_role("dialog", name="1. manual.txt")
        for _ in range(2):
            await chat.log.locator(".sources").get_by_role("button", name="Source 1: manual.txt").click()
            await expect(dialog.locator("blockquote")).to_have_text([MANUAL])
            await chat.page.keyboard.press("Escape")
            await expect(dialog).to_have_count(0)
            await chat.page.reload()


async def test_13_see_what_a_tool_did(talk: Talk, tmp_path: Path):
    path = tmp_path / "task_tools.py"
    path.write_text(TOOLS)
    async with talk(assistant_tools=[], tools_module=str(path), tools_visible="full") as (_, chat):
        await chat.say("use a tool")
        await chat.shows("user | use a tool", 'assistant | The tool answered: {"sky": "clear"}')
        fold = chat.log.locator("details")
        await expect(fold.locator("pre").first).to_be_hidden()
        await fold.locator("summary").focus()
        await chat.page.keyboard.press("Enter")
        told = [json.loads(text) for text in await fold.locator("pre").all_inner_texts()]
        assert told == [{"city": "some city"}, {"sky": "clear"}]


async def test_14_allow_a_call_and_forbid_another(talk: Talk, tmp_path: Path):
    path = tmp_path / "task_guarded.py"
    path.write_text(GUARDED_TOOL)
    async with talk(assistant_tools=[], tools_module=str(path)) as (_, chat):
        await chat.say("use a tool")
        group = chat.page.get_by_role("group", name="May the assistant call refund?")
        await expect(group.locator("pre")).to_contain_text("some order")
        await chat.page.reload()
        await group.get_by_role("button", name="Approve").click()
        first = ["user | use a tool", "assistant | The tool answered: paid back"]
        await chat.shows(*first)
        await expect(chat.log.get_by_text("You approved refund")).to_be_visible()
        await chat.say("use a tool")
        await group.get_by_role("button", name="Deny").click()
        denied = "assistant | The tool answered: The user did not allow this call."
        await chat.shows(*first, "user | use a tool", denied)
        await expect(chat.log.get_by_text("You denied refund")).to_be_visible()
        await expect(group).to_have_count(0)
        await chat.say("use a tool")
        await expect(group).to_be_visible()
        await chat.asked("never mind")
        await expect(group).to_have_count(0)


@pytest.mark.parametrize("is_begun", [False, True])
async def test_15_reload_while_the_answer_is_being_written(talk: Talk, is_begun: bool):
    async with talk() as (service, chat):
        await chat.asked("hello")
        async with chat.page.expect_request("**/chat"):
            await chat.say(PACED if is_begun else "sleep:3000 tea")
        if is_begun:
            await expect(chat.answer).to_contain_text("word3")
        await chat.page.reload()
        await expect(chat.questions).to_have_count(2)
        await expect(chat.under_way).to_be_visible()
        await expect(chat.button("Stop answering")).to_be_visible()
        turn = [("user", PACED), ("assistant", PACED_ANSWER)]
        if not is_begun:
            turn = [("user", "sleep:3000 tea"), ("assistant", "You said: 3000 tea")]
        turns = [("user", "hello"), ("assistant", "You said: hello"), *turn]
        await chat.shows(*(f"{role} | {text}" for role, text in turns))
        await expect(chat.button("Send")).to_be_visible()
        kept = [(role, text.strip()) for role, text in await thread_of(service.client, chat)]
        assert kept == turns


async def test_16_stop_an_answer_after_a_reload(talk: Talk, upstream: str):
    async with talk(url=upstream) as (_, chat):
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.page.reload()
        await chat.button("Stop answering").click()
        await until(lambda: is_idle(upstream))
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await expect(chat.under_way).to_have_count(0)
        await expect(chat.questions).to_have_text([LONG])
        await chat.page.reload()
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        assert LONG_END not in await chat.answer.inner_text()
        await chat.asked("hello")


async def test_17_ask_the_same_twice(talk: Talk):
    turn = ["user | hello", "assistant | You said: hello"]
    async with talk() as (_, chat):
        await chat.asked("hello")
        await chat.asked("hello")
        await chat.shows(*turn, *turn)
        async with chat.page.expect_request("**/chat"):
            await chat.say("hello")
        await chat.page.reload()
        await chat.shows(*turn, *turn, *turn)


async def test_18_everything_looks_the_same_after_a_reload(talk: Talk):
    async with talk() as (_, chat):
        await chat.attach(NOTES)
        await chat.asked("read")
        await chat.say("cite: the sea is green")
        await expect(chat.log.locator(".sources li")).to_have_text(["1. notes.txt"])
        for question, sign in [("refuse: x", "can't help"), ("incomplete: x", "length limit")]:
            await chat.say(question)
            await expect(chat.log.get_by_text(sign)).to_be_visible()
            await expect(chat.under_way).to_have_count(0)
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.page.keyboard.press("Escape")
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await expect(chat.button("Send")).to_be_visible()
        await chat.say("fail-late:server_error")
        await expect(chat.failure).to_be_visible()
        before = await chat.shown()
        cut = "The answer ends here because it reached its length limit."
        assert before[:8] == [
            "user | read | notes.txt",
            "assistant | You said: read",
            "user | cite: the sea is green",
            "assistant | According to the file, the sea is green1. | 1. notes.txt",
            "user | refuse: x",
            "assistant | I'm sorry, but I can't help with that.",
            "user | incomplete: x",
            f"assistant | This answer stops before its | {cut}",
        ]
        assert before[8] == f"user | {LONG}"
        assert before[9].endswith(" | Stopped.")
        assert before[10] == "user | fail-late:server_error"
        assert before[11].endswith("The model failed during the run. Please try again.")
        assert len(before) == 12
        for _ in range(2):
            await chat.page.reload()
            await chat.shows(*before)


async def test_19_reload_while_the_service_is_away(talk: Talk):
    async with talk() as (_, chat):
        await chat.asked("hello")
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        await chat.page.route("**/api/v1/**", cut_off)
        await chat.page.reload()
        await expect(chat.failure).to_contain_text("The conversation could not be loaded.")
        await expect(chat.failure).to_contain_text("The service cannot be reached at the moment.")
        await expect(chat.questions.last).to_have_text(PACED)
        await chat.page.unroute("**/api/v1/**")
        await chat.button("Try again").click()
        hello = ["user | hello", "assistant | You said: hello"]
        await chat.shows(*hello, f"user | {PACED}", f"assistant | {PACED_ANSWER}")
        await expect(chat.failure).to_have_count(0)


async def test_20_learn_whether_it_is_the_network_or_the_service(talk: Talk):
    offline = "You are offline. Check your connection and try again."
    async with talk() as (_, chat):
        await expect(chat.input).to_be_visible()
        await chat.network(is_offline=True)
        await chat.say("hello")
        await expect(chat.failure.locator("p")).to_have_text(offline)
        await chat.network()
        await chat.page.route("**/chat", cut_off, times=1)
        await chat.button("Try again").click()
        away = "The service cannot be reached at the moment. Please try again a little later."
        await expect(chat.failure.locator("p")).to_have_text(away)
        await chat.button("Try again").click()
        await chat.shows("user | hello", "assistant | You said: hello")


@STORES
async def test_21_find_rename_and_delete_conversations(talk: Talk, has_store: bool):
    async with talk(has_store=has_store) as (service, chat):
        for text in ("green tea", "black coffee"):
            await chat.asked(text)
            await chat.button("New conversation").click()
            await expect(chat.questions).to_have_count(0)
        await chat.button("Show conversations").click()
        side = chat.page.get_by_role("navigation", name="Conversations")
        entries = side.locator(".entry .open")
        await expect(entries).to_have_text(["black coffee", "green tea"])
        await chat.page.get_by_role("searchbox").fill("TEA")
        await expect(entries).to_have_text(["green tea"])
        await entries.click()
        await chat.shows("user | green tea", "assistant | You said: green tea")
        await chat.button("Rename “green tea”").click()
        await chat.page.get_by_role("textbox", name="New title").fill("Hot tea")
        await chat.page.keyboard.press("Enter")
        await expect(entries).to_have_text(["Hot tea"])
        await chat.page.reload()
        await chat.button("Show conversations").click()
        await expect(entries).to_have_text(["black coffee", "Hot tea"])
        thread_id = await stored_thread(chat)
        await chat.button("Delete “Hot tea”").click()
        await chat.page.get_by_role("group").get_by_role("button", name="Delete").click()
        await expect(entries).to_have_text(["black coffee"])
        await expect(chat.questions).to_have_count(0)
        assert (await service.client.get(f"threads/{thread_id}")).status_code == 404
        await entries.click()
        await chat.shows("user | black coffee", "assistant | You said: black coffee")
        await chat.asked("with milk")


async def test_22_keep_a_conversation_as_markdown_and_begin_a_new_one(talk: Talk):
    async with talk() as (_, chat):
        await expect(chat.button("Download as Markdown")).to_have_count(0)
        await chat.asked("hello")
        name, content = await saved(chat, "Download as Markdown")
        assert name.endswith(".md")
        text = content.decode()
        assert text.index("hello") < text.index("You said: hello")
        await chat.button("New conversation").click()
        await expect(chat.questions).to_have_count(0)
        await expect(chat.input).to_be_focused()
        await chat.page.reload()
        await expect(chat.page.get_by_text("Hello! How can I help?")).to_be_visible()
        await expect(chat.questions).to_have_count(0)


async def test_23_chat_in_korean_and_in_hebrew(talk: Talk):
    async with talk(browser={"locale": "ko-KR"}) as (service, chat):
        await expect(chat.page.get_by_role("textbox", name="메시지를 입력하세요")).to_be_visible()
        assert await chat.page.locator("html").get_attribute("lang") == "ko"
        await chat.say("fail:server_error")
        await expect(chat.failure).to_contain_text("모델이 답변을 만들지 못했습니다.")
        await chat.input.fill("שלום עולם")
        direction = "element => getComputedStyle(element).direction"
        assert await chat.input.evaluate(direction) == "rtl"
        await chat.page.keyboard.press("Enter")
        await expect(chat.answer).to_contain_text("שלום עולם")
        assert await chat.questions.last.evaluate(direction) == "rtl"
        path = f"threads/{await stored_thread(chat)}/messages"
        (
            await service.client.post(path, json={"role": "assistant", "content": "ברוך הבא"})
        ).raise_for_status()
        await chat.page.reload()
        said = chat.log.get_by_text("ברוך הבא")
        await expect(said).to_have_css("direction", "rtl")
        assert await chat.page.get_by_role("banner").evaluate(direction) == "ltr"


async def test_24_chat_with_the_keyboard_alone(talk: Talk, upstream: str):
    async with talk(url=upstream) as (_, chat):
        press = chat.page.keyboard.press
        await expect(chat.input).to_be_focused()
        await chat.page.keyboard.type("one")
        await press("Shift+Enter")
        await chat.page.keyboard.type("two")
        await press("Enter")
        await expect(chat.questions).to_have_text(["one\ntwo"])
        await expect(chat.button("Send")).to_be_visible()
        await chat.page.keyboard.type(LONG)
        await press("Enter")
        await expect(chat.answer).to_contain_text("word3")
        await press("Escape")
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))
        await expect(chat.input).to_be_focused()
        await chat.button("About this assistant").focus()
        await press("Enter")
        await expect(chat.page.get_by_role("dialog")).to_be_visible()
        await press("Escape")
        await expect(chat.page.get_by_role("dialog")).to_have_count(0)
        await expect(chat.button("About this assistant")).to_be_focused()
        await chat.button("Show conversations").focus()
        await press("Enter")
        await expect(chat.page.get_by_role("searchbox")).to_be_focused()
        await press("Escape")
        await expect(chat.page.get_by_role("navigation")).to_have_count(0)
        await expect(chat.input).to_be_focused()


async def test_25_see_what_assistant_this_is(talk: Talk, upstream: str, tmp_path: Path):
    ui = tmp_path / "ui.json"
    wishes = {
        "title": "Pump help",
        "greeting": "Ask me about pumps.",
        "starters": ["What does the red button do?"],
        "disclaimer": "Read the manual, too.",
        "colours": {"accent": "#006644"},
        "uploads": False,
    }
    ui.write_text(json.dumps(wishes))
    settings = {
        "ui_file": ui,
        "assistant_name": "Pumps",
        "assistant_model": "gpt-test",
        "assistant_instructions": "Speak of pumps only.",
        "expose_instructions": True,
        "expose_knowledge": True,
        "assistant_tools": [{"type": "file_search"}],
        "assistant_vector_stores": [await knowledge(upstream)],
    }
    async with talk(url=upstream, **settings) as (_, chat):
        await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Pump help")
        await expect(chat.page.get_by_text("Ask me about pumps.")).to_be_visible()
        await expect(chat.page.get_by_text("Read the manual, too.")).to_be_visible()
        await expect(chat.button("Attach files")).to_have_count(0)
        await chat.button("What does the red button do?").click()
        await expect(chat.answer).to_have_text("You said: What does the red button do?")
        await chat.input.fill("x")
        colour = "element => getComputedStyle(element).backgroundColor"
        assert await chat.button("Send").evaluate(colour) == "rgb(0, 102, 68)"
        used = await chat.total.inner_text()
        await chat.button("About this assistant").click()
        about = chat.page.get_by_role("dialog", name="About this assistant")
        values = ["Pumps", "gpt-test", "Speak of pumps only.", "file_search", "manual.txt", used]
        await expect(about.locator("dd")).to_have_text(values)
