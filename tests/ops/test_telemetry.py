"""OpenTelemetry: what a collector gets from a real process, and that nothing happens without one."""

import http.server
import json
import threading

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.telemetry import Tracing, fastapi_telemetry
from bench.cluster import running, start_service, wait_for, wait_until_ready
from bench.processes import free_port

QUESTION = "canary-question"


class Collector:
    """Takes spans over OTLP."""

    def __init__(self):
        self.bodies: list[tuple[str, bytes]] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.bodies.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self):
        found = []
        for path, body in list(self.bodies):
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span for scope in resource.scope_spans for span in scope.spans]
        return found


@pytest.fixture(scope="module")
def collector():
    found = Collector()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def told(collector, tmp_path_factory):
    """What a collector got of a stream, a JSON chat and a failed run, and the lines that were logged."""
    folder, port = tmp_path_factory.mktemp("telemetry"), free_port()
    settings = {"EMBEDDED_RESPONDER": "scripted", "EMBEDDED_DB": str(folder / "e.db")}
    settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running(start_service(folder, port, **settings)) as process:
        wait_until_ready(process, port)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", trust_env=False) as client:
            client.post("chat", json={"message": QUESTION, "stream": True})
            answer = client.post("chat", json={"message": QUESTION}).json()
            client.post("chat", json={"message": "fail:server_error"})
        wait_for(lambda: len(spans_named(collector, "POST /api/v1/chat")) == 3, "spans of three chats")
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return collector, answer, lines


def spans_named(collector, name):
    return [span for span in collector.spans() if span.name == name]


def attributes(span):
    return {found.key: value_of(found.value) for found in span.attributes}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


def test_a_chat_is_one_trace_from_the_request_to_the_upstream(told):
    collector, _, _ = told
    stream, _, _ = sorted(spans_named(collector, "POST /api/v1/chat"), key=lambda s: s.start_time_unix_nano)
    inside = {span.name: span for span in collector.spans() if span.trace_id == stream.trace_id}
    assert set(inside) >= {"chat gpt-6-luna", "POST /conversations", "POST /responses"}
    assert inside["chat gpt-6-luna"].parent_span_id == stream.span_id
    assert inside["POST /responses"].parent_span_id == inside["chat gpt-6-luna"].span_id


def test_a_chat_span_has_the_names_of_the_genai_conventions(told):
    collector, _, _ = told
    chats = sorted(spans_named(collector, "chat gpt-6-luna"), key=lambda span: span.start_time_unix_nano)
    streamed, whole, failed = map(attributes, chats)
    for found in (streamed, whole):
        assert found["gen_ai.operation.name"] == "chat"
        assert found["gen_ai.provider.name"] == "soloist"
        assert found["gen_ai.request.model"] == "gpt-6-luna"
        assert found["gen_ai.response.model"] == "soloist-scripted"
        assert found["gen_ai.response.id"].startswith("resp_")
        assert found["gen_ai.response.finish_reasons"] == ["completed"]
        assert found["gen_ai.conversation.id"].startswith("conv_")
        assert found["server.address"] == "127.0.0.1"
    assert 0 < streamed["gen_ai.response.time_to_first_chunk"] < 60
    assert failed["error.type"] == "server_error"


def test_token_counts_are_those_of_the_answer(told):
    collector, answer, _ = told
    chats = sorted(spans_named(collector, "chat gpt-6-luna"), key=lambda span: span.start_time_unix_nano)
    found = attributes(chats[1])
    assert found["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert found["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]


def test_log_lines_name_their_trace(told):
    collector, _, lines = told
    traces = {span.trace_id.hex() for span in spans_named(collector, "POST /api/v1/chat")}
    logged = {line["trace_id"] for line in lines if line.get("route") == "/api/v1/chat"}
    assert logged == traces


def test_probes_are_not_traced(told):
    collector, _, _ = told
    assert not [span for span in collector.spans() if "ready" in span.name or "health" in span.name]


def test_no_content_is_told(told):
    collector, answer, _ = told
    everything = b"".join(body for _, body in collector.bodies)
    assert answer["message"].endswith(QUESTION)
    assert QUESTION.encode() not in everything


def test_nothing_is_recorded_where_nobody_listens(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    told = fastapi_telemetry()
    assert (told["tracing"], told["metrics"], told["logs"]) == (False, False, False)
    tracing = Tracing("openai", "https://api.openai.com/v1")
    assert tracing.chat({"model": "m"}) is None
    with tracing.call("GET", "/models/{id}") as span:
        assert span is None


def test_the_sdk_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert fastapi_telemetry()["tracing"] is False
