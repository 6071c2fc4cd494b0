"""One span for each request, with who answered, and nothing private."""

import http.server
import threading

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the otel extra is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.http.tracing import Traced, open_provider

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def traced(rig, request_asgi):
    """A traced router: ask it, then read its finished spans."""
    made, exporter = await rig(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = Traced(made.app, provider)

    async def ask(method, path, body=b"", headers=()):
        response = await request_asgi(app, method, path, [body], headers)
        return response, exporter.get_finished_spans()

    return ask


async def test_a_span_says_who_answered_and_why(traced):
    """Route, reason, bundle and status are attributes; the answer itself is unchanged."""
    response, [span] = await traced("POST", "/v1/classify", b'{"text": "help"}')
    assert (response.status, response.json["label"]) == (200, "urgent")
    assert span.name == "POST /v1/classify"
    assert span.attributes["raisehand.route"] == "student"
    assert span.attributes["raisehand.reason"] == "confident"
    assert span.attributes["raisehand.bundle"] == "bundle000001"
    assert span.attributes["http.response.status_code"] == 200


async def test_the_callers_trace_goes_on(traced):
    """A `traceparent` header is the parent of the span."""
    headers = [(b"traceparent", PARENT)]
    _, [span] = await traced("POST", "/v1/classify", b'{"text": "help"}', headers)
    assert format(span.context.trace_id, "032x") == PARENT.decode().split("-")[1]
    assert format(span.parent.span_id, "016x") == PARENT.decode().split("-")[2]


async def test_nothing_private_is_in_a_span(traced):
    """No text, no key, no raw path: names and attributes are bounded."""
    headers = [(b"authorization", b"Bearer CANARY"), (b"traceparent", b"CANARY")]
    await traced("POST", "/v1/classify", b'{"text": "CANARY help"}', headers)
    await traced("POST", "/v1/classify", b'{"CANARY": 1}', headers)
    _, spans = await traced("GET", "/CANARY/path", b"", headers)
    assert [span.name for span in spans][-1] == "GET other"
    assert not any("CANARY" in span.to_json() for span in spans)


async def test_probes_are_not_traced(traced):
    """A load balancer's questions would drown the rest."""
    _, spans = await traced("GET", "/healthz")
    assert spans == ()


def test_spans_reach_a_collector_as_the_environment_says(monkeypatch):
    """OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT, sent at the latest at shutdown."""
    received = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Keep quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    provider = open_provider()
    with provider.get_tracer("test").start_as_current_span("one"):
        pass
    provider.shutdown()
    server.shutdown()
    [(path, body)] = received
    assert path == "/v1/traces"
    assert b"raisehand" in body
