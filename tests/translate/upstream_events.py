"""Upstream events as tests write them, and the domain events that they become."""

import itertools
import json

from app.translate.context import RunContext
from app.translate.events import (
    MessageEnded,
    MessageStarted,
    RunCreated,
    RunEnded,
    RunInProgress,
    StepEnded,
    StepStarted,
    TextDelta,
)
from app.translate.run_translator import RunTranslator
from app.utils.ids import IdCodec

CONTEXT = RunContext(IdCodec(), "thread_1", "asst_1", 600)
RESPONSE = {"id": "resp_1", "created_at": 1_790_000_000, "status": "in_progress", "output": []}
FAILURE = {"message": "x", "type": "upstream_error", "param": None, "code": "upstream_broken"}


def message(text, **changes):
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return item | changes


def call(name="f", arguments='{"a": 1}', call_id="call_1"):
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": arguments}


def created():
    return [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.in_progress", "response": RESPONSE},
    ]


def ended(status="completed", **changes):
    return {"type": f"response.{status}", "response": RESPONSE | {"status": status} | changes}


def added(item, index=0):
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item, index=0):
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def text(delta, index=0, part=0):
    body = {"output_index": index, "content_index": part, "item_id": "msg_1", "delta": delta}
    return {"type": "response.output_text.delta", **body}


def arguments(delta, index=0):
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta}


def spoken(words, whole=None):
    item = message(whole or "".join(words))
    return [
        *created(),
        added(message("", content=[], status="in_progress")),
        *map(text, words),
        done(item),
        ended(output=[item]),
    ]


def fed(events, translator=None, *, named=True):
    translator = translator or RunTranslator(CONTEXT)
    found = []
    for number, event in enumerate(events):
        data = json.dumps({**event, "sequence_number": number}).encode()
        found += translator.feed(event["type"].encode() if named else b"", data)
    return found


def ordered(events):
    """Types of events, repeated ones once."""
    return [kind for kind, _ in itertools.groupby(type(event) for event in events)]


PLAIN = [
    RunCreated,
    RunInProgress,
    StepStarted,
    MessageStarted,
    TextDelta,
    MessageEnded,
    StepEnded,
    RunEnded,
]
