"""A reader of multipart forms while they arrive: it keeps fields, and hands files on piece by piece.

It holds no more of a file than one network read, so that uploads of any size take the same memory.
"""

import asyncio
import re
from binascii import a2b_base64, a2b_qp
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.core.errors import BadRequestError, ClientGoneError, TooLargeError
from app.utils.charsets import decoded
from app.utils.filenames import safe_filename

# RFC 5987: filename*=utf-8'en'na%C3%AFve.txt
_EXTENDED_NAME = re.compile(r"""filename\*\s*=\s*"?([\w.-]+)'[^']*'([^;\s"]+)""", re.IGNORECASE)
# RFC 2047: =?utf-8?B?bmHDr3ZlLnR4dA==?=, several of them with blanks between.
_ENCODED_WORD = re.compile(r"=\?([\w.-]+)(?:\*[\w-]*)?\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)
_ENCODED_NAME = re.compile(rf"(?:{_ENCODED_WORD.pattern}\s*)+\Z", re.IGNORECASE)
_MAX_FIELDS = 64
_Event = tuple[Literal["begin", "data", "end"], bytes]


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits: bytes of one file, bytes of one field, and seconds of silence while the form arrives."""

    file_bytes: int
    field_bytes: int
    idle_seconds: float


@dataclass(slots=True)
class IncomingFile:
    """A file part of the form; `size` are the bytes that have arrived."""

    field: str
    filename: str
    size: int = 0


class FormReader:
    """Reads one `multipart/form-data` body; raises `ServiceError` for what is wrong with it."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes], limits: FormLimits) -> None:
        self._body = body
        self._limits = limits
        self._events: deque[_Event] = deque()
        self._header_name = self._header_value = self._disposition = b""
        self._file: IncomingFile | None = None
        self._is_whole = False
        self._count = 0
        # Those that hold something. A list, because a name may come more than once.
        self.fields: list[tuple[str, str]] = []
        self._parser = self._new_parser(content_type)

    def field(self, name: str) -> str | None:
        """Return the last value of a field, among those that have arrived."""
        return next((value for key, value in reversed(self.fields) if key == name), None)

    async def next_file(self) -> IncomingFile | None:
        """Return the next file, skipping the rest of the present one, or None at the form's end."""
        if (unread := self._file) is not None:
            while await self.next_piece(unread):
                continue
        while (event := await self._next_event()) is not None:
            kind, data = event
            if kind == "begin":
                file = self._file = await self._begin_part(data)
                if file is not None:
                    return file
        return None

    async def next_piece(self, file: IncomingFile) -> bytes:
        """Return the next bytes of the present file, empty at its end."""
        while self._file is file:
            kind, data = await self._needed_event()
            if kind != "data":
                self._file = None
                break
            file.size += len(data)
            if file.size > self._limits.file_bytes:
                raise TooLargeError(
                    f"The file is over the limit of {self._limits.file_bytes} bytes. Send a smaller one.",
                    param=file.field,
                    code="file_too_large",
                )
            if data:
                return data
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
        # Browsers send such a part for a file field in which nothing was chosen.
        if not filename and not await self._has_content():
            return None
        try:
            return IncomingFile(name, safe_filename(filename))
        except ValueError as exc:
            raise BadRequestError(
                f"{str(exc).capitalize()}. Rename it.", param=name, code="invalid_filename"
            ) from exc

    async def _has_content(self) -> bool:
        """Return whether the part that has begun holds any bytes; without any, it is read to its end."""
        while (event := await self._needed_event())[0] == "data":
            if event[1]:
                self._events.appendleft(event)
                return True
        return False

    async def _read_field(self, name: str) -> None:
        self._count += 1
        if self._count > _MAX_FIELDS:
            raise BadRequestError(f"The form has more than {_MAX_FIELDS} fields.", param=name)
        value = bytearray()
        while (event := await self._needed_event())[0] == "data":
            value += event[1]
            if len(value) > self._limits.field_bytes:
                raise TooLargeError(
                    f"The field is longer than {self._limits.field_bytes} bytes. Send it as a file.",
                    param=name,
                )
        # Browsers send the fields that nobody filled in too.
        if value:
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
        """Parse one more read of the body; return False at the form's end, what follows is not read."""
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
            raise _malformed("it does not follow its boundary, or it is packed (content-encoding)") from None
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
        add = self._events.append
        try:
            return MultipartParser(
                boundary,
                {
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": lambda data, start, end: add(("data", data[start:end])),
                    "on_part_end": lambda: add(("end", b"")),
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise _malformed("its boundary is too long") from None

    # The parser hands over names and values in pieces, as they arrive.
    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._events.append(("begin", self._disposition))
        self._disposition = b""

    def _on_end(self) -> None:
        self._is_whole = True


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """Return the file's name in a part's headers, or None for a plain field."""
    extended = _EXTENDED_NAME.search(disposition.decode("latin-1"))
    if extended and (name := decoded(unquote_to_bytes(extended[2]), extended[1])) is not None:
        return name
    if (plain := options.get(b"filename")) is None:
        return None
    name = _text(plain)
    if _ENCODED_NAME.match(name):
        return _decoded_words(name)
    # Browsers write a quote as %22.
    return name.replace("%22", '"')


def _decoded_words(name: str) -> str:
    """Return a name of encoded words as text, or as it is if one of them cannot be read."""
    words = _ENCODED_WORD.findall(name)
    try:
        # A character may be cut by the end of a word; encoders write a whole name in one charset.
        raw = b"".join(
            a2b_base64(word) if kind in "bB" else a2b_qp(word.encode(), header=True)
            for _, kind, word in words
        )
    except ValueError:
        return name
    found = decoded(raw, words[0][0])
    return name if found is None else found


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed("its names and fields must be UTF-8") from None


def _malformed(why: str) -> BadRequestError:
    return BadRequestError(f"The form cannot be read: {why}.", param="body", code="invalid_multipart")
