"""A client of the soak: one thread, one thing after the other, and a memory of every answer it got."""

import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

Json = dict[str, Any]
_LIVE = {"queued", "in_progress", "cancelling"}
_PAGE = 100


class Talker:
    """Talks in one thread: all kinds of requests in a random order, then all of them in another one."""

    def __init__(self, url: str, requests: Counter[str], errors: Counter[str], seed: int) -> None:
        self._url = url
        self._requests, self._errors = requests, errors
        self._seed, self._number = seed, 0
        self._random = random.Random(seed)
        self._thread_id = ""
        self._answers: list[str] = []
        self._client = self._new_client()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "chat": self._chat,
            "stream": self._stream,
            "aborted stream": self._abort,
            "resumed run": self._resume,
            "tool run": self._call_tool,
            "upload": self._upload,
        }
        self._next: list[str] = []

    async def warm_up(self) -> None:
        """Do everything once, while the upstream behaves, in a thread of its own."""
        async with self._new_client() as self._client:
            self._thread_id = (await self._sent("POST", "threads", {}))["id"]
            for act in self._kinds.values():
                await act()

    async def talk(self, until: float) -> None:
        """Go on until this time of the monotonic clock."""
        async with self._new_client() as self._client:
            while time.monotonic() < until:
                kind = self._draw()
                self._requests[kind] += 1
                try:
                    await self._kinds[kind]()
                except _RefusedError as exc:
                    self._errors[str(exc)] += 1
                except httpx2.RemoteProtocolError:
                    self._errors["connection broken off"] += 1

    def _draw(self) -> str:
        if not self._next:
            self._next = self._random.sample(list(self._kinds), len(self._kinds))
        return self._next.pop()

    async def finished_turns(self) -> Counter[str]:
        """How often each answer that was given stands in the thread."""
        async with self._new_client() as self._client:
            texts = Counter(await self._texts("assistant"))
        return Counter({answer: texts[answer] for answer in self._answers})

    async def questions(self) -> Counter[str]:
        """How often each message of this client stands in the thread."""
        async with self._new_client() as self._client:
            return Counter(await self._texts("user"))

    def _new_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self._url, timeout=90, trust_env=False)

    async def _chat(self) -> None:
        body = {"message": self._say(), "thread_id": self._thread_id}
        answer = await self._sent("POST", "chat", body)
        if answer["status"] == "completed":
            self._answers.append(answer["message"])

    async def _stream(self) -> None:
        body = {"message": self._say(), "thread_id": self._thread_id, "stream": True}
        events = await self._events("POST", "chat", body)
        name, data = events[-1]
        if name == "error":
            raise _RefusedError(data["error"]["code"])
        if name == "done" and data["status"] == "completed":
            self._answers.append(data["message"])

    async def _abort(self) -> None:
        body = {"message": "slow:" + self._say(), "thread_id": self._thread_id, "stream": True}
        async with self._client.stream("POST", "chat", json=body) as response:
            if response.status_code != 200:
                raise _RefusedError(_code(await response.aread()))
            chunks = response.aiter_bytes()
            await anext(chunks)

    async def _resume(self) -> None:
        """Leave a run's stream after its first events and follow the rest, as a page that reloads does."""
        question = self._say()
        await self._sent("POST", self._path("messages"), {"role": "user", "content": question})
        run = await self._sent("POST", self._path("runs"), {"assistant_id": "asst_soloist"})
        path = self._path(f"runs/{run['id']}/events")
        seen = await self._events("GET", path, None, most=4)
        last = [number for number, _ in seen if number.isdigit()]
        headers = {"last-event-id": last[-1]} if last else {}
        events = await self._events("GET", path, None, headers=headers)
        self._note_run(events, question)

    async def _call_tool(self) -> None:
        await self._sent("POST", self._path("messages"), {"role": "user", "content": f"tool {self._say()}"})
        run = await self._sent("POST", self._path("runs"), {"assistant_id": "asst_soloist"})
        run = await self._polled(run)
        if run["status"] != "requires_action":
            raise _RefusedError(f"tool run {run['status']}")
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": self._say()} for call in calls]
        path = self._path(f"runs/{run['id']}/submit_tool_outputs")
        await self._polled(await self._sent("POST", path, {"tool_outputs": outputs}))

    async def _upload(self) -> None:
        content = self._random.randbytes(self._random.randrange(1, 200_000)).hex().encode()
        files = {"file": ("notes.txt", content, "text/plain")}
        response = await self._client.post("files", files=files, data={"purpose": "assistants"})
        file_id = _body(response)["id"]
        await self._sent("GET", f"files/{file_id}", None)
        await self._sent("DELETE", f"files/{file_id}", None)

    def _note_run(self, events: list[tuple[str, Any]], question: str) -> None:
        """Take what a run's events say; the last state of the run decides.

        Where a tool call was left open before, its repair is the newest item, and the scripted model answers
        that instead: always in the same words, so such an answer cannot be told from another one.
        """
        objects = [data for _, data in events if isinstance(data, dict)]
        states = [found["status"] for found in objects if found.get("object") == "thread.run"]
        if states[-1:] != ["completed"]:
            raise _RefusedError(f"run {states[-1] if states else 'without an end'}")
        messages = [found for found in objects if found.get("object") == "thread.message"]
        answers = [_text_of(found) for found in messages if found["status"] == "completed"]
        if not any(question in answer for answer in answers):
            raise _RefusedError("run answered a repaired tool call")
        self._answers += answers

    async def _polled(self, run: Json) -> Json:
        while run["status"] in _LIVE:
            run = await self._sent("GET", self._path(f"runs/{run['id']}"), None)
        return run

    async def _texts(self, role: str) -> list[str]:
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            query = {"limit": str(_PAGE), "order": "asc", **after}
            page = _body(await self._client.get(self._path("messages"), params=query))
            found += [_text_of(message) for message in page["data"] if message["role"] == role]
            if not page["has_more"]:
                return found
            after = {"after": page["last_id"]}

    async def _sent(self, method: str, path: str, body: Json | None) -> Json:
        return _body(await self._client.request(method, path, json=body))

    async def _events(
        self, method: str, path: str, body: Json | None, *, headers: Json | None = None, most: int = 0
    ) -> list[tuple[str, Any]]:
        """Events as (name, data); `most` leaves the stream after so many, and gives (id, data)."""
        found: list[tuple[str, Any]] = []
        async with self._client.stream(method, path, json=body, headers=headers) as response:
            if response.status_code != 200:
                raise _RefusedError(_code(await response.aread()))
            name = ""
            async for line in response.aiter_lines():
                key, _, value = line.partition(": ")
                if key == ("id" if most else "event"):
                    name = value
                elif key == "data":
                    found.append((name, value if value == "[DONE]" else json.loads(value)))
                    if len(found) == most:
                        break
        return found

    def _path(self, rest: str) -> str:
        return f"threads/{self._thread_id}/{rest}"

    def _say(self) -> str:
        """Something that was never said before."""
        self._number += 1
        return f"number {self._number} of client {self._seed}"


class _RefusedError(Exception):
    """An answer that is an error, by its code."""


def _body(response: httpx2.Response) -> Json:
    if response.status_code != 200:
        raise _RefusedError(_code(response.content))
    found: Json = response.json()
    return found


def _code(content: bytes) -> str:
    return str(json.loads(content)["error"]["code"])


def _text_of(message: Json) -> str:
    return "".join(part["text"]["value"] for part in message["content"] if part["type"] == "text")
