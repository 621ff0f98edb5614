"""Threads."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.models.common import Metadata, RequestModel, example
from app.models.messages import MessageCreate


class ThreadCreate(RequestModel):
    """A new thread; every field may be absent."""

    model_config = example(metadata={"topic": "billing"})
    messages: list[MessageCreate] = Field(default_factory=list, max_length=1_000)
    metadata: Metadata | None = None
    tool_resources: dict[str, Any] | None = None


class ThreadUpdate(RequestModel):
    """Changes to a thread; metadata replaces the old."""

    metadata: Metadata | None = None
    tool_resources: dict[str, Any] | None = None


class Thread(BaseModel):
    """A thread as the Assistants API showed it."""

    id: str
    object: Literal["thread"]
    created_at: int
    metadata: dict[str, str]
    tool_resources: dict[str, Any]
