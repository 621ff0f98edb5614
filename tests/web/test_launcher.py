"""The launcher of the widget: the bubble, its frame, and what the two tell each other."""

import base64
import gzip
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.web.conftest import Open
from tests.web.launcher import LISTEN, STRANGER, enter, seen, settings, shop, tell, token, wait_for
from tests.web.support import site

LIMIT_BYTES = 10_000
PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
ADD_FRAME = """url => {
  last = null;
  document.body.append(Object.assign(document.createElement('iframe'), { src: url }));
}"""
PUBLIC = """() => {
  const widget = Object.getPrototypeOf(Object.getPrototypeOf(document.querySelector('soloist-bubble')));
  return Object.getOwnPropertyNames(widget).filter((name) => !name.endsWith('Callback'));
}"""


async def test_the_bubble_opens_closes_and_hands_the_focus_on(bundle: Path, visit: Open):
    async with shop(bundle, 'data-heading="Ask us"') as (host, stub):
        chat = await enter(visit, host, stub)
        await expect(chat.opener).to_have_attribute("aria-expanded", "false")
        assert len(chat.page.frames) == 1
        app = await chat.open()
        assert app.url == f"{stub.origin}/embed"
        await expect(chat.panel).to_have_accessible_name("Ask us")
        frame = chat.page.locator("iframe")
        await expect(frame).to_have_attribute("title", "Ask us")
        await expect(frame).to_have_attribute("allow", "clipboard-write")
        closer = chat.page.get_by_role("button", name="Close chat")
        await expect(closer).to_have_attribute("aria-expanded", "true")
        await app.get_by_role("button", name="Close").click()
        await expect(chat.panel).to_be_hidden()
        await expect(chat.opener).to_be_focused()
        await chat.page.keyboard.press("Enter")
        await expect(app.get_by_label("Message")).to_be_focused()
        await chat.page.locator("h1").click()
        await chat.page.keyboard.press("Escape")
        await expect(chat.panel).to_be_hidden()
        await expect(chat.opener).to_be_focused()
        shown = [message["isShown"] for message in await wait_for(app, "shown", 4)]
        assert shown == [True, False, True, False]
        assert await app.evaluate("connects") == 1


async def test_what_the_attributes_say_is_handed_over(bundle: Path, visit: Open):
    attributes = (
        'data-heading="Ask us" data-greeting="Welcome" data-suggestions="One?| Two?" data-lang="ko"'
        ' data-theme="dark" data-logo="/logo.gif" data-avatar="/none.gif" data-uploads="off"'
        ' data-disclaimer="May be wrong" data-languages="en, ko" data-on-disconnect="detach"'
    )
    style = (
        "<style>:root { --soloist-accent: rgb(0, 128, 0) } soloist-bubble { --soloist-radius: 3px }</style>"
    )
    async with shop(bundle, attributes, style) as (host, stub):
        host.pictures["/logo.gif"] = base64.b64decode(PICTURE.partition(",")[2])
        chat = await enter(visit, host, stub)
        await chat.page.get_by_role("button", name="채팅 열기").click()
        assert await settings(await chat.app()) == {
            "heading": "Ask us",
            "greeting": "Welcome",
            "suggestions": ["One?", "Two?"],
            "lang": "ko",
            "theme": "dark",
            "logo": PICTURE,
            "avatar": None,
            "disclaimer": "May be wrong",
            "uploads": False,
            "languages": ["en", "ko"],
            "onDisconnect": "detach",
            "colours": {"accent": "rgb(0, 128, 0)", "radius": "3px"},
            "isClosable": True,
            "needsToken": False,
            "memory": {},
        }


async def test_changes_of_theme_heading_and_colours_are_told(bundle: Path, visit: Open):
    style = "<style>.night { --soloist-accent: rgb(1, 2, 3) }</style>"
    async with shop(bundle, before=style) as (host, stub):
        chat = await enter(visit, host, stub)
        app = await chat.open()
        await chat.page.evaluate("document.documentElement.className = 'night'")
        await chat.bubble.evaluate("bubble => { bubble.theme = 'dark' }")
        await chat.bubble.evaluate("bubble => bubble.setAttribute('heading', 'Now')")
        colours = {"accent": "rgb(1, 2, 3)"}
        assert [message["settings"] for message in await wait_for(app, "change", 3)] == [
            {"heading": None, "theme": None, "colours": colours},
            {"heading": None, "theme": "dark", "colours": colours},
            {"heading": "Now", "theme": "dark", "colours": colours},
        ]
        await expect(chat.page.locator("iframe")).to_have_css("color-scheme", "dark")
        await expect(chat.panel).to_have_accessible_name("Now")


