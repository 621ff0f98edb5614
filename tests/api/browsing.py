"""The pages as a browser asks for them, and a bundle of few words in the place of the built one."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.conftest import Start

AUTH: dict[str, Any] = {
    "auth_mode": "api_key",
    "api_keys": {"shop": "a-key-of-the-shop"},
    "secret_keys": ["secret-of-the-tests-with-32-characters"],
}
SOURCE = b"export const answer = 42;\n"
APP = """<!doctype html><title>{{title}}</title>
<link rel="stylesheet" href="{{up}}assets/app.css?{{version}}">
<script type="application/json" id="config">{{config}}</script>
<script type="module" src="{{up}}assets/app.js?{{version}}"></script>
"""


@asynccontextmanager
async def browsing(start: Start, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with start(**settings) as service:
        service.client.base_url = httpx2.URL("http://localhost")
        yield service.client


def config_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="config">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def write_bundle(folder: Path) -> None:
    (folder / "assets").mkdir(parents=True)
    (folder / "app.html").write_text(APP)
    (folder / "embed.js").write_bytes(SOURCE)
    (folder / "embed.js.gz").write_bytes(gzip.compress(SOURCE))
    (folder / "assets" / "chunk-A1.js").write_bytes(SOURCE)
    (folder / "assets" / "font-A1.woff2").write_bytes(b"wOF2")
    (folder / "assets" / "font-A1.woff2.gz").write_bytes(gzip.compress(b"wOF2"))
    (folder / "assets" / "mark-A1.svg").write_text("<svg/>")
    (folder / "assets" / "words-A1.json").write_text("{}")
