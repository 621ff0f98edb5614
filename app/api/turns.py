"""What a request that starts a run works with, as one dependency."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.api.dependencies import ScopeDep
from app.api.idempotency import Once, OnceDep
from app.api.open_streams import StreamRegistry
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.openai_client import OpenAIClient


@dataclass(slots=True)
class Turn:
    """One turn of the assistant: who asks for it, once or again, and all that carries it out."""

    request: Request
    client: OpenAIClient
    scope: RequestScope
    registry: StreamRegistry
    settings: Settings
    once: Once


async def current_turn(request: Request, scope: ScopeDep, once: OnceDep) -> Turn:
    """Return the turn that a request asks for."""
    state = request.scope["state"]
    return Turn(request, state["client"], scope, state["registry"], state["settings"], once)


TurnDep = Annotated[Turn, Depends(current_turn)]
