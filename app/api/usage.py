"""The report of what turns used, for API keys, and the page that shows it."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from app.api.dependencies import ClientDep, ScopeDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.core.errors import ForbiddenError, NoStoreError
from app.models.usage import UsageReport

router = APIRouter(prefix="/usage", tags=["usage"], route_class=ApiRoute)
page_router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")


def _hash_of(element: str) -> str:
    """Return the hash by which the policy allows the page's only element of a kind."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


_POLICY = (
    f"default-src 'none'; script-src {_hash_of('script')}; style-src {_hash_of('style')}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get(
    "",
    summary="Report turns, users, tokens, cost, times, failures and feedback; for API keys only",
    response_model=UsageReport,
    responses=errors(403, 501, 503),
)
async def get_usage(
    client: ClientDep,
    scope: ScopeDep,
    days: Annotated[int, Query(ge=1, le=400, description="Days in UTC, the last one being today.")] = 30,
) -> Response:
    if scope.caller.kind != "api_key":
        raise ForbiddenError("Only an API key reads the report. Or run: python main.py report")
    if client.insight is None or not client.insight.is_used:
        raise NoStoreError("record of turns")
    return answer(scope, await client.insight.report(days))


@page_router.api_route("/usage", methods=["GET", "HEAD"])
async def read_page() -> Response:
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return HTMLResponse(_PAGE, headers=headers)
