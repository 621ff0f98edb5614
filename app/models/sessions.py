"""Browser sessions."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from app.models.common import RateLimit
from app.utils.hosts import browser_origin

# Lets secret scanners find leaked tokens.
SESSION_PREFIX = "ss_"
# They travel in the token, with every request.
MAX_CLAIMS_CHARS = 1_000
Origin = Annotated[str, AfterValidator(browser_origin), Field(max_length=200)]


class SessionCreate(BaseModel):
    """A session's user, life and restrictions; unknown fields are refused, as they would restrict nothing."""

    model_config = ConfigDict(extra="forbid")

    user: str = Field(description="Your name for the user; 1 to 256 characters.", examples=["user-17"])
    ttl_seconds: int | None = Field(
        None,
        ge=10,
        description="Life of the token; default SESSION_TTL_SECONDS, at most SESSION_MAX_TTL_SECONDS.",
    )
    origins: list[Origin] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="The only pages that may use the token; they may frame the chat (`/embed`) too.",
        examples=[["https://example.com"]],
    )
    thread_id: str | None = Field(None, description="The only thread that the token opens; it is the user's.")
    rate_limit: RateLimit | None = Field(
        None,
        description="In place of RATE_LIMIT_CHAT, counted for this session alone.",
        examples=["30/minute"],
    )
    budget_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens that this user's sessions with a budget may take in a day.",
        examples=[20_000],
    )
    claims: dict[Annotated[str, Field(max_length=64)], str | int | float | bool | None] | None = Field(
        None,
        max_length=20,
        description="What the assistant's own tools are told of the user, such as a tenant; never the model.",
        examples=[{"tenant": "north"}],
    )

    @field_validator("claims")
    @classmethod
    def _short(cls, claims: dict[str, Any] | None) -> dict[str, Any] | None:
        if claims and len(json.dumps(claims)) > MAX_CLAIMS_CHARS:
            raise ValueError(f"is longer than {MAX_CLAIMS_CHARS} characters as JSON; shorten it")
        return claims


class SessionRead(BaseModel):
    """A token for a page."""

    client_secret: str = Field(description="What the page sends as `Authorization: Bearer …`.")
    expires_at: int = Field(description="End of its life, in unix seconds.")
