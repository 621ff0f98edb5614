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
KEY = "key-of-a-backend-0123456789"
AGENT, CHAT, TOOL = "invoke_agent Soloist", "chat gpt-6-luna", "execute_tool canary_tool"


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
    # No content is told, whatever this standard variable asks for.
    settings |= {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    settings |= {"AUTH_MODE": "api_key", "API_KEYS": f"a={KEY}", "SECRET_KEYS": "s" * 32}
    settings |= {"STORE_URL": f"sqlite:///{folder}/s.db", "TOOLS_MODULE": str(tools_module(folder))}
    with running(start_service(folder, port, **settings)) as process:
        wait_until_ready(process, port)
        url, headers = f"http://127.0.0.1:{port}/api/v1/", {"x-api-key": KEY, "x-user-id": "u1"}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
            client.post("chat", json={"message": QUESTION, "stream": True})
            answer = client.post("chat", json={"message": QUESTION}).json()
            client.post("chat", json={"message": "fail:server_error"})
            for streams in (True, False):
                client.post("chat", json={"message": "tool:canary_tool", "stream": streams})
            named = {"thread_id": answer["thread_id"], "run_id": answer["run_id"]}
            client.post("feedback", json=named | {"value": "down", "comment": QUESTION}).raise_for_status()
        wait_for(lambda: len(spans_named(collector, "POST /api/v1/chat")) == 5, "spans of five chats")
        wait_for(lambda: spans_named(collector, "POST /api/v1/feedback"), "spans of feedback")
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return collector, answer, lines


def tools_module(folder):
    file = folder / "tools.py"
    file.write_text(
        "from app.tools import tool\n\n\n@tool\ndef canary_tool() -> str:\n"
        f'    """Answer."""\n    return "{QUESTION}"\n'
    )
    return file


def spans_named(collector, name):
    return [span for span in collector.spans() if span.name == name]


def attributes(span):
    return {found.key: value_of(found.value) for found in span.attributes}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


def requests_of(collector):
    """The spans of the five chats, in order."""
    return sorted(spans_named(collector, "POST /api/v1/chat"), key=lambda span: span.start_time_unix_nano)


def trace_of(collector, request):
    """The spans of a request's trace, in order."""
    found = [span for span in collector.spans() if span.trace_id == request.trace_id]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def chat_spans(collector, request):
    return [span for span in trace_of(collector, request) if span.name == CHAT]


def test_a_chat_is_one_trace_from_the_request_to_the_upstream(told):
    collector, _, _ = told
    stream = requests_of(collector)[0]
    inside = {span.name: span for span in trace_of(collector, stream)}
    assert set(inside) >= {AGENT, CHAT, "POST /conversations", "POST /responses"}
    assert inside[AGENT].parent_span_id == stream.span_id
    assert inside[CHAT].parent_span_id == inside[AGENT].span_id
    assert inside["POST /responses"].parent_span_id == inside[CHAT].span_id


@pytest.mark.parametrize("place", [3, 4])
def test_a_run_with_tools_is_one_agent(told, place):
    collector, _, _ = told
    spans = trace_of(collector, requests_of(collector)[place])
    (agent,) = [span for span in spans if span.name == AGENT]
    # Background work of the run, such as its metadata, is inside too.
    steps = [span for span in spans if span.name in {CHAT, TOOL}]
    assert [span.name for span in steps] == [CHAT, TOOL, CHAT]
    assert {span.parent_span_id for span in steps} == {agent.span_id}
    assert max(span.end_time_unix_nano for span in steps) <= agent.end_time_unix_nano
    found = attributes(next(span for span in spans if span.name == TOOL))
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["gen_ai.tool.name"] == "canary_tool"


def test_spans_have_the_names_of_the_genai_conventions(told):
    collector, _, _ = told
    requests = requests_of(collector)
    (streamed,), (whole,), (failed,) = (chat_spans(collector, request) for request in requests[:3])
    streamed, whole, failed = map(attributes, (streamed, whole, failed))
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


def test_the_agents_span_names_the_assistant_and_a_hash_of_the_user(told):
    collector, _, _ = told
    agents = [attributes(span) for span in spans_named(collector, AGENT)]
    assert len(agents) == 5
    for found in agents:
        assert found["gen_ai.operation.name"] == "invoke_agent"
        assert found["gen_ai.agent.name"] == "Soloist"
        assert found["gen_ai.agent.id"] == "asst_soloist"
        assert found["gen_ai.conversation.id"].startswith("conv_")
        assert len(found["user.id"]) == 64
    assert len({found["user.id"] for found in agents}) == 1


def test_feedback_is_an_event_on_the_trace_of_its_run(told):
    collector, _, _ = told
    whole = requests_of(collector)[1]
    (span,) = [span for span in trace_of(collector, whole) if span.name == "feedback"]
    (agent,) = [span for span in trace_of(collector, whole) if span.name == AGENT]
    assert span.parent_span_id == agent.span_id
    (event,) = span.events
    assert event.name == "gen_ai.evaluation.result"
    (chat,) = chat_spans(collector, whole)
    assert attributes(event) == {
        "gen_ai.evaluation.name": "user_feedback",
        "gen_ai.evaluation.score.label": "down",
        "gen_ai.evaluation.score.value": 0.0,
        "gen_ai.response.id": attributes(chat)["gen_ai.response.id"],
    }


def test_token_counts_are_those_of_the_answer(told):
    collector, answer, _ = told
    (chat,) = chat_spans(collector, requests_of(collector)[1])
    found = attributes(chat)
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
    assert tracing.turn({"model": "m"}) is None
    assert tracing.agent({"model": "m"}) is None
    tracing.evaluated(None, "resp_1", "conv_1", "up")
    with tracing.call("GET", "/models/{id}") as span:
        assert span is None


def test_the_sdk_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert fastapi_telemetry()["tracing"] is False
