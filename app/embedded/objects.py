"""The response object with all of OpenAI's keys."""

from app.embedded.ids import random_id, timed_id
from app.embedded.store.responses import now
from app.embedded.wire import Json, ResponseCreate


def new_response(request: ResponseCreate, model: str, *, is_timed: bool = True) -> Json:
    """The body of a response that begins; its status is queued in the background, else in_progress.

    The id of one that is not `is_timed` holds no time, nor do the ids of its items.
    """
    background = bool(request.background)
    conversation = request.conversation_id
    return {
        "id": timed_id("resp") if is_timed else random_id("resp"),
        "object": "response",
        "created_at": now(),
        "status": "queued" if background else "in_progress",
        "background": background,
        "completed_at": None,
        "conversation": {"id": conversation} if conversation else None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt": request.prompt,
        "prompt_cache_key": request.prompt_cache_key,
        "prompt_cache_retention": request.prompt_cache_retention,
        "reasoning": {"effort": None, "summary": None} | (request.reasoning or {}),
        "safety_identifier": request.safety_identifier,
        "service_tier": request.service_tier or "default",
        "store": request.store is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | (request.text or {}),
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
    }


def usage(input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Json:
    """Token counts in OpenAI's shape."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached_tokens},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def text_part(text: str, annotations: list[Json]) -> Json:
    """An output text part."""
    return {"type": "output_text", "annotations": annotations, "logprobs": [], "text": text}


def message_item(item_id: str, status: str, content: list[Json]) -> Json:
    """An assistant's message item."""
    return {"id": item_id, "type": "message", "status": status, "content": content, "role": "assistant"}


def call_item(item_id: str, status: str, call_id: str, name: str, arguments: str) -> Json:
    """A function call item."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }
