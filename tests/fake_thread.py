"""An upstream with one conversation whose next answer consists of given items, streamed or whole."""

import json
from typing import Any

from tests.fake_openai import CONVERSATION
from tests.fake_upstream import Connection, Request
from tests.support import Json

RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "in_progress",
    "conversation": {"id": "conv_1"},
    "background": True,
    "metadata": {},
    "output": [],
}


def message(text: str, annotations: list[Json] | None = None, **changes: Any) -> Json:
    """An item of type message with one text."""
    part = {"type": "output_text", "text": text, "annotations": annotations or []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return item | changes


class FakeThread:
    """One conversation, and others that are empty names; `handle` is for `fake_upstream`.

    `items` are all items, oldest first; the answer of a run is those of `output`. A message's text streams in
    pieces that end where its annotations are, each annotation right after its piece.
    """

    def __init__(self, output: list[Json], items: list[Json] | None = None) -> None:
        self.output = output
        self.items = output if items is None else items
        self.created = 0

    @property
    def response(self) -> Json:
        return {**RESPONSE, "status": "completed", "output": self.output}

    async def handle(self, request: Request, connection: Connection) -> None:
        path = request.path.removeprefix("/v1")
        *_, last = path.split("/")
        if path == "/responses" and request.json.get("stream"):
            await self._stream(connection, 0)
        elif path == "/responses/resp_1" and request.query.get("stream"):
            await self._stream(connection, int(request.query.get("starting_after", -1)) + 1)
        elif path.startswith("/responses"):
            await connection.answer(200, self.response)
        elif path == "/conversations":
            self.created += 1
            await connection.answer(200, {**CONVERSATION, "id": f"conv_{self.created}"})
        elif path == "/conversations/conv_1":
            await connection.answer(200, CONVERSATION)
        elif path == "/conversations/conv_1/items":
            await connection.answer(200, self._page(request.query))
        elif found := next((item for item in self.items if item["id"] == last), None):
            await connection.answer(200, found)
        else:
            await connection.answer(404, {"error": {"message": f"Item with id '{last}' not found."}})

    def _page(self, query: dict[str, str]) -> Json:
        items = self.items if query["order"] == "asc" else self.items[::-1]
        ids = [item["id"] for item in items]
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        limit = int(query["limit"])
        return {"data": items[start : start + limit], "has_more": len(items) > start + limit}

    async def _stream(self, connection: Connection, start: int) -> None:
        await connection.start_stream()
        for number, event in enumerate(self.events()):
            if number >= start:
                data = json.dumps({**event, "sequence_number": number})
                await connection.chunk(f"event: {event['type']}\ndata: {data}\n\n".encode())
        await connection.end_stream()

    def events(self) -> list[Json]:
        """The events of the answer's stream."""
        events: list[Json] = [{"type": "response.created", "response": RESPONSE}]
        for index, item in enumerate(self.output):
            empty = {**item, "content": []} if item["type"] == "message" else {**item, "outputs": None}
            events.append({"type": "response.output_item.added", "output_index": index, "item": empty})
            for place, part in enumerate(item.get("content") or []):
                where = {"output_index": index, "content_index": place, "item_id": item["id"]}
                events += [{**event, **where} for event in _told(part)]
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        return [*events, {"type": "response.completed", "response": self.response}]


def _told(part: Json) -> list[Json]:
    events: list[Json] = []
    text, done = part["text"], 0
    for annotation in part["annotations"]:
        end = annotation.get("index", annotation.get("end_index"))
        # As OpenAI does, an annotation that has no place comes at the end.
        end = end if isinstance(end, int) and done <= end <= len(text) and end else len(text)
        events.append({"type": "response.output_text.delta", "delta": text[done:end]})
        events.append({"type": "response.output_text.annotation.added", "annotation": annotation})
        done = end
    return [*events, {"type": "response.output_text.delta", "delta": text[done:]}]
