"""What clients are told about the upstream's error codes: one table for HTTP answers, streams and runs.

Sources: `ResponseError` of OpenAI's SDK, OpenAI's guide to error codes, and what Azure and gateways send.
"""

import re
from typing import Any, NamedTuple

Json = dict[str, Any]


class Failure(NamedTuple):
    """What one of the upstream's error codes means for a client."""

    status: int
    """The HTTP status where an answer can still have one: 400, 429, 502 or 504."""
    last_error: str
    """The nearest of the three codes that `last_error` of a run may have."""
    code: str
    """Our code, which tells this failure from others."""
    message: str
    is_passing: bool = False
    """Whether the same request may succeed later."""

    def error(self) -> Json:
        """Return the inside of an error envelope."""
        kind = _TYPES.get(self.status, "server_error")
        return {"message": self.message, "type": kind, "param": None, "code": self.code}


_TYPES = {400: "invalid_request_error", 429: "rate_limit_error"}
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

FAILED = Failure(502, "server_error", "server_error", "The model failed during the run.", is_passing=True)
"""The failure without a code, or with one that says no more."""

FAILING = frozenset({"failed", "expired"})
"""The statuses of runs that end with a failure."""

EXPIRED = Failure(502, "server_error", "expired", "The run expired before it finished.")


def _prompt(code: str, message: str) -> Failure:
    """Return the failure of an input that the same request cannot mend."""
    return Failure(400, "invalid_prompt", code, message)


_RATE_LIMITED = Failure(
    429,
    "rate_limit_exceeded",
    "upstream_rate_limited",
    "The upstream's rate limit is reached. Retry later.",
    is_passing=True,
)
_NO_QUOTA = Failure(
    429, "rate_limit_exceeded", "upstream_quota_exhausted", "The operator's upstream quota is used up."
)
_OVERLOADED = Failure(
    502, "server_error", "upstream_overloaded", "The upstream is overloaded. Retry later.", is_passing=True
)
_TIMEOUT = Failure(
    504, "server_error", "upstream_timeout", "The upstream did not answer in time.", is_passing=True
)
_NO_MODEL = Failure(
    502,
    "server_error",
    "upstream_model_not_found",
    "The upstream does not know the model or deployment. Its operator should check ASSISTANT_MODEL, "
    "or on Azure the name of the deployment.",
)
_BAD_IMAGE = "The image cannot be read. Send it as PNG, JPEG, WebP or GIF."
_NO_IMAGE = "The image cannot be fetched. Check that its URL is public."
_FILTERED = "The upstream's content filter stopped the answer."

_BY_CODE = {
    failure.code: failure
    for failure in (
        _RATE_LIMITED,
        _NO_QUOTA,
        _OVERLOADED,
        _TIMEOUT,
        _NO_MODEL,
        _prompt("invalid_prompt", "The model refused the prompt."),
        _prompt("bio_policy", "The model refused the prompt under its policy on biology."),
        _prompt("cyber_policy", "The model refused the prompt under its policy on cyber security."),
        _prompt("misalignment_policy_violation", "The upstream's safety policy stopped the run."),
        _prompt("content_policy_violation", "The prompt breaks the upstream's content policy."),
        _prompt("content_filter", _FILTERED),
        _prompt("moderation_blocked", "The upstream's moderation stopped the turn."),
        _prompt(
            "context_length_exceeded",
            "The conversation is longer than the model can read. Start a new thread.",
        ),
        _prompt("string_above_max_length", "The text is longer than the upstream takes."),
        _prompt("image_content_policy_violation", "The image breaks the upstream's content policy."),
        _prompt("invalid_image", _BAD_IMAGE),
        _prompt("invalid_image_format", _BAD_IMAGE),
        _prompt("invalid_image_mode", _BAD_IMAGE),
        _prompt("invalid_base64_image", _BAD_IMAGE),
        _prompt("image_parse_error", _BAD_IMAGE),
        _prompt("unsupported_image_media_type", _BAD_IMAGE),
        _prompt("empty_image_file", "The image file is empty."),
        _prompt("invalid_image_url", _NO_IMAGE),
        _prompt("failed_to_download_image", _NO_IMAGE),
        _prompt("image_file_not_found", "The upstream does not have the image file any more."),
        _prompt("image_too_large", "The image is too large."),
        _prompt("image_file_too_large", "The image is too large."),
        _prompt("image_too_small", "The image is too small."),
        _prompt("unsupported_file", "The upstream does not take files of this type here."),
        Failure(
            502,
            "server_error",
            "upstream_broken",
            "The upstream's answer broke off or cannot be read.",
        ),
        Failure(
            504,
            "server_error",
            "vector_store_timeout",
            "The search in the files took too long. Retry later.",
            is_passing=True,
        ),
        Failure(
            502,
            "server_error",
            "data_residency_mismatch",
            "The upstream keeps data of this kind in another region. Its operator should check the project.",
        ),
    )
}

_OTHER_NAMES = {
    "429": _RATE_LIMITED,
    "rate_limit_exceeded": _RATE_LIMITED,
    "rate_limit_error": _RATE_LIMITED,
    "ratelimitreached": _RATE_LIMITED,
    "tokens_usage_based": _RATE_LIMITED,
    "too_many_requests": _RATE_LIMITED,
    "insufficient_quota": _NO_QUOTA,
    "billing_hard_limit_reached": _NO_QUOTA,
    "billing_not_active": _NO_QUOTA,
    "503": _OVERLOADED,
    "overloaded": _OVERLOADED,
    "overloaded_error": _OVERLOADED,
    "server_overloaded": _OVERLOADED,
    "engine_overloaded": _OVERLOADED,
    "model_overloaded": _OVERLOADED,
    "server_is_overloaded": _OVERLOADED,
    "slow_down": _OVERLOADED,
    "service_unavailable": _OVERLOADED,
    "408": _TIMEOUT,
    "504": _TIMEOUT,
    "timeout": _TIMEOUT,
    "timeout_error": _TIMEOUT,
    "request_timeout": _TIMEOUT,
    "gateway_timeout": _TIMEOUT,
    "model_not_found": _NO_MODEL,
    "deploymentnotfound": _NO_MODEL,
    "responsibleaipolicyviolation": _BY_CODE["content_filter"],
    "exceed_context_size_error": _BY_CODE["context_length_exceeded"],
}


def known_failure(code: object) -> Failure | None:
    """Return the failure of one of the upstream's error codes, or of ours; None if the table lacks it."""
    name = _name(code)
    return _BY_CODE.get(name) or _OTHER_NAMES.get(name)


def failure_for(code: object) -> Failure:
    """Return the failure of an error code; an unknown one is a failure of the server under that code."""
    if known := known_failure(code):
        return known
    name = _name(code)
    return FAILED._replace(code=name) if _CODE.match(name) else FAILED


def code_of(error: object) -> object:
    """Return the code in an upstream's error object, or its type where it has none."""
    if not isinstance(error, dict):
        return None
    return error.get("code") or error.get("type")


def failure_of_run(response: Json, status: str) -> Failure:
    """Return why a run failed or expired."""
    return EXPIRED if status == "expired" else failure_for(code_of(response.get("error")))


def _name(code: object) -> str:
    return str(code).lower() if type(code) in {str, int} else ""
