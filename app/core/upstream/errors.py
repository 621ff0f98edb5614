"""What an upstream can do to us, as errors of our own family; the one place where its statuses are read.

UpstreamError (502)
├── UpstreamUnreachableError (502)   surely not started: connect refused, DNS, TLS
├── UpstreamBrokenError (502)        connection lost, truncated, or bytes that are no answer
│   └── UpstreamMalformedError (502) an object that is not what its API says it is
├── UpstreamTimeoutError (504)
├── UpstreamAuthError (502)          its 401 and 403 are the operator's fault, never the caller's
├── UpstreamBusyError (429)
├── UpstreamMissingError (404)
├── UpstreamRefusedError (400)       the request as such
│   ├── ConversationLockedError (400)
│   ├── ToolOutputMissingError (400)  a function call of an earlier turn was never answered
│   └── BackgroundRefusedError (400) the upstream has no background mode
└── UpstreamServerError (502)
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.core.errors import ServiceError, not_found

_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}\Z")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}\Z|[0-9a-fA-F-]{8,64}\Z")
_RETRY_AFTER = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?\Z")
_MAX_ERROR_BYTES = 65_536

_REFUSALS = {
    "context_length_exceeded": "The conversation is longer than the model can read. Start a new thread.",
    "invalid_prompt": "The model refused this prompt.",
    "content_policy_violation": "The model refused this content.",
    "model_not_found": "The upstream does not know the model. Check the model's name.",
    "string_above_max_length": "The text is longer than the upstream takes.",
    "invalid_image": "The image cannot be read.",
    "image_too_large": "The image is too large.",
    "unsupported_file": "The upstream does not take files of this type here.",
}


class UpstreamError(ServiceError):
    """The upstream failed; subclasses say how. The cause is for the log, the message for the client."""

    status_code = 502
    type = "upstream_error"
    code = "upstream_error"
    upstream_status: int | None = None
    upstream_code: str | None = None
    upstream_request_id: str | None = None


class UpstreamUnreachableError(UpstreamError):
    """No connection came about, so nothing was started."""

    code = "upstream_unreachable"

    def __init__(self) -> None:
        super().__init__(
            "The assistant's upstream cannot be reached. Retry shortly.", headers={"retry-after": "2"}
        )


class UpstreamBrokenError(UpstreamError):
    """The connection broke, or what came over it is no answer."""

    code = "upstream_broken"

    def __init__(self, message: str = "The upstream's answer broke off or cannot be read.") -> None:
        super().__init__(message, headers={"x-should-retry": "false"})


class UpstreamMalformedError(UpstreamBrokenError):
    """An object came that is not what the upstream's API says it is; asking again would not help."""


class UpstreamTimeoutError(UpstreamError):
    """The upstream did not answer in time; whether it started anything is unknown."""

    status_code = 504
    code = "upstream_timeout"

    def __init__(self) -> None:
        super().__init__("The upstream did not answer in time.", headers={"x-should-retry": "false"})


class UpstreamAuthError(UpstreamError):
    """The service's own credentials were refused."""

    code = "upstream_auth_failed"


class UpstreamBusyError(UpstreamError):
    """The upstream's rate limit or quota is used up; nothing was started."""

    status_code = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"


class UpstreamMissingError(UpstreamError):
    """The upstream knows no such object."""

    status_code = 404
    type = "invalid_request_error"
    code = "not_found"


class UpstreamRefusedError(UpstreamError):
    """The upstream says that the request is wrong."""

    status_code = 400
    type = "invalid_request_error"
    code = "upstream_refused"


class ConversationLockedError(UpstreamRefusedError):
    """Another run or message is being written to the thread."""

    code = "conversation_locked"


class ToolOutputMissingError(UpstreamRefusedError):
    """An earlier turn's function call has no output, so no new turn can start."""

    code = "tool_output_missing"


class BackgroundRefusedError(UpstreamRefusedError):
    """The upstream does not do this in the background."""

    code = "background_refused"


class UpstreamServerError(UpstreamError):
    """The upstream had an internal failure."""

    code = "upstream_failed"


class not_found_as:  # noqa: N801 - used as a function; a generator would cost more than what it guards
    """Answer the upstream's 404 inside the block as an unknown `what`."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> None:
        if isinstance(exc, UpstreamMissingError):
            raise not_found(self._what) from exc


def failure_of(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """Turn a status of 400 and more into an error without a word of the upstream's text.

    `headers` have lower-case names. Understands OpenAI's envelope and the `{"detail": …}` of other servers.
    """
    detail = _detail(body)
    error = _classify(status, detail, headers)
    error.upstream_status = status
    error.upstream_code = _clean(_CODE, detail.get("code"))
    error.upstream_request_id = _clean(_REQUEST_ID, headers.get("x-request-id"))
    return error


def _classify(status: int, detail: Mapping[str, Any], headers: Mapping[str, str]) -> UpstreamError:
    if status in {401, 403}:
        return UpstreamAuthError("The service cannot sign in to its upstream. Its operator has been told.")
    if status == 404:
        return UpstreamMissingError("The upstream knows no such object.")
    if status == 429:
        return _busy(detail, headers)
    if status in {408, 504}:
        return UpstreamTimeoutError()
    if status == 409 or detail.get("code") == "conversation_locked":
        return ConversationLockedError(
            "The thread is busy with another run or message. Retry when that has ended."
        )
    if 400 <= status < 500:
        return _refusal(detail)
    return UpstreamServerError("The upstream failed. Retry shortly.", headers={"retry-after": "2"})


def _busy(detail: Mapping[str, Any], headers: Mapping[str, str]) -> UpstreamError:
    if detail.get("code") == "insufficient_quota":
        message, code, passed = (
            "The operator's upstream quota is used up.",
            "upstream_quota_exhausted",
            {"x-should-retry": "false"},
        )
        return UpstreamBusyError(message, code=code, headers=passed)
    retry_after = _clean(_RETRY_AFTER, headers.get("retry-after")) or "5"
    return UpstreamBusyError("The upstream is busy. Retry later.", headers={"retry-after": retry_after})


def _refusal(detail: Mapping[str, Any]) -> UpstreamError:
    param, code = _clean(_PARAM, detail.get("param")), _clean(_CODE, detail.get("code"))
    text = str(detail.get("message", "")).lower()
    if param == "background" or ("background" in text and param in {None, "stream"}):
        return BackgroundRefusedError("The upstream has no background mode.", param=param)
    if "no tool output found" in text:
        return ToolOutputMissingError("A tool call of an earlier turn was never answered.")
    message = _REFUSALS.get(code or "")
    if message is None:
        message = (
            f"The upstream refused the parameter '{param}'." if param else "The upstream refused the request."
        )
    return UpstreamRefusedError(message, param=param, code=code)


def _detail(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body[:_MAX_ERROR_BYTES])
    except orjson.JSONDecodeError:
        return {}
    found = parsed.get("error", parsed.get("detail")) if isinstance(parsed, dict) else None
    if isinstance(found, dict):
        return found
    return {"message": found} if isinstance(found, str) else {}


def _clean(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.match(value) else None
