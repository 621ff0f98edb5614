"""Every way in which a client's text reaches the model or a thread."""

from collections.abc import Callable
from typing import Any

import httpx2

from app.utils.ids import IdCodec
from tests.support import ASSISTANT, Json

THREAD = IdCodec().thread("conv_1")


def _message(text: str) -> Json:
    return {"role": "user", "content": text}


MAKERS: dict[str, tuple[str, Callable[[str], Json]]] = {
    "chat": ("chat", lambda text: {"message": text}),
    "chat on a thread": ("chat", lambda text: {"message": text, "thread_id": THREAD}),
    "chat stream": ("chat", lambda text: {"message": text, "stream": True}),
    "AI SDK": (
        "chat",
        lambda text: {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}]},
    ),
    "AG-UI": (
        "ag-ui",
        lambda text: {
            "threadId": "t",
            "runId": "r",
            "messages": [{"id": "1", "role": "user", "content": text}],
        },
    ),
    "run": (
        f"threads/{THREAD}/runs",
        lambda text: {"assistant_id": ASSISTANT, "additional_messages": [_message(text)]},
    ),
    "run stream": (
        f"threads/{THREAD}/runs",
        lambda text: {
            "assistant_id": ASSISTANT,
            "stream": True,
            "additional_messages": [_message(text)],
        },
    ),
    "thread and run": (
        "threads/runs",
        lambda text: {"assistant_id": ASSISTANT, "thread": {"messages": [_message(text)]}},
    ),
    "thread": ("threads", lambda text: {"messages": [_message(text)]}),
    "message": (f"threads/{THREAD}/messages", _message),
    "parts": (
        f"threads/{THREAD}/messages",
        lambda text: {
            "role": "user",
            "content": [{"type": "text", "text": part} for part in text.split(" ")],
        },
    ),
    "answer put in": (f"threads/{THREAD}/messages", lambda text: {"role": "assistant", "content": text}),
}
ONLY_STORED = {"thread", "message", "parts", "answer put in"}
"""Those after which the model is not asked."""

STREAMED = {"chat stream", "AI SDK", "AG-UI", "run stream"}


async def send(client: httpx2.AsyncClient, name: str, text: str, **options: Any) -> httpx2.Response:
    """Bring a text in."""
    path, body = MAKERS[name]
    return await client.post(path, json=body(text), **options)
