"""A load test pushed to a collector: every interval is a point at its own moment."""

import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtests.commands import loadtest
from loadtests.errors import CannotWrite
from loadtests.verdict.conclusion import Conclusion

PEAK = Path(__file__).parents[3] / "docs" / "reports" / "peak.json"
VARIABLE = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@pytest.fixture
def collector():
    """A server that keeps what is pushed to it, as the protocol's own messages."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    kept = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/metrics", kept
    server.shutdown()
    server.server_close()


def test_intervals_arrive_as_points_at_their_moments(collector, monkeypatch):
    """Seconds, and quarters for the p99, end where the report does; the verdict is a gauge, too."""
    url, kept = collector
    monkeypatch.setenv(VARIABLE, url)
    done = CliRunner().invoke(loadtest, ["push", str(PEAK)])
    assert done.exit_code == 0, done.output
    assert "points of 1 load tests were taken" in done.output
    (request,) = kept
    metrics = {
        metric.name: metric.gauge.data_points
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    peak = Conclusion.model_validate_json(PEAK.read_bytes())
    intervals = peak.report.intervals
    good = metrics["raisehand.loadtest.good_rps"]
    assert [point.as_double for point in good] == pytest.approx([i.good_rps for i in intervals])
    ended = datetime.fromisoformat(peak.at).timestamp()
    assert good[-1].time_unix_nano / 1e9 == pytest.approx(ended, abs=1e-3)
    assert good[1].time_unix_nano - good[0].time_unix_nano == pytest.approx(1e9, abs=1e3)
    said = {pair.key: pair.value.string_value for pair in good[0].attributes}
    assert said["scenario"] == "peak"
    assert [p.as_double for p in metrics["raisehand.loadtest.passed"]] == [1.0]
    quarters = metrics["raisehand.loadtest.p99_ms"]
    assert [point.as_double for point in quarters] == [q.p99 for q in peak.report.quarters_ms]
    assert None not in [q.p99 for q in peak.report.quarters_ms]
    ends = [ended - peak.report.measured_s * k / 4 for k in (3, 2, 1, 0)]
    assert [p.time_unix_nano / 1e9 for p in quarters] == pytest.approx(ends, abs=1e-3)


def test_a_collector_that_is_not_there_is_told(monkeypatch, free_port_of):
    """One sentence with the variable that names it."""
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{free_port_of()}/v1/metrics")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1")
    done = CliRunner().invoke(loadtest, ["push", str(PEAK)])
    assert isinstance(done.exception, CannotWrite)
    assert VARIABLE in str(done.exception)
