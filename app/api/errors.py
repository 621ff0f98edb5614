"""Exception handlers: every failure is answered in the one error envelope."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.api.responses import JsonResponse
from app.core.errors import (
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    ServiceError,
    body_too_large,
)
from app.translate.chat_input import InputError

_SOURCES = {"body", "query", "path", "header"}
_BAD_BODY = BadRequestError("The request cannot be understood.", param="body")


def add_exception_handlers(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(InputError, _input_error)
    app.add_exception_handler(HTTPException, _http_error)


def _answered(request: Request, error: ServiceError) -> Response:
    """Return an error as a response, and add its code to the access line."""
    request.scope["state"]["log"]["error"] = error.code
    return JsonResponse(error.body(), status_code=error.status_code, headers=error.headers)


async def _service_error(request: Request, exc: Exception) -> Response:
    error = exc if isinstance(exc, ServiceError) else ServiceError("The service failed.")
    for name in ("upstream_status", "upstream_code", "upstream_request_id", "upstream_reason"):
        if (value := getattr(error, name, None)) is not None:
            request.scope["state"]["log"][name] = value
    return _answered(request, error)


async def _input_error(request: Request, exc: Exception) -> Response:
    error = BadRequestError(exc.message, param=exc.param) if isinstance(exc, InputError) else _BAD_BODY
    return _answered(request, error)


async def _validation_error(request: Request, exc: Exception) -> Response:
    if isinstance(exc, RequestValidationError) and exc.errors():
        return _answered(request, validation_error_of(exc.errors(), exc.body))
    return _answered(request, _BAD_BODY)


def validation_error_of(findings: Sequence[Any], body: object) -> BadRequestError:
    """Return the error for a body that is not valid; it names the field and does not echo its value.

    Of several findings about the first bad field, the deepest one is used: the others only say that the other
    branches of a union do not match either.
    """
    field = _top(findings[0])
    first = max((found for found in findings if _top(found) == field), key=lambda found: len(found["loc"]))
    kind = str(first["type"])
    if kind == "json_invalid":
        message = "The body is no valid JSON. Check quotes, commas and brackets."
        return BadRequestError(message, param="body", code="invalid_json")
    param = field_path(first["loc"], body, is_missing=kind == "missing") or "body"
    if kind == "missing":
        return BadRequestError(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    reason = str(first.get("msg") or "it cannot be understood").removeprefix("Value error, ")
    if kind.startswith("union_tag_"):
        # pydantic's own words repeat the bad tag, and its location ends before the tag.
        param += "." + first["ctx"]["discriminator"].strip("'")
        reason = f"expected one of {first['ctx'].get('expected_tags', 'the known types, found none')}"
    return BadRequestError(f"Invalid '{param}': {reason}.", param=param)


def field_path(loc: Sequence[Any], body: object, *, is_missing: bool = False) -> str:
    """Write a location such as `("body", "messages", 0, "content")` as `messages[0].content`.

    pydantic puts the names of union branches between the fields. A part that the body does not have is such a
    name, unless it is the last part and the field is missing.
    """
    is_body, parts = loc[:1] == ("body",), list(loc[1:] if loc and loc[0] in _SOURCES else loc)
    path, value = "", body
    for number, part in enumerate(parts):
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif (
            not is_body
            or (isinstance(value, dict) and part in value)
            or (is_missing and number == len(parts) - 1)
        ):
            path += f".{part}" if path else str(part)
            value = value.get(part) if isinstance(value, dict) else None
    return path


def _top(found: Any) -> Any:
    return tuple(found["loc"][:2])


async def _http_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    error = _error_for(status, request)
    if isinstance(exc, HTTPException) and exc.headers:
        error.headers.update(exc.headers)
    return _answered(request, error)


def _error_for(status: int, request: Request) -> ServiceError:
    if status == 404:
        return NotFoundError(f"Unknown route: {request.method} on this path. See /docs.", code="unknown_url")
    if status == 405:
        return MethodNotAllowedError(f"This route does not take {request.method}. See /docs.")
    if status == 413:
        return body_too_large()
    if status == 403:
        return ForbiddenError("Not allowed.")
    if 400 <= status < 500:
        return _BAD_BODY
    return ServiceError("The service failed.")