async def test_the_memory_of_the_host_is_handed_over_and_written(bundle: Path, visit: Open):
    async with shop(bundle, 'data-storage-key="ann"') as (host, stub):
        chat = await enter(visit, host, stub)
        key = f"soloist:{stub.origin}/api/v1:ann"
        others = {f"{key}:admin:thread": "3", f"soloist:{stub.origin}/api/v1:default:thread": "4", "own": "5"}
        stored = {f"{key}:thread": "thread_1", f"{key}:pending": "{}"}
        await chat.page.evaluate("all => Object.assign(localStorage, all)", stored | others)
        app = await chat.open()
        assert (await settings(app))["memory"] == {"thread": "thread_1", "pending": "{}"}
        await tell(app, {"type": "remember", "key": "thread", "value": "thread_2"})
        await tell(app, {"type": "remember", "key": "pending", "value": None})
        await tell(app, {"type": "remember", "key": "admin:thread", "value": "stolen"})
        await tell(app, {"type": "unread", "count": 1})
        await expect(chat.bubble.locator(".badge")).to_be_visible()
        assert await chat.page.evaluate("({ ...localStorage })") == {f"{key}:thread": "thread_2"} | others
        await app.evaluate("seen.length = 0; location.reload()")
        await wait_for(app, "setup")
        assert (await settings(app))["memory"] == {"thread": "thread_2"}


async def test_without_storage_the_chat_works(bundle: Path, visit: Open):
    forbid = (
        "<script>Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })</script>"
    )
    async with shop(bundle, before=forbid) as (host, stub):
        app = await (await enter(visit, host, stub)).open()
        assert (await settings(app))["memory"] == {}
        await tell(app, {"type": "remember", "key": "thread", "value": "thread_2"})
        await tell(app, {"type": "token", "id": 1, "isRenewal": False})
        assert await wait_for(app, "no-token") == [{"type": "no-token", "id": 1, "status": 0}]


async def test_a_session_opens_the_frame_and_is_handed_over(bundle: Path, visit: Open):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub):
        first, second = token(frame="a.b.c", user="ann"), token(user="ann")
        host.tokens = [first, second]
        chat = await enter(visit, host, stub)
        assert host.token_calls == 0
        app = await chat.open()
        assert app.url == f"{stub.origin}/embed?ticket=a.b.c"
        assert (await settings(app))["needsToken"] is True
        for number, is_renewal in ((1, False), (2, True), (3, False)):
            await tell(app, {"type": "token", "id": number, "isRenewal": is_renewal})
            await wait_for(app, "token", number)
        assert [(answer["id"], answer["session"]) for answer in await seen(app, "token")] == [
            (1, first),
            (2, second),
            (3, second),
        ]
        assert host.token_calls == 2


async def test_one_request_serves_all_who_wait_for_a_session(bundle: Path, visit: Open):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub):
        host.tokens = [token(user="ann"), token(user="ann")]
        app = await (await enter(visit, host, stub)).open()
        await app.evaluate("for (let id = 1; id < 9; id++) tell({ type: 'token', id, isRenewal: id === 1 })")
        await wait_for(app, "token", 8)
        assert host.token_calls == 2


async def test_a_session_is_replaced_before_it_ends(bundle: Path, visit: Open):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub):
        host.tokens = [token() | {"expires_at": 0}, token()]
        app = await (await enter(visit, host, stub)).open()
        await tell(app, {"type": "token", "id": 1, "isRenewal": False})
        assert (await wait_for(app, "token"))[0]["session"] == host.tokens[1]


