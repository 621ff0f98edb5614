"""Answers that a page was not there for, of turns that are listed nowhere as well as of those that are."""

import asyncio
import json

import pytest
from playwright.async_api import Route, expect

from bench.processes import free_port
from tests.conftest import Start
from tests.support import Json, embedded_upstream, is_idle, make_settings, served, until
from tests.web.conftest import Open
from tests.web.support import Visit, playground, stored_thread

PACED, PACED_WORDS, PACED_END = "slow:150 go", 150, "word149"
LONG, LONG_END = "slow: go", "word399"
BREAK_STREAMS = """() => {
  const send = window.fetch;
  window.fetch = async (url, init) => {
    const response = await send(url, init);
    if (!url.endsWith('/chat')) return response;
    const reader = response.body.getReader();
    let pieces = 0;
    const pull = async (cut) => {
      if (pieces++ > 3) cut.error(new TypeError('network error'));
      else cut.enqueue((await reader.read()).value);
    };
    return new Response(new ReadableStream({ pull }), response);
  };
}"""
MODES = pytest.mark.parametrize("background", ["auto", "never"])


async def stored_turn(chat: Visit) -> Json:
    keys = "Object.keys(localStorage).find(key => key.endsWith(':turns'))"
    [[_, found]] = json.loads(await chat.page.evaluate(f"localStorage.getItem({keys})"))
    turn: Json = found
    return turn


async def hide_runs(chat: Visit, status: int) -> None:
    """Answer as before an upstream that knows a foreground response only when it has ended."""

    async def refuse(route: Route) -> None:
        if route.request.method == "GET":
            await route.fulfill(status=status, json={"error": {"message": "No such run.", "code": None}})
        else:
            await route.continue_()

    await chat.page.route("**/runs/**", refuse)


@MODES
async def test_a_reload_finds_the_answer_under_way(background: str, start: Start, visit: Open):
    async with start(is_served=True, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        await chat.page.reload()
        await expect(chat.questions).to_have_text([PACED])
        if background == "never":
            await expect(chat.under_way).to_be_visible()
        await expect(chat.answer).to_contain_text(PACED_END)
        assert (await chat.answer.inner_text()).split() == [f"word{n}" for n in range(PACED_WORDS)]
        await expect(chat.under_way).to_have_count(0)
        told = await chat.total.inner_text()
        await chat.page.reload()
        await expect(chat.answer).to_contain_text(PACED_END)
        await expect(chat.under_way).to_have_count(0)
        assert await chat.total.inner_text() == told


@MODES
async def test_an_answer_that_ended_meanwhile_counts_once(
    background: str, start: Start, visit: Open, upstream: str
):
    async with start(is_served=True, url=upstream, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        run = f"threads/{await stored_thread(chat)}/runs/{(await stored_turn(chat))['runId']}"
        await chat.page.goto("about:blank")
        await until(lambda: is_idle(upstream))
        used = (await service.client.get(run)).json()["usage"]["total_tokens"]
        for _ in range(2):
            await chat.go()
            await expect(chat.answer).to_contain_text(PACED_END)
            await expect(chat.questions).to_have_count(1)
            await expect(chat.total).to_have_text(f"{used} tokens")


@MODES
async def test_a_stopped_answer_stays_stopped(background: str, start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.total).to_be_visible()
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.page.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))
        await expect(chat.total).to_be_hidden()
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["hello", LONG])
        await expect(chat.under_way).to_have_count(0)
        await expect(chat.total).to_be_hidden()
        if background == "never":
            await expect(chat.answer).to_contain_text("word3")
            await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
            assert LONG_END not in await chat.answer.inner_text()
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["hello", LONG, "again"])
        await expect(chat.answer).to_have_text("You said: again")


@MODES
async def test_a_reload_right_after_stop_stops_too(background: str, start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await chat.page.reload()
        await until(lambda: is_idle(upstream))
        if background == "never":
            await expect(chat.log.get_by_text("topped")).to_be_visible()
        await expect(chat.questions).to_have_text([LONG])
        await expect(chat.under_way).to_have_count(0)
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")


@pytest.mark.parametrize("status", [400, 404])
async def test_an_answer_is_found_where_its_run_cannot_be_read(status: int, start: Start, visit: Open):
    async with start(is_served=True, upstream_background="never") as service:
        chat = await visit(playground(service))
        for text in ("hello", "slow:100 go"):
            await chat.say(text)
            await expect(chat.button("Send")).to_be_visible()
        await expect(chat.answer).to_contain_text("word99")
        await hide_runs(chat, status)
        await chat.say("slow:100 go")
        await expect(chat.under_way).to_contain_text("word3 word4 ")
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["hello", "slow:100 go", "slow:100 go"])
        await expect(chat.under_way).to_be_visible()
        await expect(chat.answers).to_have_count(3)
        await expect(chat.answer).to_contain_text("word99")
        await expect(chat.under_way).to_have_count(0)
        await expect(chat.total).to_be_hidden()
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")


async def test_an_answer_is_found_whose_run_the_page_never_knew(start: Start, visit: Open):
    async with start(is_served=True, upstream_background="never") as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        held = asyncio.Event()
        await chat.page.route("**/chat", lambda _: held.set())
        await chat.say("late")
        await held.wait()
        await chat.page.reload()
        await expect(chat.questions).to_have_text(["hello", "late"])
        await expect(chat.under_way).to_be_visible()
        question = {"message": "late", "thread_id": await stored_thread(chat)}
        assert (await service.client.post("chat", json=question)).status_code == 200
        await expect(chat.answer).to_have_text("You said: late")
        await expect(chat.questions).to_have_text(["hello", "late"])
        await expect(chat.under_way).to_have_count(0)


