"""Pages with the launcher that are strict, hostile, small, or change while it stands there."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support import until
from tests.web.conftest import PACKAGES, Open
from tests.web.launcher import (
    APP,
    ISOLATED,
    LISTEN,
    SHARED,
    enter,
    seen,
    service,
    settings,
    shop,
    tag,
    tell,
    token,
    wait_for,
)

PHONE = {"width": 390, "height": 844}
LONG_PAGE = "<meta name=viewport content='width=device-width'><p style='height: 3000px'>Long</p>"
HOSTILE = """<style>
  * { all: unset !important; color: red !important; position: static !important; opacity: .1 !important }
  * { text-transform: uppercase !important }
  iframe, button, div { display: none !important } soloist-bubble { display: none !important }
  @keyframes blink { from, to { opacity: 0 } } * { animation: blink 1s infinite !important }
</style>"""


async def test_hostile_styles_do_not_reach_the_bubble(bundle: Path, visit: Open):
    async with shop(bundle, before=HOSTILE) as (host, stub):
        chat = await enter(visit, host, stub)
        view = chat.page.viewport_size
        assert view is not None
        button = await chat.opener.bounding_box()
        assert button == {"x": view["width"] - 76, "y": view["height"] - 76, "width": 56, "height": 56}
        await expect(chat.bubble).to_have_css("opacity", "1")
        await chat.open()
        box = await chat.page.locator("iframe").bounding_box()
        assert box is not None
        assert (box["width"], box["height"]) == (400, min(620, view["height"] - 120))


async def test_a_strict_policy_needs_one_frame_source(bundle: Path, visit: Open):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub):
        host.tokens = [token()]
        host.headers["content-security-policy"] = (
            f"default-src 'none'; script-src {stub.origin}; frame-src {stub.origin}; connect-src 'self'; "
            "require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'"
        )
        # What is laid out with its own styles, and no complaint of the browser: `visit` checks that.
        chat = await enter(visit, host, stub)
        await expect(chat.opener).to_have_css("border-radius", "50%")
        await chat.open()


async def test_an_isolated_host_page_can_have_it(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        host.headers |= ISOLATED
        stub.headers |= ISOLATED
        chat = await enter(visit, host, stub)
        assert await chat.page.evaluate("crossOriginIsolated") is True
        await chat.open()


@pytest.mark.parametrize("blocked_by", ["service", "host"])
async def test_a_frame_that_does_not_load_says_what_to_set(bundle: Path, visit: Open, blocked_by: str):
    async with shop(bundle) as (host, stub):
        if blocked_by == "host":
            host.headers["content-security-policy"] = "frame-src 'none'"
        else:
            stub.headers["content-security-policy"] = "frame-ancestors 'none'"
        chat = await enter(visit, host, stub)
        errors: list[str] = []
        chat.page.on("console", lambda message: errors.append(message.text))
        await chat.opener.click()
        await expect(chat.panel).to_contain_text("The chat cannot be shown here at the moment.")
        hints = [text for text in errors if text.startswith("Soloist:")]
        assert len(hints) == 1
        assert all(word in hints[0] for word in ("CORS_ORIGINS", "frame-src", host.origin, stub.origin))
        await chat.panel.get_by_role("button", name="Close chat").click()
        await expect(chat.opener).to_be_focused()
        chat.visit.complaints.clear()
        if blocked_by == "service":
            # Opened again it tries again.
            stub.headers = dict(SHARED)
            await chat.open()
            await expect(chat.panel.get_by_role("status")).to_be_hidden()


async def test_a_frame_that_is_refused_when_it_reloads_says_so_too(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        chat = await enter(visit, host, stub)
        app = await chat.open()
        stub.headers["content-security-policy"] = "frame-ancestors 'none'"
        await app.evaluate("location.reload()")
        await expect(chat.panel).to_contain_text("The chat cannot be shown here at the moment.")
        chat.visit.complaints.clear()


async def test_on_a_phone_the_panel_is_what_the_keyboard_leaves(bundle: Path, visit: Open):
    async with shop(bundle, before=LONG_PAGE) as (host, stub):
        chat = await enter(visit, host, stub, viewport=PHONE, has_touch=True, is_mobile=True)
        await chat.page.evaluate("scrollTo(0, 500)")
        await chat.open()
        assert await chat.panel.bounding_box() == {"x": 0, "y": 0, **PHONE}
        # What a browser says while its keyboard is open.
        keyboard = """() => {
          Object.defineProperty(visualViewport, 'height', { get: () => 500, configurable: true });
          Object.defineProperty(visualViewport, 'offsetTop', { get: () => 120, configurable: true });
          visualViewport.dispatchEvent(new Event('resize'));
        }"""
        await chat.page.evaluate(keyboard)
        assert await chat.panel.bounding_box() == {"x": 0, "y": 120, "width": 390, "height": 500}
        await chat.bubble.evaluate("bubble => bubble.close()")
        assert await chat.page.evaluate("scrollY") == 500
        assert await chat.page.evaluate("document.body.style.cssText") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_the_launcher(bundle: Path, visit: Open, scheme: str):
    async with shop(bundle) as (host, stub):
        stub.pages["/embed"] = APP.replace("hello", "nothing")
        chat = await enter(visit, host, stub, color_scheme=scheme)
        axe = (PACKAGES / "node_modules/axe-core/axe.min.js").read_text()
        await chat.page.evaluate(axe)
        for _ in ("closed", "open"):
            scan = await chat.page.evaluate("axe.run('soloist-bubble', { iframes: false })")
            assert [rule["id"] for rule in scan["violations"]] == []
            await chat.bubble.evaluate("bubble => bubble.open()")


async def test_two_widgets_of_one_service_stand_side_by_side(bundle: Path, visit: Open):
    async with shop(bundle, 'data-storage-key="ann" data-heading="First"') as (host, stub):
        host.pages["/"] += tag(stub, 'data-storage-key="bob"') * 2
        chat = await enter(visit, host, stub)
        await expect(chat.opener).to_have_count(2)
        boxes = [await button.bounding_box() for button in await chat.opener.all()]
        assert [box and box["x"] for box in boxes] == [1280 - 76, 1280 - 76 - 68]
        await chat.opener.nth(0).click()
        await chat.app()
        await chat.opener.nth(0).click()
        app = await chat.app(number=1)
        assert (await settings(app))["heading"] is None
        # One corner, one panel: the first is closed.
        await expect(chat.panel).to_have_count(1)
        await expect(chat.panel).to_have_accessible_name("Assistant")
        panel = await chat.panel.bounding_box()
        assert panel is not None
        assert panel["x"] + panel["width"] == 1280 - 20
        await tell(app, {"type": "remember", "key": "thread", "value": "t"})
        await tell(app, {"type": "unread", "count": 1})
        await expect(chat.bubble.locator(".badge").nth(1)).to_be_visible()
        assert await chat.page.evaluate("Object.keys(localStorage)") == [
            f"soloist:{stub.origin}/api/v1:bob:thread"
        ]


async def test_two_versions_and_two_services_do_not_meet(bundle: Path, visit: Open):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub), service(bundle) as other:
        other.scripts["/embed.js"] += "\n// a later version"
        host.tokens = [token(frame="a.b.c")]
        host.pages["/"] += tag(other, 'data-position="left" data-heading="Other"')
        chat = await enter(visit, host, stub, other)
        await expect(chat.opener).to_have_count(2)
        # The first one, once open, has another name.
        for _ in range(2):
            await chat.opener.first.click()
        first, second = await chat.app(holds=stub.origin), await chat.app(holds=other.origin)
        assert first.url == f"{stub.origin}/embed?ticket=a.b.c"
        assert second.url == f"{other.origin}/embed"
        assert (await settings(second))["heading"] == "Other"
        assert (await settings(second))["needsToken"] is False
        await expect(chat.panel).to_have_count(2)


REPLACE_BODY = """() => {
  const body = document.createElement('body');
  body.innerHTML = '<h1>Next</h1>';
  document.body.replaceWith(body);
}"""
REPLACE_ALL = """() => {
  const parts = ['head', 'body'].map((name) => document.createElement(name));
  document.documentElement.replaceChildren(...parts);
}"""
ADD_SCRIPT = """src => new Promise((resolve) => {
  const script = Object.assign(document.createElement('script'), { type: 'module', src, onload: resolve });
  document.body.append(script);
})"""


async def test_a_navigation_by_script_keeps_the_bubble_and_its_conversation(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        chat = await enter(visit, host, stub)
        app = await chat.open()
        await chat.page.evaluate(REPLACE_BODY)
        for path in ("/embed.js", "/embed.js?v=2"):
            await chat.page.evaluate(ADD_SCRIPT, stub.origin + path)
        await chat.bubble.evaluate("bubble => bubble.ask('still there?')")
        assert await wait_for(app, "ask") == [{"type": "ask", "text": "still there?"}]
        await expect(chat.bubble).to_have_count(1)
        await expect(chat.panel).to_be_visible()


async def test_a_bubble_comes_back_with_a_new_page_and_only_then(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        chat = await enter(visit, host, stub)
        await expect(chat.bubble).to_have_count(1)
        stub.scripts["/other.js"] = "window.other = true"
        await chat.bubble.evaluate("bubble => bubble.remove()")
        # Another script is no reason to return.
        await chat.page.evaluate(ADD_SCRIPT, f"{stub.origin}/other.js")
        await expect(chat.bubble).to_have_count(0)
        await chat.page.evaluate(REPLACE_ALL)
        await expect(chat.bubble).to_have_count(1)
        await chat.open()


async def test_an_inline_chat_stands_where_it_is_put(bundle: Path, visit: Open):
    before = "<style>soloist-chat { width: 300px }</style><soloist-chat heading='Ask us'></soloist-chat>"
    async with shop(bundle, 'data-heading="Else" data-greeting="Welcome"', before) as (host, stub):
        chat = await enter(visit, host, stub)
        told = await settings(await chat.app())
        assert (told["heading"], told["greeting"], told["isClosable"]) == ("Ask us", "Welcome", False)
        await expect(chat.bubble).to_have_count(0)
        box = await chat.page.locator("iframe").bounding_box()
        assert box is not None
        assert (box["width"], box["height"]) == (298, 558)


async def test_hostile_styles_do_not_reach_into_an_inline_chat(bundle: Path, visit: Open):
    async with shop(bundle, before=HOSTILE + "<soloist-chat></soloist-chat>") as (host, stub):
        chat = await enter(visit, host, stub)
        app = await chat.app()
        box = await chat.page.locator("iframe").bounding_box()
        assert box is not None
        assert box["width"] > 500
        assert box["height"] >= 230
        await expect(chat.page.locator("soloist-chat .frame")).to_have_css("text-transform", "none")
        await app.get_by_label("Message").click()
        await expect(app.get_by_label("Message")).to_be_focused()


async def test_a_chat_that_a_framework_adds_and_moves_keeps_its_thread(bundle: Path, visit: Open):
    async with shop(bundle, 'data-bubble="off" data-token-url="/token"') as (host, stub):
        host.tokens = [token()]
        chat = await enter(visit, host, stub)
        add = """() => {
          const chat = document.createElement('soloist-chat');
          document.body.append(chat);
          chat.setAttribute('storage-key', 'ann');
          chat.ask('hello');
        }"""
        await chat.page.evaluate(add)
        app = await chat.app()
        await wait_for(app, "ask")
        assert host.token_calls == 1
        await tell(app, {"type": "remember", "key": "thread", "value": "t"})
        await tell(app, {"type": "event", "name": "thread", "detail": "t"})
        move = "document.body.prepend(document.querySelector('soloist-chat'))"
        await chat.page.wait_for_function("localStorage.length === 1")
        await chat.page.evaluate(move)
        await until(app.is_detached)
        moved = await chat.app()
        assert (await settings(moved))["memory"] == {"thread": "t"}
        await expect(chat.page.locator("iframe")).to_have_count(1)
        await chat.page.evaluate("document.querySelector('soloist-chat').setAttribute('storage-key', 'bob')")
        await until(moved.is_detached)
        await expect(chat.page.locator("iframe")).to_have_count(1)
        assert (await settings(await chat.app()))["memory"] == {}


async def test_an_inline_chat_can_be_hidden_and_shown(bundle: Path, visit: Open):
    async with shop(bundle, before="<soloist-chat closable></soloist-chat>") as (host, stub):
        chat = await enter(visit, host, stub)
        await chat.page.evaluate(LISTEN, ["open", "close"])
        app = await chat.app()
        assert (await settings(app))["isClosable"] is True
        await app.get_by_role("button", name="Close").click()
        await expect(chat.page.locator("iframe")).to_be_hidden()
        await chat.page.locator("soloist-chat").evaluate("chat => chat.open()")
        await expect(app.get_by_label("Message")).to_be_focused()
        assert [message["isShown"] for message in await seen(app, "shown")] == [True, False, True]
        assert await chat.page.evaluate("told.map(([name]) => name)") == ["close", "open"]
