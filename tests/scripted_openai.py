"""OpenAI's API with given answers: it keeps conversations, and refuses a turn while a call is open."""

import itertools
import json
import time
from collections.abc import Iterable

from tests.fake_upstream import Connection, Request
from tests.support import Json

_NEED_ANSWERS = {
    "function_call",
    "custom_tool_call",
    "computer_call",
    "local_shell_call",
    "apply_patch_call",
    "mcp_approval_request",
}


def message(text: str, number: int = 1, **more: object) -> Json:
    """An answer of the model."""
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {"id": f"msg_a{number}", "type": "message", "role": "assistant", "status": "completed"}
    return {**said, "content": [part], **more}


class ScriptedOpenAI:
    """One conversation whose turns have the given outputs, one after the other; for `fake_upstream`."""

    def __init__(self, *outputs: list[Json]) -> None:
        self.outputs = iter(outputs)
        self.items: list[Json] = []
        self.sent: list[Json] = []
        self.metadata: Json = {}
        self.responses: dict[str, Json] = {}
        self._numbers = itertools.count(1)

    async def handle(self, request: Request, connection: Connection) -> None:
        path, query = request.path.removeprefix("/v1"), request.query
        name = path.rpartition("/")[2]
        match request.method, path:
            case "POST", "/responses":
                await self._respond(request.json, connection)
            case "POST", "/conversations":
                self._keep(request.json.get("items") or [])
                await connection.answer(200, self._conversation())
            case "POST", "/conversations/conv_1":
                self.metadata = request.json["metadata"]
                await connection.answer(200, self._conversation())
            case "GET", "/conversations/conv_1":
                await connection.answer(200, self._conversation())
            case "GET", "/conversations/conv_1/items":
                found = self.items if query.get("order") == "asc" else self.items[::-1]
                start = [item["id"] for item in found].index(query["after"]) + 1 if "after" in query else 0
                found = found[start:]
                await connection.answer(200, {"data": found, "has_more": False})
            case "POST", "/conversations/conv_1/items":
                kept = self._keep(request.json["items"])
                await connection.answer(200, {"data": kept, "has_more": False})
            case "DELETE", _ if any(item["id"] == name for item in self.items):
                self.items = [item for item in self.items if item["id"] != name]
                await connection.answer(200, self._conversation())
            case "GET", _ if name in self.responses and query.get("stream") != "true":
                await connection.answer(200, self.responses[name])
            case "GET", _ if name in self.responses:
                await self._stream(self.responses[name], connection)
            case _:
                await connection.answer(404, {"error": {"message": f"{name} not found"}})

    def _conversation(self) -> Json:
        about = {"id": "conv_1", "object": "conversation", "created_at": int(time.time())}
        return {**about, "metadata": self.metadata}

    def _keep(self, items: Iterable[Json]) -> list[Json]:
        kept = [{"id": f"item_{next(self._numbers)}", "status": "completed", **item} for item in items]
        self.items += kept
        return kept

    def _open_calls(self, items: list[Json]) -> set[str]:
        opened = {str(i.get("call_id") or i["id"]) for i in items if _needs_answer(i)}
        answers = {
            str(i.get("call_id") or i.get("approval_request_id"))
            for i in items
            if i["type"].endswith(("_output", "_response"))
        }
        return opened - answers

    async def _respond(self, body: Json, connection: Connection) -> None:
        self.sent.append(body)
        asked = body.get("input") or []
        if left := self._open_calls([*self.items, *asked]):
            refusal = f"No tool output found for function call {min(left)}."
            await connection.answer(400, {"error": {"message": refusal, "param": "input"}})
            return
        output = next(self.outputs)
        self._keep(asked)
        self.items += output
        response: Json = {
            "id": f"resp_{next(self._numbers)}",
            "created_at": int(time.time()),
            "status": "completed",
            "conversation": {"id": "conv_1"},
            "background": bool(body.get("background")),
            "output": output,
            "metadata": body.get("metadata") or {},
            "tools": [_struck_out(tool) for tool in body.get("tools") or []],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        }
        self.responses[response["id"]] = response
        if body.get("stream"):
            await self._stream(response, connection)
        else:
            await connection.answer(200, response)

    async def _stream(self, response: Json, connection: Connection) -> None:
        begun = {**response, "status": "in_progress", "output": []}
        events: list[Json] = [{"type": "response.created", "response": begun}]
        for index, item in enumerate(response["output"]):
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": response})
        await connection.start_stream()
        for number, event in enumerate(events):
            data = json.dumps({**event, "sequence_number": number})
            await connection.chunk(f"event: {event['type']}\ndata: {data}\n\n".encode())
        await connection.end_stream()


def _needs_answer(item: Json) -> bool:
    if item["type"] == "shell_call":
        return bool((item.get("environment") or {}).get("type") in {None, "local"})
    return item["type"] in _NEED_ANSWERS


def _struck_out(tool: Json) -> Json:
    return {**tool, "authorization": "<redacted>"} if tool.get("authorization") else tool
