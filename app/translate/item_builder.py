"""Builds steps and events from those output items of a running response that are no messages."""

from app.translate.client_calls import client_call
from app.translate.events import DomainEvent, Json, PictureAdded, ReasoningDelta, ToolCallDelta, ToolCallReady
from app.translate.hosted_calls import hosted_call
from app.translate.own_calls import call_begun
from app.translate.pictures import image_part, pictures_in
from app.translate.step_builder import OpenStep, StepBuilder
from app.translate.steps import tool_call, tool_details

_STEP_KINDS = {
    "code_interpreter_call": "code_interpreter",
    "file_search_call": "file_search",
}


class ItemBuilder(StepBuilder):
    """Adds tool calls and reasoning to the messages of `StepBuilder`."""

    __slots__ = ()

    def _is_function(self, item: Json) -> bool:
        return self._call_kind(item) == "function"

    def _start_other(self, index: int, item: Json) -> list[DomainEvent]:
        item = self._identified(index, item)
        call = self._call_kind(item)
        return hosted_call(item, is_over=False) + (self._start_call(index, item, call) if call else [])

    def _end_other(self, index: int, item: Json) -> list[DomainEvent]:
        if item.get("type") == "reasoning":
            return self._end_reasoning(index, item)
        item = self._identified(index, item)
        call = self._call_kind(item)
        ended = self._end_call(index, item, call) if call else []
        if self._is_own(item):
            return list(call_begun(item, self._context.own_tools))
        # Last what every protocol shows: a client that breaks off there has seen all of the event.
        return [*self._made(item), *hosted_call(item, is_over=True), *ended]

    def _is_own(self, item: Json) -> bool:
        """Return whether an item is shown as a call that is none of the client's: in chats, ours are."""
        own = self._context.own_tools
        return self._context.is_brief and own.has(item) and own.runs(item)

    def _identified(self, index: int, item: Json) -> Json:
        return item if item.get("id") else {**item, "id": self._made_up_id(index)}

    def _made(self, item: Json) -> list[DomainEvent]:
        """Keep the pictures in an item for the next message; chats show them at once."""
        context = self._context
        made = pictures_in(item, context.ids.conversation(context.thread_id), context.ids)
        if context.is_brief:
            return [PictureAdded("", 0, image_part(picture.file_id)) for picture in made]
        self._pictures += made
        return []

    def reason(self, index: int, part: int, delta: str) -> list[DomainEvent]:
        """Handle a delta of a part of the reasoning's summary."""
        self._thought[index, part] = self._thought.get((index, part), 0) + len(delta)
        return [ReasoningDelta(index, part, delta)] if delta else []

    def _end_reasoning(self, index: int, item: Json) -> list[DomainEvent]:
        events: list[DomainEvent] = []
        for part, summary in enumerate(item.get("summary") or []):
            text = str(summary.get("text") or "") if isinstance(summary, dict) else ""
            events += self.reason(index, part, text[self._thought.get((index, part), 0) :])
        return events

    def _call_kind(self, item: Json) -> str | None:
        """Return the kind of the Assistants tool call for an item, or None if it is no such call."""
        if self._is_own(item):
            return None
        kind = _STEP_KINDS.get(str(item.get("type")))
        return kind or ("function" if client_call(item, self._response) else None)

    def _start_call(self, index: int, item: Json, kind: str) -> list[DomainEvent]:
        events: list[DomainEvent] = []
        joins = self._step is not None and self._step.is_function and kind == "function"
        if not joins:
            events += self._close_step("completed")
            events.append(self._open_step(OpenStep(index, tool_details([]), is_function=kind == "function")))
        step = self._current_step()
        step.calls[index] = number = len(step.calls)
        if self._context.own_tools.hides(item):
            step.hidden.add(index)
        call = client_call(item, self._response) or {"id": str(item.get("id")), "name": ""}
        call_id = call["id"]
        events.append(ToolCallDelta(self._step_id(), number, call_id, kind, call["name"], ""))
        step.details["tool_calls"].append({"id": call_id, "type": kind})
        return events

    def _grow_call(self, index: int, delta: str) -> list[DomainEvent]:
        step = self._step
        if step is None or index not in step.calls or index in step.hidden:
            return []
        step.grown[index] = step.grown.get(index, 0) + len(delta)
        number = step.calls[index]
        call = step.details["tool_calls"][number]
        return [ToolCallDelta(self._step_id(), number, call["id"], call["type"], "", delta)]

    def _end_call(self, index: int, item: Json, kind: str) -> list[DomainEvent]:
        events: list[DomainEvent] = []
        if self._step is None or index not in self._step.calls:
            events += self._start_call(index, item, kind)
        step = self._current_step()
        asked = client_call(item, self._response)
        whole = str((asked["arguments"] if asked else item.get("code")) or "")
        if left := whole[step.grown.get(index, 0) :]:
            events += self._grow_call(index, left)
        call = tool_call(item, self._response, self._context) or {}
        number = step.calls[index]
        step.details["tool_calls"][number] = call
        # Clients run a function when it is ready: half of its arguments would be wrong.
        if item.get("status") != "incomplete":
            events.append(ToolCallReady(self._step_id(), number, call))
        return events if kind == "function" else [*events, *self._close_step("completed")]
