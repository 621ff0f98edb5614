"""OpenAI's API as far as a few calls go, behind a socket: every body is remembered, refusals come first."""

import json
from typing import Any

from tests.fake_upstream import Connection, Request
from tests.support import Json

CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}


class FakeOpenAI:
    """Conversations and responses as OpenAI answers them; `handle` is for `fake_upstream`."""

    def __init__(self) -> None:
        self.url = ""
        self.refusals: list[tuple[int, Any, dict[str, str]]] = []
        self.metadata: Json = {}
        self.sent: list[Json] = []
        self.conversations: list[Json] = []
        self.metadata_writes: list[Json] = []
        self.usage: Json = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        self.reads = 0
        self.read_status = 200

    async def handle(self, request: Request, connection: Connection) -> None:
        path = request.path.removeprefix("/v1")
        match request.method, path:
            case "POST", "/responses":
                await self._respond(request.json, connection)
            case "POST", "/conversations":
                self.conversations.append(request.json)
                await connection.answer(200, CONVERSATION)
            case "POST", "/conversations/conv_1":
                self.metadata = request.json["metadata"]
                self.metadata_writes.append(self.metadata)
                await connection.answer(200, {**CONVERSATION, "metadata": self.metadata})
            case "GET", "/conversations/conv_1":
                await connection.answer(200, {**CONVERSATION, "metadata": self.metadata})
            case "GET", "/conversations/conv_1/items":
                await connection.answer(200, {"data": [], "has_more": False})
            case "GET", "/models/gpt-6-luna":
                await connection.answer(200, {"id": "gpt-6-luna"})
            case "GET", _ if path.startswith("/responses/"):
                self.reads += 1
                await connection.answer(self.read_status, answered({}))
            case _:
                await connection.answer(404, {"error": {"message": "Not found"}})

    async def _respond(self, body: Json, connection: Connection) -> None:
        self.sent.append(body)
        if self.refusals:
            status, refusal, headers = self.refusals.pop(0)
            await connection.answer(status, refusal, **headers)
            return
        response = answered(body) | {"usage": self.usage}
        if not body.get("stream"):
            await connection.answer(200, response)
            return
        begun = {**response, "status": "in_progress", "output": []}
        await connection.start_stream()
        for kind, found in (("response.created", begun), ("response.completed", response)):
            event = {"type": kind, "response": found}
            await connection.chunk(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())
        await connection.end_stream()


def answered(body: Json) -> Json:
    text = {"type": "output_text", "text": "Hello.", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "conversation": {"id": "conv_1"},
        "output": [item],
        "model": body.get("model"),
        "metadata": body.get("metadata") or {},
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    }
