"""Builds run steps from the output items of a response."""

from collections.abc import Mapping

from app.translate.client_calls import client_call
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.pictures import code_outputs

_ENDED_AT = {
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
    "expired": "expired_at",
}


def step_object(
    context: RunContext,
    run: Json,
    response_id: str,
    index: int,
    *,
    details: Json,
    status: str,
    usage: Json | None = None,
) -> Json:
    """Return a RunStep for the output item at `index` of a response, with `details` as its `step_details`."""
    moment = run["created_at"]
    step: Json = {
        "id": context.ids.step(response_id, index),
        "object": "thread.run.step",
        "created_at": moment,
        "run_id": run["id"],
        "thread_id": run["thread_id"],
        "assistant_id": run["assistant_id"],
        "type": details["type"],
        "status": status,
        "step_details": details,
        "usage": usage,
        "last_error": run["last_error"] if status == "failed" else None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "metadata": {},
    }
    if status in _ENDED_AT:
        step[_ENDED_AT[status]] = run.get(_ENDED_AT[status]) or moment
    return step


def message_details(message_id: str) -> Json:
    """Return the `step_details` of a step that wrote a message."""
    return {"type": "message_creation", "message_creation": {"message_id": message_id}}


def tool_details(calls: list[Json]) -> Json:
    """Return the `step_details` of a step that called tools."""
    return {"type": "tool_calls", "tool_calls": calls}


def tool_call(
    item: Json, response: Json, context: RunContext, outputs: Mapping[str, str] | None = None
) -> Json | None:
    """Return the tool call for an output item of a response; None if it is no call of an Assistants tool.

    `outputs` has what the client submitted for its calls, by call id.
    """
    if builder := _CALLS.get(str(item.get("type"))):
        return builder(item, context)
    call = client_call(item, response)
    return _function(call, outputs or {}, is_hidden=context.own_tools.hides(item)) if call else None


def run_steps(response: Json, run: Json, context: RunContext, outputs: Mapping[str, str]) -> list[Json]:
    """Return the steps of one response, oldest first."""
    groups = _groups(response, context, outputs)
    is_done = run["status"] not in {"queued", "in_progress", "cancelling", "requires_action"}
    steps = []
    for number, (index, details) in enumerate(groups, 1):
        is_last = number == len(groups)
        status = _group_status(details, run["status"], is_last=is_last)
        usage = run["usage"] if is_done and is_last else None
        steps.append(
            step_object(context, run, response["id"], index, details=details, status=status, usage=usage)
        )
    return steps


def _groups(response: Json, context: RunContext, outputs: Mapping[str, str]) -> list[tuple[int, Json]]:
    groups: list[tuple[int, Json]] = []
    follows_function = False
    for index, item in enumerate(response.get("output") or []):
        if item.get("type") == "message":
            groups.append((index, message_details(context.ids.message(str(item.get("id"))))))
            follows_function = False
        elif call := tool_call(item, response, context, outputs):
            is_function = call["type"] == "function"
            # The Assistants API showed parallel function calls as one step.
            if follows_function and is_function:
                groups[-1][1]["tool_calls"].append(call)
            else:
                groups.append((index, tool_details([call])))
            follows_function = is_function
    return groups


def _group_status(details: Json, run_status: str, *, is_last: bool) -> str:
    calls = details.get("tool_calls") or []
    waits = any(call["type"] == "function" and call["function"]["output"] is None for call in calls)
    if (waits or is_last) and run_status in {"cancelled", "expired", "failed"}:
        return run_status
    return "in_progress" if waits else "completed"


def _function(call: Json, outputs: Mapping[str, str], *, is_hidden: bool) -> Json:
    output = outputs.get(call["id"])
    called = {"name": call["name"], "arguments": call["arguments"], "output": output}
    if is_hidden:
        called |= {"arguments": "{}", "output": None if output is None else ""}
    return {"id": call["id"], "type": "function", "function": called}


def _code_interpreter(item: Json, context: RunContext) -> Json:
    outputs = code_outputs(item, context.ids.conversation(context.thread_id), context.ids)
    inner = {"input": item.get("code") or "", "outputs": outputs}
    return {"id": item.get("id"), "type": "code_interpreter", "code_interpreter": inner}


def _file_search(item: Json, context: RunContext) -> Json:
    results = [_search_result(result, context) for result in item.get("results") or []]
    inner = {"ranking_options": {"ranker": "auto", "score_threshold": 0.0}, "results": results}
    return {"id": item.get("id"), "type": "file_search", "file_search": inner}


def _search_result(result: Json, context: RunContext) -> Json:
    return {
        "file_id": context.ids.file(str(result.get("file_id"))),
        "file_name": result.get("filename") or "",
        "score": result.get("score") or 0.0,
        "content": [{"type": "text", "text": result.get("text") or ""}],
    }


_CALLS = {
    "code_interpreter_call": _code_interpreter,
    "file_search_call": _file_search,
}
