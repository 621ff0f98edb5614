"""Stands in for the package xllamacpp, which CI does not carry: an HTTP server that answers as it does.

Shapes, refusals and what is missing are those of llama.cpp as seen on 2026-11-30. Its answers repeat the
users' texts that it was given, so that tests see what of a thread reaches it.
"""

import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_CONTEXT_CHARS = 10_000
_NO_ROUTE = {"message": "File Not Found", "type": "not_found_error", "code": 404}
_NO_KEY = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
_TOO_LONG = {
    "code": 400,
    "message": "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 6031,
    "n_ctx": 4096,
}


class CommonParams(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(model=SimpleNamespace(path=""))


class Server:
    """Listens from the start, in threads, as the real one."""

    def __init__(self, params: CommonParams) -> None:
        if not Path(params.model.path).read_bytes().startswith(b"GGUF"):
            raise RuntimeError("failed to load model")
        server = _Listener((params.hostnames[0], params.port), _Handler)
        server.params = params
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stderr.write(f"stand-in on port {server.server_port}\n")


class _Listener(ThreadingHTTPServer):
    params: CommonParams


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer_with_key({"/v1/models": self._models})

    def do_POST(self) -> None:
        self._answer_with_key({"/v1/responses": self._respond})

    def _answer_with_key(self, routes: dict[str, Any]) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("authorization") != f"Bearer {self.server.params.api_keys[0]}":
            self._send(401, {"error": _NO_KEY})
        elif self.path in routes:
            routes[self.path](json.loads(body or b"{}"))
        else:
            self._send(404, {"error": _NO_ROUTE})

    def _models(self, _: dict[str, Any]) -> None:
        (name,) = self.server.params.model_alias
        model = {"id": name, "aliases": [name], "object": "model", "created": 1, "owned_by": "llamacpp"}
        self._send(200, {"models": [], "object": "list", "data": [model]})

    def _respond(self, request: dict[str, Any]) -> None:
        given = request["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        texts = [_text_of(item) for item in items if item.get("role") == "user"]
        if sum(map(len, texts)) > _CONTEXT_CHARS:
            self._send(400, {"error": _TOO_LONG})
        elif request.get("stream"):
            self._stream(f"I heard: {'; '.join(texts)}")
        else:
            self._send(200, self._response(_message(f"I heard: {'; '.join(texts)}")) | {"completed_at": 2})

    def _response(self, item: dict[str, Any]) -> dict[str, Any]:
        (name,) = self.server.params.model_alias
        counted = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
        usage = {**counted, "input_tokens_details": {"cached_tokens": 0}}
        head = {"id": f"resp_{secrets.token_hex(16)}", "object": "response", "created_at": 1_790_000_000}
        return {**head, "status": "completed", "model": name, "output": [item], "usage": usage}

    def _stream(self, text: str) -> None:
        """Tell a text word by word, without the indices and sequence numbers that llama.cpp leaves out."""
        item = _message(text)
        where, whole = {"item_id": item["id"]}, self._response(item)
        begun = {"id": whole["id"], "object": "response", "status": "in_progress"}
        empty = {**item, "content": [], "status": "in_progress"}
        self._start(200, "text/event-stream")
        self._tell("created", response=begun)
        self._tell("in_progress", response=begun)
        self._tell("output_item.added", item=empty)
        self._tell("content_part.added", **where, part={"type": "output_text", "text": ""})
        for word in text.split(" "):
            self._tell("output_text.delta", **where, delta=word if word == "I" else f" {word}")
        self._tell("output_text.done", **where, text=text)
        self._tell("content_part.done", **where, part=item["content"][0])
        self._tell("output_item.done", item=item)
        self._tell("completed", response=whole, timings={})

    def _tell(self, kind: str, **body: object) -> None:
        event = {"type": f"response.{kind}", **body}
        self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def _start(self, status: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.end_headers()

    def _send(self, status: int, body: dict[str, Any]) -> None:
        self._start(status, "application/json; charset=utf-8")
        self.wfile.write(json.dumps(body).encode())


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    head = {
        "id": f"msg_{secrets.token_hex(16)}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
    }
    return {**head, "content": [part]}


def _text_of(item: dict[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
