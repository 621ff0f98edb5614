"""A page's own backend with FastAPI: it knows its user, holds the API key, and mints short-lived sessions.

Run it: SOLOIST_API_KEY=… uvicorn backend:app --port 3000
"""

import json
import os
from pathlib import Path
from typing import Annotated
from urllib.request import Request, urlopen

from fastapi import Cookie, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

SOLOIST_URL = os.environ.get("SOLOIST_URL", "http://127.0.0.1:8010")
PAGE_ORIGIN = os.environ.get("PAGE_ORIGIN", "http://127.0.0.1:3000")
app = FastAPI()


@app.post("/token")
def mint_session(user: Annotated[str | None, Cookie()] = None) -> dict[str, object]:
    """Answer `{client_secret, expires_at}` to whoever is signed in; put your login in the cookie's place."""
    if user is None:
        raise HTTPException(401, "Sign in first.")
    body = json.dumps({"user": user, "origins": [PAGE_ORIGIN]}).encode()
    headers = {"authorization": f"Bearer {os.environ['SOLOIST_API_KEY']}", "content-type": "application/json"}
    with urlopen(Request(f"{SOLOIST_URL}/api/v1/sessions", body, headers), timeout=10) as response:  # noqa: S310 - the operator's own address
        found: dict[str, object] = json.load(response)
        return found


@app.get("/")
def page() -> HTMLResponse:
    """Show the page, with a visitor signed in so that there is somebody to mint for."""
    html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    response = HTMLResponse(html.replace("SOLOIST_URL", SOLOIST_URL))
    response.set_cookie("user", "visitor", httponly=True, samesite="lax")
    return response
