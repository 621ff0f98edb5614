"""Builds the objects of the public wire from upstream objects.

Every key is always there, null where empty: SDKs build their models without validation.
"""

from collections.abc import Iterable

from app.translate.annotations import TextObject, cited_sources
from app.translate.attachments import read_attachments
from app.translate.client_calls import client_call
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.failures import code_of, failure_for
from app.translate.own_calls import NONE, OwnTools
from app.translate.run_metadata import RunRounds, moment_of, public_metadata, usage_object
from app.translate.tools import to_assistants_choice, to_assistants_tools, to_response_format
from app.utils.ids import IdCodec, created_at_of

LIVE = frozenset({"queued", "in_progress"})
RUN_EXPIRED = "run_expired"
"""The code of a failed response that nobody works on any more: its run has expired."""

_TERMINAL_AT = {
    "completed": "completed_at",
    "incomplete": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
}


def page(objects: list[Json], *, has_more: bool) -> Json:
    """Return a page of a list, with the ids of its first and last object."""
    ends = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "first_id": ends[0], "last_id": ends[1], "has_more": has_more}


def thread_object(conversation: Json, thread_id: str, tool_resources: Json | None = None) -> Json:
    """Return a Thread for an upstream conversation."""
    return {
        "id": thread_id,
        "object": "thread",
        "created_at": conversation_time(conversation) or 0,
        "metadata": public_metadata(conversation.get("metadata")),
        "tool_resources": tool_resources or {},
    }


def conversation_time(conversation: Json) -> int | None:
    """Return the unix time, in seconds, at which an upstream conversation began, if it tells."""
    return moment_of(conversation.get("created_at")) or created_at_of(str(conversation.get("id")))


def run_status(response: Json) -> str:
    """Return the Assistants status that follows from the upstream response alone."""
    status = str(response.get("status") or "in_progress")
    if status == "completed" and pending_calls(response):
        return "requires_action"
    if status == "failed" and code_of(response.get("error")) == RUN_EXPIRED:
        return "expired"
    return status if status in LIVE or status in _TERMINAL_AT else "failed"


def conversation_of(response: Json) -> str | None:
    """Return the id of a response's conversation; not every upstream repeats it."""
    found = response.get("conversation")
    if isinstance(found, dict):
        found = found.get("id")
    return found if isinstance(found, str) else None


def last_message(response: Json) -> str | None:
    """Return the id of the item of a response's last message, which is its answer."""
    ids = [str(item["id"]) for item in response.get("output") or [] if item.get("type") == "message"]
    return ids[-1] if ids else None


def pending_calls(response: Json, own: OwnTools = NONE) -> list[Json]:
    """Return the calls that the client answers, in the Assistants shape.

    A call of the service's `own` functions is the client's only if it has to be approved, which it says.
    """
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
            **({"approval": "required"} if own.asks(call) else {}),
        }
        for item in response.get("output") or []
        if item.get("type") != "message"
        and item.get("status") != "incomplete"
        and (call := client_call(item, response))
        and not own.runs(call)
    ]


def run_object(response: Json, context: RunContext, *, status: str | None = None) -> Json:
    """Return a Run for an upstream response; `status` overrides the response's own.

    With `context.is_brief` it lacks the run's settings, its metadata, and the time when it ended.
    """
    status = status or run_status(response)
    rounds = RunRounds.read(response)
    first = context.first_response_id or rounds.first or response["id"]
    created = rounds.created_at or moment_of(response.get("created_at")) or created_at_of(first) or 0
    live = status in LIVE or status in {"requires_action", "cancelling"}
    run: Json = {
        "id": context.ids.run(first),
        "object": "thread.run",
        "created_at": created,
        "thread_id": context.thread_id,
        "assistant_id": context.assistant_id,
        "status": status,
        "required_action": _required_action(response, context) if status == "requires_action" else None,
        "last_error": _last_error(response) if status == "failed" else None,
        "expires_at": created + context.lifetime_seconds if live else None,
        "started_at": None if status == "queued" else created,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": incomplete_details(response) if status == "incomplete" else None,
        "usage": None if live else usage_object(response, rounds.tokens),
    }
    if context.is_brief:
        return run
    run["metadata"] = public_metadata(response.get("metadata"))
    if ended_at := _TERMINAL_AT.get(status):
        run[ended_at] = moment_of(response.get("completed_at")) or _last_moment(response) or created
    return run | _run_settings(response, context)


