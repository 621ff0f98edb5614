"""Users of API keys: the erasure of all that one has left."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.dependencies import AuthenticatorDep, ClientDep, ScopeDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.core.errors import ForbiddenError
from app.core.security.credentials import checked_user
from app.models.threads import UserDeleted

router = APIRouter(prefix="/users", tags=["users"], route_class=ApiRoute)


@router.delete(
    "/{user:path}",
    summary="Delete a user's threads with their files; for API keys only",
    response_model=UserDeleted,
    responses=errors(403, 501, 502, 503, 504),
)
async def delete_user(
    user: str, client: ClientDep, scope: ScopeDep, authenticator: AuthenticatorDep
) -> Response:
    if scope.caller.kind != "api_key":
        raise ForbiddenError("Only an API key erases its users. Call this from your backend.")
    erased = authenticator.scope_of(authenticator.acting_for(scope.caller, checked_user(user, "user")))
    threads = await client.users.delete(erased)
    return answer(scope, {"id": user, "object": "user.deleted", "deleted": True, "threads": threads})
