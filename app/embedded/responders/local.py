"""The local responder: a language model on the CPU, a GGUF file read by llama.cpp (package xllamacpp)."""

import asyncio
import importlib
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.embedded.errors import EmbeddedStartError
from app.embedded.items import output_text, text_of
from app.embedded.responders.base import Incomplete, Piece, ResponderError, TextDelta, Turn, Usage
from app.embedded.settings import EmbeddedSettings
from app.embedded.wire import Json

logger = logging.getLogger(__name__)

_REMEDY = "./run.sh local sets it up with a small model"
# Two people may be answered at once; further ones wait for a slot inside llama.cpp.
_SLOTS = 2
_THREADS = 8
_DEFAULT_MAX_TOKENS = 1024
# A careful estimate for English and Korean alike; only the model's own tokenizer knows.
_BYTES_PER_TOKEN = 3
_ROLES = {"developer": "system"}


class LocalResponder:
    """Streams what the model says; the model runs in threads, so the event loop never waits for it."""

    model = "soloist-local"

    def __init__(self, server: Any, context_tokens: int) -> None:
        self._server = server
        self._context_tokens = context_tokens
        self._threads = ThreadPoolExecutor(_THREADS, "local-model")
        self._stopping = threading.Event()

    async def aclose(self) -> None:
        """Stop every answer at its next token and unload the model."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._server = None

    async def answer(self, turn: Turn) -> AsyncGenerator[Piece, None]:
        """Text as it is generated, then the counted usage; closing the generator stops the model."""
        chunks: asyncio.Queue[Json | None] = asyncio.Queue()
        stop = threading.Event()
        self._start(_request(turn, self._context_tokens), chunks, stop)
        usage, finish = Usage(0, 0), ""
        try:
            while (chunk := await chunks.get()) is not None:
                _raise_error(chunk)
                for choice in chunk.get("choices") or []:
                    if text := choice["delta"].get("content"):
                        yield TextDelta(text)
                    finish = choice.get("finish_reason") or finish
                if counted := chunk.get("usage"):
                    usage = Usage(counted["prompt_tokens"], counted["completion_tokens"])
        finally:
            stop.set()
        yield usage
        if finish == "length":
            yield Incomplete("max_output_tokens")

    def _start(self, request: Json, chunks: "asyncio.Queue[Json | None]", stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        server, stopping = self._server, self._stopping

        def tell(chunk: Json | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

        def on_chunk(chunk: Json) -> bool:
            tell(chunk)
            return stop.is_set() or stopping.is_set()

        self._threads.submit(_run, server, request, on_chunk, tell)


def _run(
    server: Any, request: Json, on_chunk: Callable[[Json], bool], tell: Callable[[Json | None], None]
) -> None:
    try:
        server.handle_chat_completions(request, on_chunk)
    except Exception:
        logger.exception("the local model failed")
        tell({"error": {"message": "The local model failed."}})
    finally:
        tell(None)


def _request(turn: Turn, context_tokens: int) -> Json:
    max_tokens = min(turn.max_output_tokens or _DEFAULT_MAX_TOKENS, context_tokens // 2)
    request: Json = {
        "messages": _recent(_messages(turn), (context_tokens - max_tokens) * _BYTES_PER_TOKEN),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": max_tokens,
    }
    if turn.temperature is not None:
        request["temperature"] = turn.temperature
    if turn.top_p is not None:
        request["top_p"] = turn.top_p
    return request


def _messages(turn: Turn) -> list[Json]:
    """The thread as chat history, instructions first; a tool's output is told as the user's words."""
    messages: list[Json] = [{"role": "system", "content": turn.instructions}] if turn.instructions else []
    for item in turn.items:
        if item["type"] == "message":
            messages.append({"role": _ROLES.get(item["role"], item["role"]), "content": text_of(item)})
        elif item["type"] == "function_call_output":
            messages.append({"role": "user", "content": f"Tool output: {output_text(item)}"})
    return messages


def _recent(messages: list[Json], budget: int) -> list[Json]:
    """Instructions and the newest messages that fit into so many bytes; always the last one."""
    kept: list[Json] = []
    for message in reversed(messages):
        size = len(message["content"].encode())
        if message["role"] == "system" or not kept or budget >= size:
            kept.append(message)
            budget -= size
        else:
            budget = 0
    return kept[::-1]


def _raise_error(chunk: Json) -> None:
    error = chunk.get("error") or (chunk if "choices" not in chunk and "message" in chunk else None)
    if error is not None:
        raise ResponderError("server_error", str(error.get("message", "The local model failed.")))


@asynccontextmanager
async def open_local_responder(settings: EmbeddedSettings) -> AsyncIterator[LocalResponder]:
    """Load the model file.

    Raises EmbeddedStartError when the package or the file is missing, or the file is no model.
    """
    path = settings.local_model
    if path is None:
        raise EmbeddedStartError(f"LOCAL_MODEL_PATH names no GGUF file; {_REMEDY}.")
    server = await asyncio.to_thread(_load, path, settings)
    logger.info("local model: %s", path)
    responder = LocalResponder(server, settings.local_context_tokens)
    try:
        yield responder
    finally:
        await responder.aclose()


def _load(path: Path, settings: EmbeddedSettings) -> Any:
    if not path.is_file():
        raise EmbeddedStartError(f"LOCAL_MODEL_PATH: there is no file {path}; {_REMEDY}.")
    try:
        library: Any = importlib.import_module("xllamacpp")
    except ImportError as exc:
        message = f"The local responder needs the package xllamacpp; {_REMEDY}."
        raise EmbeddedStartError(message) from exc
    params = library.CommonParams()
    params.model.path = str(path)
    params.n_ctx = settings.local_context_tokens
    params.n_parallel = _SLOTS
    params.kv_unified = True
    params.verbosity = -1
    if settings.local_threads is not None:
        params.cpuparams.n_threads = settings.local_threads
    try:
        return library.Server(params)
    except Exception as exc:
        raise EmbeddedStartError(f"LOCAL_MODEL_PATH: {path} could not be loaded as a GGUF model.") from exc
