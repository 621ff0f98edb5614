"""Uploads: a form's file is sent upstream while it arrives."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from app.core.config import MAX_CHAR_BYTES, Settings
from app.core.errors import BadRequestError, ServiceError, TooLargeError
from app.core.files.multipart_reader import FormLimits, FormReader, IncomingFile
from app.core.upstream.errors import UpstreamError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.upstream_types import checked_file
from app.utils.filenames import extension_of, media_type_of

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_EXPIRY_ANCHOR = "expires_after[anchor]"
_EXPIRY_SECONDS = "expires_after[seconds]"
_MIN_EXPIRY_SECONDS, _MAX_EXPIRY_SECONDS = 3_600, 2_592_000
MAX_INLINE_BYTES = 10 * 1024 * 1024
"""How much the files of one message may have together where they are sent inside it."""

_FILE_FIELD = "file"
_FIELDS = {"purpose", _EXPIRY_ANCHOR, _EXPIRY_SECONDS}
_LEAST_FIELD_BYTES = 64 * 1024


@dataclass(slots=True)
class _Upload:
    """One file in transfer; `first` are its first bytes, `fields` those of the upstream's form."""

    form: FormReader
    file: IncomingFile
    first: bytes
    fields: dict[str, str] = field(default_factory=dict)


class Uploads:
    """Sends files upstream as they arrive, and returns the upstream's file objects.

    The upstream's form ends only after the client's form has ended, so that an upload that breaks off or
    turns out to be wrong leaves nothing behind.
    """

    def __init__(self, upstream: Upstream, settings: Settings) -> None:
        self._upstream = upstream
        self._extensions = frozenset(
            "." + name.lower().lstrip(".") for name in settings.allowed_upload_types if name != "*"
        )
        self._allows_all = "*" in settings.allowed_upload_types
        self.limits = FormLimits(
            file_bytes=settings.max_upload_bytes,
            # A field may hold a message as JSON.
            field_bytes=max(_LEAST_FIELD_BYTES, MAX_CHAR_BYTES * settings.max_message_chars),
            idle_seconds=settings.openai_timeout_seconds,
        )

    async def only(self, form: FormReader, heed: Callable[[list[str]], None]) -> Json:
        """Upload the only file of a form that has the upstream's fields; `heed` is told of unknown ones.

        Upstream: POST files.
        """
        file = await form.next_file()
        if file is None or file.field != _FILE_FIELD:
            raise BadRequestError(
                "Missing required parameter: 'file'. Send it as a form part with a filename.",
                param=_FILE_FIELD,
                code="missing_required_parameter",
            )
        upload = await self._begun(form, file)
        _take_fields(upload, is_last=False)
        return await self._sent(upload, self._rest_of_form(upload, heed))

    async def add(self, form: FormReader, file: IncomingFile, purpose: str) -> Json:
        """Upload the present file of a form with several. Upstream: POST files."""
        upload = await self._begun(form, file)
        upload.fields["purpose"] = purpose
        return await self._sent(upload, self._rest_of_file(upload))

    async def held(self, form: FormReader, file: IncomingFile, room: int) -> bytes:
        """Return the present file of a form, for an upstream that has no place for it.

        Raises `TooLargeError` for more than `room` bytes.
        """
        upload = await self._begun(form, file)
        found = bytearray()
        async for chunk in self._rest_of_file(upload):
            found += chunk
            if len(found) > room:
                raise TooLargeError(
                    f"The assistant's upstream takes no uploads, so the files of a message may have "
                    f"{MAX_INLINE_BYTES} bytes together. Send smaller or fewer files.",
                    param=file.field,
                    code="file_too_large",
                )
        return bytes(found)

    async def _begun(self, form: FormReader, file: IncomingFile) -> _Upload:
        """Check the file's type and wait for its first bytes, before anything is opened upstream."""
        if not self._allows_all and extension_of(file.filename) not in self._extensions:
            raise BadRequestError(
                f"Files of this type are not taken. Allowed: {', '.join(sorted(self._extensions))}.",
                param=file.field,
                code="file_type_not_allowed",
            )
        first = await form.next_piece(file)
        if not first:
            raise BadRequestError(
                "The file is empty. Send one with content.", param=file.field, code="empty_file"
            )
        return _Upload(form, file, first)

    async def _sent(self, upload: _Upload, chunks: AsyncIterator[bytes]) -> Json:
        failures: list[ServiceError] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    yield chunk
            except ServiceError as exc:
                # Transports report only that the upload broke off, and not why.
                failures.append(exc)
                raise

        try:
            body = await self._upstream.upload(
                "/files",
                fields=upload.fields,
                filename=upload.file.filename,
                content_type=media_type_of(upload.file.filename),
                chunks=watched(),
            )
        except UpstreamError as exc:
            if failures:
                raise failures[0] from exc
            raise
        return parsed(body, checked_file)

    async def _rest_of_file(self, upload: _Upload) -> AsyncIterator[bytes]:
        yield upload.first
        while chunk := await upload.form.next_piece(upload.file):
            yield chunk

    async def _rest_of_form(self, upload: _Upload, heed: Callable[[list[str]], None]) -> AsyncIterator[bytes]:
        """Yield the file, then check that the form ends after it and has all fields."""
        async for chunk in self._rest_of_file(upload):
            yield chunk
        if await upload.form.next_file() is not None:
            raise BadRequestError("Send one file a request.", param=_FILE_FIELD, code="too_many_files")
        _take_fields(upload, is_last=True)
        if unknown := {name for name, _ in upload.form.fields} - _FIELDS:
            heed(sorted(unknown))


def _take_fields(upload: _Upload, *, is_last: bool) -> None:
    """Check the fields that have arrived and pass them on; with `is_last`, all must be there."""
    form = upload.form
    purpose = form.field("purpose")
    if purpose is None and is_last:
        raise BadRequestError(
            f"Missing required parameter: 'purpose', one of {', '.join(PURPOSES)}.",
            param="purpose",
            code="missing_required_parameter",
        )
    if purpose is not None:
        if purpose not in PURPOSES:
            raise BadRequestError(f"Invalid 'purpose'. Use one of {', '.join(PURPOSES)}.", param="purpose")
        upload.fields["purpose"] = purpose
    seconds, anchor = form.field(_EXPIRY_SECONDS), form.field(_EXPIRY_ANCHOR)
    if seconds is None or anchor is None:
        if is_last and seconds != anchor:
            raise BadRequestError("Send 'anchor' and 'seconds' of 'expires_after'.", param="expires_after")
        return
    if anchor != "created_at":
        raise BadRequestError("Invalid 'expires_after[anchor]'. Use created_at.", param=_EXPIRY_ANCHOR)
    is_number = seconds.isascii() and seconds.isdecimal() and len(seconds) <= 9
    if not (is_number and _MIN_EXPIRY_SECONDS <= int(seconds) <= _MAX_EXPIRY_SECONDS):
        raise BadRequestError(
            f"Invalid 'expires_after[seconds]'. Use {_MIN_EXPIRY_SECONDS} to {_MAX_EXPIRY_SECONDS}.",
            param=_EXPIRY_SECONDS,
        )
    upload.fields |= {_EXPIRY_ANCHOR: anchor, _EXPIRY_SECONDS: seconds}
