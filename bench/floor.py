"""The floor: FastAPI with one route, aiohttp, and own parsing of only the fields that are needed.

No authentication, no errors, no cancelling, no logs: what is left is what any FastAPI service in front of an
upstream pays. Run as `python -m bench.floor PORT UPSTREAM_URL`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

_UPSTREAM = sys.argv[2] if len(sys.argv) > 2 else ""
_DELTA = b"event: response.output_text.delta\n"
_COMPLETED = b"event: response.completed\n"
_HEADERS = {"authorization": "Bearer bench", "content-type": "application/json"}
_INSTRUCTIONS = (
    "You are a helpful assistant. Answer in the language of the question, briefly and to the point."
)


class ChatRequest(BaseModel):
    """The chat's body."""

    message: str
    thread_id: str | None = None
    stream: bool = False


class _Delta(msgspec.Struct):
    delta: str


_read_delta = msgspec.json.Decoder(_Delta).decode


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/v1/chat")
async def chat(body: ChatRequest) -> Response:
    conversation = body.thread_id or await _new_conversation()
    part = {"type": "input_text", "text": body.message}
    sent = {
        "model": "gpt-6-luna",
        "instructions": _INSTRUCTIONS,
        "conversation": conversation,
        "input": [{"type": "message", "role": "user", "content": [part]}],
        "stream": body.stream,
        "store": True,
    }
    response = await _post("/responses", sent)
    if body.stream:
        return StreamingResponse(_events(response, conversation), media_type="text/event-stream")
    found = orjson.loads(await response.read())
    return Response(orjson.dumps(_answer(found, conversation)), media_type="application/json")


async def _new_conversation() -> str:
    response = await _post("/conversations", {})
    return str(orjson.loads(await response.read())["id"])


async def _post(path: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
    session: aiohttp.ClientSession = app.state.session
    return await session.post(_UPSTREAM + path, data=orjson.dumps(body), headers=_HEADERS)


async def _events(response: aiohttp.ClientResponse, conversation: str) -> AsyncIterator[bytes]:
    """Yield one piece for each upstream read."""
    rest = b""
    async for chunk in response.content.iter_any():
        blocks = (rest + chunk).split(b"\n\n")
        rest = blocks.pop()
        out = []
        for block in blocks:
            if block.startswith(_DELTA):
                text = _read_delta(block[len(_DELTA) + 6 :]).delta
                out.append(b'event: delta\ndata: {"text":' + orjson.dumps(text) + b"}\n\n")
            elif block.startswith(_COMPLETED):
                whole = orjson.loads(block[len(_COMPLETED) + 6 :])["response"]
                out.append(b"event: done\ndata: " + orjson.dumps(_answer(whole, conversation)) + b"\n\n")
        if out:
            yield b"".join(out)


def _answer(response: dict[str, Any], conversation: str) -> dict[str, Any]:
    message = response["output"][0]
    return {
        "message": message["content"][0]["text"],
        "thread_id": conversation,
        "role": "assistant",
        "created_at": response["created_at"],
        "run_id": response["id"],
        "annotations": [],
        "usage": response["usage"],
    }


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
