"""Builds steps and messages from the messages of a running response, and knows which are open."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from app.translate.annotations import annotation_object, source_object
from app.translate.context import RunContext
from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    Json,
    MessageEnded,
    MessageStarted,
    PictureAdded,
    StepEnded,
    StepStarted,
    TextDelta,
)
from app.translate.objects import message_object
from app.translate.pictures import Picture, cited_parts, image_part
from app.translate.steps import message_details, step_object

_TEXT = "response.output_text.delta"
_REFUSAL = "response.refusal.delta"


class OpenMessage:
    """A message that still receives text."""

    __slots__ = (
        "annotation_counts",
        "annotations_seen",
        "is_commentary",
        "item_id",
        "message_id",
        "phase",
        "pictures",
        "places",
        "texts",
    )

    def __init__(self, item: Json, item_id: str, message_id: str) -> None:
        self.item_id = item_id
        self.message_id = message_id
        self.phase = item.get("phase")
        self.is_commentary = self.phase == "commentary"
        self.pictures: list[Picture] = []
        """The pictures, which take the first places."""
        self.places: dict[int, int] = {}
        """The place of each content index: some upstreams begin at 1, or leave numbers out."""
        self.texts: list[list[str]] = []
        """The pieces of each part's text, by place."""
        self.annotation_counts: dict[int, int] = {}
        self.annotations_seen: dict[int, int] = {}

    def show(self, pictures: list[Picture]) -> None:
        """Add pictures, before any text."""
        self.pictures = pictures
        self.texts += [[] for _ in pictures]

    def place_of(self, content_index: int) -> int:
        """Return the place of a content index; a new one gets the next place."""
        if content_index not in self.places:
            self.places[content_index] = len(self.texts)
            self.texts.append([])
        return self.places[content_index]

    def match(self, text: str, taken: set[int]) -> int:
        """Return the first place, not in `taken`, whose text so far `text` begins with; else a new place."""
        for place, pieces in enumerate(self.texts):
            if place not in taken and text.startswith("".join(pieces)):
                return place
        self.texts.append([])
        return len(self.texts) - 1

    def rest(self, place: int, text: str) -> str:
        """Return what the complete `text` of a part adds to its text so far."""
        told = "".join(self.texts[place])
        return text[len(told) :] if text.startswith(told) else ""

    def item(self, status: str) -> Json:
        """Return the message so far in the upstream's form."""
        content = [
            {"type": "output_text", "text": "".join(pieces), "annotations": []}
            for pieces in self.texts[len(self.pictures) :]
        ]
        return {
            "type": "message",
            "id": self.item_id,
            "role": "assistant",
            "status": status,
            "content": content,
            **({"phase": self.phase} if self.phase else {}),
        }


class OpenStep:
    """The step that is open."""

    __slots__ = ("calls", "details", "grown", "hidden", "index", "is_function")

    def __init__(self, index: int, details: Json, *, is_function: bool = False) -> None:
        self.index = index
        self.details = details
        self.is_function = is_function
        self.calls: dict[int, int] = {}
        self.grown: dict[int, int] = {}
        self.hidden: set[int] = set()
        """The output indexes of calls whose arguments the client does not see."""


