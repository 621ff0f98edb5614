"""The one error family. An exception is its contract: status, type, code, and a message for the client.

    ServiceError
    ├── BadRequestError (400) ── OverrideForbiddenError (403)
    ├── UnauthorizedError (401)   ├── ForbiddenError (403)
    ├── NotFoundError (404)       ├── ConflictError (409)
    ├── GoneError (410)           ├── TooLargeError (413)
    ├── IdempotencyError (422)    ├── RateLimitedError (429)
    ├── OverloadedError (503)     ├── ShuttingDownError (503)
    ├── IdentityProviderError (503)
    ├── ClientGoneError (499)     ├── MethodNotAllowedError (405)
    ├── RangeError (416)
    └── UpstreamError             what the upstream did, see `app/core/upstream/errors.py`

Messages are written here or by the raiser, never copied from the upstream: its texts name keys, organisations
and URLs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """A failure that the client is told about.

    Args:
        message: one or two sentences: what is wrong and what to do about it.
        param: the name of the offending field, where there is one.
        code: overrides the class's code.
        headers: response headers, such as `Retry-After`.

    """

    status_code: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error envelope."""
        return {"error": self.detail()}

    def detail(self) -> dict[str, Any]:
        """Return the inside of the envelope."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


class BadRequestError(ServiceError):
    """The request cannot be understood or carried out as it stands."""

    status_code = 400
    type = "invalid_request_error"
    code = "invalid_value"


class UnauthorizedError(ServiceError):
    """No credential, or one that is not valid (any more)."""

    status_code = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(
            message, code=code, headers={"www-authenticate": "Bearer", "x-should-retry": "false"}
        )


class ForbiddenError(ServiceError):
    """The credential is valid and does not reach this far."""

    status_code = 403
    type = "permission_error"
    code = "permission_denied"


class OverrideForbiddenError(ForbiddenError):
    """The operator keeps this field of the assistant for himself."""

    code = "override_not_allowed"


class NotFoundError(ServiceError):
    """Unknown, deleted, forged or foreign: the client cannot tell which."""

    status_code = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The route exists and not with this method."""

    status_code = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class ConflictError(ServiceError):
    """Somebody else is at it; the same request may succeed later."""

    status_code = 409
    type = "conflict_error"
    code = "conflict"


class GoneError(ServiceError):
    """It existed and cannot come back."""

    status_code = 410
    type = "invalid_request_error"
    code = "gone"


class TooLargeError(ServiceError):
    """The body or the file is over the limit."""

    status_code = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RangeError(ServiceError):
    """The part of a file that is asked for does not exist."""

    status_code = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int | None) -> None:
        known = {} if size is None else {"content-range": f"bytes */{size}"}
        super().__init__("The file has no such range of bytes.", param="range", headers=known)


class IdempotencyError(ServiceError):
    """An idempotency key came back with another body."""

    status_code = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"


class RateLimitedError(ServiceError):
    """The caller is over one of our limits."""

    status_code = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class OverloadedError(ServiceError):
    """No room for more work right now."""

    status_code = 503
    type = "server_error"
    code = "overloaded"

    def __init__(self, message: str = "The service is at its capacity. Retry in a second.") -> None:
        super().__init__(message, headers={"retry-after": "1"})


class ShuttingDownError(OverloadedError):
    """This replica drains; another one answers."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Retry at once: another replica answers.")


class IdentityProviderError(ServiceError):
    """Tokens cannot be verified, because the identity provider's keys cannot be had."""

    status_code = 503
    code = "identity_provider_unreachable"

    def __init__(self) -> None:
        super().__init__("Tokens cannot be verified right now. Retry shortly.", headers={"retry-after": "5"})


class ClientGoneError(ServiceError):
    """Nobody reads the answer any more; the status is nginx's, for the log."""

    status_code = 499
    type = "invalid_request_error"
    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("The client went away.")


def not_found(what: str, *, param: str | None = None) -> NotFoundError:
    """Return the one answer for an id that is unknown, deleted, forged or foreign; the id is not echoed.

    `param` names the field that held the id, `{what}_id` unless given.
    """
    return NotFoundError(
        f"No {what} found with this id.",
        param=param or f"{what}_id",
        code=f"{what.replace(' ', '_')}_not_found",
    )


def body_too_large() -> TooLargeError:
    """Build the answer for a body over `MAX_BODY_BYTES`."""
    return TooLargeError(
        "The body is over the limit (MAX_BODY_BYTES). Send less, or upload a file.", param="body"
    )
