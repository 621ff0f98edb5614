"""What users say of answers."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.dependencies import ClientDep, ScopeDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.models.feedback import FeedbackCreate, FeedbackRead

router = APIRouter(prefix="/feedback", tags=["feedback"], route_class=ApiRoute)


@router.post(
    "",
    summary="Rate an answer, up or down",
    response_model=FeedbackRead,
    responses=errors(404, 501, 502, 503, 504),
)
async def give_feedback(body: FeedbackCreate, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.feedback.give(scope, body))
