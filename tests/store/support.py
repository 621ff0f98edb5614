"""What the tests of the store share."""

from typing import Any

import httpx2
from sqlalchemy import create_engine, make_url, text


def rows_of(store_url: str, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run a query on the store beside the service."""
    url = make_url(store_url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]
    finally:
        engine.dispose()


async def chat(client: httpx2.AsyncClient, message: str, **body: Any) -> dict[str, Any]:
    """Chat and return the answer."""
    response = await client.post("chat", json={"message": message, **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found
