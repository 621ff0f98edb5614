"""Every failure as one envelope: ours, validation, unknown routes, bodies over the limit."""

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
    TooLargeError,
)

_SOURCES = {"body", "query", "path", "header"}


def add_exception_handlers(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def error_response(error: ServiceError) -> Response:
    """Return an error as a response."""
    return JsonResponse(error.body(), status_code=error.status_code, headers=error.headers)


async def _service_error(request: Request, exc: Exception) -> Response:
    error = exc if isinstance(exc, ServiceError) else ServiceError("The service failed.")
    log = request.scope["state"]["log"]
    log["error"] = error.code
    for name in ("upstream_status", "upstream_code", "upstream_request_id"):
        if (value := getattr(error, name, None)) is not None:
            log[name] = value
    return error_response(error)


async def _validation_error(request: Request, exc: Exception) -> Response:
    first = exc.errors()[0] if isinstance(exc, RequestValidationError) and exc.errors() else {}
    request.scope["state"]["log"]["error"] = "invalid_value"
    return error_response(validation_error_of(first))


def validation_error_of(first: Any) -> BadRequestError:
    """Turn a validation's first finding into an error that names the field; the bad value is not echoed."""
    param = field_path(first.get("loc") or ())
    kind = str(first.get("type") or "")
    if kind == "json_invalid":
        return BadRequestError(
            "The body is no valid JSON. Check quotes, commas and brackets.", param="body", code="invalid_json"
        )
    if kind == "missing":
        name = param or "body"
        return BadRequestError(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    reason = str(first.get("msg") or "it cannot be understood").removeprefix("Value error, ")
    return BadRequestError(f"Invalid '{param or 'body'}': {reason}.", param=param or "body")


def field_path(loc: Any) -> str:
    """Write a location such as `("body", "messages", 0, "content")` as `messages[0].content`."""
    path = ""
    parts = list(loc)
    if parts and parts[0] in _SOURCES:
        parts = parts[1:]
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _is_field(part):
            path += f".{part}" if path else str(part)
    return path


def _is_field(part: object) -> bool:
    """Tell a field's name from the names that pydantic gives to the branches of a union."""
    text = str(part)
    return text.isidentifier() and text == text.lower() and text not in {"str", "int", "function-after"}


async def _http_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    error = _error_for(status, request)
    if isinstance(exc, HTTPException) and exc.headers:
        error.headers.update(exc.headers)
    request.scope["state"]["log"]["error"] = error.code
    return error_response(error)


def _error_for(status: int, request: Request) -> ServiceError:
    if status == 404:
        return NotFoundError(f"Unknown route: {request.method} on this path. See /docs.", code="unknown_url")
    if status == 405:
        return MethodNotAllowedError(f"This route does not take {request.method}. See /docs.")
    if status == 413:
        return TooLargeError(
            "The body is over the limit (MAX_BODY_BYTES). Send less, or upload a file.", param="body"
        )
    if status == 403:
        return ForbiddenError("Not allowed.")
    if 400 <= status < 500:
        return BadRequestError("The request cannot be understood.", param="body")
    return ServiceError("The service failed.")
