"""Load tests as metrics, pushed by OTLP: a point for each interval, beside the server's own.

Where they go is said by the standard OTEL_EXPORTER_OTLP_* variables, as for the router's spans. An
OpenTelemetry collector takes them, and Prometheus from version 3 on (its OTLP receiver).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from loadtests.errors import BadLoadSpec, CannotWrite
from loadtests.figures.load_report import LoadInterval
from loadtests.verdict.conclusion import Conclusion

NANOSECONDS = 1_000_000_000


def push(conclusions: Sequence[Conclusion]) -> int:
    """Push the intervals of each test and its verdict; return how many points were sent.

    Raises:
        BadLoadSpec: the library is not installed.
        CannotWrite: nobody took them.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import (
            Gauge,
            Metric,
            MetricExportResult,
            MetricsData,
            NumberDataPoint,
            ResourceMetrics,
            ScopeMetrics,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    except ImportError:
        raise BadLoadSpec(
            "pushing needs OpenTelemetry's exporter: pip install 'raisehand[otel]'"
        ) from None
    points: dict[str, list[NumberDataPoint]] = {}
    for conclusion in conclusions:
        said = _attributes(conclusion)
        for name, at_s, value in _values(conclusion):
            at = int(at_s * NANOSECONDS)
            points.setdefault(name, []).append(NumberDataPoint(said, at, at, value))
    metrics = [Metric(name, None, None, Gauge(found)) for name, found in points.items()]
    scope = ScopeMetrics(InstrumentationScope("raisehand.loadtest"), metrics, "")
    resource = Resource.create({"service.name": "raisehand-loadtest"})
    exporter = OTLPMetricExporter()
    sent = exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")]))
    exporter.shutdown()
    if sent is not MetricExportResult.SUCCESS:
        raise CannotWrite(
            "the metrics were not taken; name a collector in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, "
            "e.g. http://127.0.0.1:4318/v1/metrics"
        )
    return sum(map(len, points.values()))


def _attributes(conclusion: Conclusion) -> dict[str, str]:
    spec = conclusion.report.spec
    found = {"scenario": conclusion.scenario, "surface": spec.surface, "seed": str(spec.seed)}
    commit = conclusion.versions.get("commit")
    return {**found, **({"commit": commit} if commit else {})}


def _values(conclusion: Conclusion) -> Iterator[tuple[str, float, float]]:
    """Yield name, second since 1970 and value; a report is dated by its end."""
    ended = datetime.fromisoformat(conclusion.at).timestamp()
    report = conclusion.report
    for interval in report.intervals:
        at = ended - report.measured_s + interval.at_s + interval.length_s
        for name, value in _figures(interval).items():
            if value is not None:
                yield f"raisehand.loadtest.{name}", at, value
    yield "raisehand.loadtest.passed", ended, float(conclusion.passed)
    yield "raisehand.loadtest.valid", ended, float(conclusion.verdict != "INVALID")


def _figures(interval: LoadInterval) -> dict[str, float | None]:
    answered = sum(interval.routes.values())
    student = interval.routes.get("student", 0)
    return {
        "requested_rps": interval.requested_rps,
        "achieved_rps": interval.achieved_rps,
        "good_rps": interval.good_rps,
        "failed": float(interval.failed),
        "dropped": float(interval.dropped),
        "p50_ms": interval.p50_ms,
        "p99_ms": interval.p99_ms,
        "escalated_share": 1 - student / answered if student else None,
        "generator_cpu": interval.generator_cpu,
    }
