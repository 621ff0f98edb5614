"""What is measured: how each service is started and spoken to."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench.load import Request, fetch, http_request
from bench.processes import Server, free_port
from bench.wire import Plan

SERVER_CORE = 1
LOAD_CORE = 0
_SESSION = re.compile(rb'"client_secret":"([^"]+)"')
_API_KEY = "bench-only-0123456789abcdef0123456789abcdef"
_THREAD_ID = re.compile(rb'"id":"(thread_[^"]+)"')


@dataclass
class Variant:
    """One service under test.

    `command` gets its own port and the upstream's base URL. `thread_ids` name the threads that known-thread
    requests use, one for each connection.
    """

    name: str
    title: str
    command: Callable[[int, str], list[str]]
    environment: Callable[[int, str], dict[str, str]] = lambda *_: {}
    headers: dict[str, str] = field(default_factory=dict)
    has_threads: bool = False
    speaks: str = "chat"
    server: Server | None = None
    thread_ids: list[str] = field(default_factory=list)

    def start(self, upstream_url: str) -> Server:
        """Start the service on a free port of this machine and wait until it answers."""
        port = free_port()
        core = SERVER_CORE
        self.server = Server(
            self.command(port, upstream_url), self.environment(port, upstream_url), port, core
        )
        self.server.wait_until_listening()
        return self.server

    async def sign_in(self) -> None:
        """Get the token of a browser session, where the service mints them."""
        if self.has_threads:
            key = {"authorization": f"Bearer {_API_KEY}"}
            body = b'{"user":"visitor","ttl_seconds":3600}'
            made = await fetch(self.port, http_request("POST", "/api/v1/sessions", body, key))
            found = _SESSION.search(made)
            assert found
            self.headers = {"authorization": f"Bearer {found.group(1).decode()}"}

    async def make_threads(self, count: int) -> None:
        """Have so many threads to talk on."""
        if not self.has_threads:
            self.thread_ids = [f"conv_69b58644a5708194{n:032x}" for n in range(count)]
            return
        while len(self.thread_ids) < count:
            made = await fetch(self.port, http_request("POST", "/api/v1/threads", b"{}", self.headers))
            found = _THREAD_ID.search(made)
            assert found
            self.thread_ids.append(found.group(1).decode())

    @property
    def port(self) -> int:
        """The port of the running service."""
        assert self.server
        return self.server.port

    def chat(self, plan: Plan, *, stream: bool = False, new_thread: bool = False) -> Request:
        """Return requests of one chat turn each."""
        if self.speaks != "chat":
            return self._foreign(plan, stream=stream)
        made: dict[int, bytes] = {}

        def request(number: int) -> bytes:
            if number not in made:
                body: dict[str, object] = {"message": plan.message()}
                if not new_thread:
                    body["thread_id"] = self.thread_ids[number % len(self.thread_ids)]
                if stream:
                    body["stream"] = True
                made[number] = http_request("POST", "/api/v1/chat", orjson.dumps(body), self.headers)
            return made[number]

        return request

    def _foreign(self, plan: Plan, *, stream: bool) -> Request:
        if self.speaks == "responses":
            body: dict[str, object] = {"model": "gpt-6-luna", "input": plan.message(), "stream": stream}
            path = "/v1/responses"
        else:
            message = {"role": "user", "content": plan.message()}
            body, path = (
                {"model": "gpt-6-luna", "messages": [message], "stream": stream},
                "/v1/chat/completions",
            )
        ready = http_request("POST", path, orjson.dumps(body), self.headers)
        return lambda _: ready


def soloist(**environment: str) -> Variant:
    """Return this service with every feature on: browser sessions, owners, limits, access log, metrics.

    `environment` adds settings.
    """

    def settings(port: int, upstream: str) -> dict[str, str]:
        limits = ("CHAT", "WRITES", "READS", "SESSIONS")
        return {
            "PORT": str(port),
            "OPENAI_BASE_URL": upstream,
            "OPENAI_API_KEY": "bench",
            "AUTH_MODE": "api_key",
            "API_KEYS": orjson.dumps({"bench": _API_KEY}).decode(),
            "SECRET_KEYS": orjson.dumps([_API_KEY]).decode(),
            "LOG_FORMAT": "json",
            "MAX_STREAMS_PER_OWNER": "10000",
            **{f"RATE_LIMIT_{name}": "1000000/second" for name in limits},
            **environment,
        }

    return Variant("soloist", "Soloist", lambda *_: [sys.executable, "main.py"], settings, has_threads=True)


def budgets() -> Variant:
    """Return this service with budgets that nobody uses up, in Redis where REDIS_URL names one."""
    limits = {f"BUDGET_{whose}_TOKENS_DAY": str(10**15) for whose in ("USER", "TOTAL")}
    storage = {"RATE_LIMIT_STORAGE": os.environ["REDIS_URL"]} if "REDIS_URL" in os.environ else {}
    variant = soloist(MAX_OUTPUT_TOKENS="1000", **limits, **storage)
    variant.name, variant.title = "budgets", "Soloist with budgets"
    return variant


def floor() -> Variant:
    """Return the least that a FastAPI service can do."""
    return Variant("floor", "floor: FastAPI, one route, aiohttp, own parsing", _module("bench.floor"))


def documented() -> Variant:
    """Return the way of the packages' own pages."""
    return Variant("documented", "FastAPI + AsyncOpenAI as documented", _module("bench.documented"))


def _module(name: str) -> Callable[[int, str], list[str]]:
    return lambda port, upstream: [sys.executable, "-m", name, str(port), upstream]


def upstream_alone() -> Variant:
    """Return the upstream itself: what the load and the upstream manage without a service between them."""
    return Variant(
        "upstream",
        "the upstream alone",
        lambda port, _: [sys.executable, "-m", "bench.upstream", str(port), str(LOAD_CORE)],
        speaks="responses",
    )


def litellm() -> Variant | None:
    """Return LiteLLM's proxy where its command is installed, else None."""
    command = shutil.which("litellm")
    if command is None:
        return None

    def start(port: int, upstream: str) -> list[str]:
        config = Path(tempfile.gettempdir()) / f"bench-litellm-{port}.json"
        params = {"model": "openai/gpt-6-luna", "api_base": upstream, "api_key": "bench"}
        config.write_bytes(
            orjson.dumps({"model_list": [{"model_name": "gpt-6-luna", "litellm_params": params}]})
        )
        return [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]

    # Its proxy does not start without a key of its own.
    return Variant(
        "litellm",
        "LiteLLM proxy",
        start,
        lambda *_: {"LITELLM_MASTER_KEY": f"sk-{_API_KEY}"},
        headers={"authorization": f"Bearer sk-{_API_KEY}"},
        speaks="completions",
    )
