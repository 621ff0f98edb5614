"""The report as a page: figures for a key, a sentence for anything else, nothing from elsewhere."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import Start
from tests.security.support import GUARDED, KEY_A, bearer
from tests.web.conftest import Open
from tests.web.support import Visit, origin_of

OWNER = bearer(KEY_A, x_user_id="u1")


async def shown(page: Visit, key: str) -> None:
    await page.page.get_by_label("API key").fill(key)
    await page.button("Show").click()


@pytest.mark.parametrize("prefix", ["", "/openai-api"])
async def test_it_shows_the_figures_of_the_report(start: Start, visit: Open, tmp_path: Path, prefix: str):
    settings = GUARDED | {"store_url": f"sqlite:///{tmp_path / 's.db'}", "root_path": prefix or None}
    async with start(is_served=True, **settings) as service:
        client = service.client
        for message in ("one", "two", "fail:server_error"):
            answer = (await client.post("chat", json={"message": message}, headers=OWNER)).json()
            if "thread_id" in answer:
                body = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": "down"}
                (await client.post("feedback", json=body, headers=OWNER)).raise_for_status()
        page = await visit(f"{origin_of(service.base_url)}{prefix}/usage")
        await shown(page, KEY_A)
        heading = page.page.get_by_role("heading", name="Turns", exact=True)
        turns = page.page.locator(".figure", has=heading)
        await expect(turns).to_contain_text("3")
        await expect(turns.locator("rect")).to_have_count(30)
        await expect(page.page.locator(".figure", has_text="Thumbs")).to_contain_text("0 up, 2 down")
        await expect(page.page.locator("table", has_text="Code")).to_contain_text("server_error")
        await expect(page.page.locator("table", has_text="Thread").locator("tbody tr")).to_have_count(2)
        policy = (await page.page.request.get(page.url)).headers["content-security-policy"]
        assert "unsafe" not in policy


async def test_without_a_valid_key_it_says_why(start: Start, visit: Open):
    async with start(is_served=True, **GUARDED) as service:
        page = await visit(origin_of(service.base_url) + "/usage")
        await shown(page, "nonsense")
        await expect(page.page.get_by_role("status")).to_contain_text("API key is not valid")
        await shown(page, KEY_A)
        await expect(page.page.get_by_role("status")).to_contain_text("STORE_URL")
