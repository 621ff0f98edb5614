"""The documented way: FastAPI and `AsyncOpenAI`, as their own pages show it.

Run as `python -m bench.documented PORT UPSTREAM_URL`.
"""

import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from openai import AsyncOpenAI
from openai.types.responses import ResponseUsage
from pydantic import BaseModel

app = FastAPI()
client = AsyncOpenAI(base_url=sys.argv[2] if len(sys.argv) > 2 else None, api_key="bench")
_INSTRUCTIONS = (
    "You are a helpful assistant. Answer in the language of the question, briefly and to the point."
)


class ChatRequest(BaseModel):
    """The chat's body."""

    message: str
    thread_id: str | None = None
    stream: bool = False


class ChatAnswer(BaseModel):
    """The chat's answer."""

    message: str
    thread_id: str
    run_id: str
    usage: ResponseUsage | None


class Delta(BaseModel):
    """One piece of a streamed answer."""

    text: str


@app.post("/api/v1/chat", response_model=ChatAnswer)
async def chat(body: ChatRequest) -> ChatAnswer | Response:
    thread_id = body.thread_id or (await client.conversations.create()).id
    if body.stream:
        return StreamingResponse(_events(body.message, thread_id), media_type="text/event-stream")
    response = await client.responses.create(
        model="gpt-6-luna", instructions=_INSTRUCTIONS, input=body.message, conversation=thread_id
    )
    return ChatAnswer(
        message=response.output_text, thread_id=thread_id, run_id=response.id, usage=response.usage
    )


async def _events(message: str, thread_id: str) -> AsyncIterator[str]:
    stream = await client.responses.create(
        model="gpt-6-luna", instructions=_INSTRUCTIONS, input=message, conversation=thread_id, stream=True
    )
    async for event in stream:
        if event.type == "response.output_text.delta":
            yield f"event: delta\ndata: {Delta(text=event.delta).model_dump_json()}\n\n"
    yield "event: done\ndata: {}\n\n"


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
