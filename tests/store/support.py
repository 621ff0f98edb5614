"""What the tests of the store share."""

import asyncio
from typing import Any

import httpx2
from sqlalchemy import create_engine, make_url, text

from tests.support import Json

Headers = dict[str, str] | None


def rows_of(store_url: str, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the store beside the service."""
    url = make_url(store_url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(query), values)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


async def change(store_url: str, statement: str, **values: Any) -> None:
    """Change the store beside the service, which may have to end a transaction first."""
    await asyncio.to_thread(rows_of, store_url, statement, **values)


async def chat(client: httpx2.AsyncClient, message: str, headers: Headers = None, **body: Any) -> Json:
    """Chat and return the answer."""
    response = await client.post("chat", json={"message": message, **body}, headers=headers)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def listed(client: httpx2.AsyncClient, headers: Headers = None, **query: Any) -> Json:
    """Return a page of the caller's threads."""
    response = await client.get("threads", params=query, headers=headers)
    assert response.status_code == 200, response.text
    page: Json = response.json()
    return page


async def titles(client: httpx2.AsyncClient, headers: Headers = None, **query: Any) -> list[str | None]:
    """Return the titles of a page of the caller's threads."""
    return [thread["title"] for thread in (await listed(client, headers, **query))["data"]]
