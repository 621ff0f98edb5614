"""Browser sessions: a backend mints tokens for its users' pages."""

import time

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.dependencies import AuthenticatorDep, ScopeDep, SettingsDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.core.config import Settings
from app.core.errors import BadRequestError, ForbiddenError
from app.core.security.credentials import checked_user
from app.core.security.sessions import Session
from app.models.sessions import SessionCreate, SessionRead

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=ApiRoute)


@router.post(
    "",
    summary="Mint a token that a browser may hold; for API keys only",
    response_model=SessionRead,
    responses=errors(404),
)
async def create_session(
    body: SessionCreate, scope: ScopeDep, authenticator: AuthenticatorDep, settings: SettingsDep
) -> Response:
    if scope.caller.kind != "api_key":
        raise ForbiddenError(
            "Only an API key mints sessions. Call this from your backend (AUTH_MODE=api_key)."
        )
    user = checked_user(body.user, "user")
    if body.thread_id is not None:
        # The session's user must be able to open the thread; this raises a 404 otherwise.
        authenticator.scope_of(authenticator.acting_for(scope.caller, user)).conversation(body.thread_id)
    session = Session(
        key_name=scope.caller.key_name or "",
        user=user,
        expires_at=int(time.time()) + _life(body, settings),
        origins=tuple(body.origins or ()),
        thread_id=body.thread_id,
        chat_limit=body.rate_limit,
        budget_tokens=body.budget_tokens,
        claims=body.claims or {},
    )
    token = authenticator.sessions.mint(session)
    return answer(scope, {"client_secret": token, "expires_at": session.expires_at})


def _life(body: SessionCreate, settings: Settings) -> int:
    if body.ttl_seconds is None:
        return settings.session_ttl_seconds
    if body.ttl_seconds > settings.session_max_ttl_seconds:
        raise BadRequestError(
            f"'ttl_seconds' is above the {settings.session_max_ttl_seconds} that this service allows.",
            param="ttl_seconds",
        )
    return body.ttl_seconds
