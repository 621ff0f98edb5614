"""The chat and the widget in Firefox."""

import asyncio
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.web.conftest import PACKAGES
from tests.web.support import origin_of, playground, site

FIREFOX = Path("/usr/bin/firefox-esr")
PATIENCE_SECONDS = 90


@pytest.mark.skipif(not FIREFOX.exists(), reason="Debian's firefox-esr is not installed")
@pytest.mark.usefixtures("bundle")
async def test_the_page_and_the_widget_answer_in_firefox(start: Start):
    async with site() as found, start(is_served=True, cors_origins=[found.origin]) as service:
        script = f"{origin_of(service.base_url)}/embed.js"
        found.pages["/"] = f'<h1>Shop</h1><script type="module" src="{script}"></script>'
        process = await asyncio.create_subprocess_exec(
            *("node", PACKAGES / "firefox.mjs", found.origin + "/", playground(service)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            told, complaints = await process.communicate()
    assert complaints.decode() == ""
    lines = told.decode().splitlines()
    assert lines[0] == "You said: from a frame"
    assert lines[1].startswith("You said: code a and ")
