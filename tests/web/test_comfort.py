"""The chat for everybody: soon there, readable in every size, and quiet to those who listen."""

from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.conftest import Start
from tests.support import until
from tests.web.conftest import PACKAGES, Open, Talk
from tests.web.support import NOTES, Visit, origin_of, playground

MOST_BYTES, MOST_MS = 200_000, 2_500
AXE = PACKAGES / "node_modules/axe-core/axe.min.js"
SIZES = [(320, 700), (390, 844), (1280, 800)]
# Everything that a screen reader would say of changes on the page.
LISTEN = """() => {
  window.heard = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
      const live = element?.closest('[aria-live], [role=status], [role=alert], [role=log], output');
      if (live && live.getAttribute('aria-live') !== 'off') window.heard.push(live.innerText.trim());
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
USABLE = """() => new Promise((resolve) => {
  const look = () => {
    if (document.activeElement?.matches('.composer textarea')) resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""
OVERFLOW = """() => [...document.querySelectorAll('html, .app, .header, .viewport, .below, dialog')]
  .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
  .map(({ className, tagName }) => `${tagName}.${className}`)"""


async def findings(chat: Visit) -> list[tuple[str, list[str]]]:
    """Return the rules that the page breaks, with the elements that break them."""
    if not await chat.page.evaluate("'axe' in window"):
        await chat.page.evaluate(AXE.read_text())
    found: dict[str, Any] = await chat.page.evaluate("axe.run(document)")
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


async def check(chat: Visit) -> None:
    """Nothing on the page may break a rule or be wider than it."""
    assert await findings(chat) == []
    assert await chat.page.evaluate(OVERFLOW) == []


async def test_the_box_can_be_used_soon_and_for_few_bytes(talk: Talk):
    async with talk() as (_, chat):
        await expect(chat.input).to_be_focused()
        cold = await chat.page.context.new_page()
        sizes: dict[str, float] = {}
        devtools = await cold.context.new_cdp_session(cold)
        await devtools.send("Network.enable")
        await devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
        slow = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
        await devtools.send("Network.emulateNetworkConditions", slow)
        devtools.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}),
        )
        await cold.goto(chat.url, wait_until="commit")
        milliseconds = await cold.evaluate(USABLE)
        assert milliseconds < MOST_MS
        assert 50_000 < sum(sizes.values()) <= MOST_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_every_state_is_accessible_and_fits(
    scheme: str, width: int, height: int, start: Start, visit: Open
):
    size = {"width": width, "height": height}
    async with start(is_served=True) as service:
        chat = await visit(playground(service), color_scheme=scheme, viewport=size, reduced_motion="reduce")
        await expect(chat.input).to_be_focused()
        await check(chat)
        await chat.attach(NOTES)
        await expect(chat.button("Remove notes.txt")).to_be_visible()
        await check(chat)
        await chat.input.fill(
            f"cite: {'long' * 40} `{'code' * 30}` **bold** [link](https://x.test)\n\n```\n{'x' * 200}\n```"
        )
        await chat.page.keyboard.press("Enter")
        await expect(chat.log.locator(".sources li")).to_have_text(["1. notes.txt"])
        await expect(chat.answer.locator("pre")).to_be_visible()
        await check(chat)
        await chat.say("slow: go")
        await expect(chat.answer).to_contain_text("word3")
        await check(chat)
        await chat.page.keyboard.press("Escape")
        await expect(chat.button("Send")).to_be_visible()
        await chat.say("fail:server_error")
        await expect(chat.failure).to_be_visible()
        await check(chat)
        await chat.button("Edit the question").click()
        await check(chat)
        await chat.button("Cancel").click()
        await chat.button("Show conversations").click()
        await expect(chat.page.locator(".entry")).to_have_count(1)
        await check(chat)
        await chat.page.locator(".entry").get_by_role("button", name="Delete").click()
        await check(chat)
        await chat.button("Hide conversations").click()
        await chat.button("About this assistant").click()
        await expect(chat.page.locator("dialog dd").first).to_be_visible()
        await check(chat)


async def test_at_200_percent_it_still_fits(start: Start, visit: Open):
    half = {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2}
    async with start(is_served=True) as service:
        chat = await visit(playground(service), **half)
        await chat.asked("hello")
        await expect(chat.input).to_be_in_viewport()
        await expect(chat.button("Send")).to_be_in_viewport()
        assert await chat.page.evaluate(OVERFLOW) == []


async def test_who_listens_hears_the_beginning_and_the_whole_answer(talk: Talk):
    words = " ".join(f"word{n}" for n in range(30))
    async with talk() as (_, chat):
        await expect(chat.input).to_be_focused()
        await chat.page.evaluate(LISTEN)
        await chat.say("slow:30 go")
        await expect(chat.button("Send")).to_be_visible()
        spoken = f"The assistant answered: {words}"
        await expect(chat.page.get_by_text(spoken)).to_be_attached()
        heard = list(dict.fromkeys(await chat.page.evaluate("window.heard")))
        assert [text for text in heard if "word" in text] == [spoken]
        assert heard.index("The assistant is answering.") < heard.index(spoken)


async def test_a_screen_readers_tree_names_everything(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service))
        await chat.asked("hello")
        tree = await chat.page.locator("body").aria_snapshot()
    assert [
        line for line in tree.splitlines() if line.strip() in {"- button", "- textbox", "- link", "- img"}
    ] == []
    for part in [
        "- banner:",
        "- main:",
        '- heading "Soloist" [level=1]',
        '- log "Conversation":',
        '- article "You":',
        '- article "Assistant":',
        '- textbox "Write a message"',
        '- button "Send" [disabled]',
    ]:
        assert part in tree


async def test_nothing_moves_where_motion_is_unwanted(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit(playground(service), reduced_motion="reduce")
        await chat.say("sleep:60000 x")
        await expect(chat.page.locator(".dots")).to_be_visible()
        moving = "document.getAnimations().filter(({ playState }) => playState === 'running').length"
        assert await chat.page.evaluate(moving) == 0
        await chat.page.emulate_media(reduced_motion="no-preference")
        await until(lambda: chat.page.evaluate(moving))


async def test_parts_that_do_not_load_at_first_are_tried_again(start: Start, visit: Open):
    async with start(is_served=True) as service:
        chat = await visit("about:blank", origins=(origin_of(service.base_url),))
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.url)
            await route.abort("connectionrefused")

        await chat.page.route("**/assets/Messages-*", refuse, times=1)
        await chat.page.goto(playground(service))
        await chat.asked("hello")
        assert len(refused) == 1
