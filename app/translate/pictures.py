"""Pictures that the assistant made: outputs of code interpreter and results of image generation.

The upstream sends them inside its items, as base64. Clients get a file id that names the item.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.translate.events import Json
from app.utils.filenames import is_image
from app.utils.ids import IdCodec

CODE_OUTPUTS = "code_interpreter_call.outputs"
"""What `include` has to name, so that items have the outputs of code interpreter."""

_MAX_BASE64_CHARS = 40 * 1024 * 1024
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_FORMATS = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in an item. `is_drawn` tells that code drew it, so that the answer may cite its file, too."""

    file_id: str
    is_drawn: bool


@dataclass(slots=True)
class PictureTrail:
    """Gathers the pictures between messages while the items of a thread are read."""

    is_ascending: bool
    _pictures: list[Picture] = field(default_factory=list)

    def note(self, made: list[Picture]) -> None:
        """Add the pictures of the next item."""
        at = len(self._pictures) if self.is_ascending else 0
        self._pictures[at:at] = made

    def before_message(self) -> list[Picture]:
        """Return the pictures before the next item, a message; newest first, they are still to come."""
        own = self._pictures if self.is_ascending else []
        self._pictures = [] if self.is_ascending else own
        return own


def pictures_in(item: Json, conversation_id: str, ids: IdCodec) -> list[Picture]:
    """Return the pictures in an item, without those that no file id can name."""
    is_drawn = item.get("type") == "code_interpreter_call"
    count = len(item.get("outputs") or []) if is_drawn else 1
    numbers = (number for number in range(count) if _base64_in(item, number))
    found = (ids.picture(conversation_id, str(item.get("id")), number) for number in numbers)
    return [Picture(file_id, is_drawn) for file_id in found if file_id]


def picture_parts(message: Json, before: Iterable[Picture], ids: IdCodec) -> list[Json]:
    """Return the content parts for the pictures made before an answer, and those whose files it cites."""
    cited = list(dict.fromkeys(_cited_pictures(message, ids)))
    # Cited are the same pictures that the code drew.
    made = [picture.file_id for picture in before if not (picture.is_drawn and cited)]
    return [image_part(file_id) for file_id in [*made, *cited]]


def image_part(file_id: str) -> Json:
    """Return the content part that shows a file."""
    return {"type": "image_file", "image_file": {"file_id": file_id, "detail": "auto"}}


def code_outputs(item: Json, conversation_id: str, ids: IdCodec) -> list[Json]:
    """Return the outputs of a code interpreter call in the Assistants form, in their order."""
    outputs: list[Json] = []
    for number, output in enumerate(item.get("outputs") or []):
        if output.get("type") == "logs":
            outputs.append({"type": "logs", "logs": str(output.get("logs") or "")})
        elif _base64_in(item, number) and (
            file_id := ids.picture(conversation_id, str(item.get("id")), number)
        ):
            outputs.append({"type": "image", "image": {"file_id": file_id}})
    return outputs


def picture_bytes(item: Json, number: int) -> tuple[bytes, str] | None:
    """Return a picture of an item and the extension of its format; None unless it is one for browsers."""
    found = _base64_in(item, number)
    if not found or len(found[0]) > _MAX_BASE64_CHARS:
        return None
    text, start = found
    try:
        data = base64.b64decode(text[start:], validate=True)
    except (binascii.Error, ValueError):
        return None
    extension = ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
    extension = extension or next((found for start, found in _FORMATS if data.startswith(start)), None)
    return (data, extension) if extension else None


def _base64_in(item: Json, number: int) -> tuple[str, int] | None:
    """Return the text that holds a picture and where its base64 begins; URLs are never followed."""
    if item.get("type") == "image_generation_call":
        result = item.get("result")
        return (result, 0) if number == 0 and result and isinstance(result, str) else None
    outputs: Sequence[Json] = item.get("outputs") or []
    if item.get("type") != "code_interpreter_call" or number >= len(outputs):
        return None
    url = outputs[number].get("url")
    if outputs[number].get("type") != "image" or not isinstance(url, str):
        return None
    head = _DATA_URL.match(url)
    return (url, head.end()) if head else None


def _cited_pictures(message: Json, ids: IdCodec) -> Iterable[str]:
    for part in message.get("content") or []:
        for cited in part.get("annotations") or []:
            is_made = cited.get("type") == "container_file_citation" and cited.get("container_id")
            if is_made and is_image(str(cited.get("filename") or "")):
                yield ids.file(str(cited.get("file_id") or ""), str(cited["container_id"]))
