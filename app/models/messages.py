"""Messages of a thread."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from app.models.common import Metadata, PageModel, RequestModel, Text, example


class TextPart(BaseModel):
    """A piece of text."""

    type: Literal["text"]
    text: str = Field(min_length=1)


class ImageFile(BaseModel):
    """An uploaded image."""

    file_id: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImageFilePart(BaseModel):
    """An uploaded image as content."""

    type: Literal["image_file"]
    image_file: ImageFile


class ImageUrl(BaseModel):
    """An image on the web, or a data URL."""

    url: str = Field(pattern=r"^(https?://|data:image/)")
    detail: Literal["auto", "low", "high"] = "auto"


class ImageUrlPart(BaseModel):
    """An image address as content."""

    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImageFilePart | ImageUrlPart, Field(discriminator="type")]


def _check_parts(parts: list[ContentPart]) -> list[ContentPart]:
    if all(isinstance(part, TextPart) and part.text.isspace() for part in parts):
        raise ValueError("it holds nothing but blanks; send text")
    return parts


Content = (
    Text | Annotated[list[ContentPart], Field(min_length=1, max_length=100), AfterValidator(_check_parts)]
)


class AttachmentTool(RequestModel):
    """Which tool gets the attached file."""

    type: Literal["file_search", "code_interpreter"]


class Attachment(RequestModel):
    """A file that belongs to a message."""

    file_id: str = Field(min_length=1)
    tools: list[AttachmentTool] = Field(default_factory=list)


class MessageCreate(RequestModel):
    """A message to add to a thread."""

    model_config = example(role="user", content="Hello")
    role: Literal["user", "assistant"]
    content: Content
    attachments: list[Attachment] | None = Field(None, max_length=20)
    file_ids: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        max_length=20,
        description="Attachments of version 1 of the Assistants API: for file_search if the assistant has "
        "it, else for code_interpreter.",
    )
    metadata: Metadata | None = None


class MetadataUpdate(RequestModel):
    """New metadata; it replaces the old."""

    metadata: Metadata | None = None


class Message(BaseModel):
    """A message as the Assistants API showed it."""

    id: str
    object: Literal["thread.message"]
    created_at: int
    thread_id: str
    role: Literal["user", "assistant"]
    status: Literal["in_progress", "incomplete", "completed"]
    content: list[dict[str, Any]]
    assistant_id: str | None
    run_id: str | None
    attachments: list[dict[str, Any]]
    metadata: dict[str, str]
    completed_at: int | None
    incomplete_at: int | None
    incomplete_details: dict[str, Any] | None


class MessagePage(PageModel[Message]):
    """A page of messages."""
