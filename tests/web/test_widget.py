"""The widget on pages of other sites: one script tag, a frame, sessions from the backend of the site."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.support import Service
from tests.web.conftest import PACKAGES, Open
from tests.web.framed import Framed
from tests.web.support import Site, Visit, mint, origin_of, playground, site

KEY = "a-key-of-the-shop"
AUTH: dict[str, Any] = {
    "auth_mode": "api_key",
    "api_keys": {"shop": KEY},
    "secret_keys": ["secret-of-the-tests-with-32-characters"],
}
TOKEN = 'data-token-url="/token"'
ISOLATED = {"cross-origin-embedder-policy": "require-corp", "cross-origin-opener-policy": "same-origin"}
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)


@asynccontextmanager
async def shop(
    start: Start, attributes: str = TOKEN, before: str = "", **settings: Any
) -> AsyncIterator[tuple[Site, Service]]:
    """A site whose sessions name its origin, so that CORS_ORIGINS need not."""
    async with site() as found, start(is_served=True, **(AUTH | settings)) as service:
        found.tokens = [await mint(service, KEY, origins=[found.origin])]
        found.pages["/"] = page_with(service, attributes, before)
        yield found, service


def page_with(service: Service, attributes: str = TOKEN, before: str = "") -> str:
    script = f"{origin_of(service.base_url)}/embed.js"
    return f'{before}<h1>Shop</h1><script type="module" src="{script}" {attributes}></script>'


async def enter(visit: Open, found: Site, service: Service, **options: Any) -> Visit:
    opened: Visit = await visit(found.origin + "/", origins=(origin_of(service.base_url),), **options)
    return opened


async def test_a_script_tag_puts_a_chat_on_another_site(start: Start, visit: Open):
    async with shop(start) as (found, service):
        opened = await enter(visit, found, service)
        chat = await Framed(opened).open()
        await chat.asked("hello")
        [sent] = opened.posts("/chat")
        assert sent.headers["authorization"] == f"Bearer {found.tokens[0]['client_secret']}"
        assert sent.headers["x-embed-origin"] == found.origin
        assert KEY not in await chat.page.content()
        await chat.input.press("Escape")
        await expect(chat.input).to_be_hidden()
        await expect(opened.button("Open chat")).to_be_focused()


async def test_the_thread_is_remembered_from_page_to_page(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.pages["/other"] = found.pages["/"]
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.asked("hello")
        await chat.page.goto(found.origin + "/other")
        await chat.open()
        await expect(chat.questions).to_have_text(["hello"])
        await expect(chat.answer).to_have_text("You said: hello")


async def test_a_site_that_nobody_allowed_cannot_frame_the_chat(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.tokens = [await mint(service, KEY, origins=["https://elsewhere.test"])]
        opened = await enter(visit, found, service)
        await opened.button("Open chat").click()
        await expect(opened.page.get_by_text("cannot be shown")).to_be_visible()
        # The browser says so in the console, as the launcher does with the remedy.
        assert any("frame-ancestors" in complaint for complaint in opened.complaints)
        opened.complaints.clear()


async def test_a_session_of_another_site_is_refused(start: Start, visit: Open):
    async with site() as found, start(is_served=True, cors_origins=[found.origin], **AUTH) as service:
        found.tokens = [await mint(service, KEY, origins=["https://elsewhere.test"])]
        found.pages["/"] = page_with(service)
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.say("hello")
        await expect(chat.failure).to_contain_text("This website may not use the chat.")
        await expect(chat.answer).to_have_count(0)


async def test_a_session_that_ended_is_replaced_in_the_middle_of_a_chat(start: Start, visit: Open):
    async with shop(start) as (found, service):
        dead = {**found.tokens[0], "client_secret": "ss_dead"}
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.asked("hello")
        alive = await mint(service, KEY, origins=[found.origin])
        # The frame still opens with the first one's ticket; its secret is void.
        found.tokens = [{**found.tokens[0], "client_secret": found.tokens[0]["client_secret"] + "x"}, alive]
        found.token_calls = 0
        await chat.page.reload()
        await chat.open()
        await expect(chat.questions).to_have_text(["hello"])
        await chat.asked("again")
        assert found.token_calls == 2
        assert dead["client_secret"] not in await chat.page.content()


async def test_without_a_session_the_chat_says_so(start: Start, visit: Open):
    async with site() as found, start(is_served=True, cors_origins=[found.origin], **AUTH) as service:
        found.tokens, found.token_status = [{}], 503
        found.pages["/"] = page_with(service)
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.say("hello")
        await expect(chat.failure).to_contain_text("You are not signed in to this chat.")


async def test_a_hostile_page_changes_nothing_in_the_chat(start: Start, visit: Open):
    hostile = (
        "<style>* { color: rgb(255, 0, 0) !important; font-size: 40px !important }"
        "iframe { display: none !important; width: 1px !important }</style>"
    )
    async with site() as found, start(is_served=True, cors_origins=[found.origin]) as service:
        found.pages["/"] = page_with(service, "", hostile)
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.asked("hello")
        styled = "element => [getComputedStyle(element).color, getComputedStyle(element).fontSize]"
        assert await chat.answer.evaluate(styled) == ["rgb(27, 27, 31)", "15px"]
        frame = chat.page.locator("soloist-bubble iframe")
        box = await frame.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert await frame.evaluate("frame => frame.contentDocument") is None


async def test_a_strict_policy_of_the_page_needs_three_sources(start: Start, visit: Open):
    async with shop(start) as (found, service):
        origin = origin_of(service.base_url)
        policy = f"default-src 'none'; script-src {origin}; frame-src {origin}; connect-src 'self'"
        found.headers = {"content-security-policy": policy}
        chat = await Framed(await enter(visit, found, service)).open()
        await chat.asked("hello")


async def test_an_isolated_page_may_have_the_chat(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.headers = ISOLATED
        opened = await enter(visit, found, service)
        assert await opened.page.evaluate("crossOriginIsolated")
        chat = await Framed(opened).open()
        await chat.asked("hello")


async def test_an_inline_chat_takes_the_sites_colours_and_words(start: Start, visit: Open):
    inline = (
        "<style>soloist-chat { --soloist-accent: rgb(0, 128, 0); height: 500px }</style>"
        f"<soloist-chat heading='Ask us' greeting='Welcome' suggestions='One?|Two?' logo='{PNG}'"
        " disclaimer='It may err' uploads='off'></soloist-chat>"
    )
    async with shop(start, before=inline) as (found, service):
        chat = Framed(await enter(visit, found, service), "soloist-chat")
        await expect(chat.frame.get_by_role("heading", name="Ask us")).to_be_visible()
        await expect(chat.frame.get_by_text("Welcome")).to_be_visible()
        await expect(chat.frame.get_by_text("It may err")).to_be_visible()
        await expect(chat.button("Attach files")).to_have_count(0)
        await expect(chat.frame.locator(".logo")).to_have_js_property("naturalWidth", 1)
        await chat.button("Two?").click()
        await expect(chat.answer).to_have_text("You said: Two?")
        await chat.input.fill("x")
        background = "element => getComputedStyle(element).backgroundColor"
        assert await chat.button("Send").evaluate(background) == "rgb(0, 128, 0)"
        await expect(chat.page.locator("soloist-bubble")).to_have_count(0)


async def test_a_chat_that_a_framework_moves_keeps_its_thread(start: Start, visit: Open):
    async with shop(start, f'{TOKEN} data-bubble="off"') as (found, service):
        chat = Framed(await enter(visit, found, service), "soloist-chat")
        await chat.page.evaluate("document.body.append(document.createElement('soloist-chat'))")
        await chat.asked("hello")
        move = (
            "const main = document.createElement('main'); main.append(document.querySelector('soloist-chat'))"
        )
        await chat.page.evaluate(f"() => {{ {move}; document.body.replaceChildren(main) }}")
        await expect(chat.questions).to_have_text(["hello"])
        await chat.asked("again")


async def test_the_page_can_ask_and_hears_what_happens(start: Start, visit: Open):
    async with shop(start) as (found, service):
        opened = await enter(visit, found, service)
        listen = """names => {
          window.told = [];
          for (const name of names) document.addEventListener(`soloist-${name}`, () => told.push(name));
        }"""
        await opened.page.evaluate(
            listen, ["open", "ready", "thread", "question", "answer", "error", "close"]
        )
        await opened.page.evaluate("document.querySelector('soloist-bubble').ask('hello')")
        chat = Framed(opened)
        await expect(chat.answer).to_have_text("You said: hello")
        await expect(chat.button("Send")).to_be_visible()
        await opened.page.evaluate("document.querySelector('soloist-bubble').close()")
        told = await opened.page.evaluate("told")
        assert told == ["open", "ready", "question", "thread", "answer", "close"]


async def test_answers_that_end_behind_a_closed_bubble_are_counted(start: Start, visit: Open):
    async with shop(start) as (found, service):
        opened = await enter(visit, found, service)
        chat = await Framed(opened).open()
        await chat.say("slow:20 go")
        await expect(chat.answer).to_contain_text("word1")
        await opened.button("Close chat").first.click()
        await expect(opened.button("Open chat, 1 unread")).to_be_visible()
        await opened.button("Open chat").click()
        await expect(chat.answer).to_contain_text("word19")
        await expect(opened.button("unread")).to_have_count(0)


async def test_two_widgets_keep_their_conversations_apart(start: Start, visit: Open):
    async with shop(start) as (found, service):
        two = ("ann", "bob")
        inline = "".join(f"<soloist-chat id={name} storage-key={name}></soloist-chat>" for name in two)
        found.pages["/"] = page_with(service, before=inline)
        opened = await enter(visit, found, service)
        for name in two:
            await Framed(opened, f"#{name}").asked(name)
        await opened.page.reload()
        for name in two:
            await expect(Framed(opened, f"#{name}").questions).to_have_text([name])


async def test_on_a_phone_the_panel_fills_the_screen(start: Start, visit: Open):
    async with shop(start) as (found, service):
        size = {"width": 390, "height": 844}
        # The panel comes in with a movement, which a measurement could meet.
        still = {"reduced_motion": "reduce"}
        opened = await enter(visit, found, service, viewport=size, color_scheme="dark", **still)
        chat = await Framed(opened).open()
        box = await opened.page.locator("soloist-bubble iframe").bounding_box()
        assert box == {"x": 0, "y": 0, **size}
        await chat.asked("hello")
        await opened.page.evaluate((PACKAGES / "node_modules/axe-core/axe.min.js").read_text())
        scan = await opened.page.evaluate("axe.run('soloist-bubble')")
        assert [rule["id"] for rule in scan["violations"]] == []


async def test_the_playground_gets_its_own_sessions_on_a_developers_machine(start: Start, visit: Open):
    async with start(is_served=True, playground_sessions=True, **AUTH) as service:
        chat = await visit(playground(service))
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        assert chat.posts("/chat")[0].headers["authorization"].startswith("Bearer ss_")


async def test_without_sessions_the_playground_says_what_to_set(start: Start, visit: Open):
    async with start(is_served=True, **AUTH) as service:
        chat = await visit(playground(service))
        await expect(chat.page.get_by_text("PLAYGROUND_TOKEN_URL")).to_be_visible()
        await expect(chat.input).to_have_count(0)
        refused = await service.client.post(origin_of(service.base_url) + "/playground/session")
        assert refused.status_code == httpx2.codes.NOT_FOUND


@pytest.mark.usefixtures("bundle")
async def test_the_launcher_is_small(start: Start):
    async with (
        start(is_served=True) as service,
        httpx2.AsyncClient(base_url=origin_of(service.base_url)) as client,
    ):
        response = await client.get("/embed.js")
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) <= 10_000
