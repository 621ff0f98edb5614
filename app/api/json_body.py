"""JSON bodies that come otherwise than as UTF-8 under `application/json`: packed, encoded, wrongly named."""

import json
import re
import zlib

import orjson
from fastapi import Request
from starlette.datastructures import Headers
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.api.dependencies import is_json_type
from app.core.errors import BadRequestError, ClientGoneError, body_too_large
from app.utils.charsets import decoded

_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_KIND = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}\Z")
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_FORMAT, _RAW = 47, -15  # zlib's names for "gzip or zlib, as its head says" and "without a head"
_CM_DEFLATE = 8
# Browsers send the one or the other with every request that a page makes.
_OWN_SITES = frozenset({"same-origin", "none"})
_REPLACED = frozenset({b"content-type", b"content-encoding", b"content-length"})


async def readable(request: Request) -> Request:
    """Return the request with its body as UTF-8 and with `application/json` as its type.

    A body that is both, or none at all, is left as it is. Other types are read as JSON too, unless the
    request may come from a page of another site: browsers send those without asking the service first. Raises
    `BadRequestError`, `ClientGoneError`, and `TooLargeError` for a packed body over the limit of its route.
    """
    try:
        sent = await request.body()
    except ClientDisconnect as exc:
        raise ClientGoneError from exc
    if not sent:
        return request
    kind = request.headers.get("content-type", "")
    is_named = is_json_type(kind)
    if not is_named and _is_from_page(request.headers):
        raise _wrong_type(kind, "Pages in browsers have to name JSON")
    unpacked = _unpacked(sent, request)
    text = _as_utf8(unpacked, kind)
    if not is_named and not _is_json(text):
        raise _wrong_type(kind, "This body is no JSON")
    return request if is_named and text is sent else _with_body(request, text)


def _is_from_page(headers: Headers) -> bool:
    return "origin" in headers or headers.get("sec-fetch-site", "none") not in _OWN_SITES


def _unpacked(sent: bytes, request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return sent
    if encoding not in _ENCODINGS:
        raise BadRequestError(
            "Bodies are taken with the content-encoding gzip, deflate, or without one.",
            param="content-encoding",
            code="unsupported_encoding",
        )
    limit: int = request.scope[MAX_BODY_SIZE_SCOPE_KEY]
    # Some clients send "deflate" without the head that belongs to it.
    is_raw = encoding == "deflate" and sent[0] & 0x0F != _CM_DEFLATE
    unpacker = zlib.decompressobj(_RAW if is_raw else _ANY_FORMAT)
    try:
        found = unpacker.decompress(sent, limit + 1)
    except zlib.error:
        found = b""
    if len(found) > limit:
        raise body_too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequestError(
            f"The body is not what the header 'content-encoding: {encoding}' says.",
            param="content-encoding",
            code="invalid_encoding",
        )
    return found


def _as_utf8(raw: bytes, kind: str) -> bytes:
    """Return JSON text as UTF-8 without a byte order mark: the same object if it is that already."""
    if not raw:
        return raw
    found = json.detect_encoding(raw)
    try:
        text = raw.decode(found)
    except UnicodeDecodeError:
        named = _CHARSET.search(kind)
        other = decoded(raw, named[1]) if named else None
        if other is None:
            raise BadRequestError(
                "The body is not UTF-8. Send UTF-8, or name the encoding, as in 'content-type: "
                "application/json; charset=iso-8859-1' (PowerShell 5: -ContentType "
                "'application/json; charset=utf-8').",
                param="body",
                code="invalid_encoding",
            ) from None
        return other.encode()
    return raw if found == "utf-8" else text.encode()


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _wrong_type(kind: str, why: str) -> BadRequestError:
    named = kind.partition(";")[0].strip()
    came = f"It came as '{named}'." if _KIND.match(named) else "It came without one."
    return BadRequestError(
        f"{why}: send JSON with the header 'content-type: application/json'. {came}",
        param="content-type",
        code="invalid_content_type",
    )


def _with_body(request: Request, body: bytes) -> Request:
    """Return the request with another body; its scope stays the same object, as middleware holds it."""
    kept = [header for header in request.scope["headers"] if header[0] not in _REPLACED]
    new = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    request.scope["headers"] = kept + new
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return read.pop() if read else await request.receive()

    return Request(request.scope, receive)
