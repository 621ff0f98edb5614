"""OpenAI's API with a moderation that flags every text with the word `bad`; for `fake_upstream`."""

import json
import time
from typing import Any, Literal

from tests.fake_openai import FakeOpenAI, answered
from tests.fake_upstream import Connection, Request
from tests.support import Json

CANARY = "bad canary-7f3a"


class ModeratingOpenAI(FakeOpenAI):
    """Moderates by the policy of responses, by the endpoint, or not at all.

    Args:
        kind: `policy` moderates responses, `endpoint` refuses the parameter for that, `ignores` takes it for
            nothing.
        refuses: whether a blocked input is an HTTP error, or a response that ends at once.
        answer: what the model says.

    """

    def __init__(
        self,
        kind: Literal["policy", "endpoint", "ignores"] = "policy",
        *,
        has_endpoint: bool = True,
        refuses: bool = True,
        answer: str = "Hello.",
    ) -> None:
        super().__init__()
        self.kind = kind
        self.has_endpoint = has_endpoint
        self.refuses = refuses
        self.text = answer
        self.added: list[Json] = []
        self.moderated: list[Json] = []
        self.status: int | None = None

    @property
    def turns(self) -> list[Json]:
        """The requests for responses without the question of the start."""
        return [body for body in self.sent if body.get("input") != "Hello"]

    async def handle(self, request: Request, connection: Connection) -> None:
        path = request.path.removeprefix("/v1")
        if self.status is not None:
            await connection.answer(self.status, {"error": {"message": "No."}})
        elif path == "/moderations" and self.has_endpoint:
            self.moderated.append(request.json)
            found = [{"flagged": "bad" in text, "categories": {}} for text in request.json["input"]]
            await connection.answer(200, {"id": "modr_1", "model": "m", "results": found})
        elif path == "/conversations/conv_1/items" and request.method == "POST":
            self.added += request.json["items"]
            kept = [{"id": "msg_9", "status": "completed", **item} for item in request.json["items"]]
            await connection.answer(200, {"data": kept, "has_more": False})
        else:
            await super().handle(request, connection)

    async def _respond(self, body: Json, connection: Connection) -> None:
        self.sent.append(body)
        asked = body.get("moderation")
        if asked and self.kind == "endpoint":
            error = {"message": "Unknown parameter: 'moderation'.", "param": "moderation", "code": "unknown"}
            await connection.answer(400, {"error": error})
            return
        response = answered(body)
        response["output"][0]["content"][0]["text"] = self.text
        response["created_at"] = int(time.time())
        if asked and self.kind == "policy":
            # The thread's messages are a part of the input.
            stored = [made.get("items") for made in self.conversations]
            is_bad = "bad" in json.dumps([body.get("input"), *stored, self.added])
            if is_bad and asked["policy"]["input"]["mode"] == "block" and self.refuses:
                error = {"message": f"{CANARY} was flagged.", "code": "moderation_blocked", "param": "input"}
                await connection.answer(400, {"error": error})
                return
            response |= self._judged(asked, is_bad=is_bad)
        await self._send(response, connection, is_stream=bool(body.get("stream")))

    def _judged(self, asked: Json, *, is_bad: bool) -> Json:
        checks = {"input": _result(is_bad), "output": _result("bad" in self.text)}
        found: Json = {"moderation": checks}
        policy = asked["policy"]
        blocks_input = is_bad and policy["input"]["mode"] == "block"
        if blocks_input or ("bad" in self.text and policy["output"]["mode"] == "block"):
            reason = {"incomplete_details": {"reason": "content_filter"}}
            found |= {"status": "incomplete", "output": [], **reason}
        return found

    async def _send(self, response: Json, connection: Connection, *, is_stream: bool) -> None:
        if not is_stream:
            await connection.answer(200, response)
            return
        begun = {**response, "status": "in_progress", "output": [], "incomplete_details": None}
        events = (("response.created", begun), (f"response.{response['status']}", response))
        data = (f"event: {kind}\ndata: {json.dumps({'type': kind, 'response': r})}\n\n" for kind, r in events)
        await connection.start_stream()
        await connection.chunk("".join(data).encode())
        await connection.end_stream()


def _result(is_flagged: Any) -> Json:
    return {"type": "moderation_result", "flagged": bool(is_flagged), "categories": {}, "model": "m"}
