"""Turns a responder's pieces into output items and their events, in OpenAI's order."""

from collections.abc import Collection
from dataclasses import dataclass, field

from app.embedded.events import EventLog, delta_template
from app.embedded.ids import alnum_id, item_id
from app.embedded.include import shown_items
from app.embedded.objects import call_item, message_item, text_part
from app.embedded.responders.base import (
    Annotation,
    CallArguments,
    CallEnd,
    CallStart,
    HostedTool,
    Piece,
    Refusal,
    TextDelta,
)
from app.embedded.wire import Json

_HOSTED_STEPS = {
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
}


@dataclass(slots=True)
class _OpenMessage:
    item_id: str
    head: bytes
    tail: bytes
    texts: list[str] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class _OpenCall:
    item_id: str
    call_id: str
    name: str
    head: bytes
    tail: bytes
    arguments: list[str] = field(default_factory=list)


class Output:
    """The growing `output` of one response; its events show what `include` names."""

    def __init__(self, response_id: str, log: EventLog, include: Collection[str] = ()) -> None:
        self.items: list[Json] = []
        """Whole, whatever is shown."""
        self.deltas = 0
        """Text and argument deltas so far; what stands in for tokens."""
        self._log = log
        self._include = include
        self._response_id = response_id
        self._message: _OpenMessage | None = None
        self._call: _OpenCall | None = None

    def add(self, piece: Piece) -> None:
        """Apply one piece."""
        if isinstance(piece, TextDelta):
            self._add_text(piece.text)
        elif isinstance(piece, CallArguments):
            self._add_arguments(piece.text)
        elif isinstance(piece, Annotation):
            self._add_annotation(piece.body)
        elif isinstance(piece, CallStart):
            self._start_call(piece.name)
        elif isinstance(piece, CallEnd):
            self._end_call("completed")
        elif isinstance(piece, Refusal):
            self._add_refusal(piece.text)
        elif isinstance(piece, HostedTool):
            self._add_hosted(piece)

    def close(self, status: str) -> None:
        """End whatever is open; `status` is completed or incomplete."""
        self._end_message(status)
        self._end_call(status)

    def _add_text(self, text: str) -> None:
        message = self._message or self._start_message()
        message.texts.append(text)
        self.deltas += 1
        self._log.add_delta(message.head, text, message.tail)

    def _start_message(self) -> _OpenMessage:
        self.close("completed")
        item_id = self._new_id("msg")
        where = self._part_place(item_id)
        self._added(message_item(item_id, "in_progress", []))
        self._log.add("response.content_part.added", {**where, "part": text_part("", [])})
        head, tail = delta_template("response.output_text.delta", where, {"logprobs": []})
        self._message = _OpenMessage(item_id, head, tail)
        return self._message

    def _add_annotation(self, body: Json) -> None:
        message = self._message or self._start_message()
        place = {**self._part_place(message.item_id), "annotation_index": len(message.annotations)}
        message.annotations.append(body)
        self._log.add("response.output_text.annotation.added", {**place, "annotation": body})

    def _end_message(self, status: str) -> None:
        message = self._message
        if message is None:
            return
        self._message = None
        text = "".join(message.texts)
        part = text_part(text, message.annotations)
        where = self._part_place(message.item_id)
        self._log.add("response.output_text.done", {**where, "text": text, "logprobs": []})
        self._log.add("response.content_part.done", {**where, "part": part})
        self._done(message_item(message.item_id, status, [part]))

    def _add_refusal(self, text: str) -> None:
        self.close("completed")
        item_id = self._new_id("msg")
        where = self._part_place(item_id)
        part = {"type": "refusal", "refusal": text}
        self._added(message_item(item_id, "in_progress", []))
        self._log.add("response.content_part.added", {**where, "part": {"type": "refusal", "refusal": ""}})
        self._log.add("response.refusal.delta", {**where, "delta": text})
        self._log.add("response.refusal.done", {**where, "refusal": text})
        self._log.add("response.content_part.done", {**where, "part": part})
        self._done(message_item(item_id, "completed", [part]))

    def _start_call(self, name: str) -> None:
        self.close("completed")
        item_id, call_id = self._new_id("fc"), alnum_id("call_")
        self._added(call_item(item_id, "in_progress", call_id, name, ""))
        head, tail = delta_template("response.function_call_arguments.delta", self._item_place(item_id), {})
        self._call = _OpenCall(item_id, call_id, name, head, tail)

    def _add_arguments(self, text: str) -> None:
        if self._call is not None:
            self._call.arguments.append(text)
            self.deltas += 1
            self._log.add_delta(self._call.head, text, self._call.tail)

    def _end_call(self, status: str) -> None:
        call = self._call
        if call is None:
            return
        self._call = None
        arguments = "".join(call.arguments)
        place = self._item_place(call.item_id)
        self._log.add("response.function_call_arguments.done", {**place, "arguments": arguments})
        self._done(call_item(call.item_id, status, call.call_id, call.name, arguments))

    def _add_hosted(self, tool: HostedTool) -> None:
        self.close("completed")
        kind = tool.body["type"]
        item = {"id": self._new_id(tool.prefix), "status": "in_progress", **tool.body}
        self._added(shown_items([item], ())[0])
        for step in _HOSTED_STEPS.get(kind, ()):
            self._log.add(f"response.{kind}.{step}", self._item_place(item["id"]))
        self._done({**item, "status": "completed"})

    def _added(self, item: Json) -> None:
        self._log.add("response.output_item.added", {"output_index": len(self.items), "item": item})

    def _done(self, item: Json) -> None:
        (shown,) = shown_items([item], self._include)
        self._log.add("response.output_item.done", {"output_index": len(self.items), "item": shown})
        self.items.append(item)

    def _new_id(self, prefix: str) -> str:
        return item_id(prefix, self._response_id)

    def _item_place(self, item_id: str) -> Json:
        return {"item_id": item_id, "output_index": len(self.items)}

    def _part_place(self, item_id: str) -> Json:
        return {**self._item_place(item_id), "content_index": 0}
