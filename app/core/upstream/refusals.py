"""Reads the upstream's error answers; no text of theirs is passed on.

Such a text may contain the upstream's URL, an organisation or part of a key. It is read as OpenAI's error
envelope or as the `{"detail": …}` of FastAPI servers.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog

from app.core.upstream.errors import (
    NO_RETRY,
    BackgroundRefusedError,
    ConversationLockedError,
    FileRefusedError,
    ToolOutputMissingError,
    ToolRefusedError,
    UpstreamAuthError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamMissingError,
    UpstreamModelMissingError,
    UpstreamRefusedError,
    UpstreamRouteMissingError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
    error_for,
)
from app.core.upstream.reasons import proxy_refusal
from app.translate.events import Json
from app.translate.failures import FAILED, failure_for, known_failure

_log = structlog.get_logger("soloist")
_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}\Z")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}\Z|[0-9a-fA-F-]{8,64}\Z")
_RETRY_AFTER = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?\Z")

_KINDS = {
    "conversation": re.compile(r"\bconversation\b|\bconv_"),
    "item": re.compile(r"\b(item|message)\b|\bmsg_"),
    "response": re.compile(r"\bresponse\b|\bresp_"),
    "file": re.compile(r"\bfile\b|\bfile-"),
    "container": re.compile(r"\bcontainer\b|\bcntr_"),
    "vector store": re.compile(r"\bvector ?store\b|\bvs_"),
    "model": re.compile(r"\b(model|deployment)\b"),
}
_COLLECTIONS = {
    "conversations": "conversation",
    "items": "item",
    "responses": "response",
    "files": "file",
    "containers": "container",
    "vector_stores": "vector store",
    "models": "model",
}
_ROUTE = re.compile(
    r"\b(url|route|endpoint)\b|\b(get|post|delete):? ?/|cannot (get|post|delete)|page not found"
)
"""Words of a 404 about the path, which repeats the path and with it the names of objects."""

_PLACE = re.compile(
    r"\b(in|of|for|from|within) (the |this )?conversation\b( with id)?:?( ?[\[('\"`]+[\w.~-]+| conv_\w+)?"
)
"""Words that say where something else is missing."""

_CONVERSATION_PARAMS = {"conversation", "conversation_id", "conversation.id"}
_UNKNOWN = re.compile(
    r"not (be )?found|not exist|no such|unknown conversation|malformed|expected an id|match"
    r"|invalid (?!conversation (?!id\b|conv_)[a-z])"
)
_UNSUPPORTED = re.compile(
    r"unknown param|unsupported|not supported|unrecognized|extra inputs|mutually|together"
)
_NO_CONVERSATION = re.compile(
    r"\bconversation\b.{0,300}\bnot (be )?(found|exist)|(no such|unknown) conversation\b"
    r"|\binvalid conversation\b(?! (?!id\b|conv_)[a-z])"
)
_BACKGROUND = re.compile(
    r"\bbackground[ -](mode|responses?|requests?|runs?|tasks?|execution|processing)\b"
    r"|['\"`]background['\"`]|\b(parameter|param|argument|field|option):? background\b"
    r"|\bbackground ?[=:] ?true\b"
)
_FILE_TOOL = re.compile(r"\b(file_search|code_interpreter)\b")
_FILE_PART = re.compile(r"\b(input_file|input_image|image input|image_url|file_data)\b")
_NOT_SUPPORTED = re.compile(
    r"unsupported|n't support|\bnot (be |yet )?(support|available|implemented|enabled)"
)
_NOT_TAKEN = re.compile(rf"{_NOT_SUPPORTED.pattern}|unknown|unrecognized|invalid (value|tool|type)|input tag")
_NO_INPUT = re.compile(
    r"\b(missing|required) (required )?(parameter|param|field|argument)s?:? ?['\"`]?input\b(?![.\[])"
    r"|\binput['\"`]?( or [^.]{1,120})? (must|should|can|may|is) ?(not )?(be )?"
    r"(provided|given|specified|required|missing|non-?empty|empty)\b"
)
"""Refusals of a request without input that do not name the parameter in its field."""

_OPTIONAL = re.compile(r"\b(prompt_cache_key|context_management|temperature|top_p|reasoning[._]effort)\b")
"""What a request can do without, named in the text of a refusal only."""


def failure_of(status: int, body: bytes, headers: Mapping[str, str], url: str = "") -> UpstreamError:
    """Return the error for a status of 400 or more; `url` is what was asked for."""
    detail = _detail(body)
    error = _classify(status, detail, headers, url)
    error.upstream_status = status
    error.upstream_code = _clean(_CODE, detail.get("code"))
    error.upstream_request_id = _clean(_REQUEST_ID, headers.get("x-request-id"))
    if isinstance(error, UpstreamAuthError):
        # Every caller fails until the operator sets another key, so it is no matter of one request.
        _log.error("upstream_key_refused", status=status, code=error.upstream_code)
    return error


def _classify(status: int, detail: Json, headers: Mapping[str, str], url: str) -> UpstreamError:
    known = known_failure(detail.get("code")) or known_failure(detail.get("type"))
    if known and known.code == UpstreamModelMissingError.code:
        return error_for(known)
    if status == 407:
        return UpstreamUnreachableError(proxy_refusal(status))
    if status == 401 or (status == 403 and not known):
        return UpstreamAuthError("The service cannot sign in to its upstream. Its operator has been told.")
    if status == 404:
        return _missing(detail, url)
    if status in {408, 504}:
        return UpstreamTimeoutError()
    if status == 409 or detail.get("code") == "conversation_locked":
        return ConversationLockedError(
            "The thread is busy with another run or message. Retry when that has ended."
        )
    if (known or FAILED).is_passing and 429 in {status, known and known.status}:
        retry_after = _clean(_RETRY_AFTER, headers.get("retry-after")) or "5"
        return UpstreamBusyError("The upstream is busy. Retry later.", headers={"retry-after": retry_after})
    if known:
        error = error_for(known, {"retry-after": "2"} if known.is_passing else NO_RETRY)
        error.param = _clean(_PARAM, detail.get("param"))
        return error
    if _is_file_refused(detail):
        return FileRefusedError("The assistant's model takes no such files or pictures. Send text instead.")
    if status < 500:
        return _refusal(detail)
    return UpstreamServerError("The upstream failed.", headers={"retry-after": "2"})


def _missing(detail: Json, url: str) -> UpstreamError:
    """Return the error for a 404: of an object only if it names the object's kind or its id."""
    # What llama.cpp says of every route that it lacks; it means no file of ours.
    if detail.get("message") == "File Not Found":
        return UpstreamRouteMissingError()
    text = _words(detail)
    kinds = set() if _ROUTE.search(text) else _kinds_in(_PLACE.sub("", text))
    if text:
        parts = urlsplit(url.lower()).path.split("/")
        kinds |= {
            _COLLECTIONS[name]
            for name, found in pairwise(parts)
            if name in _COLLECTIONS and found and re.search(rf"(?<![\w/]){re.escape(found)}(?!\w)", text)
        }
    if kinds == {"model"}:
        return error_for(failure_for("model_not_found"))
    return UpstreamMissingError(frozenset(kinds)) if kinds else UpstreamRouteMissingError()


