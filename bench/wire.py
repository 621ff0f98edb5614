"""The bytes of a Responses and Conversations upstream, made once so that the upstream costs next to nothing.

Shapes and sizes follow OpenAI's own streams: every delta carries ids, indices and obfuscation, and the
first two and the last event carry the whole response object. Source: OpenAI's Responses streaming
reference.
"""

import re
from dataclasses import dataclass
from functools import cache

import orjson

FIRST_TOKEN = b"Firstly"
"""What only the first delta of an answer holds, in every protocol: it dates the first token."""

_WORDS = (
    "Firstly",
    " the",
    " answer",
    " comes",
    " in",
    " small",
    " pieces",
    ",",
    " word",
    " by",
    " word",
    ".",
)
_MESSAGE_ID = "msg_0bc0cffd983db63400693fdeb7040881a2b7c1d4e5f60718293"
_PLAN = re.compile(rb"bench-(\d+)-(\d+)-(\d+)")


_ROUNDS = re.compile(rb"tool-rounds-(\d+)")
_ANSWERED = re.compile(rb'"call_id":\s?"call_bench_(\d+)"')


@dataclass(frozen=True, slots=True)
class Plan:
    """How an answer comes: `tokens` deltas, `gap_ms` between two of them, `first_ms` before the first.

    The model first calls a tool in so many `rounds`.
    """

    tokens: int = 60
    gap_ms: int = 0
    first_ms: int = 0
    rounds: int = 0

    def message(self) -> str:
        """Return the user's message that orders this plan."""
        rounds = f" tool-rounds-{self.rounds}" if self.rounds else ""
        return f"Please answer in bench-{self.tokens}-{self.gap_ms}-{self.first_ms} style.{rounds}"


def plan_in(body: bytes) -> Plan:
    """Find the plan that a request's body orders."""
    found = _PLAN.search(body)
    return Plan(*map(int, found.groups())) if found else Plan()


def rounds_in(body: bytes) -> int:
    """Return how many rounds of tool calls are left, as a question orders or an answered call says."""
    ordered, answered = _ROUNDS.search(body), _ANSWERED.search(body)
    if answered:
        return int(answered.group(1)) - 1
    return int(ordered.group(1)) if ordered else 0


def word(number: int) -> str:
    """Return the text of a delta."""
    return _WORDS[number] if number < len(_WORDS) else _WORDS[1 + number % (len(_WORDS) - 1)]


def text(tokens: int) -> str:
    """Return the whole answer."""
    return "".join(map(word, range(tokens)))


def response(response_id: bytes, conversation_id: bytes, status: bytes, tokens: int) -> bytes:
    """Return a response object; only a completed one has output."""
    template = _completed(tokens) if status == b"completed" else _LIVE
    return template % {b"id": response_id, b"conversation": conversation_id, b"status": status}


def event(name: str, fields: dict[str, object]) -> bytes:
    """Return one server-sent event."""
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name, **fields}) + b"\n\n"


def head_events(response_id: bytes, conversation_id: bytes) -> bytes:
    """Return what comes before the first delta."""
    live = response(response_id, conversation_id, b"in_progress", 0)
    created = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
    running = (
        b'event: response.in_progress\ndata: {"type":"response.in_progress","sequence_number":1,"response":'
    )
    return created + live + b"}\n\n" + running + live + b"}\n\n" + _OPENING


def delta_event(number: int) -> bytes:
    """Return one delta."""
    where = {"item_id": _MESSAGE_ID, "output_index": 0, "content_index": 0}
    rest = {"delta": word(number), "logprobs": [], "obfuscation": "aZ3kQ9xW1b"[: 3 + number % 8]}
    return event("response.output_text.delta", {"sequence_number": 4 + number, **where, **rest})


def tail_events(response_id: bytes, conversation_id: bytes, tokens: int) -> bytes:
    """Return what comes after the last delta."""
    whole = response(response_id, conversation_id, b"completed", tokens)
    completed = (
        b'event: response.completed\ndata: {"type":"response.completed","sequence_number":%d,"response":'
    )
    return _closing(tokens) + completed % (tokens + 7) + whole + b"}\n\n"