@pytest.mark.parametrize(("status", "body"), [(403, {"detail": "no"}), (200, {"secret": 1}), (200, [1])])
async def test_where_the_backend_refuses_the_app_is_told(
    bundle: Path, visit: Open, status: int, body: object
):
    async with shop(bundle, 'data-token-url="/token"') as (host, stub):
        host.tokens, host.token_status = [body], status  # type: ignore[list-item]  # as a faulty backend answers
        chat = await enter(visit, host, stub)
        async with chat.page.expect_console_message(
            lambda message: message.text.startswith("Soloist")
        ) as hint:
            app = await chat.open()
        assert (await hint.value).text == f"Soloist: /token gave no session (status {status})."
        assert app.url == f"{stub.origin}/embed"
        await tell(app, {"type": "token", "id": 7, "isRenewal": False})
        assert await wait_for(app, "no-token") == [{"type": "no-token", "id": 7, "status": status}]


async def test_a_hello_from_elsewhere_gets_nothing(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub), site() as foreign:
        foreign.pages["/"] = foreign.pages["/embed"] = STRANGER
        host.pages["/"] += "<script>addEventListener('message', ({ data }) => (window.last = data))</script>"
        chat = await enter(visit, host, stub, foreign)
        app = await chat.open()
        # Another frame of the page, of a stranger and of the service itself.
        stub.pages["/stranger"] = STRANGER
        for url in (f"{foreign.origin}/", f"{stub.origin}/stranger"):
            await chat.page.evaluate(ADD_FRAME, url)
            await chat.page.wait_for_function("last === 'done'")
            assert await chat.page.frames[-1].evaluate("heard") == []
        await chat.bubble.evaluate("bubble => bubble.ask('still there?')")
        assert await wait_for(app, "ask") == [{"type": "ask", "text": "still there?"}]
        assert await app.evaluate("connects") == 1
        # The widget's own frame, gone to a stranger.
        await chat.page.evaluate("last = null")
        await app.evaluate("url => { location.href = url }", foreign.origin + "/embed")
        await chat.page.wait_for_function("last === 'done'")
        assert await app.evaluate("heard") == []
        await expect(chat.panel).to_contain_text("The chat cannot be shown here")


async def test_unread_answers_stand_on_the_button(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        chat = await enter(visit, host, stub)
        await chat.page.evaluate(LISTEN, ["unread"])
        app = await chat.open()
        await chat.page.keyboard.press("Tab")
        await app.get_by_role("button", name="Close").click()
        await tell(app, {"type": "unread", "count": 120})
        await expect(chat.opener).to_have_accessible_name("Open chat, 120 unread")
        await expect(chat.bubble.locator(".badge")).to_have_text("99+")
        assert await chat.bubble.evaluate("bubble => bubble.unread") == 120
        await tell(app, {"type": "unread", "count": 0})
        await expect(chat.opener).to_have_accessible_name("Open chat")
        assert await chat.page.evaluate("told.map(([, count]) => count)") == [120, 0]


async def test_the_host_page_speaks_to_the_chat_and_hears_of_it(bundle: Path, visit: Open):
    async with shop(bundle) as (host, stub):
        chat = await enter(visit, host, stub)
        await chat.page.evaluate(LISTEN, ["ready", "open", "close", "question", "tokens", "other"])
        await chat.bubble.evaluate("bubble => { bubble.ask(' hello '); bubble.newConversation() }")
        app = await chat.app()
        await expect(chat.panel).to_be_visible()
        await wait_for(app, "new")
        order = "seen.map(({ type }) => type).filter((type) => type !== 'focus')"
        assert await app.evaluate(order) == ["setup", "shown", "ask", "new"]
        for name, detail in (("question", {"thread_id": "t"}), ("other", 1), ("tokens", 42)):
            await tell(app, {"type": "event", "name": name, "detail": detail})
        await chat.page.wait_for_function("told.length === 4")
        await chat.bubble.evaluate("bubble => bubble.close()")
        element = "soloist-bubble"
        assert await chat.page.evaluate("told") == [
            ["open", None, element],
            ["ready", None, element],
            ["question", {"thread_id": "t"}, element],
            ["tokens", 42, element],
            ["close", None, element],
        ]
        documented = {"open", "close", "ask", "newConversation", "focus", "unread", "theme"}
        assert set(await chat.page.evaluate(PUBLIC)) == documented | {"constructor"}


async def test_what_a_page_loads_before_somebody_opens_the_chat_is_small(bundle: Path):
    built = (bundle / "embed.js").read_bytes()
    assert len(gzip.compress(built, 9)) <= LIMIT_BYTES
    assert not re.search(rb'\bimport\s*[("]', built)