def _run_settings(response: Json, context: RunContext) -> Json:
    instructions = response.get("instructions") if context.reveals_instructions else ""
    reasoning = response.get("reasoning")
    return {
        "model": str(response.get("model") or ""),
        "instructions": instructions if isinstance(instructions, str) else "",
        "tools": to_assistants_tools(response.get("tools")),
        "parallel_tool_calls": response.get("parallel_tool_calls") is not False,
        "temperature": response.get("temperature"),
        "top_p": response.get("top_p"),
        "max_completion_tokens": response.get("max_output_tokens"),
        "max_prompt_tokens": None,
        # The Assistants API knows no way not to shorten a thread.
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "response_format": to_response_format(response.get("text")),
        "tool_choice": to_assistants_choice(response.get("tool_choice")),
        "reasoning_effort": reasoning.get("effort") if isinstance(reasoning, dict) else None,
    }


def message_object(
    item: Json,
    ids: IdCodec,
    *,
    thread_id: str,
    assistant_id: str,
    run_id: str | None,
    created_at: int,
    run: Json | None = None,
    text_object: TextObject | None = None,
    pictures: Iterable[Json] = (),
    cited: Iterable[Json] = (),
) -> Json:
    """Return a Message for a conversation item.

    `created_at` is used if neither the item nor its id tells a time. `run` says why it is incomplete; without
    it that is told as the run's cancellation, which leaves most of them. `text_object` renders the texts of
    answers with their annotations; `pictures` are parts that come first, `cited` parts that come last.
    """
    status = item.get("status")
    status = status if status in {"incomplete", "in_progress"} else "completed"
    made = created_at_of(str(item.get("id"))) or moment_of(item.get("created_at")) or created_at
    is_answer = item.get("role") == "assistant"
    # Only users attach files; the parts of answers need no search for them.
    attachments, parts, _ = ([], item.get("content") or [], {}) if is_answer else read_attachments(item, ids)
    text_object = text_object if is_answer else None
    return {
        "id": ids.message(str(item.get("id"))),
        "object": "thread.message",
        "created_at": made,
        "thread_id": thread_id,
        "role": "assistant" if is_answer else "user",
        "status": status,
        "content": [
            *pictures,
            *(part for raw in parts if (part := content_part(raw, ids, text_object))),
            *cited,
        ],
        "assistant_id": assistant_id if is_answer else None,
        "run_id": run_id,
        "attachments": attachments,
        "metadata": {},
        "completed_at": made if status == "completed" else None,
        "incomplete_at": made if status == "incomplete" else None,
        "incomplete_details": {"reason": _incomplete_reason(run)} if status == "incomplete" else None,
    }


def content_part(raw: object, ids: IdCodec, text_object: TextObject | None = None) -> Json | None:
    """Return the Assistants content part for an upstream one; None for kinds that Assistants lacks."""
    if not isinstance(raw, dict):
        return None
    kind = raw.get("type")
    if kind in {"input_text", "output_text", "text"}:
        text = str(raw.get("text") or "")
        found = cited_sources(raw, text, ids) if raw.get("annotations") else []
        plain = {"value": text, "annotations": [annotation for annotation, _ in found]}
        return {"type": "text", "text": text_object(text, found) if text_object else plain}
    if kind == "refusal":
        return {"type": "refusal", "refusal": str(raw.get("refusal") or "")}
    if kind == "input_image":
        return _image_part(raw, ids)
    return None


def message_sources(item: Json, ids: IdCodec) -> list[Json]:
    """Return the annotations of an upstream message item in their flat form."""
    return [
        source
        for part in item.get("content") or []
        if part.get("annotations")
        for _, source in cited_sources(part, str(part.get("text") or ""), ids)
    ]


def _image_part(raw: Json, ids: IdCodec) -> Json:
    detail = raw.get("detail") or "auto"
    if raw.get("file_id"):
        file = {"file_id": ids.file(str(raw["file_id"])), "detail": detail}
        return {"type": "image_file", "image_file": file}
    return {"type": "image_url", "image_url": {"url": str(raw.get("image_url") or ""), "detail": detail}}


def _required_action(response: Json, context: RunContext) -> Json:
    calls = pending_calls(response, context.own_tools)
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def _last_error(response: Json) -> Json:
    failure = failure_for(code_of(response.get("error")))
    return {"code": failure.last_error, "message": failure.message}


def _incomplete_reason(run: Json | None) -> str:
    """Return why a message of this run is incomplete, as one of the five reasons of the Assistants API."""
    if run is None:
        return "run_cancelled"
    if run["status"] in {"cancelled", "expired", "failed"}:
        return f"run_{run['status']}"
    # While the run goes on, only the model's limits end a message early.
    details = run.get("incomplete_details") or {}
    return "content_filter" if details.get("reason") == "content_filter" else "max_tokens"


def incomplete_details(response: Json) -> Json:
    """Return the `incomplete_details` of the run of an incomplete response."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return {"reason": "content_filter" if reason == "content_filter" else "max_completion_tokens"}


def _last_moment(response: Json) -> int | None:
    """Return the time of the newest output item, for upstreams that do not say when a response ended."""
    times = (created_at_of(str(item.get("id"))) for item in response.get("output") or [])
    return max(filter(None, times), default=None)
