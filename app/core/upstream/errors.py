"""How an upstream can fail, as errors of the service; `refusals.py` reads them from its answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.core.errors import ServiceError, not_found
from app.translate.events import Json
from app.translate.failures import Failure, known_failure

_KINDS = {
    "thread": {"conversation"},
    "message": {"conversation", "item"},
    "run": {"conversation", "response"},
    "file": {"file", "container", "vector store"},
    "vector_store": {"vector store"},
}
"""The upstream's kinds of objects whose absence means that one of ours is unknown."""


NO_ROUTE = frozenset({404, 405, 501})
"""The statuses of an upstream that lacks a route."""


class UpstreamError(ServiceError):
    """The upstream failed; subclasses say how. Clients see the message, the log also has the cause."""

    status_code = 502
    type = "upstream_error"
    code = "upstream_error"
    upstream_status: int | None = None
    upstream_code: str | None = None
    upstream_request_id: str | None = None
    upstream_reason: str | None = None  # what stopped a connection; for the operator


class UpstreamUnreachableError(UpstreamError):
    """No connection could be opened (refused, DNS, TLS), so nothing was started."""

    code = "upstream_unreachable"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(
            "The assistant's upstream cannot be reached. Retry shortly.", headers={"retry-after": "2"}
        )
        self.upstream_reason = reason


class UpstreamBrokenError(UpstreamError):
    """The connection broke, or the answer is truncated or unreadable."""

    code = "upstream_broken"

    def __init__(self, message: str = "The upstream's answer broke off or cannot be read.") -> None:
        super().__init__(message, headers={"x-should-retry": "false"})


class UpstreamMalformedError(UpstreamBrokenError):
    """The upstream sent an object that its API does not describe; a retry would not help."""


class UpstreamTimeoutError(UpstreamError):
    """The upstream did not answer in time; whether it started anything is unknown."""

    status_code = 504
    code = "upstream_timeout"

    def __init__(
        self, message: str = "The upstream did not answer in time.", *, code: str | None = None
    ) -> None:
        super().__init__(message, code=code, headers={"x-should-retry": "false"})


class UpstreamDeadlineError(UpstreamTimeoutError):
    """A stream lasted as long as it may."""


class UpstreamAuthError(UpstreamError):
    """The upstream refused the service's credentials: the operator's fault, never the caller's."""

    code = "upstream_auth_failed"


class UpstreamBusyError(UpstreamError):
    """The upstream's rate limit or quota is exhausted; nothing was started."""

    status_code = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"


class UpstreamNotFoundError(UpstreamError):
    """The upstream is there but lacks something that the request needs."""

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"x-should-retry": "false"})


class UpstreamMissingError(UpstreamNotFoundError):
    """The upstream knows no such object; `kinds` are those that its error names, such as `conversation`.

    Where the object is the caller's, `not_found_as` turns this into a 404.
    """

    code = "upstream_object_not_found"

    def __init__(self, kinds: frozenset[str] = frozenset()) -> None:
        super().__init__(
            "The upstream does not know a file, vector store or other object that this needs. "
            "Its operator should check ASSISTANT_VECTOR_STORES and the assistant's files."
        )
        self.kinds = kinds


class UpstreamModelMissingError(UpstreamNotFoundError):
    """The upstream knows no such model or deployment."""

    code = "upstream_model_not_found"


class UpstreamRouteMissingError(UpstreamNotFoundError):
    """A 404 that names no object: the upstream, or a proxy before it, lacks the route."""

    code = "upstream_route_not_found"

    def __init__(self) -> None:
        super().__init__(
            "The upstream has no such route. Its operator should check OPENAI_BASE_URL (or the Azure "
            "endpoint), and that the server has the Responses and Conversations APIs."
        )


class UpstreamRefusedError(UpstreamError):
    """The upstream rejected the request itself."""

    status_code = 400
    type = "invalid_request_error"
    code = "upstream_refused"

    @property
    def is_plain(self) -> bool:
        """Whether the cause is unknown but for `param`; each subclass has a cause of its own."""
        return type(self) is UpstreamRefusedError


class ConversationLockedError(UpstreamRefusedError):
    """Another run or message is being written to the thread."""

    code = "conversation_locked"


class ToolOutputMissingError(UpstreamRefusedError):
    """A function call of an earlier turn has no output, so no new turn can start."""

    code = "tool_output_missing"


class ToolRefusedError(UpstreamRefusedError):
    """The upstream has no server for a tool."""

    code = "tool_not_supported"


class FileRefusedError(UpstreamRefusedError):
    """The model takes no files, or no pictures."""

    code = "file_not_supported"


class BackgroundRefusedError(UpstreamRefusedError):
    """The upstream cannot do this in its background mode."""

    code = "background_refused"


class UpstreamServerError(UpstreamError):
    """The upstream had an internal failure."""

    code = "upstream_failed"


_BY_STATUS: dict[int, type[UpstreamError]] = {
    400: UpstreamRefusedError,
    429: UpstreamBusyError,
    502: UpstreamServerError,
    504: UpstreamTimeoutError,
}


NO_RETRY = {"x-should-retry": "false"}
"""Tells SDKs not to repeat a request, which would send a message to its thread again."""


def error_for(failure: Failure, headers: Mapping[str, str] = NO_RETRY) -> UpstreamError:
    """Return the error for a failure from the table."""
    is_model = failure.code == UpstreamModelMissingError.code
    error = (UpstreamModelMissingError if is_model else _BY_STATUS[failure.status])(failure.message)
    error.code, error.headers = failure.code, dict(headers)
    return error


def error_told(error: Json) -> UpstreamError:
    """Return the error whose envelope a stream ended with; `error` is its inside."""
    known = known_failure(error["code"])
    return (
        error_for(known) if known else UpstreamError(error["message"], code=error["code"], headers=NO_RETRY)
    )


@contextmanager
def not_found_as(what: str, *, param: str | None = None) -> Iterator[None]:
    """Turn the upstream's "no such object" inside the block into a 404 that names `what`.

    Only if it is an object of this kind: a missing vector store of the operator is not the caller's thread.
    """
    try:
        yield
    except UpstreamMissingError as exc:
        if not exc.kinds & _KINDS[what]:
            raise
        raise not_found(what, param=param) from exc
