"""A multipart form read while it arrives: fields are kept, files pass through piece by piece.

Nothing of a file is held beyond one network read, so that an upload of any size costs the same memory.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.core.errors import BadRequestError, ClientGoneError, TooLargeError
from app.utils.filenames import safe_filename

_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What a form may hold: bytes of one file and one field, and seconds of silence while it arrives."""

    file_bytes: int
    field_bytes: int
    idle_seconds: float


@dataclass(slots=True)
class _Event:
    kind: Literal["begin", "data", "end", "close"]
    data: bytes = b""


class IncomingFile:
    """A file part of the form; iterate over it to get its bytes."""

    def __init__(self, form: "FormReader", field: str, filename: str) -> None:
        self._form = form
        self.field = field
        self.filename = filename
        self.size = 0
        """Bytes that have arrived."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._form.next_piece(self):
            yield chunk


class FormReader:
    """Reads one `multipart/form-data` body as it comes; problems are `ServiceError`s for the sender."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes], limits: FormLimits) -> None:
        self._body = body
        self._limits = limits
        self._events: deque[_Event] = deque()
        self._header_name = self._header_value = b""
        self._disposition = b""
        self._file: IncomingFile | None = None
        self._is_whole = False
        self.fields: list[tuple[str, str]] = []
        """Plain fields that have arrived, in their order; a name may come more than once."""
        self._parser = self._new_parser(content_type)

    def field(self, name: str) -> str | None:
        """Return the last value of a field that has arrived."""
        return next((value for key, value in reversed(self.fields) if key == name), None)

    async def next_file(self) -> IncomingFile | None:
        """Read on to the next file, past the rest of the present one; None when the form is whole."""
        if (unread := self._file) is not None:
            while await self.next_piece(unread):
                continue
        while (event := await self._next_event()) is not None:
            if event.kind == "begin":
                file = self._file = await self._begin_part(event.data)
                if file is not None:
                    return file
        return None

    async def next_piece(self, file: IncomingFile) -> bytes:
        """Return more of the present file, nothing at its end."""
        while self._file is file:
            event = await self._needed_event()
            if event.kind != "data":
                self._file = None
                break
            file.size += len(event.data)
            if file.size > self._limits.file_bytes:
                raise TooLargeError(
                    f"The file is over the limit of {self._limits.file_bytes} bytes. Send a smaller one.",
                    param=file.field,
                    code="file_too_large",
                )
            if event.data:
                return event.data
        return b""

    async def _begin_part(self, disposition: bytes) -> IncomingFile | None:
        _, options = parse_options_header(disposition)
        name = _text(options.get(b"name", b""))
        if not name:
            raise _malformed("a part of the form has no name")
        filename = _filename(disposition, options)
        if filename is None:
            await self._read_field(name)
            return None
        try:
            return IncomingFile(self, name, safe_filename(filename))
        except ValueError as exc:
            raise BadRequestError(
                f"{str(exc).capitalize()}. Rename it.", param=name, code="invalid_filename"
            ) from exc

    async def _read_field(self, name: str) -> None:
        if len(self.fields) >= _MAX_FIELDS:
            raise BadRequestError(f"The form has more than {_MAX_FIELDS} fields.", param=name)
        value = bytearray()
        while (event := await self._needed_event()).kind == "data":
            value += event.data
            if len(value) > self._limits.field_bytes:
                raise TooLargeError(
                    f"The field is longer than {self._limits.field_bytes} bytes. Send it as a file.",
                    param=name,
                )
        self.fields.append((name, _text(bytes(value))))

    async def _needed_event(self) -> _Event:
        event = await self._next_event()
        if event is None:
            raise _malformed("a part of the form has no end")
        return event

    async def _next_event(self) -> _Event | None:
        while not self._events:
            if not await self._feed():
                return None
        return self._events.popleft()

    async def _feed(self) -> bool:
        """Parse one more read of the body; false when the form is whole: what follows it does not count."""
        if self._is_whole:
            return False
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                chunk = await anext(self._body, None)
            if chunk:
                self._parser.write(chunk)
        except TimeoutError:
            raise BadRequestError(
                "The upload stood still for too long. Send it again.", param="body", code="upload_stalled"
            ) from None
        except ClientDisconnect:
            raise ClientGoneError from None
        except FormParserError:
            raise _malformed("it does not follow its boundary") from None
        if chunk is None:
            raise BadRequestError(
                "The upload broke off before its end. Send it again.", param="body", code="upload_incomplete"
            )
        return True

    def _new_parser(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadRequestError(
                "Send multipart/form-data with a boundary.", param="content-type", code="invalid_multipart"
            )
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise _malformed("its boundary is too long") from None

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._events.append(_Event("begin", self._disposition))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(_Event("data", data[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(_Event("end"))

    def _on_end(self) -> None:
        self._is_whole = True
        self._events.append(_Event("close"))


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """Return the name a part gives its file, None for a plain field; browsers write a quote as %22."""
    if (plain := options.get(b"filename")) is not None:
        return _text(plain).replace("%22", '"')
    extended = _EXTENDED_NAME.search(disposition.decode("latin-1"))
    return unquote(extended.group(1)) if extended else None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed("its names and fields must be UTF-8") from None


def _malformed(why: str) -> BadRequestError:
    return BadRequestError(f"The form cannot be read: {why}.", param="body", code="invalid_multipart")