def items_page(count: int = 100) -> bytes:
    """Return a page of conversation items, questions and answers in turn."""
    data = [_question(n) if n % 2 else _answer(60, f"{_MESSAGE_ID[:-4]}{n:04d}") for n in range(count)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return orjson.dumps({"object": "list", "data": data, "has_more": False, **ends})


def call_response(response_id: bytes, conversation_id: bytes, left: int) -> bytes:
    """Return a response that calls a tool; so many rounds are `left`, this one included."""
    names = {b"id": response_id, b"conversation": conversation_id, b"status": b"completed"}
    return _calling(left) % names


def call_events(response_id: bytes, conversation_id: bytes, left: int) -> bytes:
    """Return the stream of such a response."""
    live = response(response_id, conversation_id, b"in_progress", 0)
    whole = call_response(response_id, conversation_id, left)
    framed = b'event: response.%b\ndata: {"type":"response.%b","sequence_number":%d,"response":%b}\n\n'
    begun = framed % (b"created", b"created", 0, live)
    ended = framed % (b"completed", b"completed", 3, whole)
    return begun + _call_items(left) + ended


def completion(tokens: int) -> bytes:
    """Return a whole chat completion."""
    message = {"role": "assistant", "content": text(tokens)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 24, "completion_tokens": tokens, "total_tokens": tokens + 24}
    return orjson.dumps({**_COMPLETION, "object": "chat.completion", "choices": choices, "usage": usage})


def completion_events(tokens: int) -> list[bytes]:
    """Return a streamed chat completion."""
    parts: list[tuple[dict[str, str], str | None]] = [({"content": word(n)}, None) for n in range(tokens)]
    found = []
    for delta, reason in [*parts, ({}, "stop")]:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        chunk = {**_COMPLETION, "object": "chat.completion.chunk", "choices": choices}
        found.append(b"data: " + orjson.dumps(chunk) + b"\n\n")
    return [*found, b"data: [DONE]\n\n"]


def _question(number: int) -> dict[str, object]:
    part = {
        "type": "input_text",
        "text": f"Question number {number}, of a usual length for a person who asks.",
    }
    fixed = {"type": "message", "status": "completed", "role": "user", "content": [part]}
    return {"id": f"{_MESSAGE_ID[:-4]}{number:04d}", **fixed}


def _answer(tokens: int, item_id: str = _MESSAGE_ID) -> dict[str, object]:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text(tokens)}
    fixed = {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    return {"id": item_id, **fixed}


def _object(output: list[object], usage: object) -> bytes:
    """Return a response object as a template for its id, conversation and status."""
    return orjson.dumps(
        {
            "id": "%(id)s",
            "object": "response",
            "created_at": 1_791_000_000,
            "status": "%(status)s",
            "background": True,
            "completed_at": 1_791_000_001 if output else None,
            "conversation": {"id": "%(conversation)s"},
            "error": None,
            "incomplete_details": None,
            "instructions": "You are a helpful assistant. Answer briefly and to the point.",
            "max_output_tokens": None,
            "max_tool_calls": None,
            "model": "gpt-6-luna",
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "user": None,
            "metadata": {},
        }
    )


@cache
def _completed(tokens: int) -> bytes:
    usage = {
        "input_tokens": 24,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens + 24,
    }
    return _object([_answer(tokens)], usage)


@cache
def _calling(left: int) -> bytes:
    usage = {"input_tokens": 24, "output_tokens": 9, "total_tokens": 33}
    return _object([_call(left)], usage)


def _call(left: int) -> dict[str, object]:
    return {
        "id": f"fc_{left}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_bench_{left}",
        "name": "look_up",
        "arguments": '{"number":7}',
    }


@cache
def _call_items(left: int) -> bytes:
    call = _call(left)
    begun = {**call, "status": "in_progress", "arguments": ""}
    return event(
        "response.output_item.added", {"sequence_number": 1, "output_index": 0, "item": begun}
    ) + event("response.output_item.done", {"sequence_number": 2, "output_index": 0, "item": call})


@cache
def _closing(tokens: int) -> bytes:
    where = {"item_id": _MESSAGE_ID, "output_index": 0, "content_index": 0}
    answer = _answer(tokens)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text(tokens)}
    done = {**where, "text": text(tokens), "logprobs": []}
    events = (
        event("response.output_text.done", {"sequence_number": tokens + 4, **done}),
        event("response.content_part.done", {"sequence_number": tokens + 5, **where, "part": part}),
        event(
            "response.output_item.done", {"sequence_number": tokens + 6, "output_index": 0, "item": answer}
        ),
    )
    return b"".join(events)


_COMPLETION = {"id": "chatcmpl-1", "created": 1_791_000_000, "model": "gpt-6-luna"}
_LIVE = _object([], None)
_EMPTY_PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
_ADDED = {"id": _MESSAGE_ID, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
_OPENING = event(
    "response.output_item.added", {"sequence_number": 2, "output_index": 0, "item": _ADDED}
) + event(
    "response.content_part.added",
    {
        "sequence_number": 3,
        "item_id": _MESSAGE_ID,
        "output_index": 0,
        "content_index": 0,
        "part": _EMPTY_PART,
    },
)
