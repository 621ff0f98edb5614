"""Feedback."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.models.common import RequestModel, example

MAX_COMMENT_CHARS = 2_000


class FeedbackCreate(RequestModel):
    """What a user says of an answer; a second one of the same answer replaces the first."""

    model_config = example(thread_id="thread_1", run_id="run_1", value="down", comment="The date is wrong.")
    thread_id: str
    message_id: str | None = Field(None, description="The answer; or send `run_id`.")
    run_id: str | None = Field(None, description="The run that answered; or send `message_id`.")
    value: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARS)] | None = None


class FeedbackRead(BaseModel):
    """Feedback as it is stored."""

    object: Literal["feedback"]
    thread_id: str
    message_id: str | None
    run_id: str | None = Field(description="The run that answered, where that is known.")
    value: Literal["up", "down"]
    comment: str | None
    created_at: int
