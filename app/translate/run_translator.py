"""Translates the events of an upstream stream to domain events."""

from app.translate.context import RunContext
from app.translate.events import (
    DomainEvent,
    Json,
    RunCreated,
    RunEnded,
    RunInProgress,
    RunResumed,
    StreamFailed,
    TextDelta,
)
from app.translate.failures import FAILING, code_of, failure_of_run, known_failure
from app.translate.item_builder import ItemBuilder
from app.translate.objects import (
    incomplete_details,
    message_object,
    message_sources,
    run_object,
    run_status,
)
from app.translate.pictures import PICTURE_ITEMS, pictures_in
from app.translate.upstream_types import (
    TERMINAL,
    UNREADABLE,
    UPSTREAM_FAILED,
    ErrorEventError,
    MalformedEventError,
    UpstreamEvent,
    annotation_of,
    decode,
    item_of,
    name_of,
    response_of,
    sequence_of,
)

TEXT_DELTA = "response.output_text.delta"
_REASONING_DELTA = "response.reasoning_summary_text.delta"
_DELTAS = {
    TEXT_DELTA,
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.code_interpreter_call_code.delta",
    _REASONING_DELTA,
}
_STATES = {"response.created", "response.queued", "response.in_progress"}
_DONE = "response.output_item.done"
_ITEMS = {"response.output_item.added", _DONE, "response.output_text.annotation.added"}
_KNOWN = {name.encode(): name for name in TERMINAL | _DELTAS | _STATES | _ITEMS | {"error"}}


