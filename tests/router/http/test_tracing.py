"""One span for each request, with who answered, and nothing private."""

import http.server
import threading

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the otel extra is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.http.tracing import Tracing, open_provider
from router.http.wire.head import Heads
from router.http.wire.incoming import Incoming

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter():
    """Where finished spans are kept."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    """Tracing that keeps its spans here."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


def _request(*lines, target="POST /v1/classify", body=b'{"text": "help"}'):
    head = [f"{target} HTTP/1.1", "host: x", f"content-length: {len(body)}", *lines]
    return Incoming(Heads(), 10_000).feed("\r\n".join([*head, "", ""]).encode() + body)


ANSWER = (
    b"x-request-id: abc\r\nx-raisehand-route: student\r\nx-raisehand-reason: confident\r\n"
    b"x-raisehand-bundle: bundle000001\r\n"
)


def test_a_span_says_who_answered_and_why(tracing, exporter):
    """Route, reason, bundle and status are attributes."""
    observed = tracing.begin(_request())
    observed.answered(200, ANSWER)
    observed.over()
    [span] = exporter.get_finished_spans()
    assert span.name == "POST /v1/classify"
    assert span.attributes["raisehand.route"] == "student"
    assert span.attributes["raisehand.reason"] == "confident"
    assert span.attributes["raisehand.bundle"] == "bundle000001"
    assert span.attributes["http.response.status_code"] == 200


def test_the_callers_trace_goes_on(tracing, exporter):
    """A `traceparent` header is the parent of the span, and the span that of what follows."""
    request = _request(f"traceparent: {PARENT}")
    tracing.begin(request).over()
    [span] = exporter.get_finished_spans()
    assert format(span.context.trace_id, "032x") == PARENT.split("-")[1]
    assert format(span.parent.span_id, "016x") == PARENT.split("-")[2]
    _, trace, parent, _ = request.head.headers[b"traceparent"].decode().split("-")
    assert (trace, parent) == (PARENT.split("-")[1], format(span.context.span_id, "016x"))
    assert [name for name, _ in request.head.pairs].count(b"traceparent") == 1


def test_a_head_that_is_remembered_is_left_as_it_came(tracing):
    """The next request with the same head begins a span of its own."""
    heads, raw = Heads(), b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    for _ in range(2):
        request = Incoming(heads, 10_000).feed(raw)
        assert b"traceparent" not in request.head.headers
        tracing.begin(request)


def test_nothing_private_is_in_a_span(tracing, exporter):
    """No text, no key, no raw path: names and attributes are bounded."""
    private = ("authorization: Bearer CANARY", "traceparent: CANARY", "baggage: CANARY=1")
    for target in ("POST /v1/classify", "GET /CANARY/path?CANARY", "CANARY-1 /v1/models"):
        observed = tracing.begin(_request(*private, target=target, body=b"CANARY"))
        observed.answered(400, ANSWER + b"x-canary: CANARY\r\n")
        observed.over()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans][1:] == ["GET other", "_OTHER /v1/models"]
    assert not any("CANARY" in span.to_json() for span in spans)


def test_probes_are_not_traced(tracing):
    """A load balancer's questions would drown the rest."""
    assert tracing.begin(_request(target="GET /healthz")) is None


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