class StepBuilder(ABC):
    """Turns messages into the events of steps and messages, with at most one open step at a time."""

    __slots__ = (
        "_context",
        "_finished",
        "_pictures",
        "_response",
        "_run",
        "_step",
        "_thought",
        "open_messages",
    )

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._step: OpenStep | None = None
        self.open_messages: dict[int, OpenMessage] = {}
        """The open messages by output index."""
        self._finished: dict[int, Json] = {}
        self._pictures: list[Picture] = []
        """The pictures that the next message shows."""
        self._run: Json = {}
        self._response: Json = {}
        self._thought: dict[tuple[int, int], int] = {}
        """How many characters of each part of the reasoning's summary clients have, by item and part."""

    def begin(self, response: Json, run: Json) -> None:
        """Set the response and run of the items."""
        self._response = response
        self._run = run

    def finished(self) -> list[Json]:
        """Return the complete items so far in output order, for upstreams whose last event has none."""
        return [item for _, item in sorted(self._finished.items())]

    def messages(self) -> list[Json]:
        """Return the assistant's messages so far in the upstream's form; open ones are `incomplete`."""
        found = {index: item for index, item in self._finished.items() if item.get("type") == "message"}
        found |= {index: message.item("incomplete") for index, message in self.open_messages.items()}
        return [item for _, item in sorted(found.items())]

    def is_finished(self, index: int) -> bool:
        """Return whether the item at an output index is complete."""
        return index in self._finished

    def is_open(self, index: int) -> bool:
        """Return whether the message or call at an output index is open."""
        return index in self.open_messages or (self._step is not None and index in self._step.calls)

    def is_busy_with_another(self, index: int, item: Json | None) -> bool:
        """Return whether a message or a call is open at another output index than that of `item`.

        Clients get one message and one step at a time; functions that are called together are one step.
        """
        if self.open_messages:
            return index not in self.open_messages
        step = self._step
        if step is None or index in step.calls or all(map(self._finished.__contains__, step.calls)):
            return False
        return not (step.is_function and item is not None and self._is_function(item))

    def settle(self, status: str) -> list[DomainEvent]:
        """End what is open, as nothing more comes of it; messages get a status."""
        events: list[DomainEvent] = []
        for index, message in list(self.open_messages.items()):
            events += self.end(index, message.item(status), self._run)
        return [*events, *self._close_step("completed")]

    def index_of(self, item: Json, index: int) -> int:
        """Return the output index at which an item was streamed, or `index` if it was not.

        They differ where the final list lacks some of the streamed items.
        """
        told = {found.get("id"): at for at, found in self._finished.items()}
        told |= {message.item_id: at for at, message in self.open_messages.items()}
        return told.get(item.get("id"), index) if item.get("id") else index

    def with_told_ids(self, output: list[Json]) -> list[Json]:
        """Return a final list of items with the ids that clients know, since some upstreams change ids."""
        named = []
        for number, item in enumerate(output):
            told = self._finished.get(self.index_of(item, number), item)
            is_same = told.get("type") == item.get("type") and told.get("id")
            named.append({**item, "id": told["id"], "phase": told.get("phase")} if is_same else item)
        return named

    def start(self, index: int, item: Json, run: Json) -> list[DomainEvent]:
        """Handle the start of an item."""
        self._run = run
        is_message = item.get("type") == "message"
        return self._start_message(index, item) if is_message else self._start_other(index, item)

    def grow(self, kind: str, index: int, part: int, item_id: str, delta: str) -> list[DomainEvent]:
        """Handle a delta of an item's text, arguments or code."""
        if kind in {_TEXT, _REFUSAL}:
            message = self.open_messages.get(index)
            started = [] if message else self._start_message(index, {"id": item_id})
            message = message or self.open_messages[index]
            place = message.place_of(part)
            return [*started, self._say(message, place, delta, is_refusal=kind == _REFUSAL)]
        return self._grow_call(index, delta)

    def catch_up(self, index: int, item: Json, run: Json) -> list[DomainEvent]:
        """Return the missing events for an item that was looked up, with its text in one piece."""
        events = [] if self.is_open(index) else self.start(index, item, run)
        return [*events, *self.end(index, item, run)]

    def _say(self, message: OpenMessage, place: int, text: str, *, is_refusal: bool) -> DomainEvent:
        is_first = not message.texts[place]
        message.texts[place].append(text)
        kind: Literal["text", "refusal"] = "refusal" if is_refusal else "text"
        return TextDelta(message.message_id, place, text, kind, message.is_commentary, is_first)

    def _catch_up_texts(self, message: OpenMessage, parts: list[Json]) -> list[DomainEvent]:
        """Return the missing events of a complete message's parts, which are matched by their text."""
        events: list[DomainEvent] = []
        taken = set(range(len(message.pictures)))
        for content in parts:
            is_refusal = content.get("type") == "refusal"
            text = str(content.get("refusal" if is_refusal else "text") or "")
            place = message.match(text, taken)
            taken.add(place)
            if rest := message.rest(place, text):
                events.append(self._say(message, place, rest, is_refusal=is_refusal))
            for upstream in (content.get("annotations") or [])[message.annotations_seen.get(place, 0) :]:
                events += self._cite(message, place, upstream)
        return events

    def annotate(self, index: int, part: int, item_id: str, upstream: Json) -> list[DomainEvent]:
        """Handle an annotation of a message's text."""
        started = [] if index in self.open_messages else self._start_message(index, {"id": item_id})
        message = self.open_messages[index]
        return [*started, *self._cite(message, message.place_of(part), upstream)]

    def _cite(self, message: OpenMessage, place: int, upstream: Json) -> list[DomainEvent]:
        message.annotations_seen[place] = message.annotations_seen.get(place, 0) + 1
        annotation = annotation_object(upstream, "".join(message.texts[place]), self._context.ids)
        if annotation is None:
            return []
        number = message.annotation_counts.get(place, 0)
        message.annotation_counts[place] = number + 1
        source = source_object(annotation, upstream)
        return [AnnotationAdded(message.message_id, place, number, annotation, source)]

    def end(self, index: int, item: Json, run: Json) -> list[DomainEvent]:
        """Handle the end of an item."""
        self._run = run
        self._finished[index] = item
        if item.get("type") == "message":
            events = [] if index in self.open_messages else self._start_message(index, item)
            message = self.open_messages[index]
            # An upstream may name it otherwise now: clients know its first id, and what it was shown as.
            self._finished[index] = item = {**item, "id": message.item_id, "phase": message.phase}
            events += self._catch_up_texts(message, item.get("content") or [])
            return [*events, *self._end_message(index, item)]
        return self._end_other(index, item)

    @abstractmethod
    def _is_function(self, item: Json) -> bool:
        """Return whether an item is a call that clients see as a function's."""

    @abstractmethod
    def _start_other(self, index: int, item: Json) -> list[DomainEvent]:
        """Handle the start of an item that is no message."""

    @abstractmethod
    def _end_other(self, index: int, item: Json) -> list[DomainEvent]:
        """Handle the end of an item that is no message."""

    @abstractmethod
    def _grow_call(self, index: int, delta: str) -> list[DomainEvent]:
        """Handle a delta of a call's arguments or code."""

    def close(self, run: Json, response: Json) -> list[DomainEvent]:
        """Close what is still open at the end of the run, with a status that follows from the run's."""
        self._run = run
        events: list[DomainEvent] = []
        output = response.get("output") or []
        status = "completed" if run["status"] in {"completed", "requires_action"} else "incomplete"
        for index, message in list(self.open_messages.items()):
            is_whole = index < len(output) and output[index].get("type") == "message"
            whole = {**output[index], "status": status} if is_whole else message.item(status)
            self._finished[index] = whole
            events += self._end_message(index, whole)
        waits = run["status"] == "requires_action" and self._step is not None and self._step.is_function
        return events if waits else [*events, *self._close_step(_step_status(run["status"]), run["usage"])]

    def _start_message(self, index: int, item: Json) -> list[DomainEvent]:
        events = self._close_step("completed")
        item_id = str(item.get("id") or self._made_up_id(index))
        message = OpenMessage(item, item_id, self._context.ids.message(item_id))
        self.open_messages[index] = message
        if self._context.is_brief:
            return [*events, self._open_step(OpenStep(index, {})), MessageStarted({})]
        events.append(self._open_step(OpenStep(index, message_details(message.message_id))))
        empty = {"id": message.item_id, "role": "assistant", "status": "in_progress", "content": []}
        events.append(MessageStarted(self._message(empty)))
        message.show(self._pictures)
        self._pictures = []
        return [*events, *_shown(message, [image_part(each.file_id) for each in message.pictures])]

    def _end_message(self, index: int, item: Json) -> list[DomainEvent]:
        message = self.open_messages.pop(index)
        if self._context.is_brief:
            return [MessageEnded(self._message(item))]
        made = [image_part(picture.file_id) for picture in message.pictures]
        cited = cited_parts(item, message.pictures, self._context.ids)
        ended = MessageEnded(self._message(item, made, cited))
        return [*_shown(message, cited, len(message.texts)), ended]

    def _made_up_id(self, index: int) -> str:
        """Return an id for an item that the upstream gives none."""
        return f"item_{self._response['id']}_{index}"

    def _open_step(self, step: OpenStep) -> DomainEvent:
        self._step = step
        return StepStarted(self._step_object("in_progress"))

    def _close_step(self, status: str, usage: Json | None = None) -> list[DomainEvent]:
        if self._step is None:
            return []
        ended = StepEnded(self._step_object(status, usage))
        self._step = None
        return [ended]

    def _current_step(self) -> OpenStep:
        if self._step is None:
            raise ValueError("no step is open")
        return self._step

    def _step_id(self) -> str:
        return self._context.ids.step(self._response["id"], self._current_step().index)

    def _step_object(self, status: str, usage: Json | None = None) -> Json:
        if self._context.is_brief:
            return {}
        step = self._current_step()
        details = (
            {**step.details, "tool_calls": list(step.details["tool_calls"])}
            if "tool_calls" in step.details
            else step.details
        )
        return step_object(
            self._context,
            self._run,
            self._response["id"],
            step.index,
            details=details,
            status=status,
            usage=usage,
        )

    def _message(self, item: Json, pictures: Sequence[Json] = (), cited: Sequence[Json] = ()) -> Json:
        context = self._context
        return message_object(
            item,
            context.ids,
            thread_id=context.thread_id,
            assistant_id=context.assistant_id,
            run_id=self._run["id"],
            created_at=self._run["created_at"],
            pictures=pictures,
            cited=cited,
            run=self._run,
        )


def _shown(message: OpenMessage, parts: Sequence[Json], first: int = 0) -> list[DomainEvent]:
    return [PictureAdded(message.message_id, place, part) for place, part in enumerate(parts, first)]


def _step_status(run_status: str) -> str:
    return "completed" if run_status in {"completed", "incomplete", "requires_action"} else run_status
