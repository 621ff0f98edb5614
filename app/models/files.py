"""Files and the assistant's vector store."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.models.common import PageModel, RequestModel


class File(BaseModel):
    """A file as OpenAI's Files API shows it."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str
    status_details: str | None


class FilePage(PageModel[File]):
    """A page of files."""


class VectorStore(BaseModel):
    """A vector store as OpenAI's API shows it."""

    id: str
    object: Literal["vector_store"]
    created_at: int
    name: str
    status: str
    file_counts: dict[str, int]
    usage_bytes: int
    last_active_at: int | None
    expires_after: dict[str, Any] | None
    expires_at: int | None
    metadata: dict[str, Any]


class StoreFileCreate(RequestModel):
    """An uploaded file to put into a vector store."""

    file_id: str = Field(min_length=1)
    attributes: dict[str, str | float | bool] | None = Field(None, max_length=16)
    chunking_strategy: dict[str, Any] | None = None


class StoreFile(BaseModel):
    """A file in a vector store."""

    id: str
    object: Literal["vector_store.file"]
    created_at: int
    vector_store_id: str
    status: str
    usage_bytes: int
    last_error: dict[str, Any] | None
    attributes: dict[str, Any]
    chunking_strategy: dict[str, Any] | None


class StoreFilePage(PageModel[StoreFile]):
    """A page of files in a vector store."""
