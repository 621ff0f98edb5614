"""Pictures that are read out of conversation items: their bytes are never kept."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from app.core.caller import RequestScope
from app.core.errors import not_found
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamMissingError, UpstreamRefusedError
from app.translate.events import Json
from app.translate.pictures import CODE_OUTPUTS, picture_bytes
from app.utils.filenames import download_headers
from app.utils.ids import created_at_of


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """A picture with the name that it has as a file."""

    name: str
    data: bytes
    created_at: int

    def file_object(self, file_id: str) -> Json:
        """Return the public File."""
        return {
            "id": file_id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.name,
            "purpose": "assistants_output",
            "status": "processed",
            "status_details": None,
        }


class HeldBytes:
    """The body of a download that is in memory already."""

    def __init__(self, picture: FoundPicture) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {
            "content-length": str(len(picture.data)),
            **download_headers(picture.name),
        }
        self._data = picture.data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Reads pictures by file id."""

    conversations: Conversations

    async def find(self, scope: RequestScope, file_id: str) -> FoundPicture | None:
        """Return the picture that a file id names, None if it names another file; raises 404.

        Upstream: GET conversations/{c}/items/{i}.
        """
        place = scope.picture(file_id)
        if place is None:
            return None
        conversation_id, item_id, number = place
        try:
            item = await self.conversations.get_item(conversation_id, item_id, include=CODE_OUTPUTS)
        except (UpstreamMissingError, UpstreamRefusedError) as exc:
            raise not_found("file") from exc
        found = picture_bytes(item, number)
        if found is None:
            raise not_found("file")
        data, extension = found
        return FoundPicture(f"{item_id}-{number}{extension}", data, created_at_of(item_id) or 0)
