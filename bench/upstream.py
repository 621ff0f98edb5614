"""A fast upstream, Responses and Conversations over a raw asyncio protocol, so that it is never the
bottleneck.

Speaks just enough for the benchmarks, from ready bytes (`wire.py`). A request's text orders how its answer
comes. Run as `python -m bench.upstream PORT CORE`.
"""

import asyncio
import itertools
import re
import sys
from collections.abc import Callable
from typing import cast

import orjson
import uvloop

from bench import wire
from bench.processes import pin, raise_file_limit

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_CONVERSATION = re.compile(rb'"conversation":\s?"(conv_[^"]+)"')
_STREAMED = re.compile(rb'"stream":\s?true')
_NUMBERS = itertools.count()
_MAX_KNOWN = 100_000
_DELTAS = [wire.delta_event(number) for number in range(64)]
_PAGE = wire.items_page()


class Stats:
    """What the upstream was asked, readable at `GET /stats`."""

    requests = 0
    open_streams = 0


_RUNS: dict[bytes, tuple[float, bytes, int]] = {}
"""Background responses: when each is done, its conversation, its tokens."""


class UpstreamProtocol(asyncio.Protocol):
    """One connection: requests one after the other, each answered at once or by timers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            found = _LENGTH.search(head)
            size = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._received) < size:
                return
            body, self._received = self._received[end + 4 : size], self._received[size:]
            method, path, _ = head.split(b" ", 2)
            self._answer(method, path, body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            Stats.open_streams -= 1

    def _answer(self, method: bytes, path: bytes, body: bytes) -> None:
        Stats.requests += 1
        if method == b"POST" and path == b"/v1/responses":
            self._create_response(body)
        elif method == b"POST" and path == b"/v1/chat/completions":
            self._complete_chat(body)
        elif path == b"/stats":
            self._json(orjson.dumps({"requests": Stats.requests, "open_streams": Stats.open_streams}))
        elif path.startswith(b"/v1/conversations"):
            self._conversation(path)
        elif path.startswith(b"/v1/responses/"):
            self._known_response(path.split(b"/")[3].partition(b"?")[0])
        else:
            self._json(b'{"object":"list","data":[{"id":"gpt-6-luna","object":"model"}],"id":"gpt-6-luna"}')

    def _conversation(self, path: bytes) -> None:
        if b"/items" in path:
            self._json(_PAGE)
            return
        parts = path.split(b"/")
        name = parts[3] if len(parts) > 3 else b"conv_69b58644a5708194%032x" % next(_NUMBERS)
        self._json(b'{"id":"%b","object":"conversation","created_at":1791000000,"metadata":{}}' % name)

    def _create_response(self, body: bytes) -> None:
        plan = wire.plan_in(body)
        found = _CONVERSATION.search(body)
        conversation_id = found.group(1) if found else b"conv_none"
        response_id = b"resp_0bc0cffd983db63400693fdead%020x" % next(_NUMBERS)
        if left := wire.rounds_in(body):
            self._call_tool(
                response_id, conversation_id, left, is_streamed=_STREAMED.search(body) is not None
            )
            return
        in_background = b'"background":true' in body or b'"background": true' in body
        if in_background:
            self._start_run(plan, response_id, conversation_id)
        if b'"stream":true' in body or b'"stream": true' in body:
            self._stream(plan, response_id, conversation_id)
        elif in_background:
            self._json(wire.response(response_id, conversation_id, b"queued", 0))
        else:
            whole = wire.response(response_id, conversation_id, b"completed", plan.tokens)
            self._after(plan.first_ms + plan.tokens * plan.gap_ms, lambda: self._json(whole))

    def _call_tool(self, response_id: bytes, conversation_id: bytes, left: int, *, is_streamed: bool) -> None:
        if is_streamed:
            events = wire.call_events(response_id, conversation_id, left)
            self._transport.write(_STREAM_HEAD + _chunk(events) + b"0\r\n\r\n")
        else:
            self._json(wire.call_response(response_id, conversation_id, left))

    def _start_run(self, plan: wire.Plan, response_id: bytes, conversation_id: bytes) -> None:
        """Remember a background response, so that it can be asked for until it is done and after."""
        done_at = self._loop.time() + (plan.first_ms + plan.tokens * plan.gap_ms) / 1000
        if len(_RUNS) > _MAX_KNOWN:
            _RUNS.clear()
        _RUNS[response_id] = (done_at, conversation_id, plan.tokens)

    def _known_response(self, response_id: bytes) -> None:
        done_at, conversation_id, tokens = _RUNS.get(response_id, (0.0, b"conv_none", 60))
        status = b"completed" if self._loop.time() >= done_at else b"in_progress"
        self._json(wire.response(response_id, conversation_id, status, tokens))

    def _stream(self, plan: wire.Plan, response_id: bytes, conversation_id: bytes) -> None:
        head = _STREAM_HEAD + _chunk(wire.head_events(response_id, conversation_id))

        def tail() -> bytes:
            return _chunk(wire.tail_events(response_id, conversation_id, plan.tokens)) + b"0\r\n\r\n"

        if not plan.gap_ms and not plan.first_ms:
            self._transport.write(head + b"".join(map(_delta, range(plan.tokens))) + tail())
            return
        self._transport.write(head)
        self._pace(plan, tail)

    def _pace(self, plan: wire.Plan, tail: Callable[[], bytes]) -> None:
        """Write the deltas on a steady beat, whatever the beat before cost, then what only then is made."""
        Stats.open_streams += 1
        loop, write, gap = self._loop, self._transport.write, plan.gap_ms / 1000
        due = loop.time() + plan.first_ms / 1000
        number = 0

        def beat() -> None:
            nonlocal number, due
            if number == plan.tokens:
                self._timer = None
                Stats.open_streams -= 1
                write(tail())
                return
            write(_delta(number))
            number, due = number + 1, due + gap
            self._timer = loop.call_at(due, beat)

        self._timer = loop.call_at(due, beat)

    def _complete_chat(self, body: bytes) -> None:
        """Answer as Chat Completions does, for gateways that know no Responses."""
        tokens = wire.plan_in(body).tokens
        if b'"stream":true' in body or b'"stream": true' in body:
            frames = map(_chunk, wire.completion_events(tokens))
            self._transport.write(_STREAM_HEAD + b"".join(frames) + b"0\r\n\r\n")
        else:
            self._json(wire.completion(tokens))

    def _after(self, milliseconds: int, call: Callable[[], None]) -> None:
        if milliseconds:
            self._loop.call_later(milliseconds / 1000, call)
        else:
            call()

    def _json(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_JSON_HEAD % len(body) + body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _delta(number: int) -> bytes:
    return _CHUNKS[number] if number < len(_CHUNKS) else _CHUNKS[1 + number % (len(_CHUNKS) - 1)]


_CHUNKS = [_chunk(delta) for delta in _DELTAS]
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_JSON_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"x-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(UpstreamProtocol, "127.0.0.1", port, backlog=16_384)
    await server.serve_forever()


if __name__ == "__main__":
    raise_file_limit()
    pin(int(sys.argv[2]))
    uvloop.run(serve(int(sys.argv[1])))