def _kinds_in(text: str) -> set[str]:
    return {kind for kind, word in _KINDS.items() if word.search(text)}


def _refusal(detail: Json) -> UpstreamError:
    param, code = _clean(_PARAM, detail.get("param")), _clean(_CODE, detail.get("code"))
    # These refusals have no code of their own, so the message has to tell.
    text = str(detail.get("message", "")).lower()
    if param == "background" or (param in {None, "stream"} and _BACKGROUND.search(text)):
        return BackgroundRefusedError("The upstream has no background mode.", param=param)
    if "no tool output found" in text or "do not have an approval" in text:
        return ToolOutputMissingError("A tool call of an earlier turn was never answered.")
    is_about_tools = param is None or param.startswith("tools")
    if is_about_tools and (tool := _FILE_TOOL.search(text)) and _NOT_TAKEN.search(text):
        return _tool_refused(tool[1])
    if _is_unknown_conversation(param, text):
        return UpstreamMissingError(frozenset({"conversation"}))
    if param is None and (named := _OPTIONAL.search(text)) and _UNSUPPORTED.search(text):
        param = named[1]
    if param is None and _NO_INPUT.search(text):
        param = "input"
    what = f"parameter '{param}'" if param else "request"
    return UpstreamRefusedError(f"The upstream refused the {what}.", param=param, code=code)


def _is_file_refused(detail: Json) -> bool:
    """Return whether a refusal is about a file in the input; llama.cpp answers 500 to pictures."""
    text = str(detail.get("message", "")).lower()
    return bool(_FILE_PART.search(text) and _NOT_SUPPORTED.search(text))


def _tool_refused(tool: str) -> ToolRefusedError:
    return ToolRefusedError(
        f"The assistant's upstream cannot carry out {tool}. Leave the tool out of 'tools' (for all runs its "
        "operator does, in ASSISTANT_TOOLS), or let the operator choose an upstream that has it.",
        param="tools",
    )


def _is_unknown_conversation(param: str | None, text: str) -> bool:
    """Return whether a 400 or 422 says in its own way that the conversation is unknown."""
    # What else it names is what is missing, wherever the conversation is mentioned.
    if _UNSUPPORTED.search(text) or _kinds_in(text) - {"conversation", "model"}:
        return False
    about = param in _CONVERSATION_PARAMS and _UNKNOWN.search(text)
    return bool(about or _NO_CONVERSATION.search(text))


def _words(detail: Json) -> str:
    """Return what an error says, as words in lower case."""
    labels = (detail.get("code"), detail.get("param"))
    words = " ".join(label.replace("_", " ") for label in labels if isinstance(label, str))
    message = detail.get("message")
    return f"{message if isinstance(message, str) else ''} {words}".lower().strip()


def _detail(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    found = parsed.get("error", parsed.get("detail")) if isinstance(parsed, dict) else None
    # OGX wraps the errors of a validation twice.
    for name in ("detail", "errors"):
        found = found[name] if isinstance(found, dict) and name in found else found
    if isinstance(found, list):
        found = _of_validation(found)
    if isinstance(found, dict):
        return found
    return {"message": found} if isinstance(found, str) else {}


def _of_validation(errors: list[Any]) -> Json:
    """Return the first of FastAPI's validation errors, `{loc, msg, type}`, as an error of OpenAI's form."""
    first = errors[0] if errors and isinstance(errors[0], dict) else {}
    place = first.get("loc")
    return {"message": first.get("msg"), "param": place[-1] if isinstance(place, list) and place else None}


def _clean(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.match(value) else None
