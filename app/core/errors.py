"""All errors that clients are told about; `app/core/upstream/errors.py` adds those of the upstream.

A class fixes the status, the type and the usual code. Messages are written here or where the error is raised,
and never copied from the upstream, whose texts name keys, organisations and URLs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """An error that is sent to the client.

    `message` says in a sentence or two what is wrong and what to do about it, `param` names the field, `code`
    replaces the class's code, and `headers` are response headers such as `Retry-After`.
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
    """The request is not valid."""

    status_code = 400
    type = "invalid_request_error"
    code = "invalid_value"


class ContentBlockedError(BadRequestError):
    """Moderation or a guard of the operator does not let this text through."""

    code = "content_blocked"

    def __init__(
        self, message: str = "The message is not allowed here. Change it and send it again."
    ) -> None:
        super().__init__(message)


class UnauthorizedError(ServiceError):
    """The credential is missing or not valid."""

    status_code = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        headers = {"www-authenticate": "Bearer", "x-should-retry": "false"}
        super().__init__(message, code=code, headers=headers)


class ForbiddenError(ServiceError):
    """The credential is valid but does not allow this."""

    status_code = 403
    type = "permission_error"
    code = "permission_denied"


class OverrideForbiddenError(ForbiddenError):
    """The operator does not let callers change this field of the assistant."""

    code = "override_not_allowed"


class NotFoundError(ServiceError):
    """The object is unknown, deleted, or another caller's; the client cannot tell which."""

    status_code = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The path exists, but not with this method."""

    status_code = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class ConflictError(ServiceError):
    """Another request is using the object; the same request may succeed later."""

    status_code = 409
    type = "conflict_error"
    code = "conflict"


class GoneError(ServiceError):
    """The object existed, and is gone for good."""

    status_code = 410
    type = "invalid_request_error"
    code = "gone"


class TooLargeError(ServiceError):
    """The body or the file is over the limit."""

    status_code = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RangeError(ServiceError):
    """The requested range of a file does not exist."""

    status_code = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int | None) -> None:
        known = {} if size is None else {"content-range": f"bytes */{size}"}
        super().__init__("The file has no such range of bytes.", param="range", headers=known)


class IdempotencyError(ServiceError):
    """An idempotency key was used again with another body."""

    status_code = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"


class RateLimitedError(ServiceError):
    """The caller is over one of our limits."""

    status_code = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class OverloadedError(ServiceError):
    """The service cannot take more work now."""

    status_code = 503
    code = "overloaded"

    def __init__(self, message: str = "The service is at its capacity. Retry in a second.") -> None:
        # SDKs wait for as long as the header says before they try again.
        super().__init__(message, headers={"retry-after": "1"})


class ShuttingDownError(OverloadedError):
    """This replica is shutting down; another one will answer."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Retry at once: another replica answers.")


class KeysUnavailableError(OverloadedError):
    """Redis is away, so it is unknown whether another replica has answered this idempotency key."""

    code = "idempotency_unavailable"

    def __init__(self) -> None:
        super().__init__("Idempotency keys cannot be looked up right now. Retry with the same key.")


class GuardFailedError(OverloadedError):
    """A guard of the operator failed, so the text was not sent on."""

    code = "guard_failed"

    def __init__(self) -> None:
        super().__init__("The message could not be checked, and was not sent on. Retry in a second.")


class ModerationUnavailableError(OverloadedError):
    """Texts cannot be moderated right now, and MODERATION=block lets none through without that."""

    code = "moderation_unavailable"

    def __init__(self) -> None:
        super().__init__("Messages cannot be moderated right now. Retry in a second.")


class IdentityProviderError(ServiceError):
    """Tokens cannot be verified, because the identity provider's keys cannot be fetched."""

    status_code = 503
    code = "identity_provider_unreachable"

    def __init__(self) -> None:
        super().__init__("Tokens cannot be verified right now. Retry shortly.", headers={"retry-after": "5"})


class NoStoreError(ServiceError):
    """The request needs the store, and this service has none; `kept` is what would be in it."""

    status_code = 501
    code = "store_not_configured"

    def __init__(self, kept: str = "list of threads") -> None:
        super().__init__(
            f"This service keeps no {kept}. Its operator can set STORE_URL, for example to "
            "sqlite:///data/soloist.db.",
            headers={"x-should-retry": "false"},
        )


class ClientGoneError(ServiceError):
    """The client has disconnected; nginx uses the same status in its logs."""

    status_code = 499
    type = "invalid_request_error"
    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("The client went away.")


def not_found(what: str, *, param: str | None = None) -> NotFoundError:
    """Return the error for an id that is unknown, deleted, forged or another caller's.

    `param` names the field that held the id, `{what}_id` by default.
    """
    code = f"{what.replace(' ', '_')}_not_found"
    return NotFoundError(f"No {what} found with this id.", param=param or f"{what}_id", code=code)


def thread_is_empty(remedy: str, *, param: str) -> BadRequestError:
    """Return the error for a run on a thread that holds nothing to answer."""
    return BadRequestError(f"The thread has no messages. {remedy}", param=param, code="thread_is_empty")


def body_too_large() -> TooLargeError:
    """Return the error for a body over `MAX_BODY_BYTES`."""
    return TooLargeError(
        "The body has more bytes than its limit (MAX_BODY_BYTES). Send less, or upload a file.", param="body"
    )
