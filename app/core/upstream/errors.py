"""How an upstream can fail, as errors of the service; the only place that reads its error statuses."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from app.core.errors import ServiceError, not_found

_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}\Z")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}\Z|[0-9a-fA-F-]{8,64}\Z")
_RETRY_AFTER = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?\Z")

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
    """The upstream failed; subclasses say how. Clients see the message, the log also has the cause."""

    status_code = 502
    type = "upstream_error"
    code = "upstream_error"
    upstream_status: int | None = None
    upstream_code: str | None = None
    upstream_request_id: str | None = None


class UpstreamUnreachableError(UpstreamError):
    """No connection could be opened (refused, DNS, TLS), so nothing was started."""

    code = "upstream_unreachable"

    def __init__(self) -> None:
        super().__init__(
            "The assistant's upstream cannot be reached. Retry shortly.", headers={"retry-after": "2"}
        )


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

    def __init__(self) -> None:
        super().__init__("The upstream did not answer in time.", headers={"x-should-retry": "false"})


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


class UpstreamMissingError(UpstreamError):
    """The upstream knows no such object."""

    status_code = 404
    type = "invalid_request_error"
    code = "not_found"


class UpstreamRefusedError(UpstreamError):
    """The upstream rejected the request itself."""

    status_code = 400
    type = "invalid_request_error"
    code = "upstream_refused"


class ConversationLockedError(UpstreamRefusedError):
    """Another run or message is being written to the thread."""

    code = "conversation_locked"


class ToolOutputMissingError(UpstreamRefusedError):
    """A function call of an earlier turn has no output, so no new turn can start."""

    code = "tool_output_missing"


class BackgroundRefusedError(UpstreamRefusedError):
    """The upstream cannot do this in its background mode."""

    code = "background_refused"


class UpstreamServerError(UpstreamError):
    """The upstream had an internal failure."""

    code = "upstream_failed"


@contextmanager
def not_found_as(what: str) -> Iterator[None]:
    """Turn a 404 of the upstream inside the block into one that names `what`."""
    try:
        yield
    except UpstreamMissingError as exc:
        raise not_found(what) from exc


def failure_of(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """Return the error for a status of 400 or more, without any text of the upstream.

    `body` is read as OpenAI's error envelope or as the `{"detail": …}` of other servers.
    """
    detail = _detail(body)
    error = _classify(status, detail, headers)
    error.upstream_status = status
    error.upstream_code = _clean(_CODE, detail.get("code"))
    error.upstream_request_id = _clean(_REQUEST_ID, headers.get("x-request-id"))
    return error


def _classify(status: int, detail: Mapping[str, Any], headers: Mapping[str, str]) -> UpstreamError:
    # No text of the upstream is passed on: it may contain its URL, an organisation or part of a key.
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
        return UpstreamBusyError(
            "The operator's upstream quota is used up.",
            code="upstream_quota_exhausted",
            headers={"x-should-retry": "false"},
        )
    retry_after = _clean(_RETRY_AFTER, headers.get("retry-after")) or "5"
    return UpstreamBusyError("The upstream is busy. Retry later.", headers={"retry-after": retry_after})


def _refusal(detail: Mapping[str, Any]) -> UpstreamError:
    param, code = _clean(_PARAM, detail.get("param")), _clean(_CODE, detail.get("code"))
    # Neither refusal has a code of its own, so the message has to tell.
    text = str(detail.get("message", "")).lower()
    if param == "background" or ("background" in text and param in {None, "stream"}):
        return BackgroundRefusedError("The upstream has no background mode.", param=param)
    if "no tool output found" in text:
        return ToolOutputMissingError("A tool call of an earlier turn was never answered.")
    what = f"parameter '{param}'" if param else "request"
    message = _REFUSALS.get(code or "", f"The upstream refused the {what}.")
    return UpstreamRefusedError(message, param=param, code=code)


def _detail(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    found = parsed.get("error", parsed.get("detail")) if isinstance(parsed, dict) else None
    if problems := _problems(found):
        return {"message": problems[0].get("msg"), "param": _last(problems[0].get("loc"))}
    if isinstance(found, dict):
        return found
    return {"message": found} if isinstance(found, str) else {}


def _problems(found: object) -> list[dict[str, Any]]:
    """Return the problems that a FastAPI server found in a request, each with its `loc` and `msg`."""
    while isinstance(found, dict) and ("detail" in found or "errors" in found):
        found = found.get("detail", found.get("errors"))
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _last(location: object) -> object:
    return location[-1] if isinstance(location, list) and location else None


def _clean(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.match(value) else None
