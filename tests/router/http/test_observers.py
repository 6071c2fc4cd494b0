"""Spans and the access log of a real router: every path is seen, and the lane stays in use."""

import http.server
import json
import threading
import time

import httpx2
import pytest

from router.http.observer import values_of
from tests.waiting import PATIENCE_S

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver():
    """A server that is not ours: keeps what it was sent, answers as a teacher in text would."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, dict(self.headers), body))
            answer = json.dumps(
                {
                    "model": "big",
                    "choices": [{"message": {"content": "calm"}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
                }
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()


def _lines(router):
    """Lines of the access log, once the router has stopped and its log is read."""
    assert router.stop() == 0
    for _ in range(100):
        read = [json.loads(line) for line in router.log if line.startswith("{")]
        found = [line for line in read if line["logger"] == "raisehand.access"]
        if found:
            return found
        time.sleep(0.05)
    return []


def test_the_access_log_has_a_line_for_every_answer_but_those_of_probes(serve):
    """On the lane, at the application, refused: method, path, status, who answered, seconds."""
    router = serve(access_log=1)
    with httpx2.Client(base_url=router.url) as client:
        client.get("/healthz")
        client.post("/v1/classify", json={"text": "SECRET"}, headers={"x-request-id": "one"})
        client.post("/v1/classify", json={"text": ["SECRET"]}, headers={"x-request-id": "two"})
        client.post("/v1/classify", content=b"{SECRET", headers={"x-request-id": "three"})
        client.get("/SECRET?SECRET")
    lines = _lines(router)
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/v1/classify", 200),
        ("/v1/classify", 200),
        ("/v1/classify", 400),
        ("other", 404),
    ]
    assert [line.get("request_id") for line in lines[:3]] == ["one", "two", "three"]
    assert (lines[0]["route"], lines[0]["reason"]) == ("student", "confident")
    assert all(line["duration_ms"] >= 0 for line in lines)
    assert "SECRET" not in "".join(router.log)


def test_the_access_log_is_off_unless_asked_for(serve):
    """Ten million lines a day are nobody's default."""
    router = serve()
    httpx2.post(f"{router.url}/v1/classify", json={"text": "a"})
    assert router.stop() == 0
    assert not any("raisehand.access" in line for line in router.log)


def test_a_line_names_the_worker_that_wrote_it(serve):
    """With several, a line without it could be of any."""
    router = serve("--workers", "2", access_log=1)
    httpx2.post(f"{router.url}/v1/classify", json={"text": "a"})
    assert {line["worker"] for line in _lines(router)} <= {0, 1}


def test_a_slow_sender_is_timed_from_its_first_byte(serve):
    """What a client waits for begins when it begins to send."""
    import socket
    from urllib.parse import urlsplit

    router = serve(access_log=1)
    whole = b'{"text": "a"}'
    head = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(whole)
    with socket.create_connection((urlsplit(router.url).hostname, urlsplit(router.url).port)) as s:
        s.sendall(head)
        time.sleep(0.3)
        s.sendall(whole)
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
    metrics = httpx2.get(f"{router.url}/metrics").text
    [seconds] = [
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith('raisehand_request_duration_seconds_sum{route="student"}')
    ]
    [line] = [line for line in _lines(router) if line["path"] == "/v1/classify"]
    assert line["duration_ms"] >= 290
    assert seconds >= 0.29


def test_a_trace_goes_through_the_router_to_its_teacher(serve, folder_of, receiver, monkeypatch):
    """One trace: the caller's span, the router's, and what the teacher was asked under it."""
    pytest.importorskip("opentelemetry.sdk", reason="the otel extra is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    url, received = receiver
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    at = folder_of({"mode": "text", "base_url": f"{url}/v1"})
    router = serve("--trace", at=at)
    answer = httpx2.post(
        f"{router.url}/v1/classify",
        json={"text": "a", "threshold": 1.0},
        headers={"traceparent": PARENT},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 200
    assert router.stop() == 0
    asked = next(
        headers
        for path, headers, body in reversed(received)
        if path == "/v1/chat/completions" and "traceparent" in headers
    )
    exported = ExportTraceServiceRequest()
    exported.ParseFromString(next(body for path, _, body in received if path == "/v1/traces"))
    [span] = exported.resource_spans[0].scope_spans[0].spans
    assert span.trace_id.hex() == PARENT.split("-")[1]
    assert span.parent_span_id.hex() == PARENT.split("-")[2]
    assert asked["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"


def test_without_tracing_the_callers_own_trace_reaches_the_teacher(serve, folder_of, receiver):
    """A router that makes no spans breaks nobody's trace; what is no traceparent is not sent."""
    url, received = receiver
    router = serve(at=folder_of({"mode": "text", "base_url": f"{url}/v1"}))
    for given in (PARENT, "nonsense"):
        httpx2.post(
            f"{router.url}/v1/classify",
            json={"text": "a", "threshold": 1.0},
            headers={"traceparent": given},
            timeout=PATIENCE_S,
        )
    router.stop()
    assert [headers.get("traceparent") for _, headers, _ in received[-2:]] == [PARENT, None]


def test_header_lines_are_read_by_name():
    """Whole names, in any order, the others left out."""
    fields = b"content-type: a\r\nx-request-id: 1: 2\r\n"
    assert values_of(fields, (b"x-request-id",)) == {b"x-request-id": "1: 2"}