class RunTranslator:
    """Translates the stream of one response to domain events.

    Args:
        context: the thread of the run, and how the run is shown.
        resumed: whether the stream continues a run after tool outputs; then the run is not created anew.
        ended_as: the status with which the run is known to have ended, which overrides the upstream's.

    """

    __slots__ = (
        "_context",
        "_ended_as",
        "_has_settled",
        "_indices",
        "_is_announced",
        "_is_running",
        "_items",
        "_resumed",
        "_shown",
        "_waiting",
        "is_ended",
        "last_sequence",
        "response",
    )

    def __init__(self, context: RunContext, *, resumed: bool = False, ended_as: str | None = None) -> None:
        self._context = context
        self._resumed = resumed
        self._ended_as = ended_as
        self._shown: tuple[Json | None, str, Json] = (None, "", {})
        self._is_announced = False
        self._is_running = False
        self._has_settled = False
        self._items = ItemBuilder(context)
        self._waiting: list[tuple[str, UpstreamEvent]] = []
        """Events of items that have to wait until another one has ended."""
        self._indices: dict[str, int] = {}
        """The output indices of items by their ids, for upstreams that send no indices, as llama.cpp."""
        self.response: Json | None = None
        """The latest state of the response that the upstream sent."""
        self.last_sequence: int | None = None
        """The sequence number of the last upstream event, translated or skipped."""
        self.is_ended = False

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        if self.response is None:
            return None
        context = self._context
        return context.thread_id, context.ids.run(context.first_response_id or self.response["id"])

    def feed(self, name: bytes, data: bytes) -> list[DomainEvent]:
        """Translate one upstream event.

        Raises `MalformedEventError`, or `ErrorEventError` once the run exists; do not go on with the stream.
        """
        if self.is_ended:
            return []
        kind = _KNOWN.get(name or name_of(data).encode())
        if kind is None:
            if (number := sequence_of(data)) is not None:
                self.last_sequence = number
            return []
        try:
            event = decode(data)
            if event.output_index < 0 and event.response is None:
                event.output_index = self._index_of(event)
            events = self._translate(kind, event)
        except ErrorEventError:
            raise
        except UNREADABLE as exc:
            raise MalformedEventError(kind) from exc
        if event.sequence_number is not None:
            self.last_sequence = event.sequence_number
            if events:
                events[-1].sequence = event.sequence_number
        return events

    def fail(self, error: Json, *, status: str = "failed") -> list[DomainEvent]:
        """End the run without an end from the upstream: close what is open and return the last events.

        `error` is the inside of an error envelope; it is sent only if no run exists yet.
        """
        if self.is_ended:
            return []
        if self.response is None:
            self.is_ended = True
            return [StreamFailed(error)]
        ended = {**self.response, "output": [], "status": status, "error": {"code": error.get("code")}}
        return [*self._rest(ended), *self._end(ended, status)]

    def said(self) -> list[Json]:
        """Return the assistant's messages so far in the upstream's form; open ones are `incomplete`."""
        return self._items.messages()

    def announce(self, response: Json) -> list[DomainEvent]:
        """Return the events that announce the run of a response that was looked up."""
        return self._announce(response)

    def retell(self, response: Json, *, status: str | None = None) -> list[DomainEvent]:
        """Return all events of a run from its finished response, as if its stream had been followed."""
        events = [*self._announce(response), *self._ensure_running()]
        return [*events, *self._rest(response), *self._end(response, status)]

    def finish(self, response: Json, *, status: str | None = None) -> list[DomainEvent]:
        """Return the remaining events of a run from its response, after its stream broke.

        `status` overrides the status of the response.
        """
        if self.is_ended:
            return []
        return [*self._announce(response), *self._rest(response), *self._end(response, status)]

    def _index_of(self, event: UpstreamEvent) -> int:
        """Return the output index of an event that came without one: that of its item, or the latest."""
        item_id = event.item_id or (event.item or {}).get("id")
        latest = max(len(self._indices) - 1, 0)
        return self._indices.setdefault(item_id, len(self._indices)) if item_id else latest

    def _translate(self, kind: str, event: UpstreamEvent) -> list[DomainEvent]:
        # A short cut for the event of every token, if nothing has to be opened before it.
        if (
            kind == TEXT_DELTA
            and self._is_running
            and (message := self._items.open_messages.get(event.output_index))
            and (place := message.places.get(event.content_index)) is not None
        ):
            delta = event.delta or ""
            message.texts[place].append(delta)
            return [TextDelta(message.message_id, place, delta, is_commentary=message.is_commentary)]
        if kind in _DELTAS or kind in _ITEMS:
            return [*self._ensure_running(), *self._in_order(kind, event)]
        if kind == "error":
            return self._error(event)
        response = response_of(event)
        if kind in TERMINAL:
            return self._terminal(response)
        announced = self._announce(response)
        return announced + (self._ensure_running() if kind == "response.in_progress" else [])

    def _terminal(self, response: Json) -> list[DomainEvent]:
        announced = self._announce(response)
        # Some upstreams send items, or their ends, only here.
        is_whole = response.get("status") in {"completed", "incomplete"}
        rest = response if is_whole else {**response, "output": []}
        return [*announced, *self._rest(rest), *self._end(response, None)]

    def _released(self, response: Json) -> list[DomainEvent]:
        """Return the events that waited for the end of an item which did not come."""
        output = response.get("output") or []
        whole = {self._items.index_of(item, number) for number, item in enumerate(output)}
        status = "completed" if response.get("status") == "completed" else "incomplete"
        events: list[DomainEvent] = []
        while waiting := [(kind, event) for kind, event in self._waiting if event.output_index not in whole]:
            self._waiting = []
            events += [*self._told_rest(response, is_open=True), *self._items.settle(status)]
            self._has_settled = True
            for later in waiting:
                events += self._in_order(*later)
        self._waiting = []
        return events

    def _in_order(self, kind: str, event: UpstreamEvent) -> list[DomainEvent]:
        """Handle an event, or hold it back while another item is open."""
        if self._items.is_busy_with_another(event.output_index, event.item):
            self._waiting.append((kind, event))
            return []
        events = self._item_event(kind, event)
        if kind == _DONE and self._waiting:
            waiting, self._waiting = self._waiting, []
            for later in waiting:
                events += self._in_order(*later)
        return events

    def _item_event(self, kind: str, event: UpstreamEvent) -> list[DomainEvent]:
        index, part, item_id = event.output_index, event.content_index, event.item_id or ""
        if kind == _REASONING_DELTA:
            return self._items.reason(index, event.summary_index, event.delta or "")
        if kind in _DELTAS:
            return self._items.grow(kind, index, part, item_id, event.delta or "")
        if kind == "response.output_text.annotation.added":
            return self._items.annotate(index, part, item_id, annotation_of(event))
        item = item_of(event)
        if kind == "response.output_item.added":
            return self._items.start(index, item, self._run("in_progress"))
        return self._items.end(index, item, self._run("in_progress"))

    def _announce(self, response: Json) -> list[DomainEvent]:
        self.response = response
        if self._is_announced:
            return []
        self._is_announced = True
        run = self._run("queued")
        self._items.begin(response, run)
        return [RunResumed(run) if self._resumed else RunCreated(run)]

    def _rest(self, response: Json) -> list[DomainEvent]:
        """Return the events that are still missing for a response, without its end."""
        released = self._released(response) if self._waiting else []
        return [*released, *self._told_rest(response)]

    def _told_rest(self, response: Json, *, is_open: bool = False) -> list[DomainEvent]:
        """Return the missing events of a response's items; with `is_open`, of the open ones."""
        events: list[DomainEvent] = []
        is_cut = response.get("status") == "incomplete"
        reason = {"incomplete_details": incomplete_details(response)} if is_cut else {}
        for number, item in enumerate(response.get("output") or []):
            index = self._items.index_of(item, number)
            if not self._items.is_finished(index) and (not is_open or self._items.is_open(index)):
                events += self._items.catch_up(index, item, self._run("in_progress") | reason)
        return [*self._ensure_running(), *events] if events else []

    def _ensure_running(self) -> list[DomainEvent]:
        if self._is_running or self.response is None:
            return []
        self._is_running = True
        return [RunInProgress(self._run("in_progress"))]

    def _end(self, response: Json, status: str | None) -> list[DomainEvent]:
        output = self._items.with_told_ids(response.get("output") or [])
        whole = {**response, "output": output or self._items.finished()}
        self.response = whole
        status = status or self._ended_as or run_status(whole)
        run = run_object(whole, self._context, status=status)
        before = self._ensure_running()
        is_cut = self._has_settled or bool(self._items.open_messages)
        closing = self._items.close(run, whole)
        self.is_ended = True
        said = whole["output"]
        if is_cut:
            # The upstream's last event need not have messages that were cut off.
            known = {item.get("id") for item in said}
            said = [*said, *(item for item in self._items.messages() if item["id"] not in known)]
        return [*before, *closing, _ended(whole, said, run, self._context)]

    def _run(self, status: str) -> Json:
        if self.response is None:
            raise MalformedEventError("an item before its response")
        response, shown_status, run = self._shown
        if response is not self.response or shown_status != status:
            run = run_object({**self.response, "output": []}, self._context, status=status)
            self._shown = (self.response, status, run)
        return run

    def _error(self, event: UpstreamEvent) -> list[DomainEvent]:
        # Servers differ in whether the error is the event or an object in it.
        code = event.code or code_of(event.error)
        if self.response is not None:
            # The stream has ended, but its response may go on: the caller looks it up.
            raise ErrorEventError(code)
        known = known_failure(code)
        return self.fail(known.error() if known else UPSTREAM_FAILED)


