"""The local responder over a stand-in for llama.cpp's library, which CI does not carry."""

import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from app.embedded.errors import EmbeddedStartError
from tests.embedded.support import collect, names, stats, until


class _Server:
    """Answers each request with numbered words until told to stop, as the library's server does."""

    requests: ClassVar[list[dict[str, Any]]] = []
    threads: ClassVar[set[int]] = set()

    def __init__(self, params):
        if "broken" in params.model.path:
            raise RuntimeError("bad magic")

    def handle_chat_completions(self, request, on_chunk):
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        said = request["messages"][-1]["content"]
        if said == "overflow":
            on_chunk({"error": {"message": "request exceeds the available context size"}})
            return
        words = 10_000 if said == "long" else 3
        for at in range(words):
            if on_chunk({"choices": [{"delta": {"content": f"w{at} "}, "finish_reason": None}]}):
                return
            time.sleep(0.005)
        on_chunk({"choices": [{"delta": {}, "finish_reason": "length" if said == "cut" else "stop"}]})
        on_chunk({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}})


@pytest.fixture
def model(tmp_path, monkeypatch):
    library = ModuleType("xllamacpp")
    params = {"model": SimpleNamespace(path=""), "cpuparams": SimpleNamespace(n_threads=0)}
    monkeypatch.setattr(library, "CommonParams", lambda: SimpleNamespace(**params), raising=False)
    monkeypatch.setattr(library, "Server", _Server, raising=False)
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    monkeypatch.setattr(_Server, "requests", [])
    monkeypatch.setattr(_Server, "threads", set())
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


@pytest.fixture
async def client(serve, model):
    async with serve(responder="local", local_model=model, local_context_tokens=256) as client:
        yield client


async def test_tokens_stream_with_counted_usage(client):
    stream = await client.responses.create(
        model="m", input="hello", instructions="Be brief.", temperature=0.5, stream=True
    )
    events = await collect(stream)
    assert names(events)[-1] == "completed"
    response = events[-1].response
    assert (response.model, response.output_text) == ("soloist-local", "w0 w1 w2 ")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 3)
    (request,) = _Server.requests
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    assert request["temperature"] == 0.5
    assert threading.get_ident() not in _Server.threads


async def test_the_whole_thread_is_the_chat_history_and_the_oldest_goes_first(client):
    conversation = (await client.conversations.create()).id
    for text in ("x" * 300, "y" * 100, "z"):
        await client.responses.create(model="m", conversation=conversation, input=text, instructions="I")
    sent = [(message["role"], message["content"][:1]) for message in _Server.requests[-1]["messages"]]
    assert sent == [("system", "I"), ("assistant", "w"), ("user", "y"), ("assistant", "w"), ("user", "z")]


async def test_a_cut_answer_is_incomplete(client):
    response = await client.responses.create(model="m", input="cut")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_cancel_stops_the_model(client):
    running = await client.responses.create(model="m", input="long", background=True)

    async def started():
        return bool(_Server.requests)

    await until(started)
    assert (await client.responses.cancel(running.id)).status == "cancelled"
    assert (await stats(client))["active_generations"] == 0
    assert (await client.responses.create(model="m", input="next")).status == "completed"


async def test_a_model_error_fails_the_response(client):
    response = await client.responses.create(model="m", input="overflow")
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert "context size" in response.error.message


@pytest.mark.parametrize(("name", "reason"), [("absent.gguf", "no file"), ("broken.gguf", "could not be")])
async def test_a_missing_or_broken_model_stops_the_start_with_one_line(serve, model, name, reason):
    model.rename(model.with_name("broken.gguf"))
    with pytest.raises(EmbeddedStartError, match=reason):
        async with serve(responder="local", local_model=model.with_name(name)):
            pass


async def test_no_model_named_stops_the_start_with_one_line(serve, model):
    with pytest.raises(EmbeddedStartError, match="LOCAL_MODEL_PATH names no GGUF file"):
        async with serve(responder="local"):
            pass


async def test_a_missing_package_names_the_remedy(serve, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(EmbeddedStartError, match=r"xllamacpp; \./run\.sh local"):
        async with serve(responder="local", local_model=model):
            pass
