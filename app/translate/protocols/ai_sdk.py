"""The UI message stream of the AI SDK (`ai` 5, 6 and 7), which assistant-ui reads too.

Source: the chunk schema and `processUIMessageStream` of the npm package `ai`. Version 5.0 refuses unknown
keys, so chunks carry none beyond its own; no frame has a name or an id, on which assistant-ui throws.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.translate import events
from app.translate.events import Json
from app.translate.protocols.encoder import (
    SSE_HEADERS,
    Encoder,
    data_frame,
    dump_json,
    run_error,
    usage_counts,
)
from app.utils.filenames import media_type_of

_UI_HEADERS: Mapping[str, str] = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}
_START_STEP = b'data: {"type":"start-step"}\n\n'
_FINISH_STEP = b'data: {"type":"finish-step"}\n\n'
_FINISH = b'data: {"type":"finish"}\n\n'
_ABORT = b'data: {"type":"abort"}\n\n'
_HOSTED = {"providerExecuted": True, "dynamic": True}


class AiSdkEncoder(Encoder):
    """Chunks `start`, `start-step`, text, tool and source parts, `finish-step`, `finish`, then `[DONE]`.

    `start` carries `messageMetadata` `{thread_id, run_id}`, `finish` adds `{status, usage}`. Function calls
    become tool parts that the client answers. Tools that the upstream runs itself are dynamic tool parts,
    and its reasoning and commentary are reasoning parts.

    Args:
        message_id: the id of the assistant message that the client is to extend; by default derived from the
            run's id, which is the same in every round of a run.
        file_url: returns the URL of a file by its id; with it, generated files become `file` parts.

    """

    headers: Mapping[str, str] = _UI_HEADERS

    def __init__(self, message_id: str | None = None, file_url: Callable[[str], str] | None = None) -> None:
        self._message_id = message_id
        self._file_url = file_url
        self._started = False
        self._part: tuple[str, str] | None = None
        self._prefix = self._part_end = b""
        self._calls: set[str] = set()
        self._sources: set[str] = set()

    def encode(self, event: events.DomainEvent) -> bytes:
        """Return the chunks of one event."""
        if isinstance(event, events.TextDelta):
            return self._text(event)
        match event:
            case events.RunCreated(run=run) | events.RunResumed(run=run) | events.RunInProgress(run=run):
                return self._start(run)
            case events.MessageEnded():
                return self._end_part()
            case events.ReasoningDelta():
                return self._delta("reasoning", f"reasoning-{event.item}-{event.index}", event.text)
            case events.HostedCall():
                return self._hosted_call(event)
            case events.AnnotationAdded(source=source):
                return self._source(source)
            case events.ToolCallDelta(kind="function"):
                return self._call_delta(event)
            case events.ToolCallReady(call={"type": "function"}):
                return self._call_ready(event.call)
            case events.RunEnded():
                return self._start(event.run) + self._end_part() + _ending(event)
            case events.StreamFailed(error=error):
                return self._start() + self._end_part() + _error(error) + _FINISH_STEP + _FINISH
        return b""

    def close(self) -> bytes:
        """Return the `[DONE]` mark, without which assistant-ui throws."""
        return b"data: [DONE]\n\n"

    def _start(self, run: Json | None = None) -> bytes:
        if self._started:
            return b""
        self._started = True
        chunk: Json = {"type": "start"}
        message_id = self._message_id or (run and "msg_" + run["id"].removeprefix("run_"))
        if message_id:
            chunk["messageId"] = message_id
        if run:
            chunk["messageMetadata"] = {"thread_id": run["thread_id"], "run_id": run["id"]}
        return data_frame(chunk) + _START_STEP

    def _text(self, event: events.TextDelta) -> bytes:
        # What the model says while it works is shown where clients show its reasoning.
        kind = "reasoning" if event.is_commentary else "text"
        return self._delta(kind, f"{event.message_id}-{event.index}", event.text)

    def _delta(self, kind: str, part_id: str, text: str) -> bytes:
        opening = b""
        if (kind, part_id) != self._part:
            opening = self._start() + self._end_part() + self._start_part(kind, part_id)
        return opening + self._prefix + dump_json(text) + b"}\n\n"

    def _start_part(self, kind: str, part_id: str) -> bytes:
        self._part = (kind, part_id)
        name, quoted = kind.encode(), dump_json(part_id)
        self._prefix = b'data: {"type":"%b-delta","id":%b,"delta":' % (name, quoted)
        self._part_end = b'data: {"type":"%b-end","id":%b}\n\n' % (name, quoted)
        return b'data: {"type":"%b-start","id":%b}\n\n' % (name, quoted)

    def _end_part(self) -> bytes:
        if self._part is None:
            return b""
        self._part = None
        return self._part_end

    def _source(self, source: Json) -> bytes:
        name = source.get("url") or source.get("file_id")
        # The SDK shows every source part, so each source is sent once however often it is cited.
        if not name or name in self._sources:
            return b""
        self._sources.add(name)
        if self._file_url and source["type"] == "file_path":
            url, media_type = self._file_url(name), media_type_of(source.get("filename") or "")
            return self._start() + data_frame({"type": "file", "url": url, "mediaType": media_type})
        return self._start() + data_frame(_source_chunk(name, source))

    def _call_delta(self, event: events.ToolCallDelta) -> bytes:
        opening = b""
        if event.name and event.call_id not in self._calls:
            self._calls.add(event.call_id)
            chunk = {"type": "tool-input-start", "toolCallId": event.call_id, "toolName": event.name}
            opening = self._start() + data_frame(chunk)
        if not event.arguments or event.call_id not in self._calls:
            return opening
        delta = {"type": "tool-input-delta", "toolCallId": event.call_id, "inputTextDelta": event.arguments}
        return opening + data_frame(delta)

    def _call_ready(self, call: Json) -> bytes:
        function = call["function"]
        chunk = {"type": "tool-input-available", "toolCallId": call["id"], "toolName": function["name"]}
        return self._start() + data_frame({**chunk, "input": _parsed(function["arguments"])})

    def _hosted_call(self, event: events.HostedCall) -> bytes:
        opening = b""
        if event.call_id not in self._calls:
            self._calls.add(event.call_id)
            named = {"toolCallId": event.call_id, "toolName": event.name, **_HOSTED}
            opening = self._start() + data_frame({"type": "tool-input-start", **named})
        if event.status == "in_progress":
            return opening
        # As a delta: `tool-input-available` is what clients wait for to run a tool of their own.
        given = {"toolCallId": event.call_id, "inputTextDelta": dump_json(event.input).decode()}
        opening += data_frame({"type": "tool-input-delta", **given})
        ended = {"type": "tool-output-available", "toolCallId": event.call_id, **_HOSTED}
        if event.status == "failed":
            failed = {**ended, "type": "tool-output-error", "errorText": "The tool failed."}
            return opening + data_frame(failed)
        return opening + data_frame({**ended, "output": event.output})


def _ending(ended: events.RunEnded) -> bytes:
    run = ended.run
    status = run["status"]
    notice = _ABORT if status == "cancelled" else b""
    if status in {"failed", "expired"}:
        notice = _error(run_error(ended))
    metadata = {"status": status, "usage": usage_counts(run)}
    return notice + _FINISH_STEP + data_frame({"type": "finish", "messageMetadata": metadata})


def _error(error: Json) -> bytes:
    return data_frame({"type": "error", "errorText": error["message"]})


def _source_chunk(name: str, source: Json) -> Json:
    if source.get("url"):
        titled = {"title": source["title"]} if source.get("title") else {}
        return {"type": "source-url", "sourceId": name, "url": source["url"], **titled}
    filename = source.get("filename")
    kind = {"type": "source-document", "sourceId": name, "mediaType": media_type_of(filename or "")}
    chunk = {**kind, "title": filename or name}
    return {**chunk, "filename": filename} if filename else chunk


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        # Broken off or invented by the model: the client's tool reports it better than we could.
        return arguments