def run_ended(response: Json, context: RunContext) -> RunEnded:
    """Return the end of a run whose response was not streamed."""
    whole = response if response.get("output") else {**response, "output": []}
    run = run_object(whole, context)
    return _ended(whole, whole["output"], run, context)


def _ended(response: Json, output: list[Json], run: Json, context: RunContext) -> RunEnded:
    """Return the end of a run with the items that it has shown."""
    calls = [item for item in output if item.get("type") in PICTURE_ITEMS]
    said = [item for item in output if item.get("type") == "message"]
    answers = [item for item in said if item.get("phase") != "commentary"]
    commentary = [item for item in said if item.get("phase") == "commentary"]
    named = {
        "thread_id": context.thread_id,
        "assistant_id": context.assistant_id,
        "run_id": run["id"],
        "run": run,
    }
    messages = [message_object(item, context.ids, created_at=run["created_at"], **named) for item in answers]
    sources = [source for item in answers + commentary for source in message_sources(item, context.ids)]
    pictures = _pictures(calls, context) if calls else []
    failure = failure_of_run(response, run["status"]) if run["status"] in FAILING else None
    return RunEnded(run, messages, sources, pictures, failure)


def _pictures(items: list[Json], context: RunContext) -> list[str]:
    conversation_id = context.ids.conversation(context.thread_id)
    made = [picture for item in items for picture in pictures_in(item, conversation_id, context.ids)]
    return [picture.file_id for picture in made]