async def test_a_first_question_whose_thread_nobody_knows_is_asked_again(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        held = asyncio.Event()
        await chat.page.route("**/chat", lambda _: held.set(), times=1)
        await chat.say("hello")
        await held.wait()
        await chat.page.reload()
        await expect(chat.failure).to_contain_text("The connection was lost")
        await expect(chat.questions).to_have_text(["hello"])
        await chat.button("Try again").click()
        await chat.shows("user | hello", "assistant | You said: hello")


async def test_a_question_that_was_not_sent_yet_goes_back_into_the_box(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.button("Send")).to_be_visible()
        held = asyncio.Event()
        await chat.page.route("**/messages?order=desc*", lambda _: held.set(), times=1)
        await chat.say("hello")
        await held.wait()
        await chat.page.reload()
        await expect(chat.input).to_have_value("hello")
        await expect(chat.questions).to_have_text([LONG])
        await chat.input.press("Enter")
        await expect(chat.answer).to_have_text("You said: hello")
        await expect(chat.questions).to_have_text([LONG, "hello"])


async def test_a_stream_that_breaks_is_waited_for_where_its_run_cannot_be_read(start: Start, visit: Open):
    async with start(is_served=True, upstream_background="never") as service:
        chat = await visit(playground(service))
        await hide_runs(chat, 404)
        await chat.page.evaluate(BREAK_STREAMS)
        await chat.say("slow:100 go")
        await expect(chat.answer).to_contain_text("word99")
        await expect(chat.questions).to_have_text(["slow:100 go"])
        await expect(chat.button("Send")).to_be_visible()
        assert await stored_thread(chat)


async def test_waiting_can_be_stopped(start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream, upstream_background="never") as service:
        chat = await visit(playground(service))
        await hide_runs(chat, 404)
        await chat.page.evaluate(BREAK_STREAMS)
        async with chat.page.expect_response("**/messages?*"):
            await chat.say(LONG)
        await chat.button("Stop answering").click()
        await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
        await until(lambda: is_idle(upstream))


@MODES
@pytest.mark.parametrize("prompt", ["fail:server_error", "fail-late:server_error"])
async def test_a_failure_leaves_nothing_pending(background: str, prompt: str, start: Start, visit: Open):
    async with start(is_served=True, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say(prompt)
        await expect(chat.failure).to_contain_text("The model failed during the run.")
        await chat.page.reload()
        await expect(chat.questions).to_have_text([prompt])
        await expect(chat.failure).to_contain_text("The model failed during the run.")
        await expect(chat.under_way).to_have_count(0)
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")


async def test_an_answer_that_cannot_be_stopped_comes_after_a_reload(
    start: Start, visit: Open, upstream: str
):
    async with start(is_served=True, url=upstream, upstream_background="never") as service:
        chat = await visit(playground(service))
        refusal = {"status": 400, "json": {"error": {"message": "Another replica holds this run."}}}
        await chat.page.route("**/cancel", lambda route: route.fulfill(**refusal))
        await chat.say(PACED)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.log.get_by_text("another server is writing it")).to_be_visible()
        await expect(chat.button("Send")).to_be_visible()
        assert PACED_END not in await chat.answer.inner_text()
        await until(lambda: is_idle(upstream))
        await chat.page.reload()
        await expect(chat.answer).to_contain_text(PACED_END)
        await expect(chat.questions).to_have_text([PACED])
        await expect(chat.under_way).to_have_count(0)


@MODES
async def test_a_turn_after_a_stop_is_shown_once(background: str, start: Start, visit: Open, upstream: str):
    async with start(is_served=True, url=upstream, upstream_background=background) as service:
        chat = await visit(playground(service))
        await chat.say(LONG)
        await expect(chat.answer).to_contain_text("word3")
        await chat.button("Stop answering").click()
        await expect(chat.page.get_by_text("Stopped.")).to_be_visible()
        await chat.say(PACED)
        await expect(chat.under_way).to_contain_text("word3 word4 ")
        await chat.page.goto("about:blank")
        await until(lambda: is_idle(upstream))
        await chat.go()
        await expect(chat.answer).to_contain_text(PACED_END)
        await expect(chat.questions).to_have_text([LONG, PACED])
        await expect(chat.under_way).to_have_count(0)
        await expect(chat.log.get_by_text(PACED_END)).to_have_count(1)


async def test_a_foreground_answer_ends_with_its_replica_and_says_so(visit: Open):
    async with embedded_upstream() as url:
        changes = {"upstream_background": "never", "shutdown_grace_seconds": 0.1}
        settings = make_settings(openai_base_url=url, openai_api_key="key", **changes)
        port = free_port()
        async with served(settings, port) as first:
            chat = await visit(playground(first))
            await chat.say(LONG)
            await expect(chat.answer).to_contain_text("word9")
        async with served(settings, port):
            await expect(chat.page.get_by_text("Stopped.")).to_be_visible()
            await chat.page.reload()
            await expect(chat.answer).to_contain_text("word9")
            await expect(chat.log.get_by_text("Stopped.")).to_be_visible()
            await chat.say("again")
            await expect(chat.answer).to_have_text("You said: again")
