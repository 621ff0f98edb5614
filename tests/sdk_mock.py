"""OpenAI's API behind the SDK's transport: no socket, the real client, every body remembered."""

import json
from typing import Any

import httpx
import respx

from tests.support import Json

BASE = "https://upstream.test/v1"
CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}


class Upstream:
    """Conversations and responses as OpenAI answers them; `refusals` come first."""

    def __init__(self, router: respx.Router) -> None:
        self.refusals: list[httpx.Response] = []
        self.metadata: Json = {}
        self.sent: list[Json] = []
        self.conversations: list[Json] = []
        self.metadata_writes: list[Json] = []
        router.post("/responses").mock(side_effect=self._respond)
        router.post("/conversations").mock(side_effect=self._converse)
        router.get("/conversations/conv_1").mock(side_effect=self._read)
        router.post("/conversations/conv_1").mock(side_effect=self._write)
        router.get("/models/gpt-6-luna").respond(200, json={"id": "gpt-6-luna"})
        self.reads = router.get(url__regex=rf"{BASE}/responses/.*").respond(200, json=answered({}))
        self.items = router.get(url__regex=rf"{BASE}/conversations/conv_1/items.*").respond(
            200, json={"data": [], "has_more": False}
        )

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(json.loads(request.content))
        if self.refusals:
            return self.refusals.pop(0)
        response = answered(self.sent[-1])
        if not self.sent[-1].get("stream"):
            return httpx.Response(200, json=response)
        events = [
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.completed", "response": response},
        ]
        frames = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return httpx.Response(200, text="".join(frames), headers={"content-type": "text/event-stream"})

    def _converse(self, request: httpx.Request) -> httpx.Response:
        self.conversations.append(json.loads(request.content))
        return httpx.Response(200, json=CONVERSATION)

    def _read(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={**CONVERSATION, "metadata": self.metadata})

    def _write(self, request: httpx.Request) -> httpx.Response:
        self.metadata = json.loads(request.content)["metadata"]
        self.metadata_writes.append(self.metadata)
        return httpx.Response(200, json={**CONVERSATION, "metadata": self.metadata})


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


def refusal(status: int, body: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers=headers)
