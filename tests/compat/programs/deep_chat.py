"""deep-chat in Chromium, connected as to OpenAI's Assistants API, with only the address changed."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Route, expect, sync_playwright
from report import base_url, run

PACKAGE = Path("node_modules/deep-chat")
ORIGIN = "http://" + urlsplit(base_url()).netloc
HTML = """<!doctype html><title>deep-chat</title>
<deep-chat id="chat" style="font-family: system-ui"></deep-chat>
<script type="module">
  import "/compat/deepChat.bundle.js";
  const chat = document.getElementById("chat");
  chat.directConnection = {openAI: {key: "none", assistant: {
    assistant_id: "asst_soloist", custom_base_url: "BASE"}}};
  chat.connect = {stream: STREAM};
</script>"""


def serve(route: Route, *, is_stream: bool) -> None:
    """Answer the page and the bundle, let the service's own answers through, and nothing else."""
    url = route.request.url
    if url == f"{ORIGIN}/compat/":
        page = HTML.replace("BASE", base_url()).replace("STREAM", json.dumps(is_stream))
        route.fulfill(body=page, content_type="text/html")
    elif url.endswith("/compat/deepChat.bundle.js"):
        route.fulfill(path=PACKAGE / "dist" / "deepChat.bundle.js", content_type="text/javascript")
    elif url.startswith(base_url()):
        route.continue_()
    else:
        route.abort()


def ask(*, is_stream: bool) -> None:
    """Ask twice, and read both answers on the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        page = browser.new_page()
        page.route("**/*", lambda route: serve(route, is_stream=is_stream))
        page.goto(f"{ORIGIN}/compat/")
        for text in ("Good morning", "And again"):
            page.locator("#text-input").click()
            page.keyboard.type(text)
            page.keyboard.press("Enter")
            expect(page.locator(".ai-message-text").last).to_have_text(f"You said: {text}", timeout=20_000)
        browser.close()


def live_text() -> None:
    """Ask with a streamed run."""
    ask(is_stream=True)


def thread_and_run() -> None:
    """Ask with a polled run."""
    ask(is_stream=False)


run(json.loads((PACKAGE / "package.json").read_text())["version"], live_text, thread_and_run)
