"""Tries what only the real upstream can tell, with one short turn for each question.

Every turn has a conversation of its own, which is deleted afterwards. What an upstream refuses here, the
service does without; docs/upstreams.md says how.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import orjson

from app.core.errors import ServiceError
from app.core.observability.run_metrics import Price
from app.core.upstream.errors import UpstreamError, UpstreamRefusedError
from app.core.upstream.optional_fields import OptionalFields
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.server.findings import Finding
from app.translate.events import Json
from app.translate.objects import LIVE
from app.utils.sse import SSEDecoder

_QUESTION = "Count from one to twenty, in words."
_ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": _QUESTION}]}
_MAX_OUTPUT_TOKENS = 300
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 3.0
"""How long an upstream may take to store what it keeps of a turn that was stopped."""

Trial = Callable[[str], Awaitable[str]]


class TurnFailedError(Exception):
    """The upstream took the request, but the turn did not end well."""


class LiveCheck:
    """Makes the turns, and counts their tokens.

    Args:
        price: of the model's tokens; None if it is not known.
        stores_responses: tells whether responses that have begun can be followed; None while that is unknown.
        optional: what turns of the assistant send and can do without.

    """

    def __init__(
        self,
        upstream: Upstream,
        model: str,
        price: Price | None,
        stores_responses: Callable[[], bool | None] = lambda: True,
        optional: Json | None = None,
    ) -> None:
        self._upstream = upstream
        self._model = model
        self._price = price
        self._stores_responses = stores_responses
        self._optional = optional or {}
        self._read = self._written = 0

    async def findings(self) -> list[Finding]:
        """Make every turn; one that is refused does not stop the next."""
        trials: dict[str, Trial] = {
            "a turn in one piece": self._foreground,
            "the assistant's own settings": self._settings,
            "a streamed turn": self._stream,
            "input [] after an appended message": self._empty_input,
            "metadata written while a turn runs": self._metadata,
            "a streamed turn whose connection is closed": self._left,
            "a turn in the background, polled": self._background,
            "a turn in the background, streamed": self._background_stream,
            "a turn in the background, its stream opened again": self._reopened,
            "a turn in the background, cancelled": self._cancelled,
        }
        return [await self._tried(name, trial) for name, trial in trials.items()] + [self._cost()]

    async def _tried(self, name: str, trial: Trial) -> Finding:
        try:
            made = parsed(await self._upstream.request("POST", "/conversations", body={}))
            path = f"/conversations/{made.get('id')}"
            try:
                return Finding("ok", f"Live, {name}: {await trial(path)}.")
            finally:
                with suppress(ServiceError):
                    await self._upstream.request("DELETE", path)
        except ServiceError as exc:
            return Finding("warning", f"Live, {name}: refused with {_reason(exc)}.")
        except TurnFailedError as exc:
            return Finding("warning", f"Live, {name}: failed with {exc}.")
        except (KeyError, TypeError, ValueError, StopAsyncIteration):
            return Finding("warning", f"Live, {name}: failed with an answer that is none of its API.")

    async def _foreground(self, path: str) -> str:
        began = time.monotonic()
        self._ended(parsed(await self._upstream.request("POST", "/responses", body=self._body(path))))
        return f"works, in {time.monotonic() - began:.1f} s"

    async def _settings(self, path: str) -> str:
        fields, left_out = OptionalFields(self._optional), []
        body = self._body(path) | self._optional
        while True:
            try:
                self._ended(parsed(await self._upstream.request("POST", "/responses", body=body)))
            except UpstreamRefusedError as exc:
                if (name := fields.named_by(exc, body)) is None:
                    raise
                left_out.append(name)
                body = fields.without(body, name)
                continue
            refused = ", ".join(left_out)
            return f"{self._model} refuses {refused}, which the service leaves out" if left_out else "work"

    async def _stream(self, path: str, **options: bool) -> str:
        began, first = time.monotonic(), None
        async with aclosing(self._events(self._body(path, stream=True, **options))) as events:
            async for event in events:
                if first is None and event["type"] == "response.output_text.delta":
                    first = time.monotonic() - began
        return "works, but sends no pieces" if first is None else f"works, first text after {first:.1f} s"

    async def _empty_input(self, path: str) -> str:
        await self._upstream.request("POST", f"{path}/items", body={"items": [_ASKED]})
        body = self._body(path) | {"input": []}
        self._ended(parsed(await self._upstream.request("POST", "/responses", body=body)))
        return "works"

    async def _metadata(self, path: str) -> str:
        async with aclosing(self._events(self._body(path, stream=True))) as events:
            await anext(events)
            await self._upstream.request("POST", path, body={"metadata": {"soloist_check": "1"}})
            async for _ in events:
                pass
        return "works"

    async def _left(self, path: str) -> str:
        async with aclosing(self._events(self._body(path, stream=True))) as events:
            await anext(events)
        return await self._kept(path)

    async def _background(self, path: str) -> str:
        began = time.monotonic()
        response = await self._created(path)
        while response.get("status") in LIVE:
            await asyncio.sleep(_POLL_SECONDS)
            response = parsed(await self._upstream.request("GET", f"/responses/{response['id']}"))
        self._ended(response)
        return f"works, in {time.monotonic() - began:.1f} s"

    async def _background_stream(self, path: str) -> str:
        return await self._stream(path, background=True)

    async def _reopened(self, path: str) -> str:
        if not self._stores_responses():
            return "left out, as the upstream stores no responses; such runs are polled"
        async with aclosing(self._events(self._body(path, stream=True, background=True))) as events:
            first = await anext(events)
        query: dict[str, str | int] = {"stream": "true", "starting_after": first.get("sequence_number", 0)}
        response_id = first["response"]["id"]
        async with aclosing(self._events(path=f"/responses/{response_id}", query=query)) as events:
            number = (await anext(events)).get("sequence_number")
            async for _ in events:
                pass
        return f"works, and goes on at event {number}"

    async def _cancelled(self, path: str) -> str:
        response = await self._created(path)
        await self._upstream.request("POST", f"/responses/{response['id']}/cancel")
        return f"works; {await self._kept(path)}"

    async def _created(self, path: str) -> Json:
        body = self._body(path, background=True)
        return parsed(await self._upstream.request("POST", "/responses", body=body))

    async def _kept(self, path: str) -> str:
        await asyncio.sleep(_SETTLE_SECONDS)
        query: dict[str, str | int] = {"limit": 20, "order": "asc"}
        page = parsed(await self._upstream.request("GET", f"{path}/items", query=query))
        kinds = [str(item.get("role") or item.get("type")) for item in page.get("data") or []]
        return f"the conversation then holds {', '.join(kinds) or 'nothing'}"

    def _body(self, path: str, **options: bool) -> Json:
        conversation = path.rpartition("/")[2]
        limits = {"max_output_tokens": _MAX_OUTPUT_TOKENS, "store": True}
        return {"model": self._model, "conversation": conversation, "input": [_ASKED], **limits, **options}

    async def _events(
        self, body: Json | None = None, path: str = "/responses", query: dict[str, str | int] | None = None
    ) -> AsyncGenerator[Json, None]:
        """Yield the events of a stream to its end; raises `TurnFailedError` if that is not there."""
        if body is None:
            stream = await self._upstream.stream("GET", path, query=query)
        else:
            stream = await self._upstream.stream("POST", path, body=body)
        decoder = SSEDecoder()
        try:
            async for chunk in stream:
                for _, data in decoder.feed(chunk):
                    event = orjson.loads(data)
                    yield event
                    if event["type"] in {"response.completed", "response.incomplete", "response.failed"}:
                        self._ended(event["response"])
                        return
        finally:
            await stream.aclose()
        raise TurnFailedError("a stream that ends too early")

    def _ended(self, response: Json) -> None:
        """Count a response's tokens; raises `TurnFailedError` if it failed."""
        usage = response.get("usage") or {}
        self._read += int(usage.get("input_tokens") or 0)
        self._written += int(usage.get("output_tokens") or 0)
        if response.get("status") not in {"completed", "incomplete"}:
            error = response.get("error") or {}
            raise TurnFailedError(error.get("code") or response.get("status") or "no status")

    def _cost(self) -> Finding:
        price = (
            f", {self._price.cost(self._read, 0, self._written):.4f} by PRICES_FILE" if self._price else ""
        )
        spent = f"{self._read} tokens in and {self._written} out{price}"
        return Finding("ok", f"Live: that took {spent}; the turns that were stopped are not counted.")


def _reason(error: ServiceError) -> str:
    """What the upstream said as far as it can be shown: statuses, codes and names of fields."""
    status = error.upstream_status if isinstance(error, UpstreamError) else None
    code = (error.upstream_code if isinstance(error, UpstreamError) else None) or error.code
    field = f" at {error.param}" if error.param else ""
    return f"{status or 'no answer'}, {code}{field}"
