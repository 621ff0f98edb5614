"""Threads."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.models.common import Metadata, PageModel, RequestModel, Text, example
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
    title: Annotated[Text, Field(max_length=200)] | None = Field(
        None, description="The thread's title in the list of threads, on one line."
    )
    tool_resources: dict[str, Any] | None = None


class Thread(BaseModel):
    """A thread as the Assistants API showed it."""

    id: str
    object: Literal["thread"]
    created_at: int
    metadata: dict[str, str]
    tool_resources: dict[str, Any]


class ListedThread(BaseModel):
    """A thread in the list of a caller's threads."""

    id: str
    object: Literal["thread"]
    created_at: int
    updated_at: int = Field(description="When something was last said, in unix seconds.")
    title: str | None = Field(description="The first question, shortened, or what was set.")
    metadata: dict[str, str]


class ThreadPage(PageModel[ListedThread]):
    """A page of a caller's threads."""


class UserDeleted(BaseModel):
    """The answer to the erasure of a user."""

    id: str
    object: Literal["user.deleted"]
    deleted: Literal[True]
    threads: int = Field(description="Threads that were deleted.")
