"""What upstreams have been seen to say when they fail, with every secret of theirs marked as a canary."""

from typing import Any

CANARY = "canary"
KEY = "sk-proj-canary0123456789abcdefghijklmnopqrstuv"
MASKED = "sk-proj-********************canary"
ORGANIZATION, PROJECT = "org-canaryA1b2C3d4", "proj_canaryE5f6G7h8"
URL, MAIL = "https://canary-resource.openai.azure.com/openai/v1", "owner@canary.example"

Failure = tuple[int, bytes | dict[str, Any], dict[str, str]]


def error(
    message: str, type_: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> Any:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


FAILURES: dict[str, Failure] = {
    "bad key": (
        401,
        error(
            f"Incorrect API key provided: {MASKED}. You can find your API key at https://platform.openai.com/canary.",
            code="invalid_api_key",
        ),
        {"www-authenticate": f'Bearer realm="{URL}"'},
    ),
    "wrong organisation": (
        401,
        error(
            f"The OpenAI-Organization header {ORGANIZATION} does not match {KEY}.",
            code="mismatched_organization",
        ),
        {"openai-organization": ORGANIZATION},
    ),
    "not a member": (
        401,
        error(f"You must be a member of {ORGANIZATION} to use the API. Ask {MAIL}."),
        {},
    ),
    "ip not allowed": (
        401,
        error(f"Your IP 203.0.113.7 is not authorized for project {PROJECT}.", code="ip_not_authorized"),
        {"openai-project": PROJECT},
    ),
    "country": (
        403,
        error(f"Country not supported for {ORGANIZATION}", "request_forbidden", "unsupported_country"),
        {},
    ),
    "model not allowed": (
        403,
        error(
            f"Project `{PROJECT}` does not have access to model `ft:gpt:{ORGANIZATION}`",
            code="model_not_found",
        ),
        {},
    ),
    "verification": (
        400,
        error(
            f"Your organization {ORGANIZATION} must be verified to stream this model: {URL}",
            code="canary code",
        ),
        {},
    ),
    "param with a secret": (400, error("Invalid value", param=f"headers[{KEY}] of {MAIL}", code=KEY), {}),
    "unknown parameter": (400, error(f"Unknown parameter: '{KEY}'", param="canary<script>"), {}),
    "no such response": (404, error(f"Response with id 'resp_x' not found in {PROJECT}."), {}),
    "no such deployment": (
        404,
        {"error": {"code": "DeploymentNotFound", "message": f"The deployment for {URL} does not exist"}},
        {"apim-request-id": "canary-apim", "x-ms-region": "Canary Central"},
    ),
    "rate limit": (
        429,
        error(
            f"Rate limit reached for gpt-6-luna in organization {ORGANIZATION} on tokens: Limit 3.",
            "tokens",
            "rate_limit_exceeded",
        ),
        {"x-ratelimit-limit-tokens": "30000", "retry-after": "canary", "openai-organization": ORGANIZATION},
    ),
    "quota": (
        429,
        error(
            f"You exceeded your current quota ({MAIL}), check your plan.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        {},
    ),
    "billing": (
        429,
        error(f"Billing hard limit of {ORGANIZATION} reached", code="billing_hard_limit_reached"),
        {},
    ),
    "server error": (
        500,
        error(
            f"The server had an error. Contact help with request ID req_1 and mail {MAIL}.", "server_error"
        ),
        {"x-request-id": f"canary {KEY}"},
    ),
    "bad gateway": (502, b"<html><body>502 at canary-gateway.internal, upstream 10.1.2.3</body></html>", {}),
    "unavailable": (503, error(f"Engine overloaded at {URL}", "server_error"), {"retry-after": "3600"}),
    "gateway timeout": (504, b"upstream request timeout from canary-envoy", {}),
    "of another server": (400, {"detail": f"Traceback: provider {URL} with token {KEY}"}, {}),
    "a list of details": (422, {"detail": [{"loc": ["body", KEY], "msg": MAIL, "input": URL}]}, {}),
    "a bare text": (500, f"Internal Server Error: {KEY}".encode(), {}),
    "a redirect": (307, b"", {"location": f"{URL}?key={KEY}"}),
    "strange types": (
        400,
        {"error": {"message": [KEY], "code": {"canary": 1}, "param": [KEY], "type": KEY}},
        {},
    ),
}
